/**
 * Every kernel against its plain twin, on drawn shapes, in every module variant this engine can run.
 *
 * Sizes come straight from fast-check, so a failure shrinks to a small shape; values come from a seed it draws, since
 * drawing thousands of floats one by one would take most of the time.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { disagreement, seededFloats } from "./compare.ts";
import type { Comparison, Draw, EmitOptions } from "./kernel.ts";
import { hasRelaxedSimd, hasSimd, hasThreads } from "./probe.ts";
import { createSandbox } from "./sandbox.ts";
import { kernelNamed, kernels } from "./table.ts";

const RUNS = 40;
const SEED = 20260101;

function drawFrom(gen: fc.GeneratorValue): Draw {
  return {
    int: (low, high) => gen(fc.integer, { min: low, max: high }),
    floats: (count, scale = 1) => seededFloats(gen(fc.nat), count, scale),
  };
}

function compare(comparison: Comparison): void {
  const found = disagreement(comparison);
  if (found !== null) throw new Error(found);
}

const variants: EmitOptions[] = [false, true].flatMap((shared) => [false, true].map((fused) => ({ shared, fused })));
const runnable = variants.filter((v) => (!v.shared || hasThreads()) && (!v.fused || hasRelaxedSimd()));
const describeVariant = ({ shared, fused }: EmitOptions): string =>
  `${shared ? "shared" : "unshared"}${fused ? ", fused" : ""}`;

describe("the table", () => {
  it("has unique names of the grammar", () => {
    const names = kernels.map((kernel) => kernel.name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/);
  });

  it("finds kernels by name and says which there are", () => {
    for (const kernel of kernels) expect(kernelNamed(kernel.name)).toBe(kernel);
    expect(() => kernelNamed("no-such-kernel")).toThrow(/no kernel is named "no-such-kernel"/);
  });

  it("documents exactly the functions a module exports, parameters included", () => {
    for (const kernel of kernels) {
      const { exports } = new WebAssembly.Instance(
        new WebAssembly.Module(kernel.emit({ shared: false, fused: false })),
        { env: { memory: new WebAssembly.Memory({ initial: 1 }) } },
      );
      expect(Object.keys(exports).sort(), kernel.name).toEqual(Object.keys(kernel.functions).sort());
      for (const [name, { params }] of Object.entries(kernel.functions)) {
        expect((exports[name] as (...args: number[]) => unknown).length, `${kernel.name}.${name}`).toBe(params.length);
      }
      expect(kernel.trials.length, `${kernel.name} has trials`).toBeGreaterThan(0);
    }
  });

  it("emits modules that validate, in every variant this engine knows", () => {
    expect(hasSimd()).toBe(true);
    for (const kernel of kernels) {
      for (const variant of runnable) {
        expect(WebAssembly.validate(kernel.emit(variant)), `${kernel.name}, ${describeVariant(variant)}`).toBe(true);
      }
    }
  });
});

describe("comparison", () => {
  const base = { what: "x", want: [1, 2, 3], tolerance: 0.1 };
  it("accepts what is within the tolerance, equal infinities and equal NaN", () => {
    compare({ ...base, got: [1.05, 2, 2.95] });
    compare({ what: "x", got: [Infinity, NaN], want: [Infinity, NaN], tolerance: 0 });
  });
  it("reports the first differing index and the largest difference", () => {
    expect(() => compare({ ...base, got: [1, 2.5, 5] })).toThrow(
      /2 of 3 differ; first \[1\].*largest difference 2 at \[2\]/,
    );
    expect(() => compare({ ...base, got: [1, NaN, 3] })).toThrow(/\[1\] got NaN/);
    expect(() => compare({ ...base, got: [1, 2] })).toThrow(/2 values, expected 3/);
  });
});

for (const kernel of kernels) {
  describe(kernel.name, () => {
    for (const variant of runnable) {
      for (const trial of kernel.trials) {
        it(`${trial.name} (${describeVariant(variant)})`, () => {
          const box = createSandbox(kernel, variant);
          const property = fc.property(fc.gen(), (gen) => {
            box.reset();
            for (const comparison of trial.run(drawFrom(gen), box)) compare(comparison);
            const damage = box.damage();
            if (damage) {
              throw new Error(`wrote ${damage.beyond} bytes behind the end of a block of ${damage.bytes} bytes`);
            }
          });
          fc.assert(property, { seed: SEED, numRuns: RUNS });
        });
      }
    }
  });
}
