/**
 * Sums, extremes and counts over f32 arrays, in orders that depend on the shapes only.
 *
 * Whole arrays are cut into chunks of a size that the caller fixes; each chunk gives one f64 partial, which the caller
 * adds up in order. Columns are summed from the first row to the last.
 */
import type { Kernel } from "../kernel.ts";
import type { Expr, Local, Stmt } from "../wasm/asm.ts";
import { f32, f32x4, f64, f64x2, forRange, i32, i32x4, select, seq, v128, whileLoop } from "../wasm/asm.ts";
import { type Described, defineKernel, described } from "./define.ts";
import type { Maker } from "./lanes.ts";
import { four } from "./lanes.ts";
import { reduceTrials } from "./reduce.trials.ts";

const c = i32.const;
const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, c(2));
const zero = (): Expr<"v128"> => four.bits(0);

/** The two upper f32 lanes as f64. */
const promoteHigh = (x: Expr<"v128">): Expr<"v128"> => f64x2.promoteLowF32x4(v128.shuffle32(x, x, [2, 3, 2, 3]));

type Chunk = (pointers: readonly Local<"i32">[], count: Local<"i32">, result: Local<"f64">) => Stmt;

/** For each chunk: pointers at its first element, its length, and the f64 result to be set. */
function overChunks(names: readonly string[], does: string, make: (f: Maker) => Chunk): Described {
  const inputs = Object.fromEntries(names.map((n) => [n, "i32" as const]));
  const params = { ...inputs, partials: "i32", n: "i32", chunk: "i32", from: "i32", to: "i32" } as const;
  return described(params, `${does}; units are chunks of \`chunk\` elements`, (f) => {
    const { partials, n, chunk, from, to } = f.p as Record<keyof typeof params, Local<"i32">>;
    const k = f.local("i32");
    const start = f.local("i32");
    const count = f.local("i32");
    const result = f.local("f64");
    const pointers = names.map(() => f.local("i32"));
    const sources = names.map((name) => (f.p as Record<string, Local<"i32">>)[name]);
    const rest = i32.sub(n, start);
    return forRange(
      k,
      from,
      to,
      1,
      start.set(i32.mul(k, chunk)),
      count.set(select(rest, chunk, i32.lt(rest, chunk))),
      ...pointers.map((p, i) => p.set(i32.add(sources[i], bytesOf(start)))),
      make(f)(pointers, count, result),
      f64.store(i32.add(partials, i32.shl(k, c(3))), result),
    );
  });
}

/** Sum in f64 of a term that exact f64 products make: lanes j mod 8 in four accumulators, then the tail. */
function sumChunk(
  f: Maker,
  wide: (x: readonly Expr<"v128">[]) => Expr<"v128">,
  single: (x: readonly Expr<"f64">[]) => Expr<"f64">,
  inputs: number,
): Chunk {
  const acc = Array.from({ length: 4 }, () => f.local("v128"));
  const tail = f.local("f64");
  const raw = Array.from({ length: inputs }, () => f.local("v128"));
  const parts = Array.from({ length: inputs }, () => f.local("v128"));
  const value = Array.from({ length: inputs }, () => f.local("f64"));
  const addPart = (sum: Local<"v128">, half: (x: Expr<"v128">) => Expr<"v128">): Stmt =>
    seq(...parts.map((p, i) => p.set(half(raw[i]))), sum.set(f64x2.add(sum, wide(parts))));
  return (pointers, count, result) => {
    const quad = (u: number): Stmt =>
      seq(
        ...raw.map((r, i) => r.set(v128.load(pointers[i], 16 * u))),
        addPart(acc[2 * u], f64x2.promoteLowF32x4),
        addPart(acc[2 * u + 1], promoteHigh),
      );
    const step = (size: number, ...work: Stmt[]): Stmt =>
      whileLoop(
        i32.ge(count, c(size)),
        ...work,
        ...pointers.map((p) => p.set(i32.add(p, c(4 * size)))),
        count.set(i32.sub(count, c(size))),
      );
    const [a] = acc;
    return seq(
      ...acc.map((v) => v.set(zero())),
      tail.set(f64.const(0)),
      step(8, quad(0), quad(1)),
      step(
        1,
        ...value.map((v, i) => v.set(f64.promote(f32.load(pointers[i])))),
        tail.set(f64.add(tail, single(value))),
      ),
      a.set(f64x2.add(f64x2.add(acc[0], acc[1]), f64x2.add(acc[2], acc[3]))),
      result.set(f64.add(f64.add(f64x2.extract(a, 0), f64x2.extract(a, 1)), tail)),
    );
  };
}

