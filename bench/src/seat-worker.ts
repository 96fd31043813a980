/** The isolate's side of a seat: opens the module, then answers calls one by one, each with the time it took. */
import { workerData } from "node:worker_threads";
import type { Calls, SeatReply, SeatRequest, SeatStart } from "./seat.ts";

const { module, setup, port, flag } = workerData as SeatStart;

const reason = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

function answer(reply: SeatReply): void {
  port.postMessage(reply);
  Atomics.store(flag, 0, 1);
  Atomics.notify(flag, 0);
}

let calls: Calls = {};
port.on("message", async ({ call, argument }: SeatRequest) => {
  try {
    const run = calls[call] as ((argument: unknown) => unknown) | undefined;
    if (!run) throw new Error(`no call ${call}`);
    const start = performance.now();
    const result = run(argument);
    const value = result instanceof Promise ? await result : result;
    answer({ ok: true, value, milliseconds: performance.now() - start });
  } catch (error) {
    answer({ ok: false, message: reason(error) });
  }
});

try {
  const { open } = (await import(module)) as { open: (setup: unknown) => Promise<Calls> };
  calls = await open(setup);
  port.postMessage({ ok: true, value: null, milliseconds: 0 } satisfies SeatReply);
} catch (error) {
  port.postMessage({ ok: false, message: reason(error) } satisfies SeatReply);
}
