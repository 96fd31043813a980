/**
 * Packing of f64 matrices into panels of 4 and back: `[panel][k][4]`, the tail panel padded with zeros.
 *
 * A panel holds 4 rows (k runs along the columns) or 4 columns (k runs down the rows). Panels of X^T's rows are panels of
 * X's columns, so one packing serves both factors of X^T X. Addresses are bytes, leading dimensions elements.
 */
import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import {
  type Expr,
  f32,
  f64,
  f64x2,
  forRange,
  i32,
  type Local,
  ModuleBuilder,
  type Stmt,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";

const { add, mul, shl, lt, le, sub } = i32;
const n = i32.const;
const doubles = (count: Expr<"i32">): Expr<"i32"> => shl(count, n(3));

const PARAMS = {
  matrix: "i32",
  ld: "i32",
  rows: "i32",
  columns: "i32",
  panels: "i32",
  from: "i32",
  to: "i32",
} as const;

interface Cursor {
  /** of the panel's first element in the matrix */
  readonly m: Local<"i32">;
  /** of the panel */
  readonly d: Local<"i32">;
}

type Direction = "pack" | "unpack";

/** Loops over panels: `whole` where 4 lanes exist, `ragged` else. `lane` and `step` are element strides of the matrix. */
function emitPanels(
  m: ModuleBuilder,
  name: string,
  along: "rows" | "columns",
  bytes: 4 | 8,
  direction: Direction,
  whole: (c: Cursor, ldBytes: Local<"i32">, k: Expr<"i32">, local: LocalMaker) => Stmt,
): void {
  m.func(name, PARAMS, ({ p, local, locals }) => {
    const [panel, md, dd, left, k, lane, at, ldBytes] = locals("i32", 8);
    const across = along === "rows" ? p.rows : p.columns;
    const depth = along === "rows" ? p.columns : p.rows;
    const laneBytes = along === "rows" ? ldBytes : n(bytes);
    const stepBytes = along === "rows" ? n(bytes) : ldBytes;
    const value = local("f64");
    const element = (): Expr<"f64"> => (bytes === 4 ? f64.promote(f32.load(at)) : f64.load(at));
    const slot = (): Expr<"i32"> => add(dd, doubles(add(shl(k, n(2)), lane)));
    const ragged = forRange(
      lane,
      n(0),
      direction === "pack" ? n(4) : left,
      1,
      at.set(add(md, mul(lane, laneBytes))),
      forRange(
        k,
        n(0),
        depth,
        1,
        direction === "pack"
          ? seq(value.set(f64.const(0)), when(lt(lane, left), value.set(element())), f64.store(slot(), value))
          : f64.store(at, f64.load(slot())),
        at.set(add(at, stepBytes)),
      ),
    );
    const panelBytes = shl(depth, n(5));
    return [
      ldBytes.set(mul(p.ld, n(bytes))),
      forRange(
        panel,
        p.from,
        p.to,
        1,
        md.set(add(p.matrix, mul(shl(panel, n(2)), laneBytes))),
        dd.set(add(p.panels, mul(panel, panelBytes))),
        left.set(sub(across, shl(panel, n(2)))),
        when(le(n(4), left), whole({ m: md, d: dd }, ldBytes, depth, { k, local, locals }), ragged),
      ),
    ];
  });
}

interface LocalMaker {
  readonly k: Local<"i32">;
  local<T extends "i32" | "f64" | "v128">(type: T): Local<T>;
  locals<T extends "i32" | "f64" | "v128">(type: T, count: number): Local<T>[];
}

/** Lanes 0 of a and b, then lanes 1. */
const lows = (a: Expr<"v128">, b: Expr<"v128">): Expr<"v128"> => v128.shuffle32(a, b, [0, 1, 4, 5]);
const highs = (a: Expr<"v128">, b: Expr<"v128">): Expr<"v128"> => v128.shuffle32(a, b, [2, 3, 6, 7]);

/** Four rows, two columns a turn: a 4 x 2 transpose; an odd last column goes one by one. */
function rowsWhole(direction: Direction) {
  return ({ m, d }: Cursor, ldBytes: Local<"i32">, depth: Expr<"i32">, { k, locals }: LocalMaker): Stmt => {
    const r = locals("i32", 4);
    const [a, b, c, e] = locals("v128", 4);
    const pair =
      direction === "pack"
        ? seq(
            ...[a, b, c, e].map((v, i) => v.set(v128.load(r[i]))),
            v128.store(d, lows(a, b)),
            v128.store(d, lows(c, e), 16),
            v128.store(d, highs(a, b), 32),
            v128.store(d, highs(c, e), 48),
          )
        : seq(
            ...[a, b, c, e].map((v, i) => v.set(v128.load(d, 16 * i))),
            v128.store(r[0], lows(a, c)),
            v128.store(r[1], highs(a, c)),
            v128.store(r[2], lows(b, e)),
            v128.store(r[3], highs(b, e)),
          );
    const last = seq(
      ...r.map((row, i) =>
        direction === "pack" ? f64.store(d, f64.load(row), 8 * i) : f64.store(row, f64.load(d, 8 * i)),
      ),
    );
    return seq(
      r[0].set(m),
      ...[1, 2, 3].map((i) => r[i].set(add(r[i - 1], ldBytes))),
      k.set(n(2)),
      whileLoop(
        le(k, depth),
        pair,
        ...r.map((row) => row.set(add(row, n(16)))),
        d.set(add(d, n(64))),
        k.set(add(k, n(2))),
      ),
      when(i32.and(depth, n(1)), last),
    );
  };
}

/** Four columns, one row a turn. */
function columnsWhole(move: (m: Expr<"i32">, d: Expr<"i32">, v: Local<"v128">) => Stmt) {
  return ({ m, d }: Cursor, ldBytes: Local<"i32">, depth: Expr<"i32">, { k, local }: LocalMaker): Stmt => {
    const v = local("v128");
    return forRange(k, n(0), depth, 1, move(m, d, v), m.set(add(m, ldBytes)), d.set(add(d, n(32))));
  };
}

function emit(shared: boolean): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  emitPanels(m, "packRows", "rows", 8, "pack", rowsWhole("pack"));
  emitPanels(m, "unpackRows", "rows", 8, "unpack", rowsWhole("unpack"));
  emitPanels(
    m,
    "packColumns",
    "columns",
    8,
    "pack",
    columnsWhole((from, to) => seq(v128.store(to, v128.load(from)), v128.store(to, v128.load(from, 16), 16))),
  );
  emitPanels(
    m,
    "unpackColumns",
    "columns",
    8,
    "unpack",
    columnsWhole((to, from) => seq(v128.store(to, v128.load(from)), v128.store(to, v128.load(from, 16), 16))),
  );
  emitPanels(
    m,
    "packColumnsF32",
    "columns",
    4,
    "pack",
    columnsWhole((from, to, v) =>
      seq(
        v.set(v128.load(from)),
        v128.store(to, f64x2.promoteLowF32x4(v)),
        v128.store(to, f64x2.promoteLowF32x4(v128.shuffle32(v, v, [2, 3, 2, 3])), 16),
      ),
    ),
  );
  return m.bytes();
}