const partialSum = overChunks(["x"], "partials[c] = sum of x over chunk c, in f64", (f) =>
  sumChunk(
    f,
    ([x]) => x,
    ([x]) => x,
    1,
  ),
);

const partialSumSq = overChunks(["x"], "partials[c] = sum of x^2 over chunk c, in f64", (f) =>
  sumChunk(
    f,
    ([x]) => f64x2.mul(x, x),
    ([x]) => f64.mul(x, x),
    1,
  ),
);

const partialDot = overChunks(["a", "b"], "partials[c] = sum of a * b over chunk c, in f64", (f) =>
  sumChunk(
    f,
    ([a, b]) => f64x2.mul(a, b),
    ([a, b]) => f64.mul(a, b),
    2,
  ),
);

/** Four elements at a time into a vector of lanes, then one at a time into a scalar. */
function lanesChunk(start: Stmt, wide: (x: Local<"i32">) => Stmt, single: (x: Local<"i32">) => Stmt, end: Stmt): Chunk {
  return ([p], count) => {
    const step = (size: number, work: Stmt): Stmt =>
      whileLoop(i32.ge(count, c(size)), work, p.set(i32.add(p, c(4 * size))), count.set(i32.sub(count, c(size))));
    return seq(start, step(4, wide(p)), step(1, single(p)), end);
  };
}

const partialMaxAbs = overChunks(["x"], "partials[c] = largest |x| of chunk c, NaN if one is NaN", (f) => {
  const most = f.local("v128");
  const last = f.local("f32");
  const lane = (l: number): Expr<"f32"> => f32x4.extract(most, l);
  return (pointers, count, result) =>
    lanesChunk(
      seq(most.set(zero()), last.set(f32.const(0))),
      (p) => most.set(f32x4.max(most, f32x4.abs(v128.load(p)))),
      (p) => last.set(f32.max(last, f32.abs(f32.load(p)))),
      result.set(f64.promote(f32.max(f32.max(f32.max(lane(0), lane(1)), f32.max(lane(2), lane(3))), last))),
    )(pointers, count, result);
});

const EXPONENT = 0x7f800000;

const finite = overChunks(["x"], "partials[c] = how many of chunk c are infinite or NaN", (f) => {
  const found = f.local("v128");
  const last = f.local("i32");
  const exponent = four.bits(EXPONENT);
  const lane = (l: number): Expr<"i32"> => i32x4.extract(found, l);
  return (pointers, count, result) =>
    lanesChunk(
      seq(found.set(zero()), last.set(c(0))),
      (p) => found.set(i32x4.sub(found, i32x4.eq(v128.and(v128.load(p), exponent), exponent))),
      (p) => last.set(i32.add(last, i32.eq(i32.and(i32.load(p), c(EXPONENT)), c(EXPONENT)))),
      result.set(f64.convertI32s(i32.add(i32.add(i32.add(lane(0), lane(1)), i32.add(lane(2), lane(3))), last))),
    )(pointers, count, result);
});

/** Columns from..to (blocks of 4) in strips of 16, of 4, and one by one at the ragged edge. */
function overColumns(
  f: Maker,
  cols: Expr<"i32">,
  from: Expr<"i32">,
  to: Expr<"i32">,
  strip: (col: Local<"i32">, blocks: 0 | 1 | 4) => Stmt,
): Stmt {
  const col = f.local("i32");
  const end = f.local("i32");
  const last = i32.shl(to, c(2));
  return seq(
    end.set(select(last, cols, i32.lt(last, cols))),
    forRange(col, i32.shl(from, c(2)), i32.sub(end, c(15)), 16, strip(col, 4)),
    forRange(col, col, i32.sub(end, c(3)), 4, strip(col, 1)),
    forRange(col, col, end, 1, strip(col, 0)),
  );
}

