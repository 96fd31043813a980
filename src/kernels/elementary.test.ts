import { describe, expect, it } from "vitest";
import { exp, ln, sinCos, sinCosTurns } from "./elementary.ts";

describe("f64 functions of our own", () => {
  it("sine and cosine agree with Math to 1e-12 up to 2^20", () => {
    let worst = 0;
    for (let i = 0; i < 200_000; i++) {
      // dense near 0, then ever farther out; an irrational step avoids a grid
      const x = (i % 2 === 0 ? 1 : -1) * (i < 100_000 ? i * 1.0471e-4 : (i - 100_000) * 10.48571831);
      const { sin, cos } = sinCos(x);
      worst = Math.max(worst, Math.abs(sin - Math.sin(x)), Math.abs(cos - Math.cos(x)));
    }
    expect(worst).toBeLessThan(1e-12);
  });

  it("sine and cosine of turns agree with Math to 1e-15, and whole turns are lost exactly", () => {
    for (let i = -400; i <= 400; i++) {
      const t = i / 256;
      const [sin, cos] = sinCosTurns(t);
      // Math's own argument is rounded: 2 pi t is off by up to 1e-15 here.
      expect(Math.abs(sin - Math.sin(2 * Math.PI * t))).toBeLessThan(3e-15);
      expect(Math.abs(cos - Math.cos(2 * Math.PI * t))).toBeLessThan(3e-15);
      expect(sinCosTurns(t + 2 ** 30)).toEqual([sin, cos]);
      expect(Math.abs(sin * sin + cos * cos - 1)).toBeLessThan(1e-15);
    }
  });

  it("are exact where the value is", () => {
    expect(sinCos(0)).toEqual({ sin: 0, cos: 1 });
    expect(ln(1)).toBe(0);
    expect(exp(0)).toBe(1);
  });

  it("log and exp agree with Math to 1e-14 relative", () => {
    for (let i = 1; i < 5000; i++) {
      const x = i * i * 0.0317;
      expect(Math.abs(ln(x) - Math.log(x))).toBeLessThan(1e-14 * Math.max(1, Math.abs(Math.log(x))));
      const y = (i - 2500) * 0.011;
      expect(Math.abs(exp(y) / Math.exp(y) - 1)).toBeLessThan(1e-14);
    }
  });
});
