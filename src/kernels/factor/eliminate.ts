/**
 * One step of optimal brain surgery on packed panels of weight rows (SparseGPT, Frantar & Alistarh 2023).
 *
 * For each column i of [first, last): the pruned weights become 0, their errors e = w / U_ii are stored, and the columns
 * to the right move by -e U_ij. Rows are independent. Which weights are pruned is decided by the caller.
 */
import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import {
  f64x2,
  forRange,
  i16x8,
  i32,
  i32x4,
  type Local,
  ModuleBuilder,
  type Stmt,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { packPlain, panelIndex } from "./pack.ts";

const { add, mul, shl, ne } = i32;
const n = i32.const;

const PARAMS = {
  w: "i32",
  e: "i32",
  mask: "i32",
  u: "i32",
  ldu: "i32",
  width: "i32",
  first: "i32",
  last: "i32",
  from: "i32",
  to: "i32",
} as const;

/** Four mask bytes, all kept. */
const ALL_KEPT = 0x01010101;

function emit(shared: boolean): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  m.func("eliminate", PARAMS, ({ p, locals }) => {
    const [panel, i, j, offset, w, e, u, bits, ld] = locals("i32", 9);
    const [pruned, low, high, e0, e1, d] = locals("v128", 6);

    /** the errors of two rows, and what is left of their weights */
    const settle = (error: Local<"v128">, lanes: Local<"v128">, at: number): Stmt =>
      seq(
        error.set(v128.and(f64x2.div(v128.load(w, at), d), lanes)),
        v128.store(e, error, at),
        v128.store(w, v128.andnot(v128.load(w, at), lanes), at),
      );
    const zero = i32x4.splat(n(0));
    return [
      ld.set(shl(p.ldu, n(3))),
      forRange(
        panel,
        p.from,
        p.to,
        1,
        forRange(
          i,
          p.first,
          p.last,
          1,
          offset.set(add(mul(panel, p.width), i)),
          w.set(add(p.w, shl(offset, n(5)))),
          e.set(add(p.e, shl(offset, n(5)))),
          bits.set(i32.load(add(p.mask, shl(offset, n(2))))),
          v128.store(e, zero),
          v128.store(e, zero, 16),
          when(
            ne(bits, n(ALL_KEPT)),
            seq(
              // kept - 1 in 32 bits: all ones where pruned
              pruned.set(i16x8.extendLowU(i32x4.splat(bits))),
              pruned.set(i32x4.sub(i32x4.extendLowU(pruned), i32x4.splat(n(1)))),
              low.set(v128.shuffle32(pruned, pruned, [0, 0, 1, 1])),
              high.set(v128.shuffle32(pruned, pruned, [2, 2, 3, 3])),
              u.set(add(p.u, add(mul(i, ld), shl(i, n(3))))),
              d.set(v128.load64splat(u)),
              settle(e0, low, 0),
              settle(e1, high, 16),
              forRange(
                j,
                add(i, n(1)),
                p.width,
                1,
                w.set(add(w, n(32))),
                u.set(add(u, n(8))),
                d.set(v128.load64splat(u)),
                v128.store(w, f64x2.sub(v128.load(w), f64x2.mul(e0, d))),
                v128.store(w, f64x2.sub(v128.load(w, 16), f64x2.mul(e1, d)), 16),
              ),
            ),
          ),
        ),
      ),
    ];
  });
  return m.bytes();
}

/** Plain twin on unpacked rows [rows, width]; returns the errors. `kept` is [rows, width]. */
export function eliminatePlain(
  w: Float64Array,
  rows: number,
  width: number,
  kept: ArrayLike<number>,
  u: ArrayLike<number>,
  ldu: number,
  first: number,
  last: number,
): Float64Array {
  const e = new Float64Array(rows * width);
  for (let r = 0; r < rows; r++) {
    for (let i = first; i < last; i++) {
      const at = r * width + i;
      if (kept[at] === 1) continue;
      e[at] = w[at] / u[i * ldu + i];
      w[at] = 0;
      for (let j = i + 1; j < width; j++) w[r * width + j] -= e[at] * u[i * ldu + j];
    }
  }
  return e;
}

/** Bit for bit: same operations in the same order. */
function trial(draw: Draw, box: Sandbox): Comparison[] {
  const rows = draw.int(1, 10);
  const width = draw.int(1, 12);
  const ldu = width + draw.int(0, 2);
  const first = draw.int(0, width - 1);
  const last = draw.int(first, width);
  const w = Float64Array.from(draw.floats(rows * width));
  const u = Float64Array.from(draw.floats(width * ldu));
  for (let i = 0; i < width; i++) u[i * ldu + i] = 0.5 + Math.abs(u[i * ldu + i]);
  const kept = Uint8Array.from({ length: rows * width }, () => draw.int(0, 1));
  const count = Math.ceil(rows / 4);
  const packedMask = new Uint8Array(count * width * 4).fill(1);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < width; c++) packedMask[panelIndex(r, c, width)] = kept[r * width + c];
  const pw = box.put(packPlain(w, width, rows, width, "rows"));
  const pe = box.put(new Float64Array(count * width * 4));
  const args = [pw, pe, box.put(packedMask), box.put(u), ldu, width, first, last];
  const split = draw.int(0, count);
  box.call("eliminate", ...args, split, count);
  box.call("eliminate", ...args, 0, split);
  const e = eliminatePlain(w, rows, width, kept, u, ldu, first, last);
  return [
    {
      what: "weights",
      got: box.f64(pw, packedMask.length),
      want: packPlain(w, width, rows, width, "rows"),
      tolerance: 0,
    },
    {
      what: "errors",
      got: box.f64(pe, packedMask.length),
      want: packPlain(e, width, rows, width, "rows"),
      tolerance: 0,
    },
  ];
}

export const eliminateF64: Kernel = {
  name: "eliminate-f64-4",
  family: "factor",
  summary: "Optimal-brain-surgery elimination of given weights in packed panels of 4 rows",
  functions: {
    eliminate: {
      params: Object.keys(PARAMS),
      does:
        "columns first to last of w [panel][width][4]: weights with mask byte 0 become 0, e = w / U_ii, later columns " +
        "move by -e U_ij; u is the block's upper factor [width, width], mask [panel][width][4] of 0 and 1; " +
        "from, to: panels of 4 rows",
    },
  },
  emit: ({ shared }) => emit(shared),
  trials: [{ name: "drawn masks", run: trial }],
};
