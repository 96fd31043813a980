/**
 * The array of `sat.ts`, stepped cycle by cycle with real data: operands hop from element to element through registers, and
 * a sum is used only when its adder is done. For small arrays; results are those of a matrix product, and cycles those of
 * the closed forms. Arithmetic is f64: the model is about time, not about rounding.
 */
import { nmBits } from "../kernels/sparse/nm-select.ts";
import { type Kept, keptInner, type Sat } from "./sat.ts";

/** A second operand [K, C] as the array gets it: for each column the kept values, and their places in the groups. */
export interface Compact {
  readonly inner: number;
  readonly columns: number;
  readonly kept: Kept;
  /** [C, K N/M] */
  readonly values: Float64Array;
  readonly index: Uint8Array;
}

/** What SORE makes of w [K, C]: the N largest of each M consecutive entries of a column, ties to the lower index. */
export function compact(w: ArrayLike<number>, inner: number, columns: number, kept: Kept = [1, 1]): Compact {
  const [n, m] = kept;
  const slots = keptInner({ rows: 1, inner, columns, kept });
  const axis = { units: columns, outer: 1, inner: 1, innerStride: 0, step: columns, runs: inner / m };
  const bits = nmBits(w, axis, n, m);
  const values = new Float64Array(columns * slots);
  const index = new Uint8Array(columns * slots);
  for (let c = 0, at = 0; c < columns; c++) {
    for (let k = 0; k < inner; k++) {
      if (!bits[k * columns + c]) continue;
      values[at] = w[k * columns + c];
      index[at++] = k % m;
    }
  }
  return { inner, columns, kept, values, index };
}

export interface Stepped {
  /** [R, C], row-major */
  readonly y: Float64Array;
  readonly cycles: number;
  /** multiply-adds of real operands; those that pad a ragged tile are none */
  readonly macs: number;
}

/** The M activations of a group of one row, or undefined outside of X. */
type Group = Float64Array | undefined;

interface Operands {
  /** activations of row r for kept step k */
  group(r: number, k: number): Group;
  weight(k: number, c: number): { readonly value: number; readonly index: number } | undefined;
  readonly steps: number;
}

function operands(x: ArrayLike<number>, rows: number, w: Compact): Operands {
  const [n, m] = w.kept;
  const steps = (w.inner / m) * n;
  const groups = Array.from({ length: rows * (w.inner / m) }, (_, i) =>
    Float64Array.from({ length: m }, (_, j) => x[i * m + j]),
  );
  return {
    steps,
    group: (r, k) => (r < rows && k < steps ? groups[r * (w.inner / m) + Math.floor(k / n)] : undefined),
    weight: (k, c) =>
      c < w.columns && k < steps ? { value: w.values[c * steps + k], index: w.index[c * steps + k] } : undefined,
  };
}

/** Something that travels, with the number of the slot in which it was sent. */
interface Sent<T> {
  readonly slot: number;
  readonly load: T;
}

const grid = <T>(side: number, fill: T): T[][] => Array.from({ length: side }, () => new Array<T>(side).fill(fill));