const COLUMNS = { x: "i32", out: "i32", rows: "i32", cols: "i32", from: "i32", to: "i32" } as const;

const sumRows = described(COLUMNS, "out[c] = sum over rows of x[r, c], in f32; units are blocks of 4 columns", (f) => {
  const { x, out, rows, cols, from, to } = f.p;
  const r = f.local("i32");
  const p = f.local("i32");
  const acc = f.locals("v128", 4);
  const single = f.local("f32");
  return overColumns(f, cols, from, to, (col, blocks) => {
    const sums = acc.slice(0, blocks);
    const target = i32.add(out, bytesOf(col));
    return seq(
      p.set(i32.add(x, bytesOf(col))),
      ...(blocks ? sums.map((s) => s.set(zero())) : [single.set(f32.const(0))]),
      forRange(
        r,
        c(0),
        rows,
        1,
        ...(blocks
          ? sums.map((s, b) => s.set(f32x4.add(s, v128.load(p, 16 * b))))
          : [single.set(f32.add(single, f32.load(p)))]),
        p.set(i32.add(p, bytesOf(cols))),
      ),
      ...(blocks ? sums.map((s, b) => v128.store(target, s, 16 * b)) : [f32.store(target, single)]),
    );
  });
});

/** out[c] += sum over rows of a power of x[r, c], in f64. */
function columnSums(does: string, square: boolean): Described {
  return described(COLUMNS, `${does}; units are blocks of 4 columns`, (f) => {
    const { x, out, rows, cols, from, to } = f.p;
    const r = f.local("i32");
    const p = f.local("i32");
    const target = f.local("i32");
    const raw = f.local("v128");
    const part = f.local("v128");
    const acc = f.locals("v128", 8);
    const single = f.local("f64");
    const value = f.local("f64");
    const term = (half: Expr<"v128">): readonly [Stmt, Expr<"v128">] => [
      part.set(half),
      square ? f64x2.mul(part, part) : part,
    ];
    const addHalf = (sum: Local<"v128">, half: Expr<"v128">): Stmt => {
      const [set, t] = term(half);
      return seq(set, sum.set(f64x2.add(sum, t)));
    };
    return overColumns(f, cols, from, to, (col, blocks) => {
      const sums = acc.slice(0, 2 * blocks);
      return seq(
        p.set(i32.add(x, bytesOf(col))),
        target.set(i32.add(out, i32.shl(col, c(3)))),
        ...(blocks ? sums.map((s, i) => s.set(v128.load(target, 16 * i))) : [single.set(f64.load(target))]),
        forRange(
          r,
          c(0),
          rows,
          1,
          ...(blocks
            ? Array.from({ length: blocks }, (_, b) =>
                seq(
                  raw.set(v128.load(p, 16 * b)),
                  addHalf(acc[2 * b], f64x2.promoteLowF32x4(raw)),
                  addHalf(acc[2 * b + 1], promoteHigh(raw)),
                ),
              )
            : [
                value.set(f64.promote(f32.load(p))),
                single.set(f64.add(single, square ? f64.mul(value, value) : value)),
              ]),
          p.set(i32.add(p, bytesOf(cols))),
        ),
        ...(blocks ? sums.map((s, i) => v128.store(target, s, 16 * i)) : [f64.store(target, single)]),
      );
    });
  });
}

export const reduce: Kernel = defineKernel({
  name: "reduce-f32",
  family: "pointwise",
  summary:
    "Sums, sums of squares, dot products, largest magnitudes and counts of non-finite values, over chunks or columns.",
  functions: {
    partialSum,
    partialSumSq,
    partialDot,
    partialMaxAbs,
    finite,
    sumRows,
    colSum: columnSums("out[c] += sum over rows of x[r, c], out in f64", false),
    colSumSq: columnSums("out[c] += sum over rows of x[r, c]^2, out in f64", true),
  },
  trials: reduceTrials,
});
