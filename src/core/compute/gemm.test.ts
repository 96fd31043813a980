import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeAll, ELEMENT_TYPES, type ElementType, encode } from "../../kernels/dense/element.ts";
import { product, sumTolerance } from "../../kernels/dense/twin.ts";
import { initSync, memory, shutdown } from "../engine.ts";
import { FEW_TOKENS, type Gemm, gemm, linearForward, type Operand, prepack } from "./gemm.ts";

beforeAll(() => initSync({ threads: 3 }));
afterAll(shutdown);

/** Test values in [-1, 1); any well-mixed integer hash will do. */
function values(count: number, seed: number): Float32Array {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let h = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
    h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
    out[i] = ((h ^ (h >>> 15)) | 0) / 2 ** 31;
  }
  return out;
}

type Form = "N" | "T" | "strided";

/** Row-major values [rows, cols] put into memory in a stored type and a stride form. */
function operand(rows: number, cols: number, form: Form, type: ElementType, seed: number) {
  const logical = decodeAll(type, encode(type, values(rows * cols, seed)));
  const rowStride = form === "N" ? cols : form === "T" ? 1 : 2 * cols + 1;
  const colStride = form === "N" ? 1 : form === "T" ? rows : 2;
  const length = Math.max(1, rows * rowStride + cols * colStride);
  const ptr = memory.alloc(length * 4);
  const spread = new Float32Array(length).fill(Number.NaN);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) spread[i * rowStride + j * colStride] = logical[i * cols + j];
  const stored = encode(type, spread);
  if (stored instanceof Float32Array) memory.f32(ptr, length).set(stored);
  else memory.u16(ptr, length).set(stored);
  const o: Operand = { ptr, type, rowStride, colStride };
  return { logical, operand: o, free: () => memory.free(ptr) };
}

interface Case {
  m: number;
  n: number;
  k: number;
  formA: Form;
  formB: Form;
  typeA: ElementType;
  typeB: ElementType;
  accumulate: boolean;
  packed: boolean;
  gap: number;
}

/** C after the product, and the logical factors. */
function compute(c: Case): { got: Float32Array; a: Float64Array; b: Float64Array } {
  const { m, n, k, accumulate, gap } = c;
  const a = operand(m, k, c.formA, c.typeA, 1);
  const b = operand(k, n, c.formB, c.typeB, 2);
  const ldc = n + gap;
  const cPtr = memory.alloc(Math.max(1, m * ldc) * 4);
  memory.f32(cPtr, m * ldc).set(values(m * ldc, 3));
  const packed = c.packed ? prepack(b.operand, k, n) : undefined;
  gemm({ m, n, k, a: a.operand, b: packed ?? b.operand, c: cPtr, ldc, accumulate });
  const got = memory.f32(cPtr, m * ldc).slice();
  packed?.free();
  for (const o of [a, b]) o.free();
  memory.free(cPtr);
  return { got, a: a.logical, b: b.logical };
}

/** Runs a case and throws on the first value that is off, C's row gaps included. Returns C. */
function check(c: Case): Float32Array {
  const { m, n, k, accumulate, gap } = c;
  const { got, a, b } = compute(c);
  const ldc = n + gap;
  const start = values(m * ldc, 3);
  const { sums, sizes } = product(a, b, m, n, k);
  const bound = sumTolerance(k + 1, sizes);
  for (let at = 0; at < got.length; at++) {
    const [i, j] = [Math.floor(at / ldc), at % ldc];
    const inside = j < n;
    const old = inside && !accumulate ? 0 : start[at];
    const want = old + (inside ? sums[i * n + j] : 0);
    const allowed = inside ? bound[i * n + j] + Math.abs(old) * 2 ** -23 : 0;
    if (!(Math.abs(got[at] - want) <= allowed)) {
      throw new Error(`C[${i}, ${j}] is ${got[at]}, want ${want} within ${allowed}`);
    }
  }
  return got;
}

/** How many values differ; quicker on long arrays than a deep comparison. */
const differing = (a: Float32Array, b: Float32Array): number =>
  a.length === b.length ? a.reduce((count, x, i) => count + (x === b[i] ? 0 : 1), 0) : Number.POSITIVE_INFINITY;

const plain: Case = {
  m: 5,
  n: 7,
  k: 9,
  formA: "N",
  formB: "N",
  typeA: "f32",
  typeB: "f32",
  accumulate: false,
  packed: false,
  gap: 0,
};

