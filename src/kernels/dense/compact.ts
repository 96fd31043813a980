/**
 * The entries of a vector that are worth multiplying with: their indices and values, in rising order.
 *
 * An entry is active when it is not zero and its size is not below the threshold (one for all, or one for each); NaN is
 * active. Branch-free: every entry is written, and the write position moves on where it was active, so that both lists
 * need room for all entries, whatever the count.
 */

import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import { type Expr, f32, forRange, i32, ModuleBuilder } from "../wasm/asm.ts";

const { add, shl } = i32;
const n = i32.const;
const cell = (pointer: Expr<"i32">, index: Expr<"i32">): Expr<"i32"> => add(pointer, shl(index, n(2)));

function emitCompact({ shared }: { readonly shared: boolean }): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  for (const each of [false, true]) {
    const params = {
      x: "i32",
      threshold: each ? "i32" : "f32",
      n: "i32",
      list: "i32",
      values: "i32",
    } as const;
    m.func(
      each ? "compactEach" : "compact",
      params,
      (f) => {
        const [k, count] = f.locals("i32", 2);
        const v = f.local("f32");
        const limit = (each ? f32.load(cell(f.p.threshold as Expr<"i32">, k)) : f.p.threshold) as Expr<"f32">;
        const active = i32.and(f32.ne(v, f32.const(0)), i32.eqz(f32.lt(f32.abs(v), limit)));
        return [
          forRange(
            k,
            n(0),
            f.p.n,
            1,
            v.set(f32.load(cell(f.p.x, k))),
            i32.store(cell(f.p.list, count), k),
            f32.store(cell(f.p.values, count), v),
            count.set(add(count, active)),
          ),
          f.ret(count),
        ];
      },
      "i32",
    );
  }
  m.func("gather", { x: "i32", list: "i32", count: "i32", values: "i32" } as const, (f) => {
    const i = f.local("i32");
    const value = f32.load(cell(f.p.x, i32.load(cell(f.p.list, i))));
    return forRange(i, n(0), f.p.count, 1, f32.store(cell(f.p.values, i), value));
  });
  return m.bytes();
}

/** Plain twin: indices of the active entries. */
export function activePlain(x: Float32Array, threshold: (k: number) => number): number[] {
  return [...x.keys()].filter((k) => x[k] !== 0 && !(Math.abs(x[k]) < threshold(k)));
}

function trial(draw: Draw, box: Sandbox): Comparison[] {
  const count = draw.int(0, 60);
  const x = draw.floats(count);
  if (count > 0 && draw.int(0, 3) === 0) x[draw.int(0, count - 1)] = Number.NaN;
  const thresholds = draw.floats(count).map(Math.abs);
  // often exactly an entry, which is then active
  const one = draw.int(0, 2) === 0 || count === 0 ? 0 : Math.fround(Math.abs(x[draw.int(0, count - 1)]) || 0.5);
  const xs = box.put(x);
  const compare = (what: string, list: number, values: number, found: number, want: number[]): Comparison[] => [
    { what: `${what}: count`, got: [found], want: [want.length], tolerance: 0 },
    { what: `${what}: list`, got: box.i32(list, want.length), want, tolerance: 0 },
    { what: `${what}: values`, got: box.f32(values, want.length), want: want.map((k) => x[k]), tolerance: 0 },
  ];
  const room = (): number => box.room(4 * count);
  const [a, b, c, d, e] = [room(), room(), room(), room(), room()];
  const all = activePlain(x, () => one);
  const each = activePlain(x, (k) => thresholds[k]);
  const foundAll = box.call("compact", xs, one, count, a, b);
  const foundEach = box.call("compactEach", xs, box.put(thresholds), count, c, d);
  box.call("gather", xs, a, all.length, e);
  return [
    ...compare("compact", a, b, foundAll, all),
    ...compare("compactEach", c, d, foundEach, each),
    { what: "gather", got: box.f32(e, all.length), want: all.map((k) => x[k]), tolerance: 0 },
  ];
}

const lists = "list (i32) and values need room for n entries";

export const compactF32: Kernel = {
  name: "compact-f32",
  family: "dense",
  summary: "Indices and values of a vector's entries that are not zero and not below a threshold",
  functions: {
    compact: {
      params: ["x", "threshold", "n", "list", "values"],
      does: `returns how many of x[n] are active (not 0, |x| not below the threshold) and lists them in order; ${lists}`,
    },
    compactEach: {
      params: ["x", "thresholds", "n", "list", "values"],
      does: "the same with a threshold for each entry, f32 [n]",
    },
    gather: { params: ["x", "list", "count", "values"], does: "values[i] = x[list[i]]" },
  },
  emit: emitCompact,
  trials: [{ name: "active entries", run: trial }],
};
