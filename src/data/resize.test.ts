import { describe, expect, it } from "vitest";
import { scope } from "../core/scope.ts";
import type { Image } from "./image.ts";
import { bicubicTaps, cubic, type Plane, resize } from "./resize.ts";
import { cutSquare, lumaPlane, patchStream, srPair } from "./super-resolution.ts";

const plane = (rows: readonly (readonly number[])[]): Plane => ({
  height: rows.length,
  width: rows[0].length,
  values: Float32Array.from(rows.flat()),
});

const wide = (n: number, at: (i: number) => number): Plane => plane([Array.from({ length: n }, (_, i) => at(i))]);

/** What each output is made of, for one row in the middle of an impulse. */
function weightsAt(inputs: number, outputs: number, scale: number, output: number): Map<number, number> {
  const { taps, places, weights } = bicubicTaps(inputs, outputs, scale);
  const sums = new Map<number, number>();
  for (let t = output * taps; t < (output + 1) * taps; t++) {
    if (weights[t] !== 0) sums.set(places[t], (sums.get(places[t]) ?? 0) + weights[t]);
  }
  return sums;
}

describe("bicubic weights", () => {
  it("follow Keys' cubic", () => {
    expect([0, 0.5, 1, 1.5, 2, 2.5, -0.5].map(cubic)).toEqual([1, 0.5625, 0, -0.0625, 0, 0, 0.5625]);
  });

  it("are the closed form when doubling: the cubic at quarters", () => {
    const w = weightsAt(10, 20, 2, 10); // centre 4.75
    expect([3, 4, 5, 6].map((p) => w.get(p))).toEqual([-0.0234375, 0.2265625, 0.8671875, -0.0703125]);
    expect(w.size).toBe(4);
  });

  it("are the closed form when halving: the cubic twice as wide and half as high", () => {
    const w = weightsAt(20, 10, 0.5, 5); // centre 10.5
    const half = [0.43359375, 0.11328125, -0.03515625, -0.01171875];
    expect([10, 9, 8, 7].map((p) => w.get(p))).toEqual(half);
    expect([11, 12, 13, 14].map((p) => w.get(p))).toEqual(half);
    expect(w.size).toBe(8);
  });

  it("mirror at the edges and add up to 1, for odd sizes and scales too", () => {
    for (const [inputs, scale] of [
      [7, 0.5],
      [3, 0.25],
      [5, 1 / 3],
      [5, 3],
      [2, 4],
      [9, 1.5],
    ]) {
      const outputs = Math.ceil(inputs * scale);
      for (let o = 0; o < outputs; o++) {
        const w = weightsAt(inputs, outputs, scale, o);
        expect([...w.values()].reduce((a, b) => a + b, 0)).toBeCloseTo(1, 14);
        expect([...w.keys()].every((p) => p >= 0 && p < inputs)).toBe(true);
      }
    }
    // the output at 0 of a doubled row lies at -0.25: the mirrored pixels -1 and -2 are 0 and 1
    expect(weightsAt(4, 8, 2, 0).get(0)).toBeCloseTo(0.8671875 + 0.2265625, 14);
  });
});

describe("resize", () => {
  it("keeps a constant image constant, at any scale", () => {
    const flat: Plane = { height: 7, width: 9, values: new Float32Array(63).fill(37) };
    for (const scale of [0.5, 1 / 3, 0.25, 1, 1.5, 2, 3]) {
      const out = resize(flat, scale);
      expect([out.height, out.width]).toEqual([Math.ceil(7 * scale), Math.ceil(9 * scale)]);
      for (const v of out.values) expect(v).toBeCloseTo(37, 5); // one f32 rounding
    }
  });

  it("keeps a ramp a ramp away from the edges", () => {
    const half = resize(
      wide(40, (i) => i),
      0.5,
    );
    for (let o = 4; o < 16; o++) expect(half.values[o]).toBeCloseTo(2 * o + 0.5, 5);
    const double = resize(
      wide(20, (i) => i),
      2,
    );
    for (let o = 6; o < 34; o++) expect(double.values[o]).toBeCloseTo(o / 2 - 0.25, 5);
  });

  // The table and its images under MATLAB's imresize, as published with the tests of Octave's image package.
  const table = plane([
    [116, 227, 153, 69, 146, 194, 59, 130, 139, 106],
    [2, 47, 137, 249, 90, 75, 16, 24, 158, 44],
    [155, 68, 46, 84, 166, 156, 69, 204, 32, 152],
    [71, 221, 137, 230, 210, 153, 192, 115, 30, 118],
    [107, 143, 108, 52, 51, 73, 101, 21, 175, 90],
    [54, 158, 143, 77, 26, 168, 113, 229, 165, 225],
    [9, 47, 133, 135, 130, 207, 236, 43, 19, 73],
    [129, 60, 59, 243, 64, 181, 249, 56, 32, 86],
  ]);
  const matlab: readonly [number, readonly (readonly number[])[]][] = [
    [
      0.5,
      [
        [105, 140, 126, 81, 109],
        [110, 134, 153, 114, 93],
        [108, 108, 94, 127, 146],
        [67, 126, 162, 149, 62],
      ],
    ],
    [
      1 / 3,
      [
        [115, 135, 97, 101],
        [113, 119, 124, 125],
        [81, 157, 118, 64],
      ],
    ],
  ];

  it.each(matlab)("agrees with MATLAB's imresize at scale %f to one grey level", (scale, rows) => {
    const out = resize(table, scale, { bytes: true });
    expect([out.height, out.width]).toEqual([rows.length, rows[0].length]);
    // MATLAB's own rounding of bytes is off by one in places
    rows.flat().forEach((v, i) => {
      expect(Math.abs(out.values[i] - v)).toBeLessThanOrEqual(1);
    });
    expect(rows.flat().filter((v, i) => out.values[i] === v).length).toBeGreaterThan(0.8 * rows.flat().length);
  });

  it("agrees with MATLAB's imresize on floating-point values", () => {
    const out = resize(plane([[10, 6]]), 1.5);
    for (const [i, v] of [10.27777777777777, 8, 5.72222222222222].entries()) expect(out.values[i]).toBeCloseTo(v, 5);
  });

  it("refuses a plane that is none", () => {
    expect(() => resize({ height: 2, width: 2, values: new Float32Array(3) }, 2)).toThrow(/2, 2 x 2 and 3 values/);
    expect(() => resize(plane([[1]]), 0)).toThrow(/positive scale/);
  });
});

