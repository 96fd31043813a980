/**
 * Quantising weights into a layout and writing out the weights that a layout stands for, as functions of a kernel module.
 *
 * Both walk block by block of outputs, group by group, output by output. Where things lie is the layout's affair
 * (`Places`); scales, zero points and codes are those of `quantisePlain`, bit for bit.
 */

import {
  type Expr,
  f32,
  forRange,
  i32,
  type Local,
  type ModuleBuilder,
  type Stmt,
  select,
  seq,
  when,
} from "../wasm/asm.ts";
import { bitsOf, hasZeros, type QuantType } from "./format.ts";
import { PANEL } from "./panel.ts";

const { add, mul, shl, sub } = i32;
const n = i32.const;
type I32 = Expr<"i32">;

/** Where the parts of a group of a block of outputs lie; `base` is made by `begin`. */
export interface Places {
  /** outputs of a block */
  readonly lanes: number;
  /** address of group g of block b */
  begin(packed: I32, b: I32, g: I32, groups: I32, group: I32, wide: I32): I32;
  scale(base: I32, lane: I32, b: I32): I32;
  zero(base: I32, lane: I32, b: I32, wide: I32): I32;
  /** the byte of the code of input i of the group */
  code(base: I32, i: I32, lane: I32, b: I32, wide: I32): I32;
  /** 4 where a code of 4 bits is in the upper half of its byte; the lower half's output comes first */
  upper(lane: I32): I32;
}

const headBytes = (type: QuantType, wide: I32): I32 => mul(wide, n(hasZeros(type) ? 5 : 4));

/** Panels of 16 outputs, see panel.ts. */
export function panelPlaces(type: QuantType): Places {
  const small = bitsOf(type) === 4;
  const wide = n(PANEL);
  const pair = small ? PANEL : 2 * PANEL;
  return {
    lanes: PANEL,
    begin: (packed, b, g, groups, group) =>
      add(packed, mul(add(mul(b, groups), g), add(headBytes(type, wide), mul(group, n(pair / 2))))),
    scale: (base, lane) => add(base, shl(lane, n(2))),
    zero: (base, lane) => add(add(base, lane), n(4 * PANEL)),
    code: (base, i, lane) => {
      const at = add(add(base, headBytes(type, wide)), mul(i32.shru(i, n(1)), n(pair)));
      const parity = i32.and(i, n(1));
      return small
        ? add(add(at, add(shl(i32.and(lane, n(3)), n(2)), shl(parity, n(1)))), i32.shru(lane, n(3)))
        : add(at, add(shl(lane, n(1)), parity));
    },
    upper: (lane) => i32.and(lane, n(4)),
  };
}

/** Input by input over all outputs, see byinput-plain.ts. */
export function byInputPlaces(type: QuantType): Places {
  const small = bitsOf(type) === 4;
  const rowBytes = (wide: I32): I32 => (small ? i32.shru(wide, n(1)) : wide);
  return {
    lanes: 32,
    begin: (packed, _, g, __, group, wide) =>
      add(packed, mul(g, add(headBytes(type, wide), mul(group, rowBytes(wide))))),
    scale: (base, lane, b) => add(base, shl(add(shl(b, n(5)), lane), n(2))),
    zero: (base, lane, b, wide) => add(add(base, shl(wide, n(2))), add(shl(b, n(5)), lane)),
    code: (base, i, lane, b, wide) => {
      const row = add(add(base, headBytes(type, wide)), mul(i, rowBytes(wide)));
      if (!small) return add(row, add(shl(b, n(5)), lane));
      const word = i32.or(i32.and(i32.shru(lane, n(2)), n(4)), i32.and(lane, n(3)));
      return add(row, add(shl(b, n(4)), add(shl(word, n(1)), i32.and(i32.shru(lane, n(3)), n(1)))));
    },
    upper: (lane) => i32.and(lane, n(4)),
  };
}

const CODE_PARAMS = { out: "i32", in: "i32", group: "i32", from: "i32", to: "i32" } as const;

/** Adds `quantise` and `expand`. */
export function emitCodes(m: ModuleBuilder, type: QuantType, places: Places): void {
  addQuantise(m, type, places);
  addExpand(m, type, places);
}

interface Walk {
  readonly b: Local<"i32">;
  readonly g: Local<"i32">;
  readonly lane: Local<"i32">;
  readonly o: Local<"i32">;
  readonly base: Local<"i32">;
  readonly wide: Local<"i32">;
  readonly groups: Local<"i32">;
  /** inputs of the output that the group has; 0 for outputs beyond the last */
  readonly count: Local<"i32">;
}

const walkLocals = (make: (type: "i32", count: number) => Local<"i32">[]): Walk => {
  const [b, g, lane, o, base, wide, groups, count] = make("i32", 8);
  return { b, g, lane, o, base, wide, groups, count };
};