/** y = x w for x [R, K], outputs staying in their elements. Throws when an element would use a sum that is not there. */
export function stepOutputStationary(x: ArrayLike<number>, rows: number, w: Compact, sat: Sat): Stepped {
  const { side: P, adderLatency, interleave } = sat;
  const { steps, group, weight } = operands(x, rows, w);
  const y = new Float64Array(rows * w.columns);
  const tiles: (readonly [top: number, left: number])[] = [];
  for (let top = 0; top < rows; top += P) for (let left = 0; left < w.columns; left += P) tiles.push([top, left]);
  let [clock, macs] = [0, 0];
  for (let first = 0; first < tiles.length; first += interleave) {
    const pass = tiles.slice(first, first + interleave);
    const turn = Math.max(pass.length, adderLatency);
    const slots = steps * turn;
    const sums = pass.map(() => grid(P, 0));
    const ready = pass.map(() => grid(P, clock));
    let across = grid<Sent<Group> | undefined>(P, undefined);
    let down = grid<Sent<ReturnType<typeof weight>> | undefined>(P, undefined);
    const end = clock + slots + 2 * P - 2;
    for (const start = clock; clock < end; clock++) {
      const [lastAcross, lastDown] = [across, down];
      across = grid<Sent<Group> | undefined>(P, undefined);
      down = grid<Sent<ReturnType<typeof weight>> | undefined>(P, undefined);
      for (let i = 0; i < P; i++) {
        for (let j = 0; j < P; j++) {
          const tileOf = (slot: number) => pass[slot % turn];
          if (j > 0) across[i][j] = lastAcross[i][j - 1];
          else {
            const slot = clock - start - i;
            const tile = slot >= 0 && slot < slots ? tileOf(slot) : undefined;
            if (tile) across[i][j] = { slot, load: group(tile[0] + i, Math.floor(slot / turn)) };
          }
          if (i > 0) down[i][j] = lastDown[i - 1][j];
          else {
            const slot = clock - start - j;
            const tile = slot >= 0 && slot < slots ? tileOf(slot) : undefined;
            if (tile) down[i][j] = { slot, load: weight(Math.floor(slot / turn), tile[1] + j) };
          }
          const [a, b] = [across[i][j], down[i][j]];
          if (a?.slot !== b?.slot) throw new Error(`cycle ${clock}: operands of two slots meet`);
          if (!a?.load || !b?.load) continue;
          const o = a.slot % turn;
          if (ready[o][i][j] > clock) throw new Error(`cycle ${clock}: a sum is used before its adder is done`);
          ready[o][i][j] = clock + adderLatency;
          sums[o][i][j] += b.load.value * a.load[b.load.index];
          macs++;
        }
      }
    }
    pass.forEach(([top, left], o) => {
      for (let i = 0; i < P; i++, clock++) {
        for (let j = 0; j < P; j++) {
          if (ready[o][i][j] > clock) throw new Error(`cycle ${clock}: a sum is read before its adder is done`);
          if (top + i < rows && left + j < w.columns) y[(top + i) * w.columns + left + j] = sums[o][i][j];
        }
      }
    });
  }
  return { y, cycles: clock, macs };
}

/** y = x w for x [R, K], weights staying in their elements and sums running down. */
export function stepWeightStationary(x: ArrayLike<number>, rows: number, w: Compact, sat: Sat): Stepped {
  const { side: P, adderLatency } = sat;
  const { steps, group, weight } = operands(x, rows, w);
  const y = new Float64Array(rows * w.columns);
  // A register for the product, then the adder.
  const hop = adderLatency + 1;
  let [clock, macs] = [P, 0]; // the first tile's weights
  for (let top = 0; top < steps; top += P) {
    for (let left = 0; left < w.columns; left += P) {
      const held = Array.from({ length: P }, (_, k) => Array.from({ length: P }, (_, j) => weight(top + k, left + j)));
      let across = grid<Sent<Group> | undefined>(P, undefined);
      // pipes[k][j]: what element (k, j) has sent down, newest first
      const pipes: (Sent<number> | undefined)[][][] = Array.from({ length: P }, () =>
        Array.from({ length: P }, () => new Array<Sent<number> | undefined>(hop).fill(undefined)),
      );
      const end = clock + rows + 2 * P - 2 + P * adderLatency;
      let arrived = 0;
      for (const start = clock; clock <= end; clock++) {
        const lastAcross = across;
        across = grid<Sent<Group> | undefined>(P, undefined);
        const fallen = pipes.map((line) => line.map((pipe) => pipe[hop - 1]));
        for (let j = 0; j < P; j++) {
          const done = fallen[P - 1][j];
          if (!done) continue;
          arrived++;
          if (left + j < w.columns) y[done.slot * w.columns + left + j] += done.load;
        }
        for (let k = 0; k < P; k++) {
          for (let j = 0; j < P; j++) {
            if (j > 0) across[k][j] = lastAcross[k][j - 1];
            else {
              const slot = clock - start - k * hop;
              if (slot >= 0 && slot < rows) across[k][j] = { slot, load: group(slot, top + k) };
            }
            const a = across[k][j];
            const above = k > 0 ? fallen[k - 1][j] : a && { slot: a.slot, load: 0 };
            if (a?.slot !== above?.slot) throw new Error(`cycle ${clock}: a sum meets the operand of another row`);
            const b = held[k][j];
            if (a?.load && b) macs++;
            const product = a?.load && b ? b.value * a.load[b.index] : 0;
            pipes[k][j].pop();
            pipes[k][j].unshift(a && above && { slot: a.slot, load: above.load + product });
          }
        }
      }
      if (arrived !== rows * P) throw new Error(`${arrived} of ${rows * P} sums came out in time`);
      clock = end;
    }
  }
  return { y, cycles: clock, macs };
}