const grey = (height: number, width: number, at: (i: number, j: number) => number): Image => ({
  name: "g",
  channels: 1,
  height,
  width,
  pixels: Uint8Array.from({ length: height * width }, (_, k) => at(Math.floor(k / width), k % width)),
});

describe("super-resolution pairs", () => {
  it("cut to a multiple, shrink, enlarge again", () => {
    const pair = srPair(
      grey(9, 11, (i, j) => 10 * i + j),
      2,
    );
    expect([pair.high.height, pair.high.width, pair.low.height, pair.low.width]).toEqual([8, 10, 4, 5]);
    expect([pair.base.height, pair.base.width]).toEqual([8, 10]);
    expect(pair.high.values[10]).toBeCloseTo(10 / 255, 7);
    // all are bytes / 255
    for (const p of [pair.low, pair.base, pair.high]) {
      for (const v of p.values) expect(Math.abs(v * 255 - Math.round(v * 255))).toBeLessThan(1e-4);
    }
    const flat = srPair(
      grey(8, 8, () => 80),
      4,
    );
    expect([...flat.low.values, ...flat.base.values].every((v) => v === Math.fround(80 / 255))).toBe(true);
    expect(() =>
      srPair(
        grey(8, 8, () => 0),
        1,
      ),
    ).toThrow(/whole scale of at least 2/);
    expect(
      lumaPlane(
        grey(5, 5, () => 1),
        3,
      ).width,
    ).toBe(3);
  });

  it("has eight symmetries of a square, all different, each undone by another", () => {
    const p = plane([
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, 9],
    ]);
    const seen = new Set<string>();
    for (let s = 0; s < 8; s++) {
      const out = new Float32Array(9);
      cutSquare(p, 0, 0, 3, s, out);
      seen.add(out.join());
    }
    expect(seen.size).toBe(8);
    const mirrored = new Float32Array(9);
    cutSquare(p, 0, 0, 3, 4, mirrored);
    expect([...mirrored]).toEqual([3, 2, 1, 6, 5, 4, 9, 8, 7]);
  });

  it("draws patches whose parts belong together, by seed and step", () => {
    const pairs = [
      srPair(
        grey(24, 20, (i, j) => (7 * i + 13 * j) % 256),
        2,
      ),
      srPair(
        grey(16, 16, () => 90),
        2,
      ),
    ];
    scope(() => {
      const s = patchStream(pairs, { patch: 5, batch: 6, seed: 3 });
      const a = s.at(2);
      expect(a.low.shape).toEqual([6, 1, 5, 5]);
      expect(a.high.shape).toEqual([6, 1, 10, 10]);
      expect([...s.at(2).high.toArray()]).toEqual([...a.high.toArray()]);
      expect([...s.at(3).high.toArray()]).not.toEqual([...a.high.toArray()]);
      // each low patch is found in one of the images under one symmetry, and then so are the others at twice the place
      const [low, high, base] = [a.low.toArray(), a.high.toArray(), a.base.toArray()];
      for (let k = 0; k < 6; k++) {
        const want = [
          low.slice(k * 25, k * 25 + 25),
          high.slice(k * 100, k * 100 + 100),
          base.slice(k * 100, k * 100 + 100),
        ];
        const found = pairs.some((pair) => {
          for (let top = 0; top + 5 <= pair.low.height; top++) {
            for (let left = 0; left + 5 <= pair.low.width; left++) {
              for (let symmetry = 0; symmetry < 8; symmetry++) {
                const got = [new Float32Array(25), new Float32Array(100), new Float32Array(100)];
                cutSquare(pair.low, top, left, 5, symmetry, got[0]);
                cutSquare(pair.high, 2 * top, 2 * left, 10, symmetry, got[1]);
                cutSquare(pair.base, 2 * top, 2 * left, 10, symmetry, got[2]);
                if (got.every((g, i) => g.every((v, j) => v === want[i][j]))) return true;
              }
            }
          }
          return false;
        });
        expect(found).toBe(true);
      }
    });
    expect(() => patchStream(pairs, { patch: 9, batch: 1, seed: 0 })).toThrow(/9 x 9 low-resolution.*8 x 8 at scale 2/);
    expect(() => patchStream([], { patch: 4, batch: 1, seed: 0 })).toThrow(/no images/);
  });
});
