import { afterAll, beforeAll, expect, test } from "vitest";
import { initSync, shutdown } from "../core/engine.ts";
import { outside } from "../core/scope.ts";
import { tensor } from "../core/tensor.ts";
import { chooseLayer, defaultRules, type LayerFacts, layerFacts, type Speeds } from "./choose.ts";
import { drawnWeight } from "./drawn.ts";
import type { SparseForm } from "./layer.ts";

beforeAll(() => initSync({ threads: 1 }));
afterAll(shutdown);

const facts = (values: Float32Array, out: number, width: number, named?: string): LayerFacts => {
  const t = outside(() => tensor(values, [out, width]));
  const f = layerFacts("q", t, named);
  t.dispose();
  return f;
};

const shape = { out: 24, in: 64, type: "f32" as const };

test("facts: sparsity, pattern, and the density that each form would hold", () => {
  const dense = facts(drawnWeight(shape, "dense", 1, 1), 24, 64);
  expect(dense).toMatchObject({ sparsity: 0, pattern: null, candidates: [] });

  const block = facts(drawnWeight(shape, "block4x1", 0.3, 1), 24, 64);
  expect(block.pattern).toBe("4x1");
  const density = 1 - block.sparsity;
  // Forms that hold the same in smaller entries are not worth a look.
  expect(block.candidates).toEqual([{ form: "block4x1", density }]);

  const nm = facts(drawnWeight(shape, "nm4x1", 0.5, 1), 24, 64);
  expect([nm.pattern, nm.quota]).toEqual(["2:4@4x1", { n: 2, m: 4 }]);
  expect(nm.candidates[0]).toEqual({ form: "nm4x1", density: 0.5 });
  // 1:4 shared by four rows holds 2:4, too; the name in the file says what it is.
  const quarter = drawnWeight(shape, "nm4x1", 0.25, 1);
  expect(facts(quarter, 24, 64).quota).toEqual({ n: 2, m: 4 });
  expect(facts(quarter, 24, 64, "1:4@4x1").quota).toEqual({ n: 1, m: 4 });
  // Each row keeps its own two of four: the form for rows, whatever the name claims.
  const rows = facts(drawnWeight(shape, "nm1x1", 0.5, 1), 24, 64, "2:4@4x1");
  expect([rows.pattern, rows.quota]).toEqual(["2:4", { n: 2, m: 4 }]);
  expect(rows.candidates.find((c) => c.form.startsWith("nm"))).toEqual({ form: "nm1x1", density: 0.5 });

  const wide = facts(drawnWeight(shape, "block1x16", 0.5, 1), 24, 64);
  expect(wide.pattern).toBe("1x16");
  expect(wide.candidates[0]).toEqual({ form: "block1x16", density: expect.closeTo(1 - wide.sparsity, 12) });
  const pair = facts(drawnWeight(shape, "block2x1", 0.5, 1), 24, 64);
  expect(pair.pattern).toBe("2x1");
  expect(pair.candidates).toContainEqual({ form: "block2x1", density: expect.closeTo(1 - pair.sparsity, 12) });

  // A name that the values do not keep, or that nobody can read, is not believed.
  expect(facts(drawnWeight(shape, "csr", 0.5, 1), 24, 64, "2:4@4x1").quota).toBeUndefined();
  expect(facts(quarter, 24, 64, "zigzag").quota).toEqual({ n: 2, m: 4 });

  // Unstructured: a block of four is empty with probability 0.5^4, so 94 % of the blocks would be held.
  const loose = facts(drawnWeight(shape, "csr", 0.5, 1), 24, 64);
  expect(loose.pattern).toBe("unstructured");
  const held = (form: SparseForm) => loose.candidates.find((c) => c.form === form)?.density;
  expect(held("block4x1")).toBeGreaterThan(0.88);
  expect(held("csr")).toBeCloseTo(1 - loose.sparsity, 12);

  const few = drawnWeight(shape, "dense", 1, 1);
  few.fill(0, 0, 20);
  expect(chooseLayer(facts(few, 24, 64)).decode.reason).toMatch(/^dense: only 1\.3 % zeros/);
});

