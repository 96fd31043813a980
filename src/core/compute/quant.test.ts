import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { decodeAll, encode } from "../../kernels/dense/element.ts";
import { dequantisePlain, QUANT_TYPES, quantisePlain } from "../../kernels/quant/format.ts";
import { initSync, memory, shutdown } from "../engine.ts";
import { LacunaError } from "../errors.ts";
import { stream } from "../random.ts";
import {
  expandQuant,
  quantActiveForward,
  quantForward,
  quantMatrix,
  quantMatrixOf,
  sparseQuantForward,
  sparseQuantMatrix,
} from "./quant.ts";
import { withActive } from "./vector.ts";

afterAll(shutdown);

const drawn = (count: number, seed: number): Float32Array => {
  const draws = stream(seed, "quant");
  return Float32Array.from({ length: count }, (_, i) => 2 * draws.uniform(i) - 1);
};

function put(values: Float32Array | Uint16Array): number {
  const ptr = memory.alloc(values.byteLength);
  memory.u8(ptr, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return ptr;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && Buffer.compare(a, b) === 0;

/** X W^T in f64 and how far it may be off: half a step of inputs below 1, in 4095 steps, and f32 roundings. */
function exact(w: ArrayLike<number>, x: ArrayLike<number>, tokens: number, out: number, width: number) {
  const y = new Float64Array(tokens * out);
  const bound = new Float64Array(tokens * out);
  for (let t = 0; t < tokens; t++) {
    for (let o = 0; o < out; o++) {
      for (let k = 0; k < width; k++) {
        y[t * out + o] += w[o * width + k] * x[t * width + k];
        bound[t * out + o] += Math.abs(w[o * width + k]) * (0.501 / 4095 + (width + 4) * 2 ** -24);
      }
    }
  }
  return { y, bound };
}

function expectWithin(got: Float32Array, { y, bound }: { y: Float64Array; bound: Float64Array }): void {
  y.forEach((want, i) => {
    if (!(Math.abs(got[i] - want) <= bound[i])) throw new Error(`[${i}] got ${got[i]}, want ${want}`);
  });
}

const shape = fc.record({
  out: fc.integer({ min: 1, max: 70 }),
  in: fc.integer({ min: 1, max: 150 }),
  type: fc.constantFrom(...QUANT_TYPES),
  group: fc.constantFrom(8, 32, 128),
  tokens: fc.constantFrom(1, 2, 8, 9, 20),
  seed: fc.nat(1000),
});

describe("quantised weights", () => {
  test("few tokens, many tokens and active inputs agree with the dequantised weight", () => {
    initSync({ threads: 1 });
    fc.assert(
      fc.property(shape, ({ out, in: width, type, group, tokens, seed }) => {
        const live = memory.live;
        const w = drawn(out * width, seed);
        const plain = quantisePlain(w, out, width, type, group);
        const dense = dequantisePlain(plain);
        const stored = { ptr: put(w), type: "f32" as const };
        const x = drawn(tokens * width, seed + 1);
        const [xs, ys, wide] = [put(x), memory.alloc(4 * tokens * out), memory.alloc(4 * out * width)];

        const panel = quantMatrix(stored, out, width, { type, group });
        expandQuant(panel, wide);
        expect(same(memory.u8(wide, 4 * out * width), new Uint8Array(dense.buffer))).toBe(true);
        quantForward(xs, tokens, panel, ys);
        expectWithin(memory.f32(ys, tokens * out), exact(dense, x, tokens, out, width));
        const placed = quantMatrixOf(plain);
        expect(same(memory.u8(placed.ptr, placed.bytes), memory.u8(panel.ptr, panel.bytes))).toBe(true);

        const byInput = quantMatrix(stored, out, width, { type, group, layout: "byinput" });
        expandQuant(byInput, wide);
        expect(same(memory.u8(wide, 4 * out * width), new Uint8Array(dense.buffer))).toBe(true);
        withActive(xs, width, 0.4, (active) => quantActiveForward(active, byInput, ys));
        const kept = x.slice(0, width).map((v) => (Math.abs(v) < Math.fround(0.4) ? 0 : v));
        expectWithin(memory.f32(ys, out), exact(dense, kept, 1, out, width));
        for (const ptr of [stored.ptr, xs, ys, wide]) memory.free(ptr);
        for (const m of [panel, placed, byInput]) m.free();
        expect(memory.live).toBe(live);
      }),
      { seed: 11, numRuns: 40 },
    );
  });

  test("a bf16 weight is rounded from what it holds", () => {
    initSync({ threads: 1 });
    const [out, width] = [19, 70];
    const stored = encode("bf16", drawn(out * width, 3));
    const q = quantMatrix({ ptr: put(stored), type: "bf16" }, out, width, { type: "int4", group: 32 });
    const wide = memory.alloc(4 * out * width);
    expandQuant(q, wide);
    const values = Float32Array.from(decodeAll("bf16", stored));
    expect(memory.f32(wide, out * width)).toEqual(dequantisePlain(quantisePlain(values, out, width, "int4", 32)));
  });

  test("gives the same bits for any number of threads", () => {
    const [out, width] = [1100, 600];
    const w = drawn(out * width, 1);
    const x = drawn(width, 2);
    const results = QUANT_TYPES.map(() => [] as string[]);
    for (const threads of [1, 2, 3]) {
      initSync({ threads });
      const stored = { ptr: put(w), type: "f32" as const };
      const [xs, ys] = [put(x), memory.alloc(4 * out)];
      QUANT_TYPES.forEach((type, i) => {
        quantForward(xs, 1, quantMatrix(stored, out, width, { type }), ys);
        let text = Buffer.from(memory.u8(ys, 4 * out)).toString("base64");
        const byInput = quantMatrix(stored, out, width, { type, layout: "byinput" });
        withActive(xs, width, 0.5, (active) => quantActiveForward(active, byInput, ys));
        text += Buffer.from(memory.u8(ys, 4 * out)).toString("base64");
        results[i].push(text);
      });
    }
    for (const texts of results) expect(new Set(texts).size).toBe(1);
  });

  test("groups that no kernel knows are refused", () => {
    initSync({ threads: 1 });
    const stored = { ptr: put(drawn(64, 1)), type: "f32" as const };
    for (const group of [0, 12, 136, 7.5]) {
      expect(() => quantMatrix(stored, 8, 8, { type: "int8", group })).toThrow(LacunaError);
    }
  });
});

describe("quantised sparse weights", () => {
  test("agree with the f64 product within the rounding of weights and inputs", () => {
    initSync({ threads: 1 });
    for (const format of ["csr", "block4x1"] as const) {
      for (const type of ["int8", "int4"] as const) {
        const [out, width, tokens] = [45, 90, 2];
        const w = drawn(out * width, 5).map((v, i) => ((Math.floor(i / 360) * 31 + (i % 90)) % 4 === 0 ? v : 0));
        const x = drawn(tokens * width, 6);
        const live = memory.live;
        const m = sparseQuantMatrix(w, out, width, format, type);
        expect(m.bytesPerToken).toBeLessThanOrEqual(m.bytes);
        const [xs, ys] = [put(x), memory.alloc(4 * tokens * out)];
        sparseQuantForward(xs, tokens, m, ys);
        const want = exact(w, x, tokens, out, width);
        // and half a step of every weight that is not 0, inputs being below 1
        const step = 0.501 * (2 / (type === "int8" ? 255 : 15));
        want.bound.forEach((_, i) => {
          const o = i % out;
          want.bound[i] += step * w.subarray(o * width, (o + 1) * width).filter((v) => v !== 0).length;
        });
        expectWithin(memory.f32(ys, tokens * out), want);
        m.free();
        for (const ptr of [xs, ys]) memory.free(ptr);
        expect(memory.live).toBe(live);
      }
    }
  });
});
