/**
 * N:M of weights that stay dense, over the engine's memory: masks, pruned copies, and products by a stream packed on the
 * spot, for training that chooses anew in every step. Groups lie along the inputs or the outputs of [out, in, kh, kw], for
 * each kernel position by itself. It knows nothing of tensors.
 */
import { type NmAxis, nmSelect } from "../../kernels/sparse/nm-select.ts";
import { evenCuts, GROUP, nmSupported, STEP } from "../../kernels/sparse/streams.ts";
import { memory, scratch } from "../engine.ts";
import { demand } from "../errors.ts";
import { sparseForward } from "./sparse.ts";
import { split } from "./split.ts";

/** N largest of each M entries, along the inputs (what the forward product sums over) or the outputs. */
export interface Nm {
  readonly n: number;
  readonly m: number;
  readonly along: "in" | "out";
}

const PIECES = 64;
/** Runs that a thread searches at a time. */
const GRAIN = 512;

/** Where the groups lie in a weight [out, in, ...kernel]. Throws a LacunaError when M does not divide the axis. */
export function nmAxis(shape: readonly number[], { n, m, along }: Nm, about = "N:M weight"): NmAxis {
  const [out, width] = shape;
  const kernel = shape.slice(2).reduce((a, b) => a * b, 1);
  const length = along === "in" ? width : out;
  demand(n >= 1 && n <= m && m <= 64 && length % m === 0, () => ({
    about,
    expected: `1 <= N <= M <= 64, and an axis that M divides, for ${n}:${m} along ${along}`,
    got: `[${shape.join(", ")}]`,
    hint: "Leave this layer dense, or choose another M.",
  }));
  const runs = length / m;
  return along === "in"
    ? { units: out * kernel, outer: width * kernel, inner: kernel, innerStride: 1, step: kernel, runs }
    : { units: width * kernel, outer: 1, inner: 1, innerStride: 0, step: width * kernel, runs };
}

function run(fn: string, before: readonly number[], a: NmAxis, { n, m }: Nm): void {
  const args = [...before, a.outer, a.inner, a.innerStride, a.step, a.runs, n, m];
  split("spmm", nmSelect, fn, args, a.units, Math.max(1, Math.ceil(GRAIN / a.runs)), 4 * a.units * a.runs * n * m);
}

/** Bytes 1 at `bits` where `by` [shape] is kept. */
export const nmMask = (by: number, shape: readonly number[], nm: Nm, bits: number): void =>
  run("mask", [by, bits], nmAxis(shape, nm), nm);

/** out = x where `by` is kept, `rest` x elsewhere, all [shape]. */
export const nmPrune = (by: number, x: number, rest: number, shape: readonly number[], nm: Nm, out: number): void =>
  run("prune", [by, x, rest, out], nmAxis(shape, nm), nm);

/** Whether there are packed products for this pattern on a matrix: what `nmSupported` knows of the axis. */
export function nmPacks(shape: readonly number[], { n, m, along }: Nm): boolean {
  const length = along === "in" ? shape[1] : shape[0];
  return shape.length === 2 && length % m === 0 && nmSupported(n, m, length);
}

/**
 * With W~ the pruned weight [out, in]: along the inputs Y[tokens, out] = X[tokens, in] W~^T, along the outputs
 * Y[tokens, in] = X[tokens, out] W~. W is packed inside of the call.
 */
export function nmProduct(x: number, tokens: number, w: number, shape: readonly number[], nm: Nm, y: number): void {
  const axis = nmAxis(shape, nm);
  const { units, runs } = axis;
  const slots = STEP * Math.ceil((runs * nm.n) / STEP);
  const stride = (4 * nm.m) / nm.n;
  const groups = Math.ceil(units / GROUP);
  const pieces = Math.max(1, Math.min(PIECES, groups));
  const cuts = evenCuts(new Int32Array(groups).fill(GROUP * slots), pieces);
  const stored = units * slots;
  const indexBytes = 64 * Math.ceil(stored / 64);
  scratch(4 * stored + indexBytes + cuts.byteLength, (values) => {
    const index = values + 4 * stored;
    const cutsAt = index + indexBytes;
    run("pack", [w, index, values, slots, stride], axis, nm);
    memory.i32(cutsAt, cuts.length).set(cuts);
    sparseForward(
      x,
      tokens,
      {
        format: "nm1x1",
        values: "f32",
        out: units,
        in: runs * nm.m,
        nonZeros: units * runs * nm.n,
        stored,
        bytes: 5 * stored,
        bytesPerToken: 5 * stored,
        stream: { values, cuts: cutsAt, pieces, index, starts: 0, ends: 0, slots, stride },
        free: () => {},
      },
      y,
    );
  });
}
