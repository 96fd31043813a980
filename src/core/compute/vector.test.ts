import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { decodeAll, type ElementType, encode } from "../../kernels/dense/element.ts";
import { initSync, memory, shutdown } from "../engine.ts";
import { stream } from "../random.ts";
import { activeForward, listedForward, panelForward, vectorMatrix, withActive, withListed } from "./vector.ts";

afterAll(shutdown);

const drawn = (count: number, seed: number): Float32Array => {
  const draws = stream(seed, "vectors");
  return Float32Array.from({ length: count }, (_, i) => 2 * draws.uniform(i) - 1);
};

function put(values: Float32Array | Uint16Array | Int32Array): number {
  const ptr = memory.alloc(values.byteLength);
  memory.u8(ptr, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return ptr;
}

/** y = W x in f64 and the largest error of an f32 sum in any order. */
function exact(w: ArrayLike<number>, x: ArrayLike<number>, out: number, width: number) {
  const y = new Float64Array(out);
  const bound = new Float64Array(out);
  for (let o = 0; o < out; o++) {
    for (let k = 0; k < width; k++) {
      y[o] += w[o * width + k] * x[k];
      bound[o] += (width + 1) * 2 ** -24 * Math.abs(w[o * width + k] * x[k]);
    }
  }
  return { y, bound };
}

const TYPES: readonly ElementType[] = ["f32", "bf16", "f16"];
const shape = fc.record({
  out: fc.integer({ min: 1, max: 100 }),
  in: fc.integer({ min: 1, max: 80 }),
  type: fc.constantFrom(...TYPES),
  threshold: fc.constantFrom(0, 0.3, 0.7, 2),
  seed: fc.nat(1000),
});

describe("products with one token", () => {
  test("panels, active inputs and listed outputs agree with the f64 product; the first two bit for bit", () => {
    initSync({ threads: 1 });
    fc.assert(
      fc.property(shape, ({ out, in: width, type, threshold, seed }) => {
        const live = memory.live;
        const stored = encode(type, drawn(out * width, seed));
        const x = drawn(width, seed + 1);
        const kept = x.map((v) => (Math.abs(v) < threshold ? 0 : v));
        const w = { ptr: put(stored), type };
        const [xs, ks, ys] = [put(x), put(kept), memory.alloc(4 * out)];
        const read = (): Float32Array => memory.f32(ys, out).slice();
        const panel = vectorMatrix(w, out, width, "panel");
        const byInput = vectorMatrix(w, out, width, "byinput");

        panelForward(ks, 1, panel, ys);
        const whole = read();
        withActive(xs, width, threshold, (active) => activeForward(active, byInput, ys));
        expect(read()).toEqual(whole);
        const each = put(new Float32Array(width).fill(threshold));
        const count = withActive(xs, width, { each }, (active) => {
          activeForward(active, byInput, ys);
          return active.count;
        });
        expect(read()).toEqual(whole);
        expect(count).toBe(kept.filter((v) => v !== 0).length);

        const weights = decodeAll(type, stored);
        const want = exact(weights, kept, out, width);
        for (let o = 0; o < out; o++) expect(Math.abs(whole[o] - want.y[o])).toBeLessThanOrEqual(want.bound[o]);

        const list = Int32Array.from({ length: Math.ceil(out / 2) }, (_, i) => (i * 7) % out);
        const lists = put(list);
        listedForward(xs, w, width, lists, list.length, ys);
        const all = exact(weights, x, out, width);
        const some = read();
        list.forEach((o, i) => {
          expect(Math.abs(some[i] - all.y[o])).toBeLessThanOrEqual(all.bound[o]);
        });
        for (const ptr of [w.ptr, xs, ks, ys, each, lists]) memory.free(ptr);
        panel.free();
        byInput.free();
        expect(memory.live).toBe(live);
      }),
      { seed: 5, numRuns: 60 },
    );
  });

  test("inputs named by a list are those of the vector", () => {
    initSync({ threads: 1 });
    const [out, width] = [40, 30];
    const w = { ptr: put(drawn(out * width, 1)), type: "f32" as const };
    const x = drawn(width, 2);
    const list = Int32Array.of(3, 4, 17, 29);
    const masked = x.map((v, k) => (list.includes(k) ? v : 0));
    const [xs, ms, lists, ys] = [put(x), put(masked), put(list), memory.alloc(4 * out)];
    const byInput = vectorMatrix(w, out, width, "byinput");
    withListed(xs, lists, list.length, (active) => activeForward(active, byInput, ys));
    const some = memory.f32(ys, out).slice();
    panelForward(ms, 1, vectorMatrix(w, out, width, "panel"), ys);
    expect(memory.f32(ys, out)).toEqual(some);
  });

  test("gives the same bits for any number of threads and of tokens", () => {
    const [out, width] = [1100, 700];
    const results: Float32Array[] = [];
    for (const threads of [1, 2, 3]) {
      initSync({ threads });
      const w = { ptr: put(drawn(out * width, 1)), type: "f32" as const };
      const xs = put(drawn(3 * width, 2));
      const ys = memory.alloc(4 * 3 * out);
      const panel = vectorMatrix(w, out, width, "panel");
      panelForward(xs, 3, panel, ys);
      results.push(memory.f32(ys, 3 * out).slice());
      for (let t = 0; t < 3; t++) panelForward(xs + 4 * t * width, 1, panel, ys + 4 * t * out);
      results.push(memory.f32(ys, 3 * out).slice());
      const byInput = vectorMatrix(w, out, width, "byinput");
      for (let t = 0; t < 3; t++) {
        withActive(xs + 4 * t * width, width, 0, (active) => activeForward(active, byInput, ys + 4 * t * out));
      }
      results.push(memory.f32(ys, 3 * out).slice());
    }
    for (const y of results) expect(Buffer.from(y.buffer).equals(Buffer.from(results[0].buffer))).toBe(true);
  });
});
