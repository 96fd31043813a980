/**
 * Attention of one new token over chosen rows of its cache: Double Sparsity (Yang et al., 2024), and any method that
 * names the tokens itself.
 *
 * The label cache holds C channels of each key, channel by channel, so that all tokens are ranked by reading C/E of the
 * keys: `label` fills it, `rank` gives the approximate scores, `top-f32` chooses, `attend` is exact attention over what was
 * chosen. A list belongs to one query head or to several that share a KV head: L lists, K <= L <= H, each K a divisor of
 * L and L one of H. For several heads `rank` adds their scores up. Which channels are good is for calibration to say.
 *
 * Ladder, one head, 65,536 tokens, a sixteenth of them, E = 64, C = 4, caches cold: full 1810 us; rank 21, top 55 to 129,
 * attend 275 (rows asked for in blocks, see decode-parts.ts), together 364.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import { brIf, f32, f32x4, forRange, i32, label, loop, ModuleBuilder, madd, v128, when } from "../wasm/asm.ts";
import { addAttend } from "./decode-parts.ts";
import { sparseTrials } from "./sparse-trials.ts";
import { at, up4 } from "./tile.ts";

const c = i32.const;
const add = i32.add;
const mul = i32.mul;
const words = (count: Parameters<typeof i32.shl>[0]) => i32.shl(count, c(2));

/** Tokens ranked together: four vectors. */
const TOKENS = 16;

function addLabel(m: ModuleBuilder): void {
  const params = {
    k: "i32",
    labels: "i32",
    channels: "i32",
    position: "i32",
    count: "i32",
    capacity: "i32",
    K: "i32",
    L: "i32",
    C: "i32",
    E: "i32",
  } as const;
  m.func("label", params, (f) => {
    const { k, labels, channels, position, count, capacity, K, L, C, E } = f.p;
    const [i, t, source, target] = f.locals("i32", 4);
    return forRange(
      i,
      c(0),
      mul(L, C),
      1,
      // the row of the first token's key, in the list's KV head
      source.set(add(k, words(add(mul(i32.divu(mul(i32.divu(i, C), K), L), E), i32.load(at(channels, i, c(4))))))),
      target.set(add(labels, words(add(mul(i, capacity), position)))),
      forRange(
        t,
        c(0),
        count,
        1,
        f32.store(target, f32.load(source)),
        source.set(add(source, words(mul(K, E)))),
        target.set(add(target, c(4))),
      ),
    );
  });
}