test("default rules follow the measurements they are derived from", () => {
  const r = (use: "decode" | "prefill", form: "csr" | "block4x1" | "nm4x1", sparsity: number) =>
    defaultRules.ratio(shape, use, form, 1 - sparsity) as number;
  // kernels measured at 1024 wide: CSR N = 1 breaks even at 80 %, block 4 is 1.4 at 50 % and 6.8 at 90 %.
  expect(r("decode", "csr", 0.8)).toBeCloseTo(1.0, 9);
  expect(r("decode", "block4x1", 0.5)).toBeCloseTo(1.4, 9);
  expect(Math.abs(r("decode", "block4x1", 0.9) - 6.8)).toBeLessThan(0.5);
  // N = 196: CSR 1.4 at 50 %, 6.0 at 90 %; block 4 2.0 and 9.3.
  expect(Math.abs(r("prefill", "csr", 0.5) - 1.4)).toBeLessThan(0.15);
  expect(Math.abs(r("prefill", "csr", 0.9) - 6)).toBeLessThan(0.6);
  expect(Math.abs(r("prefill", "block4x1", 0.5) - 2)).toBeLessThan(0.15);
  expect(Math.abs(r("prefill", "block4x1", 0.9) - 9.3)).toBeLessThan(0.5);
});

test("the best form wins, each use for itself; a small gain is not worth it", () => {
  const f: LayerFacts = {
    ...shape,
    name: "q",
    sparsity: 0.7,
    pattern: "unstructured",
    candidates: [
      { form: "block4x1", density: 0.8 },
      { form: "csr", density: 0.3 },
    ],
  };
  const speeds = (decode: readonly [number?, number?], prefill: readonly [number?, number?]): Speeds => ({
    where: "on this machine",
    dense: (_, use) => (use === "decode" ? "stored" : "packed"),
    ratio: (_s, use, form, density) => {
      expect(density).toBe(form === "csr" ? 0.3 : 0.8);
      return (use === "decode" ? decode : prefill)[form === "csr" ? 1 : 0];
    },
  });
  const both = chooseLayer(f, { speeds: speeds([1.3, 0.6], [1.2, 1.7]) });
  expect(both.decode).toEqual({ form: "block4x1", reason: "block4x1: 1.30 times dense on this machine", ratio: 1.3 });
  expect(both.prefill.form).toBe("csr");
  const neither = chooseLayer(f, { speeds: speeds([0.9, 0.41], [1.04, 1.02]) });
  expect(neither.decode).toEqual({
    form: "stored",
    reason:
      "expanded: 70 % unstructured loses at 24 x 64, one column, on this machine (0.90 times dense as block4x1); read as stored",
    ratio: 0.9,
  });
  expect(neither.prefill.reason).toMatch(/gains too little at 24 x 64, many columns/);
  expect(neither.prefill.form).toBe("packed");
  expect(chooseLayer(f, { speeds: speeds([], []) }).decode.reason).toMatch(/not known/);
  expect(chooseLayer(f, { speeds: speeds([0.9, 0.4], [0.5, 0.6]), kernels: "sparse" }).prefill.form).toBe("csr");
  expect(chooseLayer(f, { speeds: speeds([2, 2], [2, 2]), kernels: "dense" }).prefill.form).toBe("packed");
});

test("f32 copies stop when the purse is empty", () => {
  const purse = { left: 4 * 24 * 64 + 10 };
  const f = facts(drawnWeight(shape, "dense", 1, 1), 24, 64);
  expect(chooseLayer(f, { purse }).prefill.form).toBe("packed");
  expect(purse.left).toBe(10);
  const second = chooseLayer(f, { purse }).prefill;
  expect(second.form).toBe("stored");
  expect(second.reason).toMatch(/no bytes left/);
});
