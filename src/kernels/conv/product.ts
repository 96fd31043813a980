/**
 * What the products over planes share: packing of weights, arguments, and trials against the definition.
 *
 * A product kernel packs weights in panels of some outputs of a group and multiplies them with terms read from planes
 * at offsets that a table lists (`geometry.ts`). The forward pass and the input's gradient are both such products.
 */
import type { Comparison, Draw, KernelFunction, Sandbox, Trial } from "../kernel.ts";
import { inPieces } from "../pointwise/trial.ts";
import { type Expr, f32, forRange, i32, type ModuleBuilder, when } from "../wasm/asm.ts";
import {
  bytesOfPlanes,
  type ConvShape,
  forwardProduct,
  gradientPlanes,
  inputPlanes,
  inputProducts,
  type Planes,
  type Product,
  rawPlanes,
} from "./geometry.ts";
import { convForward, convInputGradient, packWeights, sizesOf } from "./plain.ts";
import { splitPlanes } from "./planes.ts";
import { drawShape } from "./trial.ts";

const { add, mul, shl, lt, divu, remu } = i32;
const n = i32.const;

const packParams = {
  w: "i32",
  weights: "i32",
  k: "i32",
  outs: "i32",
  groups: "i32",
  outBytes: "i32",
  groupBytes: "i32",
  packed: "i32",
  from: "i32",
  to: "i32",
} as const;

