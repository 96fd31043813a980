import { describe, expect, it } from "vitest";
import { inverseFrequencies, ropeTable } from "./rope-table.ts";

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
    expect(() => ropeTable(8, Number.POSITIVE_INFINITY, 4)).toThrow(/rope base/);
    expect(() => ropeTable(8, 10000, 2.5)).toThrow(/rope positions/);
    expect(() => ropeTable(8, 10000, 4, [1, 2])).toThrow(/rope scaling/);
    expect(() => ropeTable(8, 10000, 4, () => [1, 0.1, Number.NaN, 0.001])).toThrow(/rope scaling/);
  });
});
