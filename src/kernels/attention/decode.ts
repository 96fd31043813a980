/**
 * Dense attention of one new token against a key and value cache, and the writing of that cache.
 *
 * Caches are [K][capacity][E]: the rows of one KV head lie together, so that a step streams through them. The H/K
 * query heads that share a KV head are handled together, two at a time, so each row is fetched from memory once; V is
 * taken in blocks of 64 rows, which stay in cache while the columns are walked. All scores are computed first and the
 * maximum is subtracted, as in `attention-prefill-f32`. Keys and channels are summed in a fixed order.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
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
  ModuleBuilder,
  madd,
  type Stmt,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { decodeTrials } from "./decode-trials.ts";
import { expSoftmax } from "./exp.ts";
import { at, minI32, up4 } from "./tile.ts";

type I32 = Expr<"i32">;
const c = i32.const;
const add = i32.add;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const zero = v128.const32(0, 0, 0, 0);

/** Rows of V in a block. */
const BLOCK = 64;

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

/** scores(q, k, s, n, rowBytes, G, E, scale): s[h][j] = scale * q[h] . k[j], rows of s `rowBytes` apart. */
function addScores(m: ModuleBuilder, fused: boolean): FnRef<"void"> {
  const params = {
    q: "i32",
    k: "i32",
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
      const { q, k, s, n, rowBytes, G, E, scale } = f.p;
      const [j, h, qq, eBytes, end, end2] = f.locals("i32", 6);
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
          j,
          c(0),
          n,
          4,
          // rows beyond the end repeat the last one; their scores are put out of the way by the caller
          ...starts.map((start, r) => start.set(at(k, minI32(add(j, c(r)), i32.sub(n, c(1))), eBytes))),
          overHeads(h, G, tile(2), tile(1)),
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
 * combine(s, v, out, n, rowBytes, G, E): out[h][e] += sum_{j < n} s[h][j] * v[j][e], in blocks of 64 keys.
 */
function addCombine(m: ModuleBuilder, fused: boolean): FnRef<"void"> {
  const params = { s: "i32", v: "i32", out: "i32", n: "i32", rowBytes: "i32", G: "i32", E: "i32" } as const;
  return m.func(
    "combine",
    params,
    (f) => {
      const { s, v, out, n, rowBytes, G, E } = f.p;
      const [j, h, e, count, eBytes, vv, p0, p1, end, end2] = f.locals("i32", 10);
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
          ...range(heads).map((i) => weight[i].set(v128.load32splat(sources[i], 4 * t))),
          ...range(width).flatMap((w) => [
            x.set(v128.load(vv, 16 * w)),
            ...range(heads).map((i) => acc[width * i + w].set(madd(fused, x, weight[i], acc[width * i + w]))),
          ]),
          vv.set(add(vv, eBytes)),
          brIf(done, i32.eq(p0, t === 0 ? end : end2)),
        ];
        const cells = range(heads).flatMap((i) => range(width).map((w) => ({ i, w, sum: acc[width * i + w] })));
        return seq(
          p0.set(add(at(s, h, rowBytes), i32.shl(j, c(2)))),
          p1.set(add(p0, rowBytes)),
          end.set(at(p0, i32.sub(count, c(1)), c(4))),
          end2.set(i32.sub(end, c(4))),
          vv.set(add(at(v, j, eBytes), i32.shl(e, c(2)))),
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
          overHeads(h, G, columns(2, [4, 1]), columns(1, [8, 4, 1])),
        ),
      ];
    },
    "void",
    false,
  );
}

/** Where the sum of a unit's head h stands: behind the H rows of scores. */
const sumsAt = (scratch: I32, H: I32, rowBytes: I32, unit: I32, G: I32, h: I32): I32 =>
  add(at(scratch, H, rowBytes), i32.shl(add(i32.mul(unit, G), h), c(2)));

