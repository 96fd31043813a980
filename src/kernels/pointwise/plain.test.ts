/** The twins' slopes against central differences of the twins' values. */
import { describe, expect, it } from "vitest";
import { farthest, numericalGradient, someValues } from "./finite-difference.ts";
import * as plain from "./plain.ts";

/** Step 1e-5: the differences are good to about 1e-9, rounding included. */
const CLOSE = 1e-8;
const points = [...someValues(40, 1), -6, -1.278, -0.5, 1e-3, 3, 7];

describe("slopes", () => {
  it.each([
    ["silu", plain.silu, plain.siluSlope],
    ["gelu", plain.gelu, plain.geluSlope],
    ["relu", plain.relu, plain.reluSlope],
    ["sigmoid", plain.sigmoid, (x: number) => plain.sigmoid(x) * (1 - plain.sigmoid(x))],
    ["tanh", Math.tanh, (x: number) => 1 - Math.tanh(x) ** 2],
  ])("%s", (_, value, slope) => {
    for (const x of points)
      expect(Math.abs(slope(x) - numericalGradient(([v]) => value(v), [x])[0])).toBeLessThan(CLOSE);
  });

  it("siluGate, both inputs", () => {
    const ups = someValues(points.length, 2);
    points.forEach((gate, i) => {
      const want = numericalGradient(([g, u]) => 1.3 * plain.siluGate(g, u), [gate, ups[i]]);
      const got = plain.siluGateBackward(gate, ups[i], 1.3);
      expect(Math.abs(got[0] - want[0])).toBeLessThan(CLOSE);
      expect(Math.abs(got[1] - want[1])).toBeLessThan(CLOSE);
    });
  });
});

describe("movements of rows", () => {
  it("scatterAddRows is the gradient of gatherRows", () => {
    const ids = [2, 0, 2, 1];
    const [table, dy] = [someValues(9, 3), someValues(12, 4)];
    const want = numericalGradient((t) => plain.gatherRows(t, ids, 3).reduce((s, v, i) => s + v * dy[i], 0), table);
    const got = plain.scatterAddRows(dy, ids, new Float64Array(9), 3);
    expect(farthest(Array.from(got), want)).toBeLessThan(CLOSE);
  });

  it("transpose, by hand", () => {
    expect(plain.transpose([1, 2, 3, 4, 5, 6], 2, 3)).toEqual([1, 4, 2, 5, 3, 6]);
  });
});
