/**
 * Dense attention over whole sequences, causal or not, with grouped queries: forward and backward.
 *
 * One unit at a time, in blocks of 8 queries: all scores of the block are computed, made stable by subtracting the
 * row's maximum (so there is no rescaling as in online softmax), exponentiated, and multiplied with V. Only one
 * block's scores exist at a time; the backward recomputes them from the saved log-sum-exp, as FlashAttention does
 * (Dao et al., 2022). Keys are visited in rising order, so a query's result does not depend on where its block starts:
 * a sequence fed in chunks over a cache gives the bits of the sequence fed at once.
 * It knows no dropout, no bias, no window and no padding mask.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import { logV } from "../pointwise/math.ts";
import {
  type Expr,
  type FnRef,
  f32,
  f32x4,
  forRange,
  i32,
  i32x4,
  type Local,
  ModuleBuilder,
  type Stmt,
  select,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { expSoftmax } from "./exp.ts";
import { prefillTrials } from "./prefill-trials.ts";
import { addTiles, at, LANE_BYTES, minI32, QUERIES, type Tiles, up4 } from "./tile.ts";

type I32 = Expr<"i32">;
const c = i32.const;
const add = i32.add;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** `prefillScratchBytes` and `backwardScratchBytes`, in the kernel */
const forwardBytes = (keys: I32, E: I32): I32 => i32.mul(add(add(E, up4(keys)), c(1)), c(LANE_BYTES));
const backwardBytes = (keys: I32, E: I32): I32 => i32.mul(i32.shl(add(add(E, up4(keys)), c(1)), c(1)), c(LANE_BYTES));

const LANES = [v128.const32(0, 1, 2, 3), v128.const32(4, 5, 6, 7)];
const zero = v128.const32(0, 0, 0, 0);
const minusInfinity = v128.const32(-8388608, -8388608, -8388608, -8388608);
const oneV = v128.const32(0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000);

/**
 * Visits the keys [0, n): for those all lanes see, `body` with no mask; then, from `full` on, with the lanes' mask
 * (all ones where the query sees key j; query lane l sees it if l >= j - first).
 */
function overKeys(
  j: Local<"i32">,
  masks: readonly Local<"v128">[],
  full: I32,
  n: I32,
  first: I32,
  body: (mask?: readonly Local<"v128">[]) => Stmt,
): Stmt {
  return seq(
    forRange(j, c(0), full, 1, body()),
    forRange(
      j,
      full,
      n,
      1,
      ...masks.map((mask, i) => mask.set(i32x4.ge(LANES[i], i32x4.splat(i32.sub(j, first))))),
      body(masks),
    ),
  );
}

/** The first `rows` lanes of two vectors to consecutive floats. */
function storeLanes(target: I32, values: readonly Expr<"v128">[], rows: I32): Stmt {
  return seq(
    ...range(QUERIES).map((l) =>
      when(i32.gt(rows, c(l)), f32.store(target, f32x4.extract(values[l >> 2], l & 3), 4 * l)),
    ),
  );
}

