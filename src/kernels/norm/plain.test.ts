/** The gradients' twins against central differences of the forward twins, and the forward twins by hand. */
import { describe, expect, it } from "vitest";
import { dot, farthest, numericalGradient, someValues } from "../pointwise/finite-difference.ts";
import * as plain from "./plain.ts";

/** Step 1e-5 and third derivatives of up to about 100: the differences are good to 1e-8. */
const CLOSE = 1e-7;
const [rows, cols, eps] = [3, 5, 1e-2];
const x = someValues(rows * cols, 1);
const w = someValues(cols, 2);
const b = someValues(cols, 3);
const dy = someValues(rows * cols, 4);

describe("RMSNorm", () => {
  it("forward, by hand", () => {
    const { out, rstd } = plain.rmsnormForward([3, 4, 0, 0], [1, 2], 2, 0.5);
    expect(farthest(rstd, [1 / Math.sqrt(13), Math.SQRT2])).toBeLessThan(1e-15);
    expect(farthest(out, [3 / Math.sqrt(13), 8 / Math.sqrt(13), 0, 0])).toBeLessThan(1e-15);
  });

  it("gradients", () => {
    const value = (a: number[], v: number[]): number => dot(plain.rmsnormForward(a, v, cols, eps).out, dy);
    const { dx, dw } = plain.rmsnormBackward(x, w, dy, cols, eps);
    expect(
      farthest(
        dx,
        numericalGradient((a) => value(a, w), x),
      ),
    ).toBeLessThan(CLOSE);
    expect(
      farthest(
        dw,
        numericalGradient((v) => value(x, v), w),
      ),
    ).toBeLessThan(CLOSE);
  });
});

describe("LayerNorm", () => {
  it("forward, by hand", () => {
    const { out, mean, rstd } = plain.layernormForward([1, 3], [2, 2], [0, 10], 2, 0);
    expect([mean, rstd, out]).toEqual([[2], [1], [-2, 12]]);
  });

  it("gradients", () => {
    const value = (a: number[], v: number[], c: number[]): number =>
      dot(plain.layernormForward(a, v, c, cols, eps).out, dy);
    const { dx, dw, db } = plain.layernormBackward(x, w, dy, cols, eps);
    expect(
      farthest(
        dx,
        numericalGradient((a) => value(a, w, b), x),
      ),
    ).toBeLessThan(CLOSE);
    expect(
      farthest(
        dw,
        numericalGradient((v) => value(x, v, b), w),
      ),
    ).toBeLessThan(CLOSE);
    expect(
      farthest(
        db,
        numericalGradient((c) => value(x, w, c), b),
      ),
    ).toBeLessThan(CLOSE);
  });
});

describe("softmax", () => {
  it("forward, by hand", () => {
    expect(farthest(plain.softmax([0, Math.log(3), 1000, 1000], 2), [0.25, 0.75, 0.5, 0.5])).toBeLessThan(1e-15);
  });

  it("gradient", () => {
    const got = plain.softmaxBackward(plain.softmax(x, cols), dy, cols);
    expect(
      farthest(
        got,
        numericalGradient((a) => dot(plain.softmax(a, cols), dy), x),
      ),
    ).toBeLessThan(CLOSE);
  });
});
