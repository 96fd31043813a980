/** Trials of `conv-listed-f32-8x4`: sparse and depthwise convolutions against the dense definition with zeros. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { inPieces } from "../pointwise/trial.ts";
import {
  bytesOfPlanes,
  type ConvShape,
  type Entries,
  flatPlanes,
  forwardLists,
  gradientPlanes,
  inputLists,
  inputPlanes,
  type ListedProduct,
  type Planes,
} from "./geometry.ts";
import { convForward, convInputGradient, convWeightGradient, sizesOf } from "./plain.ts";
import { splitPlanes } from "./planes.ts";
import { drawShape } from "./trial.ts";
import { vectorsOf } from "./weight-gradient.ts";

interface Case {
  readonly s: ConvShape;
  readonly images: number;
  readonly entries: Entries;
  readonly flats: readonly number[];
  /** values by place, and the same weights dense */
  readonly values: Float32Array;
  readonly dense: Float32Array;
}

/** A drawn convolution with drawn weights missing, their places with gaps between outputs; or depthwise and whole. */
function drawCase(draw: Draw): Case {
  const depthwise = draw.int(0, 2) === 0;
  const s = drawShape(draw, depthwise);
  const images = draw.int(0, 3);
  const k = (s.channels / s.groups) * s.kernelHeight * s.kernelWidth;
  const share = depthwise ? 4 : draw.int(0, 4);
  const flats: number[] = [];
  const places: number[] = [];
  let place = 0;
  for (let o = 0; o < s.outs; o++) {
    for (let i = 0; i < k; i++) {
      if (!depthwise && draw.int(0, 3) >= share) continue;
      flats.push(o * k + i);
      places.push(place++);
    }
    if (!depthwise) place = Math.ceil(place / 4) * 4;
  }
  const values = draw.floats(place);
  const dense = new Float32Array(s.outs * k);
  flats.forEach((flat, i) => {
    dense[flat] = values[places[i]];
  });
  const entries: Entries = {
    stored: place,
    forEach: (visit) => {
      flats.forEach((flat, i) => {
        visit(places[i], flat);
      });
    },
  };
  return { s, images, entries, flats, values, dense };
}

function multiply(way: "forward" | "gradient") {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const { s, images, entries, values, dense } = drawCase(draw);
    const forward = way === "forward";
    const [from, to] = forward ? [s.channels, s.outs] : [s.outs, s.channels];
    const [height, width] = forward ? [s.height, s.width] : [s.outHeight, s.outWidth];
    const size = forward ? s.outHeight * s.outWidth : s.height * s.width;
    const p: Planes = forward ? inputPlanes(s, draw.int(0, 9)) : gradientPlanes(s, draw.int(0, 9));
    const [strideY, strideX] = forward ? [s.strideY, s.strideX] : [1, 1];
    const x = draw.floats(images * from * height * width);
    const bias = draw.floats(to);
    const at = box.put(Float32Array.from(splitPlanes(x, images * from, height, width, p, strideY, strideX)));
    const shift = box.put(bias);
    const twin = forward ? convForward : convInputGradient;
    const want = twin(s, x, dense, bias, images);
    const [whole, pieces] = [0, 1].map(() => box.put(new Float32Array(want.length).fill(9)));
    const products: ListedProduct[] = forward ? [forwardLists(s, p, entries)] : inputLists(s, p, entries);
    for (const q of products) {
      const ordered = q.order ? Float32Array.from(q.order, (place) => values[place]) : values;
      const [starts, ends, terms, weights] = [q.starts, q.ends, q.terms, ordered].map((a) => box.put(a));
      const run = (y: number, a: number, b: number): number =>
        box.call(
          "multiply",
          ...[at + 4 * q.start, from * bytesOfPlanes(p), 4 * p.pitch, starts, ends, terms, weights, shift],
          ...[y + 4 * q.target, 4 * to * size, 4 * size, 4 * q.targetRow, 4 * q.targetColumn],
          ...[to, q.rows, q.columns, a, b],
        );
      run(whole, 0, images * to);
      inPieces(draw, images * to, (a, b) => run(pieces, a, b));
    }
    const sizes = twin(s, sizesOf(x), sizesOf(dense), sizesOf(bias), images);
    // Worst case of a sum rounded at every step: no output has more terms than there are places.
    const tolerance = sizes.map((v) => v * (entries.stored + 2) * 2 ** -24);
    const got = box.f32(whole, want.length);
    return [
      { what: way, got, want, tolerance },
      { what: `${way}, in pieces`, got: box.f32(pieces, want.length), want: got, tolerance: 0 },
    ];
  };
}

const dots: Trial = {
  name: "gradient of the listed weights",
  run(draw, box) {
    const { s, images, entries, flats, values } = drawCase(draw);
    const x = draw.floats(images * s.channels * s.height * s.width);
    const dys = draw.floats(images * s.outs * s.outHeight * s.outWidth);
    const xp = inputPlanes(s);
    const dp = flatPlanes(s, xp.pitch);
    const put = (v: Float64Array): number => box.put(Float32Array.from(v));
    const px = put(splitPlanes(x, images * s.channels, s.height, s.width, xp, s.strideY, s.strideX));
    const pd = put(splitPlanes(dys, images * s.outs, s.outHeight, s.outWidth, dp, 1, 1));
    const q = forwardLists(s, xp, entries);
    const [starts, ends, terms] = [q.starts, q.ends, q.terms].map((a) => box.put(a));
    const onto = draw.int(0, 1);
    const [whole, pieces] = [box.put(values), box.put(values)];
    const run = (dw: number, a: number, b: number): number =>
      box.call(
        "dot",
        ...[pd, s.outs * bytesOfPlanes(dp), bytesOfPlanes(dp), px, s.channels * bytesOfPlanes(xp)],
        ...[starts, ends, terms, images, vectorsOf(s.outHeight, s.outWidth, xp.pitch), dw, onto, a, b],
      );
    run(whole, 0, s.outs);
    inPieces(draw, s.outs, (a, b) => run(pieces, a, b));
    const dense = convWeightGradient(s, x, dys, images);
    const sizes = convWeightGradient(s, sizesOf(x), sizesOf(dys), images);
    // Places that no entry names keep what they held.
    const want = Float64Array.from(values);
    const tolerance = new Float64Array(values.length);
    const steps = images * s.outHeight * s.outWidth + 4;
    let i = 0;
    entries.forEach((place) => {
      const flat = flats[i++];
      want[place] = dense[flat] + onto * values[place];
      tolerance[place] = (sizes[flat] * steps + Math.abs(values[place])) * 2 ** -23;
    });
    const got = box.f32(whole, values.length);
    return [
      { what: "gradient", got, want, tolerance },
      { what: "gradient, in pieces", got: box.f32(pieces, values.length), want: got, tolerance: 0 },
    ];
  },
};

export const listedTrials: readonly Trial[] = [
  { name: "forward", run: multiply("forward") },
  { name: "input's gradient", run: multiply("gradient") },
  dots,
];