function addForward(m: ModuleBuilder, tiles: Tiles): void {
  const params = {
    q: "i32",
    k: "i32",
    v: "i32",
    out: "i32",
    lse: "i32",
    scratch: "i32",
    T: "i32",
    S: "i32",
    H: "i32",
    K: "i32",
    E: "i32",
    kvRow: "i32",
    kvHead: "i32",
    queryOffset: "i32",
    scale: "f32",
    causal: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("forward", params, (f) => {
    const { q, k, v, out, lse, scratch, T, S, H, K, E, kvRow, kvHead, queryOffset, scale, causal, from, to } = f.p;
    const [unit, b, h, i, j, n, full, first, rows] = f.locals("i32", 9);
    const [qRow, kvBytes, kBase, vBase, qBase, outBase, qt, s, factors, cell] = f.locals("i32", 10);
    const masks = f.locals("v128", 2);
    const max = f.locals("v128", 2);
    const sum = f.locals("v128", 2);
    const p = f.locals("v128", 2);
    const score = (w: number): Expr<"v128"> => v128.load(cell, 16 * w);
    const next = cell.set(add(cell, c(LANE_BYTES)));
    return [
      qRow.set(i32.shl(i32.mul(H, E), c(2))),
      kvBytes.set(i32.shl(kvRow, c(2))),
      // One area serves all units of the call, so that it stays in cache.
      qt.set(at(scratch, from, forwardBytes(S, E))),
      s.set(at(qt, E, c(LANE_BYTES))),
      factors.set(at(s, up4(S), c(LANE_BYTES))),
      forRange(
        unit,
        from,
        to,
        1,
        b.set(i32.divu(unit, H)),
        h.set(i32.remu(unit, H)),
        qBase.set(add(i32.mul(i32.mul(b, T), qRow), i32.shl(i32.mul(h, E), c(2)))),
        outBase.set(add(out, qBase)),
        qBase.set(add(q, qBase)),
        kBase.set(add(i32.mul(i32.mul(b, S), kvBytes), i32.shl(i32.mul(i32.divu(h, i32.divu(H, K)), kvHead), c(2)))),
        vBase.set(add(v, kBase)),
        kBase.set(add(k, kBase)),
        forRange(
          i,
          c(0),
          T,
          QUERIES,
          rows.set(minI32(i32.sub(T, i), c(QUERIES))),
          first.set(add(i, queryOffset)),
          n.set(select(minI32(S, add(first, rows)), S, causal)),
          full.set(select(minI32(n, add(first, c(1))), n, causal)),
          tiles.transpose.call(at(qBase, i, qRow), qRow, qt, E, rows, scale),
          tiles.scores.call(qt, kBase, kvBytes, s, n, S, E),
          ...max.map((x) => x.set(minusInfinity)),
          cell.set(s),
          overKeys(j, masks, full, n, first, (mask) =>
            seq(
              ...max.map((x, w) =>
                x.set(f32x4.pmax(x, mask ? v128.bitselect(score(w), minusInfinity, mask[w]) : score(w))),
              ),
              next,
            ),
          ),
          ...sum.map((x) => x.set(zero)),
          cell.set(s),
          overKeys(j, masks, full, n, first, (mask) =>
            seq(
              ...p.map((x, w) => x.set(expSoftmax(f, f32x4.sub(score(w), max[w])))),
              ...(mask ? p.map((x, w) => x.set(v128.and(x, mask[w]))) : []),
              ...p.map((x, w) => v128.store(cell, x, 16 * w)),
              ...sum.map((x, w) => x.set(f32x4.add(x, p[w]))),
              next,
            ),
          ),
          ...sum.map((x, w) => v128.store(factors, f32x4.div(oneV, x), 16 * w)),
          when(
            lse,
            seq(
              ...p.map((x, w) => x.set(f32x4.add(max[w], logV(f, sum[w])))),
              storeLanes(add(lse, i32.shl(add(i32.mul(unit, T), i), c(2))), p, rows),
            ),
          ),
          tiles.combine.call(s, vBase, kvBytes, at(outBase, i, qRow), qRow, factors, n, E, rows),
        ),
      ),
    ];
  });
}

/** rowDots(a, b, stride, dst, E, rows): dst[l] = sum_e a[l][e] * b[l][e], four running sums, then (0+1)+(2+3). */
function addRowDots(m: ModuleBuilder): FnRef<"void"> {
  const params = { a: "i32", b: "i32", stride: "i32", dst: "i32", E: "i32", rows: "i32" } as const;
  return m.func(
    "rowDots",
    params,
    (f) => {
      const { a, b, stride, dst, E, rows } = f.p;
      const [l, e, x, y] = f.locals("i32", 4);
      const sum = f.local("v128");
      const lane = (i: number): Expr<"f32"> => f32x4.extract(sum, i);
      return forRange(
        l,
        c(0),
        rows,
        1,
        x.set(at(a, l, stride)),
        y.set(at(b, l, stride)),
        sum.set(zero),
        forRange(
          e,
          c(0),
          E,
          4,
          sum.set(f32x4.add(sum, f32x4.mul(v128.load(x), v128.load(y)))),
          x.set(add(x, c(16))),
          y.set(add(y, c(16))),
        ),
        f32.store(at(dst, l, c(4)), f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3)))),
      );
    },
    "void",
    false,
  );
}

