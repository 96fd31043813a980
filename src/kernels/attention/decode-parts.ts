/**
 * The three steps of attention of one token over a cache, as functions inside a kernel module: scores, softmax, and the
 * sum of values. Rows of the cache are the first n, or those that a list names.
 *
 * Query heads that share a KV head are taken two at a time; keys in blocks of 64, whose rows of V stay in cache while
 * the columns are walked. Sums run over keys and channels in a fixed order.
 *
 * Listed rows lie on pages of their own, and waiting for each one in turn is what a gather costs: `touch` asks for all
 * lines of a block of rows at once, before they are used (2 MiB in rows of 256 bytes, cold: 820 us without, 480 with one
 * line a row, 226 with all lines).
 */

import {
  block,
  br,
  brIf,
  type Expr,
  type FnRef,
  f32,
  f32x4,
  forRange,
  i32,
  type Local,
  label,
  loop,
  type ModuleBuilder,
  madd,
  type Stmt,
  seq,
  type ValType,
  v128,
  when,
} from "../wasm/asm.ts";
import { expSoftmax } from "./exp.ts";
import { at, minI32, up4 } from "./tile.ts";

type I32 = Expr<"i32">;
type Locals = { locals<T extends ValType>(type: T, count: number): Local<T>[] };
const c = i32.const;
const add = i32.add;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const zero = v128.const32(0, 0, 0, 0);

/** Keys in a block. */
const BLOCK = 64;
const LINE = 64;

/** For the heads [0, G): `two` while a pair remains, then `single`; `h` is the head in both. */
function overHeads(h: Local<"i32">, G: I32, two: Stmt, single: Stmt): Stmt {
  return seq(
    forRange(h, c(0), i32.and(G, c(-2)), 2, two),
    when(i32.and(G, c(1)), seq(h.set(i32.sub(G, c(1))), single)),
  );
}

/** The four sums of four vectors, each as (0 + 2) + (1 + 3). */
function sumsOf([a, b, d, e]: readonly Expr<"v128">[], u: Local<"v128">, w: Local<"v128">): Expr<"v128"> {
  const pair = (x: Expr<"v128">, y: Expr<"v128">): Expr<"v128"> =>
    f32x4.add(v128.shuffle32(x, y, [0, 4, 1, 5]), v128.shuffle32(x, y, [2, 6, 3, 7]));
  const halves = f32x4.add(v128.shuffle32(u, w.tee(pair(d, e)), [0, 1, 4, 5]), v128.shuffle32(u, w, [2, 3, 6, 7]));
  return { type: "v128", code: [u.set(pair(a, b)).code, halves.code] };
}

/** Which rows of a cache count: those from the first on, or those a list of i32 names. */
export type RowsOf = "first" | "listed";

/** Byte address of row j of a cache, j-th of the list where there is one. */
const rowAt = (base: I32, list: I32, j: I32, eBytes: I32, rows: RowsOf): I32 =>
  at(base, rows === "listed" ? i32.load(add(list, i32.shl(j, c(2)))) : j, eBytes);

/**
 * Reads a word of every line of the listed rows from..to and stores their union at `sink`, where it means nothing: without
 * a use the loads would not be made.
 */
function touch(f: Locals, base: I32, list: I32, from: I32, to: I32, eBytes: I32, sink: I32): Stmt {
  const [j, row, l, union] = f.locals("i32", 4);
  const take = (address: I32): Stmt => union.set(i32.or(union, i32.load(address)));
  return seq(
    forRange(
      j,
      from,
      to,
      1,
      row.set(rowAt(base, list, j, eBytes, "listed")),
      forRange(l, c(0), eBytes, LINE, take(add(row, l))),
      take(add(row, i32.sub(eBytes, c(4)))),
    ),
    i32.store(sink, union),
  );
}

/**
 * scores(q, k, list, s, n, rowBytes, G, E, scale): s[h][j] = scale * q[h] . k[row j], rows of s `rowBytes` apart; s is
 * written up to the next multiple of four, where the last row is repeated.
 */
