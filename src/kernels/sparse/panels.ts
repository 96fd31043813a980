/**
 * What the sparse x dense kernels share: packed activations, and the drivers that split the work.
 *
 * X[T, in] is copied into panels [ceil(T / width)][in][width]; the last panel has the width of its tokens rounded up
 * to 4, and lanes beyond the last token repeat that token and are never written. A strip function multiplies one
 * panel by the groups `from` .. `to` (four outputs each) and writes Y[T, out] in place.
 */

import type { KernelFunction } from "../kernel.ts";
import {
  type Expr,
  type FnRef,
  forRange,
  i32,
  type Local,
  type ModuleBuilder,
  type Stmt,
  select,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";

export type I32 = Expr<"i32">;
export const c = i32.const;
export const add = i32.add;
export const zero = v128.const32(0, 0, 0, 0);
/** pointer + (index << shift) */
export const at = (pointer: I32, index: I32, shift: number): I32 => add(pointer, i32.shl(index, c(shift)));
export const min = (a: I32, b: I32): I32 => select(a, b, i32.lt(a, b));
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Parameters of a function, all i32; a record because the assembler names them. */
export type Names = Readonly<Record<string, "i32">>;
export const names = (list: readonly string[]): Names => Object.fromEntries(list.map((name) => [name, "i32" as const]));

/** Parameters of a strip after the operands of its format. */
export const STRIP = ["panel", "y", "tokens", "out", "from", "to"] as const;
/** Where a driver writes, and how much. */
const OUTPUT = ["y", "T", "out"] as const;

/** `t` becomes half of the transpose of `r`; returns its four rows. */
export function transposed(
  r: readonly Expr<"v128">[],
  t: readonly Local<"v128">[],
): { readonly first: Stmt; readonly rows: Expr<"v128">[] } {
  const first = seq(
    t[0].set(v128.shuffle32(r[0], r[1], [0, 4, 1, 5])),
    t[1].set(v128.shuffle32(r[2], r[3], [0, 4, 1, 5])),
    t[2].set(v128.shuffle32(r[0], r[1], [2, 6, 3, 7])),
    t[3].set(v128.shuffle32(r[2], r[3], [2, 6, 3, 7])),
  );
  const rows = [
    v128.shuffle32(t[0], t[1], [0, 1, 4, 5]),
    v128.shuffle32(t[0], t[1], [2, 3, 6, 7]),
    v128.shuffle32(t[2], t[3], [0, 1, 4, 5]),
    v128.shuffle32(t[2], t[3], [2, 3, 6, 7]),
  ];
  return { first, rows };
}

/** Stores the first `left` lanes of `value` (all four when left >= 4). */
export const storeLanes = (address: I32, value: Local<"v128">, left: I32): Stmt =>
  when(
    i32.ge(left, c(4)),
    v128.store(address, value),
    seq(
      v128.store32(address, value),
      ...[1, 2].map((lane) => when(i32.gt(left, c(lane)), v128.store32(address, value, 4 * lane, lane))),
    ),
  );

/** Adds `pack` and an inner function that packs the one panel `p` of X to `target`. */
function addPack(m: ModuleBuilder, width: number): FnRef<"void"> {
  const one = m.func(
    "packOne",
    { x: "i32", target: "i32", T: "i32", in: "i32", p: "i32" } as const,
    (f) => {
      const { x, T, p } = f.p;
      const columns = f.p.in;
      const [token, k, bytes, target, wide] = f.locals("i32", 5);
      const row = f.locals("i32", 4);
      const r = f.locals("v128", 4);
      const t = f.locals("v128", 4);
      const { first, rows } = transposed(r, t);
      const last = i32.sub(T, c(1));
      return [
        token.set(i32.mul(p, c(width))),
        // bytes of one column of this panel
        wide.set(i32.shl(min(c(width), i32.and(add(i32.sub(T, token), c(3)), c(-4))), c(2))),
        forRange(
          bytes,
          c(0),
          wide,
          16,
          ...row.map((pointer, i) =>
            pointer.set(
              add(x, i32.shl(i32.mul(min(add(token, add(i32.shru(bytes, c(2)), c(i))), last), columns), c(2))),
            ),
          ),
          target.set(add(f.p.target, bytes)),
          forRange(
            k,
            c(4),
            add(columns, c(1)),
            4,
            ...r.map((v, i) => v.set(v128.load(row[i]))),
            first,
            ...rows.flatMap((v) => [v128.store(target, v), target.set(add(target, wide))]),
            ...row.map((pointer) => pointer.set(add(pointer, c(16)))),
          ),
          forRange(
            k,
            i32.and(columns, c(-4)),
            columns,
            1,
            ...row.map((pointer, i) => i32.store(target, i32.load(pointer), 4 * i)),
            target.set(add(target, wide)),
            ...row.map((pointer) => pointer.set(add(pointer, c(4)))),
          ),
        ),
      ];
    },
    "void",
    false,
  );
  m.func("pack", { x: "i32", packed: "i32", T: "i32", in: "i32", from: "i32", to: "i32" } as const, (f) => {
    const { x, packed, T, from, to } = f.p;
    const p = f.local("i32");
    return forRange(p, from, to, 1, one.call(x, add(packed, i32.mul(i32.mul(p, f.p.in), c(4 * width))), T, f.p.in, p));
  });
  return one;
}

/**
 * Adds the drivers around the strips of one format. `strips[i]` handles 4 (i + 1) tokens, so the last one is the full
 * panel. `byPanels` and `byRows` take packed activations; `packByPanels` and `packByRows` pack a panel where they use it,
 * into room of their own share of the work: a panel that one core packed and another reads costs both more than packing
 * it twice. All give the same bits however they are split.
 */
export function addDrivers(m: ModuleBuilder, operands: readonly string[], strips: readonly FnRef<"void">[]): void {
  const width = 4 * strips.length;
  const packOne = addPack(m, width);
  /** the groups `from` .. `to` of panel `p`, which is packed at `panel` */
  const one = m.func(
    "one",
    names([...operands, "panel", ...OUTPUT, "p", "from", "to"]),
    (f) => {
      const { panel, y, T, out, p, from, to } = f.p;
      const [token, tokens] = f.locals("i32", 2);
      const given = operands.map((name) => f.p[name]);
      const run = (strip: FnRef<"void">): Stmt =>
        strip.call(...given, panel, add(y, i32.shl(i32.mul(token, out), c(2))), tokens, out, from, to);
      const choose = (i: number): Stmt =>
        i === strips.length - 1 ? run(strips[i]) : when(i32.le(tokens, c(4 * (i + 1))), run(strips[i]), choose(i + 1));
      return [token.set(i32.mul(p, c(width))), tokens.set(min(c(width), i32.sub(T, token))), choose(0)];
    },
    "void",
    false,
  );
  const panelBytes = (lines: I32): I32 => i32.mul(lines, c(4 * width));
  const driver = (name: string, packs: boolean, byRows: boolean): void => {
    m.func(name, names(driverParams(operands, packs, byRows)), (f) => {
      const { y, T, out, from, to } = f.p;
      const columns = f.p.in;
      const [p, panel, first, last, end] = f.locals("i32", 5);
      const given = [...operands.map((o) => f.p[o]), panel, y, T, out, p];
      const groups = i32.shrs(add(out, c(3)), c(2));
      return [
        first.set(byRows ? i32.load(at(f.p.cuts, from, 2)) : c(0)),
        last.set(byRows ? i32.load(at(f.p.cuts, to, 2)) : groups),
        end.set(byRows ? i32.divs(add(T, c(width - 1)), c(width)) : to),
        ...(packs ? [panel.set(add(f.p.room, i32.mul(i32.divu(from, f.p.share), panelBytes(columns))))] : []),
        forRange(
          p,
          byRows ? c(0) : from,
          end,
          1,
          packs
            ? packOne.call(f.p.x, panel, T, columns, p)
            : panel.set(add(f.p.packed, i32.mul(p, panelBytes(columns)))),
          one.call(...given, first, last),
        ),
      ];
    });
  };
  for (const packs of [false, true]) {
    driver(packs ? "packByPanels" : "byPanels", packs, false);
    driver(packs ? "packByRows" : "byRows", packs, true);
  }
}

function driverParams(operands: readonly string[], packs: boolean, byRows: boolean): readonly string[] {
  const input = packs ? ["x", "room", "share"] : ["packed"];
  return [...operands, ...input, "y", "T", "in", "out", ...(byRows ? ["cuts"] : []), "from", "to"];
}

/** What `addDrivers` exports, for the kernel's description. */
export const driverFunctions = (operands: readonly string[], width: number): Record<string, KernelFunction> => ({
  pack: {
    params: ["x", "packed", "T", "in", "from", "to"],
    does: `copies panels from..to of X[T, in], ${width} tokens each, into packed (4 in ceil4(T) bytes)`,
  },
  byPanels: {
    params: driverParams(operands, false, false),
    does: "Y[T, out] = X W^T for the token panels from..to",
  },
  byRows: {
    params: driverParams(operands, false, true),
    does: "the same for all tokens and the groups of four outputs cuts[from]..cuts[to]",
  },
  packByPanels: {
    params: driverParams(operands, true, false),
    does: `byPanels from X itself; packs one panel at a time into room, 4 in ${width} bytes at place \`from\` / share`,
  },
  packByRows: {
    params: driverParams(operands, true, true),
    does: `byRows from X itself; packs one panel at a time into room, 4 in ${width} bytes at place \`from\` / share`,
  },
});
