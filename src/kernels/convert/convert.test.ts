/** All 65,536 values of both 16-bit types, both ways, and the rounding of every neighbourhood between two of them. */
import { describe, expect, it } from "vitest";
import { createSandbox } from "../sandbox.ts";
import { convert } from "./convert.ts";
import { BF16, F16, narrow, stored, widen } from "./plain.ts";

const ALL = 65536;
const every = Uint16Array.from({ length: ALL }, (_, i) => i);

const types = [
  { name: "bf16", layout: BF16, infinite: 0x7f80, up: "bf16ToF32", down: "f32ToBf16", keep: "f32ToBf16Stored" },
  { name: "f16", layout: F16, infinite: 0x7c00, up: "f16ToF32", down: "f32ToF16", keep: "f32ToF16Stored" },
] as const;

/** Index of the first difference, -1 for none. */
const firstDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).findIndex((x, i) => !Object.is(x, b[i]));

describe.each(types)("$name", ({ layout, infinite, up, down, keep }) => {
  const box = createSandbox(convert, { shared: false, fused: false, pages: 256 });
  const isNaNHalf = (h: number): boolean => (h & 0x7fff) > infinite;
  const convertDown = (fn: string, x: Float32Array): Uint16Array => {
    box.reset();
    const src = box.put(x);
    const dst = box.room(2 * x.length);
    box.call(fn, src, dst, 0, x.length);
    return box.u16(dst, x.length).slice();
  };
  const convertUp = (h: Uint16Array): Float32Array => {
    box.reset();
    const src = box.put(h);
    const dst = box.room(4 * h.length);
    box.call(up, src, dst, 0, h.length);
    return box.f32(dst, h.length).slice();
  };

  it("widens all values exactly", () => {
    expect(
      firstDifference(
        convertUp(every),
        Array.from(every, (h) => widen(h, layout)),
      ),
    ).toBe(-1);
  });

  it("returns to the same bits, NaN to a NaN of the same sign", () => {
    const back = convertDown(down, convertUp(every));
    for (let h = 0; h < ALL; h++) {
      if (isNaNHalf(h)) expect(isNaNHalf(back[h]) && (back[h] & 0x8000) === (h & 0x8000)).toBe(true);
      else if (back[h] !== h) expect(back[h]).toBe(h);
    }
  });

  it("rounds at, just below and just above each midpoint as the twin does", () => {
    const exact = convertUp(every);
    const bits = new Uint32Array(exact.buffer);
    const points: number[] = [];
    for (let h = 0; h < ALL; h++) {
      if (isNaNHalf(h)) continue;
      // the next value away from zero; beyond the last finite one the next power of two
      const next = (h & 0x7fff) === infinite ? exact[h] : isFiniteHalf(h + 1) ? exact[h + 1] : 2 * exact[h];
      const middle = Math.fround(exact[h] / 2 + next / 2);
      const at = new Uint32Array(Float32Array.of(middle).buffer)[0];
      points.push(bits[h] + 1, at - 1, at, at + 1);
    }
    function isFiniteHalf(h: number): boolean {
      return (h & 0x7fff) < infinite;
    }
    const x = new Float32Array(Uint32Array.from(points).buffer).filter((v) => !Number.isNaN(v));
    const want = Array.from(x, (v) => narrow(v, layout));
    expect(x.length).toBeGreaterThan(3.9 * (ALL - 2 * (0x7fff - infinite)) - 16);
    expect(firstDifference(convertDown(down, x), want)).toBe(-1);
    expect(firstDifference(convertDown(keep, x), want.map(stored))).toBe(-1);
  });

  it("overflows to infinity, keeps NaN and both zeros; the stored form has one zero", () => {
    const x = Float32Array.of(3.4e38, -3.4e38, Infinity, -Infinity, 0, -0, 1e-45, -1e-45);
    const want = [infinite, infinite | 0x8000, infinite, infinite | 0x8000, 0, 0x8000, 0, 0x8000];
    if (layout === BF16) [want[0], want[1]] = [narrow(x[0], BF16), narrow(x[1], BF16)];
    expect([...convertDown(down, x)]).toEqual(want);
    expect([...convertDown(keep, x)]).toEqual(want.map(stored));
    const payloads = new Float32Array(
      Uint32Array.of(0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff, 0x7fc00000).buffer,
    );
    for (const fn of [down, keep])
      expect([...convertDown(fn, payloads)].map(isNaNHalf)).toEqual([true, true, true, true, true]);
  });

  it("writes nothing for an empty range", () => {
    box.reset();
    const src = box.put(Float32Array.of(1, 2, 3, 4));
    const dst = box.put(Uint16Array.of(9, 9, 9, 9));
    box.call(down, src, dst, 2, 2);
    expect([...box.u16(dst, 4)]).toEqual([9, 9, 9, 9]);
  });
});
