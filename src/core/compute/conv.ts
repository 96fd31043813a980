/**
 * Convolutions of images [B, C, H, W] in engine memory, with weights [O, C / groups, kh, kw]: forward, gradients.
 *
 * Images are copied into padded planes a few at a time (1x1 convolutions read them where they lie), so that scratch
 * memory is bounded and planes stay in cache. How many at a time is a function of the shape alone, and no kernel's
 * result depends on how its work is split, so the same call gives the same bits for any number of threads.
 */
import {
  allEntries,
  bytesOfPlanes,
  type ConvShape,
  collides,
  flatPlanes,
  flattened,
  forwardProduct,
  gradientPlanes,
  inputPlanes,
  inputProducts,
  isDepthwise,
  isPointwise,
  macsOf,
  type Planes,
  type Product,
  rawPlanes,
} from "../../kernels/conv/geometry.ts";
import { CONV_PANEL, conv, convWeights } from "../../kernels/conv/index.ts";
import { multiplyArguments, panelBias, panelsOf } from "../../kernels/conv/product.ts";
import { gradientUnits, vectorsOf } from "../../kernels/conv/weight-gradient.ts";
import { call, memory, scratch } from "../engine.ts";
import { type ConvGradients, listedBackward, listedForward } from "./listed-conv.ts";
import { atOnce, grainOf, rooms, run, splitGradient, splitInput } from "./planes.ts";

export type { ConvShape } from "../../kernels/conv/geometry.ts";
export { macsOf } from "../../kernels/conv/geometry.ts";
export type { ConvGradients } from "./listed-conv.ts";

interface Packed {
  readonly product: Product;
  readonly terms: number;
  readonly packed: number;
}

interface Prepared {
  readonly from: number;
  readonly to: number;
  readonly size: number;
  readonly groups: number;
  readonly bias: number;
  readonly products: readonly Packed[];
}

/** Packs the weights of products that give `to` channels of `size` elements each out of `from`, for `body`. */
function prepare<R>(
  s: ConvShape,
  way: "forward" | "gradient",
  products: readonly Product[],
  w: number,
  bias: number,
  body: (p: Prepared) => R,
): R {
  const forward = way === "forward";
  const [from, to] = forward ? [s.channels, s.outs] : [s.outs, s.channels];
  const area = s.kernelHeight * s.kernelWidth;
  const groupBytes = (4 * s.outs * s.channels * area) / s.groups ** 2;
  const outBytes = forward ? (4 * s.channels * area) / s.groups : 4 * area;
  const panels = panelsOf(to, s.groups, CONV_PANEL);
  const sizes = products.flatMap((q) => {
    const k = q.terms.length;
    return [4 * k, 4 * k, 4 * panels * CONV_PANEL * k];
  });
  return rooms([4 * panels * CONV_PANEL, ...sizes], (biasAt, ...at) => {
    const values = bias ? memory.f32(bias, to) : null;
    memory.f32(biasAt, panels * CONV_PANEL).set(panelBias(values, to, s.groups, CONV_PANEL));
    const packed = products.map((product, i) => {
      const [terms, weights, target] = at.slice(3 * i);
      const k = product.terms.length;
      memory.i32(terms, k).set(product.terms);
      memory.i32(weights, k).set(product.weights);
      call(conv, "pack", w, weights, k, to / s.groups, s.groups, outBytes, groupBytes, target, 0, panels);
      return { product, terms, packed: target };
    });
    const size = forward ? s.outHeight * s.outWidth : s.height * s.width;
    return body({ from, to, size, groups: s.groups, bias: biasAt, products: packed });
  });
}

/** y = products of planes `x` of some images. */
function multiply(t: Prepared, p: Planes, x: number, images: number, y: number): void {
  const units = images * panelsOf(t.to, t.groups, CONV_PANEL);
  for (const { product, terms, packed } of t.products) {
    const macs = images * t.to * product.rows * product.columns * product.terms.length;
    const args = multiplyArguments(product, p, { x, terms, packed, bias: t.bias, y }, t);
    run(conv, "multiply", args, units, grainOf(macs, units), macs);
  }
}

