/** Trials of the quantised vector products against their plain twins. */

import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { batchBytes, blocksOf, byInputBytes, packByInput } from "./byinput-plain.ts";
import { bitsOf, dequantisePlain, groupsOf, type Quantised, type QuantType, quantisePlain } from "./format.ts";
import { packQuantised, panelsOf, quantisedBytes, unpackQuantised } from "./panel.ts";

export interface QuantCase {
  readonly w: Float32Array;
  readonly ldw: number;
  readonly out: number;
  readonly in: number;
  readonly group: number;
  readonly quantised: Quantised;
}

/** A weight, some groups of which are zero, one-sided or tiny; now and then of the size that a group may have at most. */
export function drawQuantised(draw: Draw, type: QuantType, mostOut: number, mostIn: number): QuantCase {
  const out = draw.int(1, mostOut);
  const width = draw.int(1, mostIn);
  const group = 8 * (draw.int(0, 3) === 0 ? 16 : draw.int(1, 5));
  const ldw = width + draw.int(0, 3);
  const w = draw.floats(out * ldw, [1, 1e-3, 50][draw.int(0, 2)]);
  const kind = draw.int(0, 5);
  // the largest sums there can be, with the inputs of the trial
  if (kind === 4) w.fill(-1.5);
  if (kind > 0 && kind < 4) {
    const g = draw.int(0, groupsOf(width, group) - 1);
    for (let o = 0; o < out; o++) {
      for (let k = g * group; k < Math.min(width, (g + 1) * group); k++) {
        const at = o * ldw + k;
        w[at] = kind === 1 ? 0 : kind === 2 ? Math.abs(w[at]) : -Math.abs(w[at]);
      }
    }
  }
  return { w, ldw, out, in: width, group, quantised: quantisePlain(w, out, width, type, group, ldw) };
}

/**
 * y = W x in f64 over the dequantised weight, and how far a product by integers may be: half a step of the quantised
 * inputs for each weight, and the f32 roundings of a group's sum, its scale and their total (below 6 + `sums` of them).
 */
export function quantisedTwin(q: Quantised, x: ArrayLike<number>, top: number, sums = groupsOf(q.in, q.group)) {
  const groups = groupsOf(q.in, q.group);
  const values = new Float64Array(q.out);
  const bounds = new Float64Array(q.out);
  for (let o = 0; o < q.out; o++) {
    for (let g = 0; g < groups; g++) {
      const end = Math.min(q.in, (g + 1) * q.group);
      let max = 0;
      for (let k = g * q.group; k < end; k++) max = Math.max(max, Math.abs(x[k]));
      for (let k = g * q.group; k < end; k++) {
        const weight = (q.codes[o * q.in + k] - q.zeros[o * groups + g]) * q.scales[o * groups + g];
        values[o] += weight * x[k];
        bounds[o] += Math.abs(weight) * ((0.501 * max) / top + (sums + 6) * 2 ** -23 * max);
      }
    }
  }
  return { values, bounds };
}

const product =
  (type: QuantType, mostOut: number, mostIn: number) =>
  (draw: Draw, box: Sandbox): Comparison[] => {
    const { out, in: width, group, quantised } = drawQuantised(draw, type, mostOut, mostIn);
    const tokens = draw.int(1, 3);
    const ldx = width + draw.int(0, 3);
    const ldy = out + draw.int(0, 3);
    const x = draw.floats(tokens * ldx);
    const kind = draw.int(0, 3);
    if (kind === 0) x.fill(0, 0, Math.min(width, group));
    if (kind === 1) x.fill(1.25);
    const panels = panelsOf(out);
    const w = box.put(packQuantised(quantised));
    const prepared = box.room(tokens * groupsOf(width, group) * (16 + 2 * group));
    box.call("prepare", box.put(x), ldx, width, group, tokens, prepared);
    const [whole, split] = [box.room(4 * tokens * ldy), box.room(4 * tokens * ldy)];
    const call = (y: number, from: number, to: number): number =>
      box.call("rows", w, prepared, width, group, y, ldy, out, tokens, from, to);
    const cut = draw.int(0, panels);
    call(whole, 0, panels);
    call(split, cut, panels);
    call(split, 0, cut);
    const want = new Float64Array(tokens * ldy);
    const tolerance = new Float64Array(tokens * ldy);
    for (let t = 0; t < tokens; t++) {
      const twin = quantisedTwin(quantised, x.subarray(t * ldx, t * ldx + width), bitsOf(type) === 8 ? 32767 : 4095);
      want.set(twin.values, t * ldy);
      tolerance.set(twin.bounds, t * ldy);
    }
    const got = box.f32(whole, want.length);
    return [
      { what: "rows", got, want, tolerance },
      { what: "split by panels", got: box.f32(split, want.length), want: got, tolerance: 0 },
    ];
  };

