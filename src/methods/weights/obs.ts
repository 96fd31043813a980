/**
 * Blocked optimal brain surgery on one linear (the solver of SparseGPT, Frantar & Alistarh 2023, arXiv 2301.00774), f64.
 *
 * Columns are frozen from left to right. In a frozen column pruned weights become 0 and the columns to the right absorb
 * the error through U, where (damped H)^-1 = U^T U. What is pruned is either given, or decided on the weights as they
 * stand at the first column of: an N:M run, for N:M; a block of about 128 columns, for other patterns, whose share of
 * the exact total comes from a cumulative target. Block width never changes the result when the mask is given.
 */
import { memory, parallel, scratch } from "../../core/engine.ts";
import { eliminateF64 } from "../../kernels/factor/eliminate.ts";
import { panelIndex } from "../../kernels/factor/pack.ts";
import { addressOf, type F64Matrix, valuesOf } from "../../linalg/matrix.ts";
import { grainOf, pack, panelBytes, panelsOf, update } from "../../linalg/product.ts";
import { type Mask, maskOf } from "../../sparsity/mask.ts";
import { layoutOf, type Pattern } from "../../sparsity/pattern.ts";
import { type RowScore, selectMask } from "../../sparsity/select.ts";

/** What is pruned: a mask, or a pattern with the number of its units to prune (N:M: ignored). */
export type Target = { readonly mask: Mask } | { readonly pattern: Pattern; readonly pruned: number };

export interface ObsResult {
  readonly mask: Mask;
  /** sum(e^2)/2 = tr(dW H dW^T)/2 with the damped H: the output error that the solver believes in */
  readonly loss: number;
}

const BLOCK = 128;

/**
 * Prunes W [R, C] in place with U [C, C] upper triangular (its lower triangle is not read). `name` is for errors.
 * Throws `LacunaError` for NaN scores and patterns that do not fit.
 */
export function surgery(w: F64Matrix, u: F64Matrix, target: Target, name: string, block = BLOCK): ObsResult {
  const { rows, columns } = w;
  const plan = planOf(target, w, name, block);
  const depth = Math.min(plan.width, columns);
  const bytes = panelBytes(rows, depth);
  const bits = "mask" in target ? target.mask.bits : new Uint8Array(rows * columns);
  let loss = 0;
  scratch(2 * bytes + panelBytes(columns, depth) + panelsOf(rows) * depth * 4, (wp) => {
    const ep = wp + bytes;
    const up = ep + bytes;
    const maskPtr = up + panelBytes(columns, depth);
    for (let first = 0, end = 0; first < columns; first = end) {
      // Decisions wider than a block are made at their first column, and blocks end where they end.
      if (plan.step > plan.width && first % plan.step === 0) {
        const v = valuesOf(w);
        plan.decide(
          first,
          Math.min(columns, first + plan.step),
          squares((r, c) => v[r * columns + c], u),
          bits,
        );
      }
      const bound = plan.step > plan.width ? (Math.floor(first / plan.step) + 1) * plan.step : columns;
      end = Math.min(first + plan.width, bound, columns);
      const width = end - first;
      const diagonal = addressOf(u, first, first);
      const eliminate = (from: number, to: number): void => {
        spread(bits, columns, first, width, rows, from, to, maskPtr);
        const args = [wp, ep, maskPtr, diagonal, columns, width, from, to];
        parallel(eliminateF64, "eliminate", args, panelsOf(rows), grainOf((to - from) * width * 4));
      };
      pack("packRows", addressOf(w, 0, first), columns, rows, width, wp);
      if (plan.step > plan.width) eliminate(0, width);
      else {
        for (let c = 0; c < width; c += plan.step) {
          const p = memory.f64(wp, panelsOf(rows) * 4 * width);
          const to = Math.min(width, c + plan.step);
          const current = squares((r, cc) => p[panelIndex(r, cc - first, width)], u);
          plan.decide(first + c, first + to, current, bits);
          eliminate(c, to);
        }
      }
      pack("unpackRows", addressOf(w, 0, first), columns, rows, width, wp);
      loss += halfSquares(memory.f64(ep, panelsOf(rows) * 4 * width));
      const rest = columns - end;
      if (rest === 0) break;
      pack("packColumns", addressOf(u, first, end), columns, width, rest, up);
      update({ c: addressOf(w, 0, end), ldc: columns, a: ep, b: up, m: rows, n: rest, k: width, subtract: true });
    }
  });
  return { mask: "mask" in target ? target.mask : maskOf(bits), loss };
}

/** Scores W_rc^2 / U_cc^2 of the columns from `first` on; `weight(r, c)` with c counted from 0. */
type Scores = (first: number) => RowScore;

function squares(weight: (row: number, column: number) => number, u: F64Matrix): Scores {
  return (first) => {
    const v = valuesOf(u);
    return (row, into) => {
      for (let i = 0; i < into.length; i++) {
        const c = first + i;
        const e = weight(row, c) / v[c * u.columns + c];
        into[i] = e * e;
      }
    };
  };
}

interface Plan {
  /** columns decided together */
  readonly step: number;
  /** columns eliminated together, a multiple of `step` unless that is wider */
  readonly width: number;
  /** fills bits of the columns [first, end) of all rows */
  decide(first: number, end: number, scores: Scores, bits: Uint8Array): void;
}

function planOf(target: Target, { rows, columns }: F64Matrix, name: string, block: number): Plan {
  if ("mask" in target) return { step: block, width: block, decide: () => {} };
  const { pattern, pruned } = target;
  const layout = layoutOf(pattern, { name, rows, columns });
  const wide = Math.max(1, Math.floor(block / layout.width)) * layout.width;
  const step = layout.quota ? layout.quota.of : wide;
  const width = step > block ? block : Math.floor(block / step) * step;
  let units = 0;
  let done = 0;
  return {
    step,
    width,
    decide(first, end, scores, bits) {
      const part = { name, rows, columns: end - first };
      units += layoutOf(pattern, part).units;
      const reach = Math.floor((pruned * units) / layout.units + 1e-6);
      const chosen = selectMask(scores(first), { shape: part, pattern, pool: "matrix", pruned: reach - done });
      done = reach;
      for (let r = 0; r < rows; r++) {
        bits.set(chosen.bits.subarray(r * part.columns, (r + 1) * part.columns), r * columns + first);
      }
    },
  };
}

/** Writes mask bytes of block columns [from, to) as [panel][width][4]; rows that pad the last panel count as kept. */
function spread(
  bits: Uint8Array,
  columns: number,
  first: number,
  width: number,
  rows: number,
  from: number,
  to: number,
  ptr: number,
): void {
  const out = memory.u8(ptr, panelsOf(rows) * width * 4);
  for (let r = 0; r < panelsOf(rows) * 4; r++) {
    for (let c = from; c < to; c++) out[panelIndex(r, c, width)] = r < rows ? bits[r * columns + first + c] : 1;
  }
}

function halfSquares(e: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < e.length; i++) sum += e[i] * e[i];
  return sum / 2;
}