function addBackward(m: ModuleBuilder, tiles: Tiles): void {
  const rowDots = addRowDots(m);
  const params = {
    q: "i32",
    k: "i32",
    v: "i32",
    out: "i32",
    dout: "i32",
    lse: "i32",
    delta: "i32",
    dq: "i32",
    dk: "i32",
    dv: "i32",
    scratch: "i32",
    T: "i32",
    H: "i32",
    K: "i32",
    E: "i32",
    scale: "f32",
    causal: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("backward", params, (f) => {
    const { q, k, v, out, dout, lse, delta, dq, dk, dv, scratch, T, H, K, E, scale, causal, from, to } = f.p;
    const [unit, b, h, hEnd, i, j, l, n, full, rows] = f.locals("i32", 10);
    const [qRow, kvRow, kvBase, qBase, statBase] = f.locals("i32", 5);
    const [qt, dt, s, d, factors, stats, cell, cell2] = f.locals("i32", 8);
    const masks = f.locals("v128", 2);
    const shift = f.locals("v128", 2);
    const mean = f.locals("v128", 2);
    const p = f.locals("v128", 2);
    const tileAt = (base: I32): I32 => add(add(base, qBase), i32.mul(i, qRow));
    const clear = (base: I32): Stmt =>
      seq(
        cell.set(add(base, kvBase)),
        forRange(
          j,
          c(0),
          T,
          1,
          forRange(l, c(0), E, 4, v128.store(add(cell, i32.shl(l, c(2))), zero)),
          cell.set(add(cell, kvRow)),
        ),
      );
    /** the block's `rows` floats at `from` as lanes, 0 beyond */
    const lanes = (target: readonly Local<"v128">[], source: I32): Stmt =>
      seq(
        ...target.map((_, w) => v128.store(stats, zero, 16 * w)),
        forRange(l, c(0), rows, 1, f32.store(at(stats, l, c(4)), f32.load(at(source, l, c(4))))),
        ...target.map((x, w) => x.set(v128.load(stats, 16 * w))),
      );
    return [
      qRow.set(i32.shl(i32.mul(H, E), c(2))),
      kvRow.set(i32.shl(i32.mul(K, E), c(2))),
      qt.set(at(scratch, from, backwardBytes(T, E))),
      dt.set(at(qt, E, c(LANE_BYTES))),
      s.set(at(dt, E, c(LANE_BYTES))),
      d.set(at(s, up4(T), c(LANE_BYTES))),
      factors.set(at(d, up4(T), c(LANE_BYTES))),
      stats.set(add(factors, c(LANE_BYTES))),
      ...range(2).map((w) => v128.store(factors, oneV, 16 * w)),
      forRange(
        unit,
        from,
        to,
        1,
        b.set(i32.divu(unit, K)),
        kvBase.set(add(i32.mul(i32.mul(b, T), kvRow), i32.shl(i32.mul(i32.remu(unit, K), E), c(2)))),
        clear(dk),
        clear(dv),
        h.set(i32.mul(i32.remu(unit, K), i32.divu(H, K))),
        hEnd.set(add(h, i32.divu(H, K))),
        forRange(
          h,
          h,
          hEnd,
          1,
          qBase.set(add(i32.mul(i32.mul(b, T), qRow), i32.shl(i32.mul(h, E), c(2)))),
          statBase.set(i32.shl(i32.mul(add(i32.mul(b, H), h), T), c(2))),
          forRange(
            i,
            c(0),
            T,
            QUERIES,
            rows.set(minI32(i32.sub(T, i), c(QUERIES))),
            n.set(select(add(i, rows), T, causal)),
            full.set(select(add(i, c(1)), T, causal)),
            rowDots.call(tileAt(out), tileAt(dout), qRow, at(add(delta, statBase), i, c(4)), E, rows),
            tiles.transpose.call(tileAt(q), qRow, qt, E, rows, scale),
            // scale is put into dout here, so that the second product gives scale * dP at once
            tiles.transpose.call(tileAt(dout), qRow, dt, E, rows, scale),
            tiles.scores.call(qt, add(k, kvBase), kvRow, s, n, T, E),
            tiles.scores.call(dt, add(v, kvBase), kvRow, d, n, T, E),
            lanes(shift, at(add(lse, statBase), i, c(4))),
            lanes(mean, at(add(delta, statBase), i, c(4))),
            ...mean.map((x) => x.set(f32x4.mul(x, f32x4.splat(scale)))),
            cell.set(s),
            cell2.set(d),
            overKeys(j, masks, full, n, i, (mask) =>
              seq(
                ...p.map((x, w) => x.set(expSoftmax(f, f32x4.sub(v128.load(cell, 16 * w), shift[w])))),
                ...(mask ? p.map((x, w) => x.set(v128.and(x, mask[w]))) : []),
                ...p.map((x, w) => v128.store(cell, x, 16 * w)),
                ...p.map((x, w) =>
                  v128.store(cell2, f32x4.mul(x, f32x4.sub(v128.load(cell2, 16 * w), mean[w])), 16 * w),
                ),
                cell.set(add(cell, c(LANE_BYTES))),
                cell2.set(add(cell2, c(LANE_BYTES))),
              ),
            ),
            tiles.combine.call(d, add(k, kvBase), kvRow, tileAt(dq), qRow, factors, n, E, rows),
            tiles.accumulate.call(s, tileAt(dout), qRow, add(dv, kvBase), kvRow, n, E, rows),
            tiles.accumulate.call(d, tileAt(q), qRow, add(dk, kvBase), kvRow, n, E, rows),
          ),
        ),
      ),
    ];
  });
}

export const attentionPrefill: Kernel = {
  name: "attention-prefill-f32",
  family: "attention",
  summary: "dense attention of T queries over S keys, grouped queries, causal or not, with its backward",
  functions: {
    forward: {
      params: [
        ...["q", "k", "v", "out", "lse", "scratch", "T", "S", "H", "K", "E"],
        ...["kvRow", "kvHead", "queryOffset", "scale", "causal", "from", "to"],
      ],
      does:
        "q, out [B*T, H*E]; key s of batch row b and KV head g at k + 4*((b*S + s)*kvRow + g*kvHead), v alike " +
        "(rows [B*S, K*E]: kvRow K*E, kvHead E; one sequence's cache [K][capacity][E]: kvRow E, kvHead capacity*E); " +
        "query t has position queryOffset + t and with causal != 0 sees the keys up to its own position " +
        "(queryOffset + T <= S); lse [B*H*T] natural log-sum-exp, or 0 where it is not wanted; scratch " +
        "prefillScratchBytes(S, E) per unit; units = b*H + h",
    },
    backward: {
      params: [
        ...["q", "k", "v", "out", "dout", "lse", "delta", "dq", "dk", "dv", "scratch"],
        ...["T", "H", "K", "E", "scale", "causal", "from", "to"],
      ],
      does:
        "q, out, dout, dq [B*T, H*E]; k, v, dk, dv [B*T, K*E]; lse from forward, delta [B*H*T] gets sum_e dout*out; " +
        "dq, dk, dv are overwritten; scratch backwardScratchBytes(T, E) per unit; units = b*K + KV head",
    },
  },
  emit({ shared, fused }: EmitOptions) {
    const m = new ModuleBuilder({ shared });
    const tiles = addTiles(m, fused);
    addForward(m, tiles);
    addBackward(m, tiles);
    return m.bytes();
  },
  trials: prefillTrials,
};