function addRank(m: ModuleBuilder, fused: boolean): void {
  const params = {
    q: "i32",
    labels: "i32",
    channels: "i32",
    scores: "i32",
    stride: "i32",
    length: "i32",
    capacity: "i32",
    H: "i32",
    L: "i32",
    C: "i32",
    E: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("rank", params, (f) => {
    const { q, labels, channels, scores, stride, length, capacity, H, L, C, E, from, to } = f.p;
    const [list, ch, h, t, source, target, rowBytes, left, weights] = f.locals("i32", 9);
    const sum = f.local("f32");
    const acc = f.locals("v128", TOKENS / 4);
    const x = f.local("v128");
    const again = label("channels");
    // The list's query in its channels stands for a moment where its scores will be; C is at most the width of a head.
    return forRange(
      list,
      from,
      to,
      1,
      rowBytes.set(words(capacity)),
      target.set(add(scores, words(mul(list, stride)))),
      weights.set(add(target, words(up4(length)))),
      forRange(
        ch,
        c(0),
        C,
        1,
        sum.set(f32.const(0)),
        forRange(
          h,
          i32.divu(mul(list, H), L),
          i32.divu(mul(add(list, c(1)), H), L),
          1,
          sum.set(
            f32.add(sum, f32.load(add(q, words(add(mul(h, E), i32.load(at(channels, add(mul(list, C), ch), c(4)))))))),
          ),
        ),
        f32.store(at(weights, ch, c(4)), sum),
      ),
      forRange(
        t,
        c(0),
        i32.and(length, c(-TOKENS)),
        TOKENS,
        source.set(add(labels, words(add(mul(mul(list, C), capacity), t)))),
        ...acc.map((a) => a.set(v128.const32(0, 0, 0, 0))),
        ch.set(weights),
        left.set(C),
        loop(
          again,
          x.set(v128.load32splat(ch)),
          ...acc.map((a, i) => a.set(madd(fused, v128.load(source, 16 * i), x, a))),
          source.set(add(source, rowBytes)),
          ch.set(add(ch, c(4))),
          brIf(again, left.tee(i32.sub(left, c(1)))),
        ),
        ...acc.map((a, i) => v128.store(add(target, words(t)), a, 16 * i)),
      ),
      forRange(
        t,
        t,
        length,
        1,
        source.set(add(labels, words(add(mul(mul(list, C), capacity), t)))),
        x.set(v128.const32(0, 0, 0, 0)),
        forRange(
          ch,
          c(0),
          C,
          1,
          x.set(madd(fused, v128.load32zero(source), v128.load32zero(at(weights, ch, c(4))), x)),
          source.set(add(source, rowBytes)),
        ),
        f32.store(add(target, words(t)), f32x4.extract(x, 0)),
      ),
    );
  });
}

function addAttendLists(m: ModuleBuilder, fused: boolean): void {
  const attend = addAttend(m, fused, "listed");
  const params = {
    q: "i32",
    kCache: "i32",
    vCache: "i32",
    lists: "i32",
    counts: "i32",
    most: "i32",
    out: "i32",
    scratch: "i32",
    capacity: "i32",
    H: "i32",
    K: "i32",
    L: "i32",
    E: "i32",
    scale: "f32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("attend", params, (f) => {
    const { q, kCache, vCache, lists, counts, most, out, scratch, capacity, H, K, L, E, scale, from, to } = f.p;
    const [list, G, rowBytes, base, qBase, count, sums, j] = f.locals("i32", 8);
    return [
      G.set(i32.divu(H, L)),
      rowBytes.set(words(up4(most))),
      forRange(
        list,
        from,
        to,
        1,
        base.set(words(mul(mul(i32.divu(mul(list, K), L), capacity), E))),
        qBase.set(words(mul(list, mul(G, E)))),
        count.set(i32.load(at(counts, list, c(4)))),
        sums.set(add(at(scratch, H, rowBytes), words(mul(list, G)))),
        when(
          count,
          attend.call(
            add(q, qBase),
            add(kCache, base),
            add(vCache, base),
            add(lists, words(mul(list, most))),
            add(out, qBase),
            count,
            at(scratch, list, mul(G, rowBytes)),
            rowBytes,
            sums,
            add(at(scratch, H, rowBytes), words(add(H, list))),
            G,
            E,
            scale,
          ),
          forRange(j, c(0), mul(G, E), 4, v128.store(add(add(out, qBase), words(j)), v128.const32(0, 0, 0, 0))),
        ),
      ),
    ];
  });
}

const LISTS = "L lists, K a divisor of L and L of H";

export const attentionSparse: Kernel = {
  name: "attention-sparse-f32",
  family: "attention",
  summary: "attention of one token over listed rows of a cache [K][capacity][E], and the labels that rank the rows",
  functions: {
    label: {
      params: ["k", "labels", "channels", "position", "count", "capacity", "K", "L", "C", "E"],
      does:
        "labels [L][C][capacity] at `position` and after: the channels (i32 [L][C]) of the keys k [count, K*E]; " +
        LISTS,
    },
    rank: {
      params: [
        ...["q", "labels", "channels", "scores", "stride", "length", "capacity", "H", "L", "C", "E"],
        ...["from", "to"],
      ],
      does:
        "scores[l][t < length] = the sum over the heads of list l and its channels of q times label; rows of scores are " +
        "`stride` apart, at least length rounded up to 4, plus C; units = lists",
    },
    attend: {
      params: [
        ...[
          "q",
          "kCache",
          "vCache",
          "lists",
          "counts",
          "most",
          "out",
          "scratch",
          "capacity",
          "H",
          "K",
          "L",
          "E",
          "scale",
        ],
        ...["from", "to"],
      ],
      does:
        "q, out [H*E]: attention over the rows that list l (i32 [L][most], counts[l] of them) names, in its KV head; an " +
        `empty list gives 0; scratch sparseScratchBytes(most, H); ${LISTS}; units = lists`,
    },
  },
  emit({ shared, fused }: EmitOptions) {
    const m = new ModuleBuilder({ shared });
    addLabel(m);
    addRank(m, fused);
    addAttendLists(m, fused);
    return m.bytes();
  },
  trials: sparseTrials,
};
