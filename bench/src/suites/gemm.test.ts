/** Products of `gemm`: both contestants right on odd shapes, and wrong ones found. */
import { afterAll, expect, test } from "vitest";
import { initSync, memory, shutdown } from "../../../src/core/engine.ts";
import { stream } from "../../../src/core/random.ts";
import { lacunaProducts, worstError } from "./gemm.ts";

afterAll(shutdown);

test("the check finds a wrong product", () => {
  initSync({ threads: 1 });
  const p = { m: 37, k: 29, n: 23 };
  const values = (size: number, seed: number): Float32Array => {
    const draws = stream(seed, "factors");
    return Float32Array.from({ length: size }, (_, i) => 2 * draws.uniform(i) - 1);
  };
  const [a, b] = [
    [values(p.m * p.k, 1), values(p.m * p.k, 2)],
    [values(p.k * p.n, 3), values(p.k * p.n, 4)],
  ];
  const live = memory.live;
  const own = lacunaProducts(p, a, b);
  expect(worstError(p, a[0], b[0], own.result(0))).toBeLessThan(1e-6);
  expect(worstError(p, a[1], b[1], own.result(1))).toBeLessThan(1e-6);
  expect(worstError(p, a[0], b[0], own.result(1))).toBeGreaterThan(0.1);
  own.run();
  own.free();
  // Code of kernels may stay; factors and results may not.
  expect(memory.live - live).toBeLessThan(64 * 1024);
});