function addForward(m: ModuleBuilder, fused: boolean): void {
  const scores = addScores(m, fused);
  const softmax = addSoftmax(m);
  const combine = addCombine(m, fused);
  const params = {
    q: "i32",
    kCache: "i32",
    vCache: "i32",
    out: "i32",
    scratch: "i32",
    length: "i32",
    capacity: "i32",
    H: "i32",
    K: "i32",
    E: "i32",
    scale: "f32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("forward", params, (f) => {
    const { q, kCache, vCache, out, scratch, length, capacity, H, K, E, scale, from, to } = f.p;
    const [unit, h, j, G, rowBytes, s, base, qBase, target] = f.locals("i32", 9);
    const factor = f.local("v128");
    const sum = f.local("f32");
    const headBytes = i32.shl(i32.mul(G, E), c(2));
    return [
      G.set(i32.divu(H, K)),
      rowBytes.set(i32.shl(up4(length), c(2))),
      forRange(
        unit,
        from,
        to,
        1,
        s.set(at(scratch, unit, i32.mul(G, rowBytes))),
        base.set(i32.shl(i32.mul(i32.mul(unit, capacity), E), c(2))),
        qBase.set(i32.mul(unit, headBytes)),
        target.set(add(out, qBase)),
        scores.call(add(q, qBase), add(kCache, base), s, length, rowBytes, G, E, scale),
        forRange(j, c(0), i32.mul(G, E), 4, v128.store(at(target, j, c(4)), zero)),
        // the sums wait in the last row of the scratch
        forRange(
          h,
          c(0),
          G,
          1,
          sum.set(softmax.call(at(s, h, rowBytes), length)),
          f32.store(sumsAt(scratch, H, rowBytes, unit, G, h), sum),
        ),
        combine.call(s, add(vCache, base), target, length, rowBytes, G, E),
        forRange(
          h,
          c(0),
          G,
          1,
          factor.set(f32x4.splat(f32.div(f32.const(1), f32.load(sumsAt(scratch, H, rowBytes, unit, G, h))))),
          forRange(
            j,
            c(0),
            E,
            4,
            v128.store(target, f32x4.mul(v128.load(target), factor)),
            target.set(add(target, c(16))),
          ),
        ),
      ),
    ];
  });
}

function addAppend(m: ModuleBuilder): void {
  const copy = m.func(
    "copy",
    { source: "i32", target: "i32", bytes: "i32" } as const,
    (f) => {
      const { source, target, bytes } = f.p;
      const i = f.local("i32");
      return forRange(i, c(0), bytes, 16, v128.store(add(target, i), v128.load(add(source, i))));
    },
    "void",
    false,
  );
  const params = {
    k: "i32",
    v: "i32",
    kCache: "i32",
    vCache: "i32",
    position: "i32",
    count: "i32",
    capacity: "i32",
    K: "i32",
    E: "i32",
  } as const;
  const many = m.func("appendMany", params, (f) => {
    const { k, v, kCache, vCache, position, count, capacity, K, E } = f.p;
    const [t, g, eBytes, source, target] = f.locals("i32", 5);
    return [
      eBytes.set(i32.shl(E, c(2))),
      forRange(
        t,
        c(0),
        count,
        1,
        forRange(
          g,
          c(0),
          K,
          1,
          source.set(i32.mul(add(i32.mul(t, K), g), eBytes)),
          target.set(i32.mul(add(add(i32.mul(g, capacity), position), t), eBytes)),
          copy.call(add(k, source), add(kCache, target), eBytes),
          copy.call(add(v, source), add(vCache, target), eBytes),
        ),
      ),
    ];
  });
  const { count: _, ...single } = params;
  m.func("append", single, (f) => {
    const { k, v, kCache, vCache, position, capacity, K, E } = f.p;
    return many.call(k, v, kCache, vCache, position, c(1), capacity, K, E);
  });
}

export const attentionDecode: Kernel = {
  name: "attention-decode-f32",
  family: "attention",
  summary: "dense attention of one token over a cache [K][capacity][E], grouped queries, and the cache's writing",
  functions: {
    forward: {
      params: [
        ...["q", "kCache", "vCache", "out", "scratch", "length", "capacity", "H", "K", "E", "scale"],
        ...["from", "to"],
      ],
      does:
        "q, out [H*E]; caches [K][capacity][E], of which the rows below length (at least 1) count; scratch " +
        "decodeScratchBytes(length, H) for all units together; units = KV heads",
    },
    append: {
      params: ["k", "v", "kCache", "vCache", "position", "capacity", "K", "E"],
      does: "writes one token's k and v [K*E] at `position` of the caches",
    },
    appendMany: {
      params: ["k", "v", "kCache", "vCache", "position", "count", "capacity", "K", "E"],
      does: "writes the rows of k and v [count, K*E] at `position` and after",
    },
  },
  emit({ shared, fused }: EmitOptions) {
    const m = new ModuleBuilder({ shared });
    addForward(m, fused);
    addAppend(m);
    return m.bytes();
  },
  trials: decodeTrials,
};
