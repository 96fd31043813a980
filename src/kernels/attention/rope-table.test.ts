import { describe, expect, it } from "vitest";
import { expF64, inverseFrequencies, logF64, ropeTable, sinCosF64 } from "./rope-table.ts";

describe("f64 functions of our own", () => {
  it("sine and cosine agree with Math to 1e-12 up to 2^20", () => {
    let worst = 0;
    for (let i = 0; i < 200_000; i++) {
      // dense near 0, then ever farther out; an irrational step avoids a grid
      const x = (i % 2 === 0 ? 1 : -1) * (i < 100_000 ? i * 1.0471e-4 : (i - 100_000) * 10.48571831);
      const { sin, cos } = sinCosF64(x);
      worst = Math.max(worst, Math.abs(sin - Math.sin(x)), Math.abs(cos - Math.cos(x)));
    }
    expect(worst).toBeLessThan(1e-12);
  });

  it("are exact where the value is", () => {
    expect(sinCosF64(0)).toEqual({ sin: 0, cos: 1 });
    expect(logF64(1)).toBe(0);
    expect(expF64(0)).toBe(1);
  });

  it("log and exp agree with Math to 1e-14 relative", () => {
    for (let i = 1; i < 5000; i++) {
      const x = i * i * 0.0317;
      expect(Math.abs(logF64(x) - Math.log(x))).toBeLessThan(1e-14 * Math.max(1, Math.abs(Math.log(x))));
      const y = (i - 2500) * 0.011;
      expect(Math.abs(expF64(y) / Math.exp(y) - 1)).toBeLessThan(1e-14);
    }
  });
});

describe("rope tables", () => {
  it("hold cos and sin of position * base^(-2i/E), rounded to f32", () => {
    const [E, base, positions] = [12, 500_000, 33];
    const { cos, sin } = ropeTable(E, base, positions);
    expect(cos.length).toBe((positions * E) / 2);
    for (let t = 0; t < positions; t++) {
      for (let i = 0; i < E / 2; i++) {
        const angle = t * base ** ((-2 * i) / E);
        // half a unit in the last place of a value below 1
        expect(Math.abs(cos[(t * E) / 2 + i] - Math.cos(angle))).toBeLessThanOrEqual(2 ** -25 + 1e-12);
        expect(Math.abs(sin[(t * E) / 2 + i] - Math.sin(angle))).toBeLessThanOrEqual(2 ** -25 + 1e-12);
      }
    }
  });

  it("take scaled frequencies as a function or as values", () => {
    const halved = ropeTable(8, 10000, 9, (plain) => plain.map((x) => x / 2));
    const given = ropeTable(
      8,
      10000,
      9,
      inverseFrequencies(8, 10000).map((x) => x / 2),
    );
    expect(given).toEqual(halved);
    const plain = ropeTable(8, 10000, 9);
    // position 8 at half speed is position 4
    expect(halved.cos.slice(32, 36)).toEqual(plain.cos.slice(16, 20));
  });

  it("refuse bad input", () => {
    expect(() => ropeTable(7, 10000, 4)).toThrow(/head width: expected a positive even number, got 7/);
    expect(() => ropeTable(8, -1, 4)).toThrow(/rope base/);
    expect(() => ropeTable(8, 10000, 2.5)).toThrow(/rope positions/);
    expect(() => ropeTable(8, 10000, 4, [1, 2])).toThrow(/rope scaling/);
    expect(() => ropeTable(8, 10000, 4, () => [1, 0.1, Number.NaN, 0.001])).toThrow(/rope scaling/);
  });
});