test("agrees with the plain product for any shape, strides and stored types", () => {
  const form = fc.constantFrom<Form>("N", "T", "strided");
  const type = fc.constantFrom<ElementType>("f32", "bf16", "f16");
  const size = fc.integer({ min: 0, max: 45 });
  const cases = fc.record({
    m: size,
    n: size,
    k: size,
    formA: form,
    formB: form,
    typeA: type,
    typeB: type,
    accumulate: fc.boolean(),
    packed: fc.boolean(),
    gap: fc.integer({ min: 0, max: 3 }),
  });
  fc.assert(
    fc.property(cases, (c) => {
      check(c);
    }),
    { numRuns: 300, seed: 7 },
  );
});

describe("the same bits on one thread and on three", () => {
  // All above the threading threshold; the last two need more than one chunk of packed memory (k = 8192: 256 lines).
  const shapes: Partial<Case>[] = [
    { m: 150, n: 131, k: 129 },
    { m: 131, n: 150, k: 300, formA: "T", accumulate: true, gap: 1 },
    { m: 40, n: 333, k: 258, formB: "T", typeB: "bf16" },
    { m: 8, n: 601, k: 515, formB: "T", typeB: "f16" },
    { m: 9, n: 520, k: 515, formB: "T", typeB: "bf16", packed: true },
    { m: 17, n: 300, k: 8192, formB: "T", typeB: "bf16" },
    { m: 300, n: 3, k: 8192, formA: "T" },
  ];
  test.each(shapes)("%o", (shape) => {
    const onThree = check({ ...plain, ...shape });
    initSync({ threads: 1 });
    const onOne = compute({ ...plain, ...shape }).got;
    initSync({ threads: 3 });
    expect(differing(onThree, onOne)).toBe(0);
  });
});

test("pre-packed or not, the bits are the same beyond a few tokens", () => {
  const shape = { ...plain, m: FEW_TOKENS + 1, n: 61, k: 300, formB: "T" as const };
  expect(differing(check({ ...shape, packed: true }), check(shape))).toBe(0);
});

describe.each(ELEMENT_TYPES)("linear layer of %s weights", (type) => {
  const [out, width] = [37, 83];
  const forward = (tokens: number, x: Float32Array): Float32Array => {
    const w = operand(out, width, "N", type, 5);
    const xPtr = memory.alloc(x.byteLength);
    memory.f32(xPtr, x.length).set(x);
    const y = memory.alloc(tokens * out * 4);
    linearForward(xPtr, tokens, w.operand, out, width, y);
    const got = memory.f32(y, tokens * out).slice();
    for (const ptr of [w.operand.ptr, xPtr, y]) memory.free(ptr);
    return got;
  };

  test("is X times W transposed for 1 to 20 tokens", () => {
    const w = decodeAll(type, encode(type, values(out * width, 5)));
    const transposed = Float64Array.from({ length: out * width }, (_, i) => w[(i % out) * width + Math.floor(i / out)]);
    for (let tokens = 1; tokens <= 20; tokens++) {
      const x = values(tokens * width, tokens);
      const { sums, sizes } = product(x, transposed, tokens, out, width);
      const bound = sumTolerance(width, sizes);
      forward(tokens, x).forEach((got, i) => {
        expect(Math.abs(got - sums[i]), `${tokens} tokens, value ${i}`).toBeLessThanOrEqual(bound[i]);
      });
    }
  });

  test("gives a token the same bits alone and among few", () => {
    const x = values(FEW_TOKENS * width, 9);
    const together = forward(FEW_TOKENS, x);
    for (let t = 0; t < FEW_TOKENS; t++) {
      const alone = forward(1, x.slice(t * width, (t + 1) * width));
      expect(differing(alone, together.slice(t * out, (t + 1) * out))).toBe(0);
    }
  });
});

test("gives all its memory back", () => {
  const before = memory.live;
  check({ ...plain, m: 33, typeB: "bf16", packed: true });
  check({ ...plain, m: 2, typeB: "f16", formB: "T" });
  expect(memory.live).toBe(before);
});

test("an empty sum is zero, or what C held", () => {
  const empty = { ...plain, k: 0 };
  const c = memory.alloc(35 * 4);
  const run = (accumulate: boolean): number[] => {
    memory.f32(c, 35).fill(3);
    const b: Operand = { ptr: c, type: "f32", rowStride: 7, colStride: 1 };
    const g: Gemm = { m: empty.m, n: empty.n, k: 0, a: b, b, c, accumulate };
    gemm(g);
    return [...memory.f32(c, 35)];
  };
  expect(run(false)).toEqual(Array(35).fill(0));
  expect(run(true)).toEqual(Array(35).fill(3));
  memory.free(c);
});
