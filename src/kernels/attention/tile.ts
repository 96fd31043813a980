/**
 * The three register tiles of dense attention, as functions inside a kernel module.
 *
 * All work on blocks of 8 queries whose scores are held transposed, [keys][8]: one lane is one query, so that softmax
 * needs no sum across lanes, and K and V are read in place with any row stride. Sums run over their index in rising
 * order, whatever the block. Each tile keeps at most 13 live vectors and ends its unrolled steps in an exit, because
 * older V8 sinks arithmetic past the loads and spills without it.
 */

import {
  block,
  br,
  brIf,
  type Expr,
  type FnRef,
  f32x4,
  forRange,
  i32,
  type Local,
  label,
  loop,
  type ModuleBuilder,
  madd,
  type Stmt,
  select,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";

/** Queries in a block. */
export const QUERIES = 8;
/** Bytes of one key's row of a transposed block. */
export const LANE_BYTES = 4 * QUERIES;

const keyRows = (keys: number): number => 4 * Math.ceil(keys / 4);

/** Bytes of scratch a unit of `attention-prefill-f32`'s `forward` needs, for S keys and head width E. */
export const prefillScratchBytes = (S: number, E: number): number => LANE_BYTES * (E + keyRows(S) + 1);

/** Bytes of scratch a unit of `attention-prefill-f32`'s `backward` needs, for T tokens and head width E. */
export const backwardScratchBytes = (T: number, E: number): number => LANE_BYTES * (2 * E + 2 * keyRows(T) + 2);

/** Bytes of scratch `attention-sparse-f32`'s `attend` needs for all its lists together, none longer than `most`. */
export const sparseScratchBytes = (most: number, H: number): number => 4 * H * (keyRows(most) + 2);

/** Bytes of scratch `attention-decode-f32`'s `forward` needs for all its units together. */
export const decodeScratchBytes = (length: number, H: number): number => 4 * H * (keyRows(length) + 1);

type I32 = Expr<"i32">;
const c = i32.const;
const add = i32.add;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

export const minI32 = (a: I32, b: I32): I32 => select(a, b, i32.lt(a, b));
/** address + index * stride */
export const at = (pointer: I32, index: I32, stride: I32): I32 => add(pointer, i32.mul(index, stride));
/** rounds up to a multiple of 4 */
export const up4 = (n: I32): I32 => i32.and(add(n, c(3)), c(-4));

export interface Tiles {
  /**
   * scores(qt, k, stride, dst, n, keys, E): dst[j][l] = sum_e qt[e][l] * k[j][e] for j < n rounded up to 4 and 8
   * lanes l. Rows from `keys` on repeat the last row, so they are readable and to be ignored.
   */
  readonly scores: FnRef<"void">;
  /**
   * combine(p, v, stride, out, outStride, factors, n, E, rows): out[l][e] = factors[l] * sum_j p[j][l] * v[j][e]
   * for l < rows <= 8, j < n.
   */
  readonly combine: FnRef<"void">;
  /**
   * accumulate(p, x, stride, dst, dstStride, n, E, rows): dst[j][e] += sum_l p[j][l] * x[l][e] for j < n,
   * 1 <= rows <= 8.
   */
  readonly accumulate: FnRef<"void">;
  /**
   * transpose(x, stride, dst, E, rows, factor): dst[e][l] = factor * x[l][e] for 8 lanes, 0 for l >= rows.
   */
  readonly transpose: FnRef<"void">;
}

/** for (e = 0; e < E; e += 8 or 4): the wide body while 8 columns remain, then the narrow one for the last 4. */
function overColumns(e: Local<"i32">, E: I32, wide: Stmt, narrow: Stmt): Stmt {
  const out = label("columns");
  const again = label("column");
  return seq(
    e.set(c(0)),
    block(
      out,
      loop(
        again,
        brIf(out, i32.ge(e, E)),
        when(i32.ge(i32.sub(E, e), c(8)), seq(wide, e.set(add(e, c(8)))), seq(narrow, e.set(add(e, c(4))))),
        br(again),
      ),
    ),
  );
}

export function addTiles(m: ModuleBuilder, fused: boolean): Tiles {
  return {
    scores: addScores(m, fused),
    combine: addCombine(m, fused),
    accumulate: addAccumulate(m, fused),
    transpose: addTranspose(m),
  };
}

function addScores(m: ModuleBuilder, fused: boolean): FnRef<"void"> {
  const params = { qt: "i32", k: "i32", stride: "i32", dst: "i32", n: "i32", keys: "i32", E: "i32" } as const;
  return m.func(
    "scores",
    params,
    (f) => {
      const { qt, k, stride, dst, n, keys, E } = f.p;
      const j = f.local("i32");
      const q = f.local("i32");
      const rows = f.locals("i32", 4);
      const ends = f.locals("i32", 4);
      const acc = f.locals("v128", 8);
      const [b0, b1, a] = f.locals("v128", 3);
      const out = label("width");
      const again = label("step");
      const step = (u: number): Stmt[] => [
        b0.set(v128.load(q, u * LANE_BYTES)),
        b1.set(v128.load(q, u * LANE_BYTES + 16)),
        ...rows.flatMap((row, r) => [
          a.set(v128.load32splat(row, 4 * u)),
          acc[2 * r].set(madd(fused, a, b0, acc[2 * r])),
          acc[2 * r + 1].set(madd(fused, a, b1, acc[2 * r + 1])),
        ]),
        brIf(out, i32.eq(q, ends[u])),
      ];
      const zero = v128.const32(0, 0, 0, 0);
      return [
        ...ends.map((end, u) => end.set(at(qt, i32.sub(E, c(u + 1)), c(LANE_BYTES)))),
        forRange(
          j,
          c(0),
          n,
          4,
          ...rows.map((row, r) => row.set(at(k, minI32(add(j, c(r)), i32.sub(keys, c(1))), stride))),
          q.set(qt),
          ...acc.map((x) => x.set(zero)),
          block(
            out,
            loop(
              again,
              ...[0, 1, 2, 3].flatMap(step),
              ...rows.map((row) => row.set(add(row, c(16)))),
              q.set(add(q, c(4 * LANE_BYTES))),
              br(again),
            ),
          ),
          ...acc.map((x, i) => v128.store(dst, x, 16 * i)),
          dst.set(add(dst, c(4 * LANE_BYTES))),
        ),
      ];
    },
    "void",
    false,
  );
}

function addCombine(m: ModuleBuilder, fused: boolean): FnRef<"void"> {
  const params = {
    p: "i32",
    v: "i32",
    stride: "i32",
    out: "i32",
    outStride: "i32",
    factors: "i32",
    n: "i32",
    E: "i32",
    rows: "i32",
  } as const;
  return m.func(
    "combine",
    params,
    (f) => {
      const { p, v, stride, out, outStride, factors, n, E, rows } = f.p;
      const e = f.local("i32");
      const half = f.local("i32");
      const [pp, vv, target] = f.locals("i32", 3);
      const ends = f.locals("i32", 4);
      const acc = f.locals("v128", 8);
      const b = f.locals("v128", 2);
      const a = f.local("v128");
      /** 4 queries x 4 * width columns over all keys */
      const tile = (width: 1 | 2): Stmt => {
        const done = label("keys");
        const again = label("key");
        const step = (u: number): Stmt[] => [
          ...range(width).map((w) => b[w].set(v128.load(vv, 16 * w))),
          ...range(4).flatMap((r) => [
            a.set(v128.load32splat(pp, u * LANE_BYTES + 4 * r)),
            ...range(width).map((w) => acc[width * r + w].set(madd(fused, a, b[w], acc[width * r + w]))),
          ]),
          brIf(done, i32.eq(pp, ends[u])),
          vv.set(add(vv, stride)),
        ];
        return seq(
          pp.set(add(p, i32.shl(half, c(2)))),
          vv.set(at(v, e, c(4))),
          ...range(4 * width).map((i) => acc[i].set(v128.const32(0, 0, 0, 0))),
          block(done, loop(again, ...[0, 1, 2, 3].flatMap(step), pp.set(add(pp, c(4 * LANE_BYTES))), br(again))),
          target.set(add(at(out, half, outStride), i32.shl(e, c(2)))),
          ...range(4).map((r) =>
            when(
              i32.gt(rows, add(half, c(r))),
              seq(
                a.set(v128.load32splat(add(factors, i32.shl(half, c(2))), 4 * r)),
                ...range(width).map((w) => v128.store(target, f32x4.mul(acc[width * r + w], a), 16 * w)),
                target.set(add(target, outStride)),
              ),
            ),
          ),
        );
      };
      return [
        forRange(
          half,
          c(0),
          rows,
          4,
          ...ends.map((end, u) => end.set(add(at(p, i32.sub(n, c(u + 1)), c(LANE_BYTES)), i32.shl(half, c(2))))),
          overColumns(e, E, tile(2), tile(1)),
        ),
      ];
    },
    "void",
    false,
  );
}

function addAccumulate(m: ModuleBuilder, fused: boolean): FnRef<"void"> {
  const params = {
    p: "i32",
    x: "i32",
    stride: "i32",
    dst: "i32",
    dstStride: "i32",
    n: "i32",
    E: "i32",
    rows: "i32",
  } as const;
  return m.func(
    "accumulate",
    params,
    (f) => {
      const { p, x, stride, dst, dstStride, n, E, rows } = f.p;
      const [e, j, pp, xx, left] = f.locals("i32", 5);
      const d = f.locals("i32", 4);
      const acc = f.locals("v128", 8);
      const b = f.locals("v128", 2);
      const a = f.local("v128");
      /** `keys` keys x 4 * width columns over the rows of the block */
      const tile = (keys: 1 | 4, width: 1 | 2): Stmt => {
        const done = label("rows");
        const cells = range(keys).flatMap((k) => range(width).map((w) => ({ k, w, sum: acc[width * k + w] })));
        const step = (u: number): Stmt[] => [
          ...range(width).map((w) => b[w].set(v128.load(xx, 16 * w))),
          ...range(keys).flatMap((k) => [
            a.set(v128.load32splat(pp, k * LANE_BYTES + 4 * u)),
            ...range(width).map((w) => acc[width * k + w].set(madd(fused, a, b[w], acc[width * k + w]))),
          ]),
          xx.set(add(xx, stride)),
          brIf(done, i32.eq(left, c(u + 1))),
        ];
        return seq(
          pp.set(at(p, j, c(LANE_BYTES))),
          xx.set(at(x, e, c(4))),
          left.set(rows),
          ...range(keys).map((k) => d[k].set(add(at(dst, add(j, c(k)), dstStride), i32.shl(e, c(2))))),
          ...cells.map(({ k, w, sum }) => sum.set(v128.load(d[k], 16 * w))),
          block(done, ...range(QUERIES).flatMap(step)),
          ...cells.map(({ k, w, sum }) => v128.store(d[k], sum, 16 * w)),
        );
      };
      return [
        overColumns(
          e,
          E,
          seq(forRange(j, c(0), i32.and(n, c(-4)), 4, tile(4, 2)), forRange(j, i32.and(n, c(-4)), n, 1, tile(1, 2))),
          seq(forRange(j, c(0), i32.and(n, c(-4)), 4, tile(4, 1)), forRange(j, i32.and(n, c(-4)), n, 1, tile(1, 1))),
        ),
      ];
    },
    "void",
    false,
  );
}

function addTranspose(m: ModuleBuilder): FnRef<"void"> {
  const params = { x: "i32", stride: "i32", dst: "i32", E: "i32", rows: "i32", factor: "f32" } as const;
  return m.func(
    "transpose",
    params,
    (f) => {
      const { x, stride, dst, E, rows, factor } = f.p;
      const [e, half] = f.locals("i32", 2);
      const row = f.locals("i32", 4);
      const [scale, t0, t1, t2, t3] = f.locals("v128", 5);
      const r = f.locals("v128", 4);
      const target = f.local("i32");
      const rowAt = (l: number): I32 => at(x, minI32(add(half, c(l)), i32.sub(rows, c(1))), stride);
      /** lanes of rows that do not exist become 0 */
      const value = (l: number): Expr<"v128"> =>
        f32x4.mul(select(v128.load(row[l]), v128.const32(0, 0, 0, 0), i32.gt(rows, add(half, c(l)))), scale);
      return [
        scale.set(f32x4.splat(factor)),
        forRange(
          half,
          c(0),
          c(QUERIES),
          4,
          ...row.map((p, l) => p.set(rowAt(l))),
          target.set(add(dst, i32.shl(half, c(2)))),
          forRange(
            e,
            c(0),
            E,
            4,
            ...r.map((v, l) => v.set(value(l))),
            t0.set(v128.shuffle32(r[0], r[1], [0, 4, 1, 5])),
            t1.set(v128.shuffle32(r[0], r[1], [2, 6, 3, 7])),
            t2.set(v128.shuffle32(r[2], r[3], [0, 4, 1, 5])),
            t3.set(v128.shuffle32(r[2], r[3], [2, 6, 3, 7])),
            v128.store(target, v128.shuffle32(t0, t2, [0, 1, 4, 5])),
            v128.store(target, v128.shuffle32(t0, t2, [2, 3, 6, 7]), LANE_BYTES),
            v128.store(target, v128.shuffle32(t1, t3, [0, 1, 4, 5]), 2 * LANE_BYTES),
            v128.store(target, v128.shuffle32(t1, t3, [2, 3, 6, 7]), 3 * LANE_BYTES),
            target.set(add(target, c(4 * LANE_BYTES))),
            ...row.map((p) => p.set(add(p, c(16)))),
          ),
        ),
      ];
    },
    "void",
    false,
  );
}