function addScores(m: ModuleBuilder, fused: boolean, of: RowsOf): FnRef<"void"> {
  const params = {
    q: "i32",
    k: "i32",
    list: "i32",
    s: "i32",
    n: "i32",
    rowBytes: "i32",
    G: "i32",
    E: "i32",
    scale: "f32",
  } as const;
  return m.func(
    "scores",
    params,
    (f) => {
      const { q, k, list, s, n, rowBytes, G, E, scale } = f.p;
      const [j, h, qq, eBytes, end, end2, b, last] = f.locals("i32", 8);
      const starts = f.locals("i32", 4);
      const rows = f.locals("i32", 4);
      const acc = f.locals("v128", 8);
      const [kv, u, w] = f.locals("v128", 3);
      const qv = f.locals("v128", 2);
      const [q2] = f.locals("i32", 1);
      const tile = (heads: 1 | 2): Stmt => {
        const done = label("width");
        const again = label("channels");
        const sources = [qq, q2];
        const step = (t: number): Stmt[] => [
          ...range(heads).map((i) => qv[i].set(v128.load(sources[i], 16 * t))),
          ...rows.flatMap((row, r) => [
            kv.set(v128.load(row, 16 * t)),
            ...range(heads).map((i) => acc[4 * i + r].set(madd(fused, kv, qv[i], acc[4 * i + r]))),
          ]),
          brIf(done, i32.eq(qq, t === 0 ? end : end2)),
        ];
        return seq(
          qq.set(at(q, h, eBytes)),
          q2.set(add(qq, eBytes)),
          end.set(add(qq, i32.sub(eBytes, c(16)))),
          end2.set(i32.sub(end, c(16))),
          ...rows.map((row, r) => row.set(starts[r])),
          ...range(4 * heads).map((i) => acc[i].set(zero)),
          block(
            done,
            loop(
              again,
              ...step(0),
              ...step(1),
              qq.set(add(qq, c(32))),
              ...(heads === 2 ? [q2.set(add(q2, c(32)))] : []),
              ...rows.map((row) => row.set(add(row, c(32)))),
              br(again),
            ),
          ),
          ...range(heads).map((i) =>
            v128.store(
              add(at(s, add(h, c(i)), rowBytes), i32.shl(j, c(2))),
              f32x4.mul(sumsOf(acc.slice(4 * i, 4 * i + 4), u, w), f32x4.splat(scale)),
            ),
          ),
        );
      };
      return [
        eBytes.set(i32.shl(E, c(2))),
        forRange(
          b,
          c(0),
          n,
          BLOCK,
          last.set(minI32(n, add(b, c(BLOCK)))),
          ...(of === "listed" ? [touch(f, k, list, b, last, eBytes, add(s, i32.shl(b, c(2))))] : []),
          forRange(
            j,
            b,
            last,
            4,
            // rows beyond the end repeat the last one; their scores are put out of the way by the caller
            ...starts.map((start, r) => start.set(rowAt(k, list, minI32(add(j, c(r)), i32.sub(n, c(1))), eBytes, of))),
            overHeads(h, G, tile(2), tile(1)),
          ),
        ),
      ];
    },
    "void",
    false,
  );
}

/** softmax(s, n): s[j] becomes exp(s[j] - max), 0 from n to the next multiple of 4; returns the sum. */
function addSoftmax(m: ModuleBuilder): FnRef<"f32"> {
  return m.func(
    "softmax",
    { s: "i32", n: "i32" } as const,
    (f) => {
      const { s, n } = f.p;
      const [cell, end, j] = f.locals("i32", 3);
      const [max, sum, p] = f.locals("v128", 3);
      const lanes = (v: Local<"v128">): Expr<"f32">[] => range(4).map((l) => f32x4.extract(v, l));
      const fold = (v: Local<"v128">, op: (a: Expr<"f32">, b: Expr<"f32">) => Expr<"f32">): Expr<"f32"> => {
        const [a, b, d, e] = lanes(v);
        return op(op(a, b), op(d, e));
      };
      const each = (...body: Stmt[]): Stmt => {
        const out = label("end");
        const again = label("cell");
        return seq(
          cell.set(s),
          block(out, loop(again, ...body, cell.set(add(cell, c(16))), brIf(out, i32.eq(cell, end)), br(again))),
        );
      };
      return [
        end.set(at(s, up4(n), c(4))),
        forRange(j, n, up4(n), 1, f32.store(at(s, j, c(4)), f32.const(Number.NEGATIVE_INFINITY))),
        max.set(f32x4.splat(f32.const(Number.NEGATIVE_INFINITY))),
        each(max.set(f32x4.pmax(max, v128.load(cell)))),
        max.set(f32x4.splat(fold(max, f32.max))),
        sum.set(zero),
        each(p.set(expSoftmax(f, f32x4.sub(v128.load(cell), max))), v128.store(cell, p), sum.set(f32x4.add(sum, p))),
        f.ret(fold(sum, f32.add)),
      ];
    },
    "f32",
    false,
  );
}

/**
 * combine(s, v, list, out, n, rowBytes, G, E, sink): out[h][e] += sum_{j < n} s[h][j] * v[row j][e], in blocks of 64 keys.
 */