/** `pack`: panels of `width` outputs, [group][panel][k][width]. */
export function emitPack(m: ModuleBuilder, width: number): void {
  m.func("pack", packParams, ({ p, locals }) => {
    const [u, panels, kk, r, source, at, line, group] = locals("i32", 8);
    return [
      panels.set(panelCount(p.outs, width)),
      at.set(add(p.packed, mul(mul(p.from, p.k), n(4 * width)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        group.set(add(p.w, mul(divu(u, panels), p.groupBytes))),
        line.set(mul(remu(u, panels), n(width))),
        forRange(
          kk,
          n(0),
          p.k,
          1,
          source.set(add(add(group, mul(line, p.outBytes)), i32.load(add(p.weights, shl(kk, n(2)))))),
          forRange(
            r,
            line,
            add(line, n(width)),
            1,
            when(lt(r, p.outs), f32.store(at, f32.load(source)), f32.store(at, f32.const(0))),
            at.set(add(at, n(4))),
            source.set(add(source, p.outBytes)),
          ),
        ),
      ),
    ];
  });
}

export const panelCount = (outs: Expr<"i32">, width: number): Expr<"i32"> => divu(add(outs, n(width - 1)), n(width));

export const multiplyParams = {
  x: "i32",
  xImage: "i32",
  xGroup: "i32",
  xRow: "i32",
  terms: "i32",
  packed: "i32",
  k: "i32",
  bias: "i32",
  y: "i32",
  yImage: "i32",
  yChannel: "i32",
  yRow: "i32",
  yColumn: "i32",
  outs: "i32",
  groups: "i32",
  rows: "i32",
  columns: "i32",
  from: "i32",
  to: "i32",
} as const;

/** Arguments of `multiply` but the last two, from a product over planes of `from` channels to images of `to`. */
export function multiplyArguments(
  q: Product,
  p: Planes,
  at: {
    readonly x: number;
    readonly terms: number;
    readonly packed: number;
    readonly bias: number;
    readonly y: number;
  },
  channels: { readonly from: number; readonly to: number; readonly groups: number; readonly size: number },
): number[] {
  const plane = bytesOfPlanes(p);
  return [
    at.x + 4 * q.start,
    channels.from * plane,
    (channels.from / channels.groups) * plane,
    4 * p.pitch,
    at.terms,
    at.packed,
    q.terms.length,
    at.bias,
    at.y + 4 * q.target,
    4 * channels.to * channels.size,
    4 * channels.size,
    4 * q.targetRow,
    4 * q.targetColumn,
    channels.to / channels.groups,
    channels.groups,
    q.rows,
    q.columns,
  ];
}

/** Panels of packed weights, over all groups. */
export const panelsOf = (outs: number, groups: number, width: number): number =>
  groups * Math.ceil(outs / groups / width);

/** Biases laid out as the panels are, zeros where there is none. */
export function panelBias(bias: ArrayLike<number> | null, outs: number, groups: number, width: number): Float32Array {
  const out = new Float32Array(panelsOf(outs, groups, width) * width);
  if (!bias) return out;
  const [per, stride] = [outs / groups, Math.ceil(outs / groups / width) * width];
  for (let o = 0; o < outs; o++) out[Math.floor(o / per) * stride + (o % per)] = bias[o];
  return out;
}

type Way = "forward" | "gradient";

/** What a product needs, from a drawn shape; the planes come from the plain twin. */
function stage(draw: Draw, box: Sandbox, s: ConvShape, way: Way, images: number, raw: boolean) {
  const forward = way === "forward";
  const [inSize, outSize] = [s.height * s.width, s.outHeight * s.outWidth];
  const [from, to] = forward ? [s.channels, s.outs] : [s.outs, s.channels];
  const [fromSize, toSize] = forward ? [inSize, outSize] : [outSize, inSize];
  const values = draw.floats(images * from * fromSize);
  const w = draw.floats((s.outs * s.channels * s.kernelHeight * s.kernelWidth) / s.groups);
  const bias = draw.floats(to);
  const p = raw ? rawPlanes(1, inSize) : forward ? inputPlanes(s, draw.int(0, 9)) : gradientPlanes(s, draw.int(0, 9));
  const [height, width] = forward ? [s.height, s.width] : [s.outHeight, s.outWidth];
  const [strideY, strideX] = forward ? [s.strideY, s.strideX] : [1, 1];
  const x = raw
    ? box.put(values)
    : box.put(Float32Array.from(splitPlanes(values, images * from, height, width, p, strideY, strideX)));
  const want = forward ? convForward(s, values, w, bias, images) : convInputGradient(s, values, w, bias, images);
  const sizes = forward
    ? convForward(s, sizesOf(values), sizesOf(w), sizesOf(bias), images)
    : convInputGradient(s, sizesOf(values), sizesOf(w), sizesOf(bias), images);
  return {
    from,
    to,
    toSize,
    w,
    bias,
    p,
    x,
    want,
    sizes,
    products: forward ? [forwardProduct(s, p)] : inputProducts(s, p),
  };
}

function trial(way: Way, width: number, pointwise: boolean) {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const drawn = drawShape(draw);
    const s: ConvShape = pointwise
      ? {
          ...drawn,
          ...{ kernelHeight: 1, kernelWidth: 1, strideY: 1, strideX: 1, top: 0, left: 0 },
          ...{ height: 1, width: drawn.width + 3, outHeight: 1, outWidth: drawn.width + 3 },
        }
      : drawn;
    const images = draw.int(0, 3);
    const t = stage(draw, box, s, way, images, pointwise);
    const panels = panelsOf(t.to, s.groups, width);
    const bias = box.put(panelBias(t.bias, t.to, s.groups, width));
    const whole = box.put(new Float32Array(t.want.length).fill(9));
    const pieces = box.put(new Float32Array(t.want.length).fill(9));
    const packings: Comparison[] = [];
    const area = s.kernelHeight * s.kernelWidth;
    const perGroup = (s.outs / s.groups) * (s.channels / s.groups) * area;
    const outStride = way === "forward" ? (s.channels / s.groups) * area : area;
    for (const q of t.products) {
      const k = q.terms.length;
      const [terms, weights] = [box.put(q.terms), box.put(q.weights)];
      const packed = box.room(4 * panels * k * width);
      const w = box.put(t.w);
      inPieces(draw, panels, (a, b) =>
        box.call("pack", w, weights, k, t.to / s.groups, s.groups, 4 * outStride, 4 * perGroup, packed, a, b),
      );
      const wantPacked = packWeights(t.w, q.weights, t.to / s.groups, s.groups, outStride, perGroup, width);
      packings.push({
        what: "packed weights",
        got: box.f32(packed, wantPacked.length),
        want: wantPacked,
        tolerance: 0,
      });
      const run = (y: number, a: number, b: number): number =>
        box.call(
          "multiply",
          ...multiplyArguments(
            q,
            t.p,
            { x: t.x, terms, packed, bias, y },
            { from: t.from, to: t.to, groups: s.groups, size: t.toSize },
          ),
          a,
          b,
        );
      run(whole, 0, images * panels);
      inPieces(draw, images * panels, (a, b) => run(pieces, a, b));
    }
    const terms = Math.max(...t.products.map((q) => q.terms.length), 0);
    // Worst case of a sum of k products and a bias rounded at every step.
    const tolerance = t.sizes.map((size) => size * (terms + 2) * 2 ** -24);
    const got = box.f32(whole, t.want.length);
    return [
      ...packings,
      { what: "product", got, want: t.want, tolerance },
      { what: "product, in pieces", got: box.f32(pieces, t.want.length), want: got, tolerance: 0 },
    ];
  };
}

/** Descriptions of both functions of a product kernel. */
export const productFunctions = (width: number): Readonly<Record<"pack" | "multiply", KernelFunction>> => ({
  pack: {
    params: Object.keys(packParams),
    does:
      `panels of ${width} outputs of a group, [group][panel][k][${width}]: output r, term i is the weight at byte ` +
      "r outBytes + weights[i] of the group; zeros beyond outs (a group's); units are panels",
  },
  multiply: {
    params: Object.keys(multiplyParams),
    does:
      "y = bias + packed · terms of x: value (o, r, c) of a group sums over i the packed weight times x at byte " +
      "r xRow + 4 c + terms[i] of the group; strides in bytes, bias laid out as the panels; units are image, group, panel",
  },
});

/** Trials of a product kernel. */
export const productTrials = (width: number): readonly Trial[] => [
  { name: "forward", run: trial("forward", width, false) },
  { name: "input's gradient", run: trial("gradient", width, false) },
  { name: "pointwise, in place", run: trial("forward", width, true) },
  { name: "pointwise gradient, in place", run: trial("gradient", width, true) },
];
