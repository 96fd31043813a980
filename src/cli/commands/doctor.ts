/** `lacuna doctor`: what this machine can do, and what follows. */
import { initSync } from "../../core/engine.ts";
import { type Bandwidth, doctor as examine } from "../../runtime/doctor.ts";
import { type Command, wholeNumber } from "../command.ts";
import { bytes } from "../format.ts";

const yes = (b: boolean): string => (b ? "yes" : "no");

const rate = (b: Bandwidth): string => {
  const { median, low, high } = b.gigabytesPerSecond;
  return `${median.toFixed(1)} GB/s (${low.toFixed(1)} to ${high.toFixed(1)}) over ${b.mebibytes} MiB`;
};

export const doctor: Command = {
  register(program, run) {
    program
      .command("doctor")
      .description("SIMD, threads, memory and bandwidth of this machine, and what follows")
      .option("--threads <n>", "threads that compute", wholeNumber(1, 64))
      .option("--json", "print JSON on stdout, nothing else")
      .action((options: { threads?: number; json?: boolean }) =>
        run(options, async (console) => {
          if (options.threads) initSync({ threads: options.threads });
          const d = await examine({ signal: console.signal });
          const { machine, node, v8 } = d.provenance;
          console.print(
            `machine        ${machine.cpu}, ${d.cores} cores, ${bytes(machine.memoryBytes)}, ${machine.platform}`,
          );
          console.print(`engine         Node ${node}, V8 ${v8}`);
          console.print(`SIMD           ${yes(d.simd)}, fused multiply-add ${yes(d.relaxedSimd)}`);
          console.print(`threads        ${d.threads} of ${d.cores} cores, shared memory ${yes(d.sharedMemory)}`);
          console.print(
            `memory         engine at most ${bytes(d.memory.engineLimit)}, free now ${bytes(d.memory.systemFree)}`,
          );
          for (const b of d.bandwidth ? [d.bandwidth.near, d.bandwidth.far] : [])
            console.print(`reads          ${rate(b)}`);
          console.print("");
          for (const line of d.follows) console.print(line);
          console.result(d);
        }),
      );
  },
};