function addCombine(m: ModuleBuilder, fused: boolean, of: RowsOf): FnRef<"void"> {
  const params = {
    s: "i32",
    v: "i32",
    list: "i32",
    out: "i32",
    n: "i32",
    rowBytes: "i32",
    G: "i32",
    E: "i32",
    sink: "i32",
  } as const;
  return m.func(
    "combine",
    params,
    (f) => {
      const { s, v, list, out, n, rowBytes, G, E, sink } = f.p;
      const [j, h, e, count, eBytes, vv, p0, p1, end, end2, base, lp] = f.locals("i32", 12);
      const target = f.locals("i32", 2);
      const acc = f.locals("v128", 8);
      const [x] = f.locals("v128", 1);
      const weight = f.locals("v128", 2);
      /** `heads` heads x `width` vectors over the block's keys */
      const tile = (heads: 1 | 2, width: number): Stmt => {
        const done = label("keys");
        const again = label("key");
        const sources = [p0, p1];
        const step = (t: number): Stmt[] => [
          ...(of === "listed" ? [vv.set(at(base, i32.load(lp, 4 * t), eBytes))] : []),
          ...range(heads).map((i) => weight[i].set(v128.load32splat(sources[i], 4 * t))),
          ...range(width).flatMap((w) => [
            x.set(v128.load(vv, 16 * w)),
            ...range(heads).map((i) => acc[width * i + w].set(madd(fused, x, weight[i], acc[width * i + w]))),
          ]),
          ...(of === "first" ? [vv.set(add(vv, eBytes))] : []),
          brIf(done, i32.eq(p0, t === 0 ? end : end2)),
        ];
        const cells = range(heads).flatMap((i) => range(width).map((w) => ({ i, w, sum: acc[width * i + w] })));
        return seq(
          p0.set(add(at(s, h, rowBytes), i32.shl(j, c(2)))),
          p1.set(add(p0, rowBytes)),
          end.set(at(p0, i32.sub(count, c(1)), c(4))),
          end2.set(i32.sub(end, c(4))),
          ...(of === "first"
            ? [vv.set(add(at(v, j, eBytes), i32.shl(e, c(2))))]
            : [base.set(add(v, i32.shl(e, c(2)))), lp.set(add(list, i32.shl(j, c(2))))]),
          target[0].set(add(at(out, h, eBytes), i32.shl(e, c(2)))),
          target[1].set(add(target[0], eBytes)),
          ...cells.map(({ i, w, sum }) => sum.set(v128.load(target[i], 16 * w))),
          block(
            done,
            loop(
              again,
              ...step(0),
              ...step(1),
              p0.set(add(p0, c(8))),
              ...(heads === 2 ? [p1.set(add(p1, c(8)))] : []),
              ...(of === "listed" ? [lp.set(add(lp, c(8)))] : []),
              br(again),
            ),
          ),
          ...cells.map(({ i, w, sum }) => v128.store(target[i], sum, 16 * w)),
          e.set(add(e, c(4 * width))),
        );
      };
      const columns = (heads: 1 | 2, widths: readonly number[]): Stmt => {
        const out = label("columns");
        const again = label("column");
        // the widest tile that fits, until no column is left
        const pick = widths.reduceRight<Stmt>(
          (narrower, width) =>
            width === 1 ? tile(heads, 1) : when(i32.ge(i32.sub(E, e), c(4 * width)), tile(heads, width), narrower),
          seq(),
        );
        return seq(e.set(c(0)), block(out, loop(again, pick, brIf(out, i32.ge(e, E)), br(again))));
      };
      return [
        eBytes.set(i32.shl(E, c(2))),
        forRange(
          j,
          c(0),
          n,
          BLOCK,
          count.set(minI32(i32.sub(n, j), c(BLOCK))),
          ...(of === "listed" ? [touch(f, v, list, j, add(j, count), eBytes, sink)] : []),
          overHeads(h, G, columns(2, [4, 1]), columns(1, [8, 4, 1])),
        ),
      ];
    },
    "void",
    false,
  );
}

/** attend(q, k, v, list, out, n, s, rowBytes, sums, sink, G, E, scale): the G heads that look at one list of n >= 1 rows. */
export function addAttend(m: ModuleBuilder, fused: boolean, of: RowsOf): FnRef<"void"> {
  const scores = addScores(m, fused, of);
  const softmax = addSoftmax(m);
  const combine = addCombine(m, fused, of);
  const params = {
    q: "i32",
    k: "i32",
    v: "i32",
    list: "i32",
    out: "i32",
    n: "i32",
    s: "i32",
    rowBytes: "i32",
    sums: "i32",
    sink: "i32",
    G: "i32",
    E: "i32",
    scale: "f32",
  } as const;
  return m.func(
    "attend",
    params,
    (f) => {
      const { q, k, v, list, out, n, s, rowBytes, sums, sink, G, E, scale } = f.p;
      const [h, j, target] = f.locals("i32", 3);
      const factor = f.local("v128");
      const sumAt = add(sums, i32.shl(h, c(2)));
      return [
        scores.call(q, k, list, s, n, rowBytes, G, E, scale),
        forRange(j, c(0), i32.mul(G, E), 4, v128.store(at(out, j, c(4)), zero)),
        forRange(h, c(0), G, 1, f32.store(sumAt, softmax.call(at(s, h, rowBytes), n))),
        combine.call(s, v, list, out, n, rowBytes, G, E, sink),
        target.set(out),
        forRange(
          h,
          c(0),
          G,
          1,
          factor.set(f32x4.splat(f32.div(f32.const(1), f32.load(sumAt)))),
          forRange(
            j,
            c(0),
            E,
            4,
            v128.store(target, f32x4.mul(v128.load(target), factor)),
            target.set(add(target, c(16))),
          ),
        ),
      ];
    },
    "void",
    false,
  );
}
