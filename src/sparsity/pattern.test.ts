import fc from "fast-check";
import { expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { editDistance, nearest } from "./nearest.ts";
import {
  blocks,
  checkSparsity,
  fixedSparsity,
  layoutOf,
  nm,
  type Pattern,
  parsePattern,
  printPattern,
  settleSparsity,
} from "./pattern.ts";

const shape = { name: "model.layers.0.mlp.down_proj", rows: 6, columns: 172 };

test("every pattern's text is read back as itself", () => {
  const texts = ["unstructured", "2:4", "4:8", "4x1", "1x16", "2:4@4x1", "row", "column", "channel", "head", "layer"];
  for (const text of texts) expect(printPattern(parsePattern(text))).toBe(text);
  const small = fc.integer({ min: 1, max: 16 });
  const any: fc.Arbitrary<Pattern> = fc.oneof(
    fc.tuple(small, small, small).map(([n, extra, rows]) => nm(n, n + extra, rows)),
    fc.tuple(small, small).map(([r, c]) => blocks(r, c)),
  );
  fc.assert(
    fc.property(any, (p) => {
      expect(parsePattern(printPattern(p))).toEqual(p);
    }),
  );
});

test("the sign × and capitals are accepted; 1x1 is unstructured; @1x1 says nothing", () => {
  expect(parsePattern(" 4×1 ")).toEqual(blocks(4, 1));
  expect(parsePattern("Unstructured")).toEqual({ kind: "unstructured" });
  expect(parsePattern("1x1")).toEqual({ kind: "unstructured" });
  expect(parsePattern("2:4@1x1")).toEqual(nm(2, 4));
});

test.each(["", "4:2", "4:4", "0:4", "0x4", "2:4@4x2", "2-4", "-2:4", "2:4:8", "1:65"])("%j is refused", (text) => {
  expect(() => parsePattern(text)).toThrow(LacunaError);
});

test("a mistyped word is met with the near one", () => {
  expect(() => parsePattern("unstructred")).toThrow(/Did you mean unstructured\?/);
  expect(() => parsePattern("2;4")).toThrow(/Did you mean 2:4\?/);
  expect(nearest("wnada", ["magnitude", "wanda"])).toBe("wanda"); // neighbours swapped: one edit
  expect(nearest("wxydx", ["magnitude", "wanda"])).toBeUndefined();
  expect(nearest("wand", ["magnitude", "wanda"])).toBe("wanda");
  expect(editDistance("kitten", "sitting")).toBe(3);
  expect(editDistance("", "abc")).toBe(3);
  expect(editDistance("ca", "abc")).toBe(3);
});

test("N:M must divide the input width; the error names layer, width, pattern and a way out", () => {
  expect(() => layoutOf(parsePattern("4:8"), shape)).toThrow(
    /model\.layers\.0\.mlp\.down_proj.*8 divides, for pattern 4:8, got 172 inputs.*2:4.*4x1.*--skip/,
  );
  expect(layoutOf(parsePattern("2:4"), shape)).toMatchObject({
    unitRows: 6,
    unitColumns: 172,
    quota: { keep: 2, of: 4 },
  });
});

test("blocks and shared runs may end raggedly", () => {
  expect(layoutOf(blocks(4, 1), shape)).toEqual({ height: 4, width: 1, unitRows: 2, unitColumns: 172, units: 344 });
  expect(layoutOf(blocks(1, 16), shape)).toMatchObject({ unitColumns: 11, units: 66 });
  expect(layoutOf(nm(2, 4, 4), shape)).toMatchObject({ height: 4, unitRows: 2, units: 344 });
  expect(layoutOf({ kind: "row" }, shape)).toMatchObject({ units: 6, height: 1, width: 172 });
  expect(layoutOf({ kind: "column" }, shape)).toMatchObject({ units: 172, height: 6, width: 1 });
});

test.each(["channel", "head", "layer"] as const)("%s spans several weights and is refused for one", (kind) => {
  expect(() => layoutOf({ kind }, shape)).toThrow(new RegExp(`down_proj.*${kind}.*several weights`));
});

test.each([1, 1.5, -0.1, Number.NaN, 50])("sparsity %s is refused", (s) => {
  expect(() => checkSparsity(s)).toThrow(LacunaError);
});

test("a percentage is met with the fraction", () => expect(() => checkSparsity(50)).toThrow(/write 0\.5/));

test("N:M fixes the sparsity: left out or agreeing", () => {
  expect(fixedSparsity(nm(1, 4))).toBe(0.75);
  expect(settleSparsity(nm(2, 4), undefined)).toBe(0.5);
  expect(settleSparsity(nm(2, 4), 0.5)).toBe(0.5);
  expect(() => settleSparsity(nm(2, 4), 0.6)).toThrow(/0\.5, which pattern 2:4 fixes, got 0\.6/);
  expect(() => settleSparsity(parsePattern("4x1"), undefined)).toThrow(LacunaError);
  expect(settleSparsity(parsePattern("4x1"), 0.7)).toBe(0.7);
});