/** y [B, O, OH, OW] of x [B, C, H, W]; `bias` is the address of O values, or 0. */
export function convForward(shape: ConvShape, images: number, x: number, w: number, bias: number, y: number): void {
  if (isDepthwise(shape)) {
    listedForward(shape, images, x, allEntries(shape), w, bias, y);
    return;
  }
  const pointwise = isPointwise(shape);
  const s = pointwise ? flattened(shape) : shape;
  const inPlace = pointwise && readable(s.channels / s.groups, s.width);
  const p = inPlace ? rawPlanes(1, s.width) : inputPlanes(s);
  prepare(s, "forward", [forwardProduct(s, p)], w, bias, (t) => {
    if (inPlace) {
      multiply(t, p, x, images, y);
      return;
    }
    const bytes = s.channels * bytesOfPlanes(p);
    const step = atOnce(bytes, images);
    scratch(step * bytes, (at) => {
      for (let i = 0; i < images; i += step) {
        const count = Math.min(step, images - i);
        splitInput(s, p, count, x + 4 * i * s.channels * s.height * s.width, at);
        multiply(t, p, at, count, y + 4 * i * s.outs * s.outHeight * s.outWidth);
      }
    });
  });
}

/** Whether a product can read rows of `size` elements of so many channels where they lie. */
const readable = (channels: number, size: number): boolean => size >= 4 && !collides(channels, size);

/** The gradients of `convForward`: dx [B, C, H, W] and dw [O, C / groups, kh, kw]. */
export function convBackward(shape: ConvShape, images: number, g: ConvGradients): void {
  if (isDepthwise(shape)) {
    listedBackward(shape, images, g, allEntries(shape));
    return;
  }
  const pointwise = isPointwise(shape);
  const s = pointwise ? flattened(shape) : shape;
  const [wantX, wantW] = [g.dx !== 0, g.dw !== 0];
  // Dot products take whole vectors; products of a tile need room behind a row and channels in different cache sets.
  const rawW = pointwise && s.width % 4 === 0;
  const rawX = pointwise && readable(s.outs / s.groups, s.width) && (rawW || !wantW);
  const pitch = Math.max(wantW && !rawW ? inputPlanes(s).pitch : 0, wantX && !rawX ? gradientPlanes(s).pitch : 0);
  const xp = rawW ? rawPlanes(1, s.width) : inputPlanes(s, pitch);
  const dp = wantX && !rawX ? gradientPlanes(s, pitch) : rawX || rawW ? rawPlanes(1, s.width) : flatPlanes(s, pitch);
  const splitX = wantW && !rawW;
  const splitD = wantX ? !rawX : splitX;
  const [xBytes, dBytes] = [s.channels * bytesOfPlanes(xp), s.outs * bytesOfPlanes(dp)];
  const step = atOnce((wantW ? xBytes : 0) + dBytes, images);
  const { terms } = forwardProduct(s, xp);
  if (images === 0 && wantW) memory.f32(g.dw, s.outs * terms.length).fill(0);
  const body = (t: Prepared | null): void =>
    rooms([splitX ? step * xBytes : 0, splitD ? step * dBytes : 0, 4 * terms.length], (xAt, dAt, table) => {
      memory.i32(table, terms.length).set(terms);
      for (let i = 0; i < images; i += step) {
        const count = Math.min(step, images - i);
        const x = g.x + 4 * i * s.channels * s.height * s.width;
        const dy = g.dy + 4 * i * s.outs * s.outHeight * s.outWidth;
        if (splitD) splitGradient(s, dp, count, dy, dAt);
        if (t) multiply(t, dp, splitD ? dAt : dy, count, g.dx + 4 * i * s.channels * s.height * s.width);
        if (!wantW) continue;
        if (splitX) splitInput(s, xp, count, x, xAt);
        const wp = rawW ? xp : dp;
        weightGradient(s, xp, wp, splitX ? xAt : x, rawW ? dy : dAt, table, count, g.dw, i > 0);
      }
    });
  if (wantX) prepare(s, "gradient", inputProducts(s, dp), g.w, g.bias ?? 0, body);
  else body(null);
}

function weightGradient(
  s: ConvShape,
  xp: Planes,
  dp: Planes,
  x: number,
  dy: number,
  table: number,
  images: number,
  dw: number,
  onto: boolean,
): void {
  const k = (s.channels / s.groups) * s.kernelHeight * s.kernelWidth;
  const units = gradientUnits(s.outs, s.groups, k);
  const macs = images * macsOf(s);
  const args = [
    ...[dy + 4 * (dp.top * dp.pitch + dp.left), s.outs * bytesOfPlanes(dp), bytesOfPlanes(dp)],
    ...[x, s.channels * bytesOfPlanes(xp), (s.channels / s.groups) * bytesOfPlanes(xp)],
    ...[table, k, s.outs / s.groups, images, vectorsOf(s.outHeight, s.outWidth, dp.pitch), dw, onto ? 1 : 0],
  ];
  run(convWeights, "dot", args, units, grainOf(macs, units), macs);
}