/** `each` for every group of every output of the blocks from..to. */
function walk(
  { b, g, lane, o, base, wide, groups, count }: Walk,
  p: Readonly<Record<"out" | "in" | "group" | "from" | "to", Local<"i32">>>,
  packed: I32,
  places: Places,
  ...each: Stmt[]
): Stmt {
  return seq(
    groups.set(i32.divu(sub(add(p.in, p.group), n(1)), p.group)),
    wide.set(mul(i32.divu(add(p.out, n(places.lanes - 1)), n(places.lanes)), n(places.lanes))),
    forRange(
      b,
      p.from,
      p.to,
      1,
      forRange(
        g,
        n(0),
        groups,
        1,
        base.set(places.begin(packed, b, g, groups, p.group, wide)),
        forRange(
          lane,
          n(0),
          n(places.lanes),
          1,
          o.set(add(mul(b, n(places.lanes)), lane)),
          count.set(sub(p.in, mul(g, p.group))),
          when(i32.gt(count, p.group), count.set(p.group)),
          when(i32.ge(o, p.out), count.set(n(0))),
          ...each,
        ),
      ),
    ),
  );
}

function addQuantise(m: ModuleBuilder, type: QuantType, places: Places): void {
  const small = bitsOf(type) === 4;
  const top = 2 ** bitsOf(type) - 1;
  m.func("quantise", { w: "i32", ldw: "i32", packed: "i32", ...CODE_PARAMS } as const, ({ p, locals }) => {
    const at = walkLocals(locals);
    const { b, g, lane, o, base, wide, count } = at;
    const [i, source, cell, code] = locals("i32", 4);
    const [low, high, scale, zero, value] = locals("f32", 5);
    const extremes = seq(
      low.set(f32.const(0)),
      high.set(f32.const(0)),
      forRange(
        i,
        n(0),
        count,
        1,
        value.set(f32.load(add(source, shl(i, n(2))))),
        low.set(f32.min(low, value)),
        high.set(f32.max(high, value)),
      ),
    );
    const isScale = f32.gt(scale, f32.const(0));
    const symmetric = seq(
      scale.set(f32.div(f32.max(high, f32.neg(low)), f32.const(top / 2))),
      zero.set(f32.const((top + 1) / 2)),
    );
    const spread = seq(
      scale.set(f32.div(f32.sub(high, low), f32.const(top))),
      zero.set(select(f32.min(f32.const(top), f32.nearest(f32.div(f32.neg(low), scale))), f32.const(0), isScale)),
      // outputs beyond the last are as groups of zeros, but for a zero point in the middle
      when(i32.ge(o, p.out), zero.set(f32.const((top + 1) / 2))),
    );
    const clamped = f32.min(f32.const(top), f32.max(f32.const(0), f32.add(f32.nearest(f32.div(value, scale)), zero)));
    const store = small
      ? when(places.upper(lane), i32.store8(cell, i32.or(i32.load8u(cell), shl(code, n(4)))), i32.store8(cell, code))
      : i32.store8(cell, sub(code, n(128)));
    return walk(
      at,
      p,
      p.packed,
      places,
      source.set(add(p.w, shl(add(mul(o, p.ldw), mul(g, p.group)), n(2)))),
      extremes,
      hasZeros(type) ? spread : symmetric,
      when(i32.eqz(isScale), scale.set(f32.const(1))),
      f32.store(places.scale(base, lane, b), scale),
      ...(hasZeros(type)
        ? [i32.store8(places.zero(base, lane, b, wide), sub(i32.truncSatF32(zero), n(small ? 0 : 128)))]
        : []),
      forRange(
        i,
        n(0),
        p.group,
        1,
        value.set(f32.const(0)),
        when(i32.lt(i, count), value.set(f32.load(add(source, shl(i, n(2)))))),
        code.set(i32.truncSatF32(clamped)),
        cell.set(places.code(base, i, lane, b, wide)),
        store,
      ),
    );
  });
}

function addExpand(m: ModuleBuilder, type: QuantType, places: Places): void {
  const small = bitsOf(type) === 4;
  m.func("expand", { packed: "i32", w: "i32", ldw: "i32", ...CODE_PARAMS } as const, ({ p, locals, local }) => {
    const at = walkLocals(locals);
    const { b, g, lane, o, base, wide, count } = at;
    const [i, target, zero, cell] = locals("i32", 4);
    const scale = local("f32");
    const zeroAt = places.zero(base, lane, b, wide);
    const code = small ? i32.and(i32.shru(i32.load8u(cell), places.upper(lane)), n(15)) : i32.load8s(cell);
    return walk(
      at,
      p,
      p.packed,
      places,
      target.set(add(p.w, shl(add(mul(o, p.ldw), mul(g, p.group)), n(2)))),
      scale.set(f32.load(places.scale(base, lane, b))),
      zero.set(hasZeros(type) ? (small ? i32.load8u(zeroAt) : i32.load8s(zeroAt)) : n(small ? 8 : 0)),
      forRange(
        i,
        n(0),
        count,
        1,
        cell.set(places.code(base, i, lane, b, wide)),
        f32.store(add(target, shl(i, n(2))), f32.mul(scale, f32.convertI32s(sub(code, zero)))),
      ),
    );
  });
}

/** What `emitCodes` exports, for the kernel's description. */
export const codeFunctions = (bytes: string, units: string) => ({
  quantise: {
    params: ["w", "ldw", "packed", "out", "in", "group", "from", "to"],
    does: `W[out, in], row-major f32 with a row stride in elements, quantised into ${bytes}; ${units}`,
  },
  expand: {
    params: ["packed", "w", "ldw", "out", "in", "group", "from", "to"],
    does: `the W[out, in] that packed stands for, row-major f32; ${units}`,
  },
});
