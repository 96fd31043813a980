/**
 * The indices of the k largest of n scores, exactly: rising, and of equal scores the lower index first.
 *
 * Scores are compared as whole numbers of the same order (their bits, with the lower ones turned for negative numbers).
 * A sixteenth of a long list is looked at first: a bound that somewhat more than k scores should reach. One pass
 * then collects those that do, sixteen scores to a branch, and radix selection (digits of 11, 11 and 10 bits) finds the
 * k-th among the few. Where the bound was too high, for a list that the sample misrepresents, all scores are collected:
 * the sample decides how long it takes, never what comes out. NaN has no place in the order and must not occur.
 *
 * Ladder, rows of 65,536 scores in turn, k = 4096, one thread: radix selection among all scores 326 us; among those above
 * a sample's bound 129 us (a thirty-second looked at: 126).
 */

import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import {
  after,
  type Expr,
  type FnRef,
  f32x4,
  forRange,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  ModuleBuilder,
  type Stmt,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { topPlain, topScratchBytes } from "./plain.ts";

const { add, shl, sub } = i32;
const n = i32.const;
type I32 = Expr<"i32">;
const cell = (pointer: I32, index: I32): I32 => add(pointer, shl(index, n(2)));

const BINS = 2048;
/** Every so many scores one is looked at. */
const STRIDE = 16;
/** Shorter lists are collected whole. */
const LEAST_SAMPLED = 2048;
const LOWEST = -0x80000000;

const MAGNITUDE = v128.const32(0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff);

/** Order-preserving whole numbers of four scores; adding 0 makes -0 equal to it. */
const keys = (score: Expr<"v128">, bits: Local<"v128">): Expr<"v128"> =>
  after(
    bits.set(f32x4.add(score, v128.const32(0, 0, 0, 0))),
    v128.xor(bits, v128.and(i32x4.shrs(bits, n(31)), MAGNITUDE)),
  );

/**
 * kth(keys, count, rank, counts): the key of that rank (1 = largest) of `count` keys, which are overwritten. The order
 * is that of signed numbers, so that the first digit is taken with its sign bit turned.
 */
function addKth(m: ModuleBuilder): FnRef<"i32"> {
  return m.func(
    "kth",
    { keys: "i32", count: "i32", rank: "i32", counts: "i32" } as const,
    (f) => {
      const { keys: list, count, rank, counts } = f.p;
      const [i, key, at, found, kept] = f.locals("i32", 5);
      /** `shift` of the digit, its number of bits, and what turns its sign bit */
      const digit = (shift: number, bits: number, turn: number): Stmt => {
        const of = i32.xor(i32.and(i32.shru(key, n(shift)), n(2 ** bits - 1)), n(turn));
        return seq(
          forRange(at, counts, add(counts, n(4 * 2 ** bits)), 16, v128.store(at, v128.const32(0, 0, 0, 0))),
          forRange(
            i,
            n(0),
            count,
            1,
            key.set(i32.load(cell(list, i))),
            at.set(cell(counts, of)),
            i32.store(at, add(i32.load(at), n(1))),
          ),
          // from the largest digit down to the one that holds the rank
          at.set(add(counts, n(4 * (2 ** bits - 1)))),
          whileLoop(i32.gt(rank, i32.load(at)), rank.set(sub(rank, i32.load(at))), at.set(sub(at, n(4)))),
          at.set(i32.shru(sub(at, counts), n(2))),
          found.set(i32.or(found, shl(i32.xor(at, n(turn)), n(shift)))),
          // the keys with this digit move together
          kept.set(n(0)),
          forRange(
            i,
            n(0),
            count,
            1,
            key.set(i32.load(cell(list, i))),
            i32.store(cell(list, kept), key),
            kept.set(add(kept, i32.eq(of, at))),
          ),
          count.set(kept),
        );
      };
      return [digit(21, 11, 1024), digit(10, 11, 0), digit(0, 10, 0), f.ret(found)];
    },
    "i32",
    false,
  );
}

/** collect(scores, n, least, keysOut, indices): the scores whose key is at least `least`, in order; returns how many. */
function addCollect(m: ModuleBuilder): FnRef<"i32"> {
  return m.func(
    "collect",
    { scores: "i32", n: "i32", least: "i32", keys: "i32", indices: "i32" } as const,
    (f) => {
      const { scores, least, keys: keysOut, indices } = f.p;
      const [i, mask, at, count] = f.locals("i32", 4);
      const [bits, bound, one] = f.locals("v128", 3);
      const four = f.locals("v128", 4);
      const load = (offset: number): Expr<"v128"> => v128.load(cell(scores, i), offset);
      const take = seq(
        i32.store(cell(indices, count), at),
        one.set(keys(v128.load32zero(cell(scores, at)), bits)),
        i32.store(cell(keysOut, count), i32x4.extract(one, 0)),
      );
      return [
        bound.set(i32x4.splat(least)),
        forRange(
          i,
          n(0),
          i32.and(f.p.n, n(-16)),
          16,
          ...four.map((v, q) => v.set(i32x4.ge(keys(load(16 * q), bits), bound))),
          mask.set(i8x16.bitmask(i8x16.narrowS(i16x8.narrowS(four[0], four[1]), i16x8.narrowS(four[2], four[3])))),
          whileLoop(
            mask,
            at.set(add(i, i32.ctz(mask))),
            take,
            count.set(add(count, n(1))),
            mask.set(i32.and(mask, sub(mask, n(1)))),
          ),
        ),
        forRange(at, i, f.p.n, 1, take, when(i32.ge(i32x4.extract(one, 0), least), count.set(add(count, n(1))))),
        f.ret(count),
      ];
    },
    "i32",
    false,
  );
}

function emitTop({ shared }: { readonly shared: boolean }): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const kth = addKth(m);
  const collect = addCollect(m);
  const top = m.func(
    "top",
    { scores: "i32", n: "i32", keep: "i32", indices: "i32", scratch: "i32" } as const,
    (f) => {
      const { scores, keep, indices, scratch } = f.p;
      const count = f.p.n;
      const [i, first, second, third, least, found, ties, rank, sampled, key, kept] = f.locals("i32", 11);
      const bits = f.local("v128");
      const one = f.local("v128");
      const sample = seq(
        sampled.set(i32.divu(count, n(STRIDE))),
        forRange(
          i,
          n(0),
          sampled,
          1,
          one.set(keys(v128.load32zero(add(scores, shl(i, n(2 + Math.log2(STRIDE))))), bits)),
          i32.store(cell(third, i), i32x4.extract(one, 0)),
        ),
        // the rank in the sample, and four times its spread more; sqrt(rank) by the power of two above it
        rank.set(add(i32.divu(keep, n(STRIDE)), n(1))),
        rank.set(add(rank, shl(n(4), i32.shru(sub(n(33), i32.clz(rank)), n(1))))),
        when(i32.lt(rank, sampled), least.set(kth.call(third, sampled, rank, scratch))),
      );
      return [
        when(i32.ge(keep, count), seq(forRange(i, n(0), count, 1, i32.store(cell(indices, i), i)), f.ret(count))),
        when(i32.le(keep, n(0)), f.ret(n(0))),
        first.set(add(scratch, n(4 * BINS))),
        second.set(cell(first, count)),
        third.set(cell(second, count)),
        least.set(n(LOWEST)),
        when(i32.ge(count, n(LEAST_SAMPLED)), sample),
        found.set(collect.call(scores, count, least, first, second)),
        when(i32.lt(found, keep), found.set(collect.call(scores, count, n(LOWEST), first, second))),
        // kth overwrites the keys it is given
        forRange(i, n(0), found, 1, i32.store(cell(third, i), i32.load(cell(first, i)))),
        least.set(kth.call(third, found, keep, scratch)),
        ties.set(keep),
        forRange(i, n(0), found, 1, ties.set(sub(ties, i32.gt(i32.load(cell(first, i)), least)))),
        forRange(
          i,
          n(0),
          found,
          1,
          key.set(i32.load(cell(first, i))),
          when(
            i32.ge(key, least),
            when(
              i32.or(i32.gt(key, least), i32.gt(ties, n(0))),
              seq(
                i32.store(cell(indices, kept), i32.load(cell(second, i))),
                kept.set(add(kept, n(1))),
                ties.set(sub(ties, i32.eq(key, least))),
              ),
            ),
          ),
        ),
        f.ret(kept),
      ];
    },
    "i32",
    false,
  );
  const params = {
    scores: "i32",
    stride: "i32",
    n: "i32",
    keep: "i32",
    indices: "i32",
    most: "i32",
    counts: "i32",
    scratch: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("rows", params, (f) => {
    const { scores, stride, keep, indices, most, counts, scratch, from, to } = f.p;
    const row = f.local("i32");
    return forRange(
      row,
      from,
      to,
      1,
      i32.store(
        cell(counts, row),
        top.call(
          cell(scores, i32.mul(row, stride)),
          f.p.n,
          keep,
          cell(indices, i32.mul(row, most)),
          add(scratch, i32.mul(row, add(n(4 * BINS), i32.mul(f.p.n, n(12))))),
        ),
      ),
    );
  });
  return m.bytes();
}

/** Scores of one kind: distinct, few different ones, sorted, a sample (every 16th) unlike the rest, or a last bit apart. */
function drawScores(draw: Draw, count: number): Float32Array {
  const scores = draw.floats(count, 10 ** draw.int(-20, 20));
  const kind = draw.int(0, 6);
  if (kind === 6) {
    const bits = new Int32Array(scores.buffer, scores.byteOffset, count);
    const base = [0x3f800000, 0x40490fdb, 1][draw.int(0, 2)];
    for (let i = 0; i < count; i++) bits[i] = (scores[i] < 0 ? -0x80000000 : 0) + base + (bits[i] & 7);
  }
  if (kind === 1) return scores.map((x) => Math.sign(x) * Math.round(Math.abs(x) * 2));
  if (kind === 2) scores.sort();
  if (kind === 3) scores.sort().reverse();
  if (kind === 4) return scores.map((x, i) => (i % 16 === 0 ? Math.abs(x) + 1 : x));
  if (kind === 5) return scores.map((x, i) => [x, -0, 0, Infinity, -Infinity][i % 5]);
  return scores;
}

const trial =
  (most: number) =>
  (draw: Draw, box: Sandbox): Comparison[] => {
    const rows = draw.int(1, 3);
    const count = draw.int(0, most);
    const stride = count + draw.int(0, 3);
    const keep = draw.int(0, 4) === 0 ? count + draw.int(0, 2) : draw.int(0, draw.int(0, 1) ? count : count >> 4);
    const room = Math.min(keep, count) + draw.int(0, 2);
    const scores = new Float32Array(rows * stride).fill(Number.NaN);
    const want = new Int32Array(rows * room);
    for (let r = 0; r < rows; r++) {
      const row = drawScores(draw, count);
      scores.set(row, r * stride);
      want.set(topPlain(row, keep), r * room);
    }
    const [indices, counts] = [box.room(4 * want.length), box.room(4 * rows)];
    const scratch = box.room(rows * topScratchBytes(count));
    const given = [box.put(scores), stride, count, keep, indices, room, counts, scratch];
    const cut = draw.int(0, rows);
    box.call("rows", ...given, cut, rows);
    box.call("rows", ...given, 0, cut);
    return [
      { what: "counts", got: box.i32(counts, rows), want: Array(rows).fill(Math.min(keep, count)), tolerance: 0 },
      { what: "indices", got: box.i32(indices, want.length), want, tolerance: 0 },
    ];
  };

export const topF32: Kernel = {
  name: "top-f32",
  family: "top",
  summary: "indices of the largest scores of each row, exactly, in rising order",
  functions: {
    rows: {
      params: ["scores", "stride", "n", "keep", "indices", "most", "counts", "scratch", "from", "to"],
      does:
        "indices (i32 [rows][most]) of the `keep` largest of each row's n scores, rising, of equal ones the lower first; rows " +
        "of scores are `stride` apart; counts (i32) gets keep, or n where that is less; scratch topScratchBytes(n) for " +
        "each row; units = rows",
    },
  },
  emit: emitTop,
  trials: [
    { name: "few scores", run: trial(60) },
    { name: "enough for a sample", run: trial(6000) },
  ],
};
