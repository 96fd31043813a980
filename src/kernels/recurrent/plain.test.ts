/** The LSTM twin against central differences and closed forms. */
import { describe, expect, it } from "vitest";
import { farthest, numericalGradient } from "../pointwise/finite-difference.ts";
import { lstmBackward, lstmForward } from "./plain.ts";

describe("LSTM cell", () => {
  it("with only the forget bias at 1, forgets by sigmoid(1) a step and puts out half of tanh of the cell", () => {
    let cell = 0.8;
    for (let t = 1; t <= 5; t++) {
      const step = lstmForward([0, 1, 0, 0], cell);
      cell = step.cell;
      expect(Math.abs(cell - 0.8 * (1 / (1 + Math.exp(-1))) ** t)).toBeLessThan(1e-15);
      expect(Math.abs(step.out - 0.5 * Math.tanh(cell))).toBeLessThan(1e-15);
    }
  });

  it("gradient", () => {
    const at = [0.3, -1.2, 0.7, 0.4, 0.9];
    const loss = (x: readonly number[]): number => {
      const { out, cell } = lstmForward(x, x[4]);
      return 1.3 * out - 0.6 * cell;
    };
    const { dRaw, dBefore } = lstmBackward(lstmForward(at, at[4]), at[4], 1.3, -0.6);
    expect(farthest([...dRaw, dBefore], numericalGradient(loss, at))).toBeLessThan(1e-9);
  });
});
