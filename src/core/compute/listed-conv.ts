/**
 * Convolutions whose weights are listed, in engine memory: sparse ones, and depthwise ones, whose lists are short.
 *
 * Values lie by place, as `Entries` names them; forward, the input's gradient and the gradients of the listed weights
 * take time by the number of entries. Lists are made anew for each shape and kept as long as the entries live.
 */
import {
  bytesOfPlanes,
  type ConvShape,
  collides,
  type Entries,
  flatPlanes,
  forwardLists,
  gradientPlanes,
  inputLists,
  inputPlanes,
  isPointwise,
  type ListedProduct,
  type Planes,
  rawPlanes,
} from "../../kernels/conv/geometry.ts";
import { convListed } from "../../kernels/conv/index.ts";
import { vectorsOf } from "../../kernels/conv/weight-gradient.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import { call, memory } from "../engine.ts";
import { atOnce, grainOf, rooms, run, splitGradient, splitInput } from "./planes.ts";

export interface ConvGradients {
  readonly x: number;
  readonly dy: number;
  readonly w: number;
  /** address of the input's gradient, or 0 */
  readonly dx: number;
  /** address of the weights' gradient, or 0 */
  readonly dw: number;
  /** address of C values that are added to `dx`, or 0: the bias of a transposed convolution */
  readonly bias?: number;
}

const listsOf = new WeakMap<Entries, Map<string, readonly ListedProduct[]>>();

function lists(way: "forward" | "gradient", s: ConvShape, p: Planes, entries: Entries): readonly ListedProduct[] {
  const byShape = listsOf.get(entries) ?? new Map<string, readonly ListedProduct[]>();
  listsOf.set(entries, byShape);
  const key = [way, ...Object.values(s), p.pitch, p.plane].join();
  let made = byShape.get(key);
  if (!made) {
    made = way === "forward" ? [forwardLists(s, p, entries)] : inputLists(s, p, entries);
    byShape.set(key, made);
  }
  return made;
}

interface Placed {
  readonly starts: number;
  readonly ends: number;
  readonly terms: number;
  /** the product's weights in the order of its terms */
  readonly values: number;
}

/** Copies lists into engine memory, weights in their order, for `body`. */
function place<R>(products: readonly ListedProduct[], values: number, body: (placed: readonly Placed[]) => R): R {
  const sizes = products.flatMap((q) => {
    const ordered = q.order ? 4 * q.order.length : 0;
    return [4 * q.starts.length, 4 * q.ends.length, 4 * q.terms.length, ordered, ordered];
  });
  return rooms(sizes, (...at) =>
    body(
      products.map((q, i) => {
        const [starts, ends, terms, order, ordered] = at.slice(5 * i);
        memory.i32(starts, q.starts.length).set(q.starts);
        memory.i32(ends, q.ends.length).set(q.ends);
        memory.i32(terms, q.terms.length).set(q.terms);
        if (!q.order) return { starts, ends, terms, values };
        memory.i32(order, q.order.length).set(q.order);
        call(pointwise, "gatherRows", values, order, ordered, 1, 0, q.order.length);
        return { starts, ends, terms, values: ordered };
      }),
    ),
  );
}

interface Side {
  readonly from: number;
  readonly to: number;
  /** elements of a result's channel */
  readonly size: number;
  readonly bias: number;
}

function multiply(
  products: readonly ListedProduct[],
  placed: readonly Placed[],
  p: Planes,
  side: Side,
  x: number,
  images: number,
  y: number,
): void {
  products.forEach((q, i) => {
    const { starts, ends, terms, values } = placed[i];
    const macs = images * q.rows * q.columns * q.terms.length;
    const args = [
      ...[x + 4 * q.start, side.from * bytesOfPlanes(p), 4 * p.pitch, starts, ends, terms, values, side.bias],
      ...[y + 4 * q.target, 4 * side.to * side.size, 4 * side.size, 4 * q.targetRow, 4 * q.targetColumn],
      ...[side.to, q.rows, q.columns],
    ];
    run(convListed, "multiply", args, images * side.to, grainOf(macs, images * side.to), macs);
  });
}

/** Lends the address of a bias: the one given, or zeros. */
function withBias<R>(bias: number, channels: number, body: (at: number) => R): R {
  if (bias !== 0) return body(bias);
  return rooms([4 * channels], (at) => {
    memory.f32(at, channels).fill(0);
    return body(at);
  });
}