const codes =
  (type: QuantType) =>
  (draw: Draw, box: Sandbox): Comparison[] => {
    const { w, ldw, out, in: width, group, quantised } = drawQuantised(draw, type, 35, 90);
    const panels = panelsOf(out);
    const twin = packQuantised(quantised);
    const packed = box.room(quantisedBytes(type, out, width, group));
    const cut = draw.int(0, panels);
    const given = [box.put(w), ldw, packed, out, width, group];
    box.call("quantise", ...given, cut, panels);
    box.call("quantise", ...given, 0, cut);
    const expanded = box.room(4 * out * width);
    box.call("expand", packed, expanded, width, out, width, group, cut, panels);
    box.call("expand", packed, expanded, width, out, width, group, 0, cut);
    const back = unpackQuantised(twin, type, out, width, group);
    const dense = dequantisePlain(quantised);
    const step = Float64Array.from(dense, (_, i) => {
      const at = Math.floor(i / width) * groupsOf(width, group) + Math.floor((i % width) / group);
      return 1.000001 * quantised.scales[at];
    });
    return [
      { what: "quantise", got: box.u8(packed, twin.length), want: twin, tolerance: 0 },
      { what: "expand", got: box.f32(expanded, out * width), want: dense, tolerance: 0 },
      { what: "unpacked codes", got: back.codes, want: quantised.codes, tolerance: 0 },
      { what: "unpacked scales", got: back.scales, want: quantised.scales, tolerance: 0 },
      { what: "unpacked zeros", got: back.zeros, want: quantised.zeros, tolerance: 0 },
      {
        // half a step; with a zero point, whose own rounding shifts the range, up to a whole one at its ends
        what: "quantised weight",
        got: dense,
        want: Float64Array.from(dense, (_, i) => w[Math.floor(i / width) * ldw + (i % width)]),
        tolerance: step,
      },
    ];
  };

/** Trial of `list` and `active`: some inputs of a weight against the twin with zeros for the others. */
const active =
  (type: QuantType, mostOut: number, mostIn: number) =>
  (draw: Draw, box: Sandbox): Comparison[] => {
    const { out, in: width, group, quantised } = drawQuantised(draw, type, mostOut, mostIn);
    const density = draw.int(0, 4) / 4;
    const lots = draw.floats(width, 1 / 1.7);
    const list = Int32Array.from([...lots.keys()].filter((k) => Math.abs(lots[k]) < density));
    const values = draw.floats(list.length);
    const extreme = draw.int(0, 3) === 0;
    if (extreme) values.fill(1.25);
    const batches = box.room(batchBytes(list.length));
    const count = box.call("list", box.put(list), box.put(values), list.length, group, batches);
    const blocks = blocksOf(out);
    const [whole, split] = [box.room(4 * out), box.room(4 * out)];
    const sums = box.put(new Float32Array(blocks * 32).fill(Number.NaN));
    const given = [box.put(packByInput(quantised)), batches, count, group, sums];
    const cut = draw.int(0, blocks);
    box.call("active", ...given, whole, out, 0, blocks);
    box.call("active", ...given, split, out, cut, blocks);
    box.call("active", ...given, split, out, 0, cut);
    const x = new Float32Array(width);
    list.forEach((k, i) => {
      x[k] = values[i];
    });
    // The largest value of a batch is at most that of its group; there are at most `count` sums of f32.
    const want = quantisedTwin(quantised, x, 32767, count);
    const got = box.f32(whole, out);
    return [
      { what: "active", got, want: want.values, tolerance: want.bounds },
      { what: "split by outputs", got: box.f32(split, out), want: got, tolerance: 0 },
    ];
  };

const byInputCodes =
  (type: QuantType) =>
  (draw: Draw, box: Sandbox): Comparison[] => {
    const { w, ldw, out, in: width, group, quantised } = drawQuantised(draw, type, 70, 60);
    const blocks = blocksOf(out);
    const twin = packByInput(quantised);
    const packed = box.room(byInputBytes(type, out, width, group));
    const cut = draw.int(0, blocks);
    const given = [box.put(w), ldw, packed, out, width, group];
    box.call("quantise", ...given, cut, blocks);
    box.call("quantise", ...given, 0, cut);
    const expanded = box.room(4 * out * width);
    box.call("expand", packed, expanded, width, out, width, group, cut, blocks);
    box.call("expand", packed, expanded, width, out, width, group, 0, cut);
    return [
      { what: "quantise", got: box.u8(packed, twin.length), want: twin, tolerance: 0 },
      { what: "expand", got: box.f32(expanded, out * width), want: dequantisePlain(quantised), tolerance: 0 },
    ];
  };

export const byInputTrials = (type: QuantType): readonly Trial[] => [
  { name: "small shapes", run: active(type, 70, 40) },
  { name: "several groups", run: active(type, 40, 400) },
  { name: "codes", run: byInputCodes(type) },
];

export const gemvTrials = (type: QuantType): readonly Trial[] => [
  { name: "small shapes", run: product(type, 35, 30) },
  { name: "several groups", run: product(type, 20, 600) },
  { name: "codes", run: codes(type) },
];
