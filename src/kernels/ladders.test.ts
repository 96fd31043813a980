/** Ladders: every rung computes what the plain twin computes, and the last one is the kernel. */
import { expect, test } from "vitest";
import { createSandbox } from "./sandbox.ts";
import { kernels } from "./table.ts";

const options = { shared: false, fused: false } as const;
const climbed = kernels.filter((k) => k.ladder);

test("there are ladders, for every sparse product and the dense one", () => {
  const named = climbed.map((k) => k.name);
  const wanted = kernels.map((k) => k.name).filter((n) => /^(spmm-f32|spmv-f32|gemm-f32)-/.test(n));
  expect(wanted.filter((n) => !named.includes(n))).toEqual([]);
});

test.each(climbed.map((k) => [k.name, k] as const))("%s", (_, kernel) => {
  const ladder = kernel.ladder!();
  expect(ladder.rungs.length).toBeGreaterThan(0);
  expect(ladder.operations).toBeGreaterThan(1e5);
  expect(Buffer.from(ladder.rungs.at(-1)!.emit(options)).equals(Buffer.from(kernel.emit(options)))).toBe(true);
  const want = ladder.twin();
  // Right to the tolerance, and not by being zero.
  expect(want.length).toBeGreaterThan(0);
  expect(Math.max(...Array.from(want).slice(0, 1000).map(Math.abs))).toBeGreaterThan(100 * ladder.tolerance);
  for (const rung of ladder.rungs) {
    const box = createSandbox({ ...kernel, emit: rung.emit }, options);
    const { fn, args, result, count } = rung.arrange(box);
    box.call(fn, ...args);
    expect(box.damage(), rung.step).toBeUndefined();
    const got = box.f32(result, count);
    expect(count).toBe(want.length);
    let worst = 0;
    for (let i = 0; i < count; i++)
      worst = Math.max(worst, Math.abs(got[i] - want[i]) || (got[i] === want[i] ? 0 : Infinity));
    expect(worst, rung.step).toBeLessThanOrEqual(ladder.tolerance);
  }
});