/** Whether rows of four can be read from images where they lie, channel by channel. */
const readable = (s: ConvShape, channels: number): boolean =>
  isPointwise(s) && s.width >= 4 && !collides(channels / s.groups, s.height * s.width);

/** y [B, O, OH, OW] of x [B, C, H, W]; `bias` is the address of O values, or 0. */
export function listedForward(
  s: ConvShape,
  images: number,
  x: number,
  entries: Entries,
  values: number,
  bias: number,
  y: number,
): void {
  const inPlace = readable(s, s.channels);
  const p = inPlace ? rawPlanes(s.height, s.width) : inputPlanes(s);
  const products = lists("forward", s, p, entries);
  const step = atOnce(s.channels * bytesOfPlanes(p), images);
  withBias(bias, s.outs, (shift) => {
    const side: Side = { from: s.channels, to: s.outs, size: s.outHeight * s.outWidth, bias: shift };
    place(products, values, (placed) =>
      rooms([inPlace ? 0 : step * s.channels * bytesOfPlanes(p)], (at) => {
        for (let i = 0; i < images; i += step) {
          const count = Math.min(step, images - i);
          const from = x + 4 * i * s.channels * s.height * s.width;
          if (!inPlace) splitInput(s, p, count, from, at);
          multiply(products, placed, p, side, inPlace ? from : at, count, y + 4 * i * s.outs * side.size);
        }
      }),
    );
  });
}

/** The gradients of `listedForward`: dx [B, C, H, W], and dw by place, 0 where no entry is; `g.w` are the values. */
export function listedBackward(s: ConvShape, images: number, g: ConvGradients, entries: Entries): void {
  const [wantX, wantW] = [g.dx !== 0, g.dw !== 0];
  const [size, outSize] = [s.height * s.width, s.outHeight * s.outWidth];
  // Dot products take whole vectors, so rows as they lie must fill them.
  const rawW = isPointwise(s) && size % 4 === 0;
  const rawX = readable(s, s.outs) && (rawW || !wantW);
  const pitch = Math.max(wantW && !rawW ? inputPlanes(s).pitch : 0, wantX && !rawX ? gradientPlanes(s).pitch : 0);
  const raw = rawPlanes(s.height, s.width);
  const xp = rawW ? raw : inputPlanes(s, pitch);
  const dp = wantX && !rawX ? gradientPlanes(s, pitch) : rawX || rawW ? raw : flatPlanes(s, pitch);
  const wp = rawW ? raw : dp;
  const splitX = wantW && !rawW;
  const splitD = wantX ? !rawX : splitX;
  const [xBytes, dBytes] = [s.channels * bytesOfPlanes(xp), s.outs * bytesOfPlanes(dp)];
  const step = atOnce((wantW ? xBytes : 0) + dBytes, images);
  const ahead = wantW ? lists("forward", s, xp, entries) : [];
  const back = wantX ? lists("gradient", s, dp, entries) : [];
  if (wantW) memory.f32(g.dw, entries.stored).fill(0);
  withBias(g.bias ?? 0, s.channels, (shift) => {
    const side: Side = { from: s.outs, to: s.channels, size, bias: shift };
    place(back, g.w, (placed) =>
      place(ahead, g.w, (listed) =>
        rooms([splitX ? step * xBytes : 0, splitD ? step * dBytes : 0], (xAt, dAt) => {
          for (let i = 0; i < images; i += step) {
            const count = Math.min(step, images - i);
            const x = g.x + 4 * i * s.channels * size;
            const dy = g.dy + 4 * i * s.outs * outSize;
            if (splitD) splitGradient(s, dp, count, dy, dAt);
            if (wantX) multiply(back, placed, dp, side, splitD ? dAt : dy, count, g.dx + 4 * i * s.channels * size);
            if (!wantW) continue;
            if (splitX) splitInput(s, xp, count, x, xAt);
            const [{ starts, ends, terms }] = listed;
            const macs = count * outSize * ahead[0].terms.length;
            const from = (rawW ? dy : dAt) + 4 * (wp.top * wp.pitch + wp.left);
            const args = [
              ...[from, s.outs * bytesOfPlanes(wp), bytesOfPlanes(wp), splitX ? xAt : x, xBytes],
              ...[starts, ends, terms, count, vectorsOf(s.outHeight, s.outWidth, wp.pitch), g.dw, i > 0 ? 1 : 0],
            ];
            run(convListed, "dot", args, s.outs, grainOf(macs, s.outs), macs);
          }
        }),
      ),
    );
  });
}