/** Element of panels at lane `i`, depth `k`. */
export const panelIndex = (i: number, k: number, depth: number): number => ((i >> 2) * depth + k) * 4 + (i & 3);

/** Plain twin: panels along rows or columns of a matrix with leading dimension `ld`. */
export function packPlain(
  matrix: ArrayLike<number>,
  ld: number,
  rows: number,
  columns: number,
  along: "rows" | "columns",
): Float64Array {
  const [across, depth] = along === "rows" ? [rows, columns] : [columns, rows];
  const out = new Float64Array(Math.ceil(across / 4) * 4 * depth);
  for (let i = 0; i < across; i++)
    for (let k = 0; k < depth; k++)
      out[panelIndex(i, k, depth)] = along === "rows" ? matrix[i * ld + k] : matrix[k * ld + i];
  return out;
}

function trial(along: "rows" | "columns", f32Source: boolean) {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const rows = draw.int(1, 13);
    const columns = draw.int(1, 13);
    const ld = columns + draw.int(0, 3);
    const source = draw.floats(rows * ld);
    const name = along === "rows" ? "Rows" : "Columns";
    const matrix = box.put(f32Source ? source : Float64Array.from(source));
    const want = packPlain(source, ld, rows, columns, along);
    const count = Math.ceil((along === "rows" ? rows : columns) / 4);
    const split = draw.int(0, count);
    const panels = box.room(want.byteLength);
    const pack = `pack${name}${f32Source ? "F32" : ""}`;
    box.call(pack, matrix, ld, rows, columns, panels, split, count);
    box.call(pack, matrix, ld, rows, columns, panels, 0, split);
    const packed = { what: "panels", got: box.f64(panels, want.length), want, tolerance: 0 };
    if (f32Source) return [packed];
    const back = box.put(new Float64Array(rows * ld).fill(7));
    box.call(`unpack${name}`, back, ld, rows, columns, panels, split, count);
    box.call(`unpack${name}`, back, ld, rows, columns, panels, 0, split);
    const restored = Float64Array.from(source, (v, i) => (i % ld < columns ? v : 7));
    return [packed, { what: "back", got: box.f64(back, rows * ld), want: restored, tolerance: 0 }];
  };
}

const params = ["matrix", "ld", "rows", "columns", "panels", "from", "to"];
const range = "; from, to: panels";

export const packF64: Kernel = {
  name: "pack-f64-4",
  family: "factor",
  summary: "f64 matrices to panels of 4 rows or columns, [panel][k][4], and back",
  functions: {
    packRows: { params, does: `panels of 4 rows${range}` },
    unpackRows: { params, does: `the inverse of packRows; padding is not written${range}` },
    packColumns: { params, does: `panels of 4 columns${range}` },
    unpackColumns: { params, does: `the inverse of packColumns; padding is not written${range}` },
    packColumnsF32: { params, does: `panels of 4 columns of an f32 matrix, widened${range}` },
  },
  emit: ({ shared }) => emit(shared),
  trials: [
    { name: "rows and back", run: trial("rows", false) },
    { name: "columns and back", run: trial("columns", false) },
    { name: "columns of f32", run: trial("columns", true) },
  ],
};
