/**
 * Dense attention of one new token against a key and value cache, and the writing of that cache.
 *
 * Caches are [K][capacity][E]: the rows of one KV head lie together, so that a step streams through them. The H/K
 * query heads that share a KV head are handled together, so each row is fetched from memory once. All scores are
 * computed first and the maximum is subtracted, as in `attention-prefill-f32`.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import { forRange, i32, ModuleBuilder, v128 } from "../wasm/asm.ts";
import { addAttend } from "./decode-parts.ts";
import { decodeTrials } from "./decode-trials.ts";
import { at, up4 } from "./tile.ts";

const c = i32.const;
const add = i32.add;

function addForward(m: ModuleBuilder, fused: boolean): void {
  const attend = addAttend(m, fused, "first");
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
    const [unit, G, rowBytes, base, qBase, sums] = f.locals("i32", 6);
    return [
      G.set(i32.divu(H, K)),
      rowBytes.set(i32.shl(up4(length), c(2))),
      forRange(
        unit,
        from,
        to,
        1,
        base.set(i32.shl(i32.mul(i32.mul(unit, capacity), E), c(2))),
        qBase.set(i32.shl(i32.mul(unit, i32.mul(G, E)), c(2))),
        // the sums wait behind the H rows of scores
        sums.set(add(at(scratch, H, rowBytes), i32.shl(i32.mul(unit, G), c(2)))),
        attend.call(
          add(q, qBase),
          add(kCache, base),
          add(vCache, base),
          c(0),
          add(out, qBase),
          length,
          at(scratch, unit, i32.mul(G, rowBytes)),
          rowBytes,
          sums,
          sums,
          G,
          E,
          scale,
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
