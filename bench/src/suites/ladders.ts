/**
 * How kernels became fast: the plain twin, the steps of each ladder (`Kernel.ladder`), the kernel; one thread, one
 * interleaved run a kernel. `docs/kernels.md` shows the record. That every step computes the same is a test
 * (`src/kernels/ladders.test.ts`).
 */
import type { Kernel } from "../../../src/kernels/kernel.ts";
import { createSandbox } from "../../../src/kernels/sandbox.ts";
import { kernels } from "../../../src/kernels/table.ts";
import { interleave, type Variant } from "../../../src/runtime/timing.ts";
import { merge, type Outcome, rateOf, ratioRow } from "../outcome.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

const TWIN = "plain twin";

async function one(kernel: Kernel, quick: boolean): Promise<Outcome> {
  const ladder = kernel.ladder!();
  const variants: Variant[] = [{ name: TWIN, run: () => void ladder.twin() }];
  for (const rung of ladder.rungs) {
    const box = createSandbox({ ...kernel, emit: rung.emit }, { shared: false, fused: false });
    const { fn, args } = rung.arrange(box);
    variants.push({ name: rung.step, run: () => void box.call(fn, ...args) });
  }
  const timing = await interleave(variants, quick ? { rounds: 3, slice: 4, warmUp: 8 } : { rounds: 15, slice: 10 });
  const base = { shape: ladder.example, threads: 1 };
  return {
    rates: variants.map((v, i) =>
      rateOf(timing, v.name, ladder.operations / 1e9, {
        id: `ladders/${kernel.name}/${i}`,
        what: v.name,
        unit: "GFLOP/s",
        ...base,
      }),
    ),
    rows: variants.slice(1).map((v, i) =>
      ratioRow(timing, v.name, variants[i].name, {
        id: `ladders/${kernel.name}/${i + 1}`,
        what: `${kernel.name}: ${v.name}`,
        over: variants[i].name,
        ...base,
      }),
    ),
    counts: [],
    notes: [],
  };
}

export const laddersSuite: Suite = {
  name: "ladders",
  shows: "from the plain twin to the kernel, step by step, one thread",
  peers: [],
  oneCore: true,
  async run({ quick, say }: SuiteOptions): Promise<Outcome> {
    const outcomes: Outcome[] = [];
    for (const kernel of kernels.filter((k) => k.ladder)) {
      say(kernel.name);
      outcomes.push(await one(kernel, quick));
    }
    return merge(outcomes);
  },
};
