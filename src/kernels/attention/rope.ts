/**
 * Rotary position embedding (Su et al., 2021) in the pairing of Hugging Face's Llama: channel i of a head turns with
 * channel i + E/2. The angles come from tables made by `ropeTable`. Multiply-add is never fused here.
 */

import type { Draw, EmitOptions, Kernel, Sandbox, Trial } from "../kernel.ts";
import { type Expr, f32, f32x4, forRange, i32, ModuleBuilder, v128 } from "../wasm/asm.ts";
import { ropeTable } from "./rope-table.ts";
import { at } from "./tile.ts";

const c = i32.const;
const add = i32.add;

const PARAMS = {
  x: "i32",
  out: "i32",
  cos: "i32",
  sin: "i32",
  positions: "i32",
  heads: "i32",
  E: "i32",
  from: "i32",
  to: "i32",
} as const;

/** One of the two functions; the inverse turns by the negative angle. */
function addRotation(m: ModuleBuilder, name: string, inverse: boolean): void {
  m.func(name, PARAMS, (f) => {
    const { x, out, cos, sin, positions, heads, E, from, to } = f.p;
    const [t, h, i, half, wide, low, high, cell, cosRow, sinRow, source, target] = f.locals("i32", 12);
    const [a, b, cv, sv] = f.locals("v128", 4);
    const [a1, b1, c1, s1] = f.locals("f32", 4);
    const sumV = inverse ? f32x4.sub : f32x4.add;
    const differenceV = inverse ? f32x4.add : f32x4.sub;
    const sum = inverse ? f32.sub : f32.add;
    const difference = inverse ? f32.add : f32.sub;
    const place = (base: Expr<"i32">, offset: Expr<"i32">): Expr<"i32"> => add(base, offset);
    return [
      half.set(i32.shl(E, c(1))), // bytes
      wide.set(i32.and(half, c(-16))),
      forRange(
        t,
        from,
        to,
        1,
        i.set(i32.mul(i32.load(at(positions, t, c(4))), half)),
        cosRow.set(add(cos, i)),
        sinRow.set(add(sin, i)),
        forRange(
          h,
          c(0),
          heads,
          1,
          cell.set(i32.mul(add(i32.mul(t, heads), h), i32.shl(E, c(2)))),
          source.set(add(x, cell)),
          target.set(add(out, cell)),
          forRange(
            i,
            c(0),
            wide,
            16,
            low.set(place(source, i)),
            high.set(add(low, half)),
            a.set(v128.load(low)),
            b.set(v128.load(high)),
            cv.set(v128.load(place(cosRow, i))),
            sv.set(v128.load(place(sinRow, i))),
            low.set(place(target, i)),
            v128.store(low, differenceV(f32x4.mul(a, cv), f32x4.mul(b, sv))),
            v128.store(add(low, half), sumV(f32x4.mul(b, cv), f32x4.mul(a, sv))),
          ),
          // a width that is no multiple of 8 leaves two pairs
          forRange(
            i,
            wide,
            half,
            4,
            low.set(place(source, i)),
            high.set(add(low, half)),
            a1.set(f32.load(low)),
            b1.set(f32.load(high)),
            c1.set(f32.load(place(cosRow, i))),
            s1.set(f32.load(place(sinRow, i))),
            low.set(place(target, i)),
            f32.store(low, difference(f32.mul(a1, c1), f32.mul(b1, s1))),
            f32.store(add(low, half), sum(f32.mul(b1, c1), f32.mul(a1, s1))),
          ),
        ),
      ),
    ];
  });
}

/** x [T, heads*E] turned by the tables' angles, or back. */
export function ropeTwin(
  x: ArrayLike<number>,
  table: { readonly cos: ArrayLike<number>; readonly sin: ArrayLike<number> },
  positions: ArrayLike<number>,
  heads: number,
  E: number,
  inverse: boolean,
): Float64Array {
  const out = new Float64Array(x.length);
  const half = E / 2;
  for (let t = 0; t < positions.length; t++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < half; i++) {
        const low = (t * heads + h) * E + i;
        const cos = table.cos[positions[t] * half + i];
        const sin = table.sin[positions[t] * half + i] * (inverse ? -1 : 1);
        out[low] = x[low] * cos - x[low + half] * sin;
        out[low + half] = x[low + half] * cos + x[low] * sin;
      }
    }
  }
  return out;
}

const TABLE_POSITIONS = 64;

const rotation = (fn: "apply" | "applyInverse", inPlace: boolean): Trial => ({
  name: `${fn}${inPlace ? " in place" : ""}`,
  run(draw: Draw, box: Sandbox) {
    const [T, heads, E] = [draw.int(1, 9), draw.int(1, 5), 4 * draw.int(1, 16)];
    const x = draw.floats(T * heads * E);
    const positions = Int32Array.from({ length: T }, () => draw.int(0, TABLE_POSITIONS - 1));
    const table = ropeTable(E, 10000, TABLE_POSITIONS);
    const source = box.put(x);
    const out = inPlace ? source : box.room(4 * x.length);
    const args = [source, out, box.put(table.cos), box.put(table.sin), box.put(positions), heads, E];
    const cut = draw.int(0, T);
    box.call(fn, ...args, 0, cut);
    box.call(fn, ...args, cut, T);
    // Two products and a sum of values below 1.7: three roundings of at most 2.4 eps each.
    const want = ropeTwin(x, table, positions, heads, E, fn === "applyInverse");
    return [{ what: "out", got: box.f32(out, x.length), want, tolerance: 8 * 2 ** -24 }];
  },
});

export const ropeKernel: Kernel = {
  name: "rope-f32",
  family: "attention",
  summary: "rotary position embedding, pairs (i, i + E/2), and its inverse",
  functions: {
    apply: {
      params: Object.keys(PARAMS),
      does:
        "x, out [T, heads*E], may be the same; cos, sin [positions, E/2]; positions i32 [T] picks the row of the " +
        "tables; units = tokens",
    },
    applyInverse: { params: Object.keys(PARAMS), does: "rotation by the negative angle: the backward of apply" },
  },
  emit({ shared }: EmitOptions) {
    const m = new ModuleBuilder({ shared });
    addRotation(m, "apply", false);
    addRotation(m, "applyInverse", true);
    return m.bytes();
  },
  trials: [
    rotation("apply", false),
    rotation("apply", true),
    rotation("applyInverse", false),
    rotation("applyInverse", true),
  ],
};
