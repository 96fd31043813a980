/**
 * Convolution as a dense product whose right factor is never written out: its terms are read from padded planes at
 * offsets that a table lists. A tile of R outputs by V vectors of four pixels stays in registers while the terms run.
 *
 * `conv-f32-4x8` has 4 outputs by 8 pixels; `depthwise-f32-1x16` is for one output a group. A value is the sum of its
 * terms in order, from its bias on, wherever the work is split. Method after Dukhan 2019, "The Indirect Convolution
 * Algorithm", with offsets in place of pointers. The forward pass and the input's gradient are both such products.
 */
import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import { inPieces } from "../pointwise/trial.ts";
import {
  block,
  br,
  brIf,
  type Expr,
  f32,
  forRange,
  i32,
  type Local,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  select,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import {
  bytesOfPlanes,
  type ConvShape,
  forwardProduct,
  gradientPlanes,
  inputPlanes,
  inputProducts,
  isPointwise,
  type Planes,
  type Product,
  rawPlanes,
} from "./geometry.ts";
import { convForward, convInputGradient, packWeights, sizesOf } from "./plain.ts";
import { splitPlanes } from "./planes.ts";
import { drawShape } from "./trial.ts";

const { add, sub, mul, shl, lt, gt, ge, divu, remu } = i32;
const n = i32.const;
const UNROLL = 4;

/** Outputs (R) and vectors of pixels (V) of a tile: R * V + V + 2 values must fit 15 registers. */
export interface Tile {
  readonly outs: number;
  readonly vectors: number;
}
export const DENSE: Tile = { outs: 4, vectors: 2 };
export const DEPTHWISE: Tile = { outs: 1, vectors: 4 };

function emitTile(m: ModuleBuilder, fused: boolean, { outs, vectors }: Tile) {
  const at = (name: string) => Object.fromEntries(Array.from({ length: vectors }, (_, v) => [`${name}${v}`, "i32"]));
  const params = {
    ...at("x"),
    ...at("y"),
    terms: "i32",
    a: "i32",
    left: "i32",
    bias: "i32",
    channel: "i32",
    column: "i32",
    count: "i32",
    width: "i32",
  } as Record<string, "i32">;
  return m.func(
    "tile",
    params,
    ({ p, local, locals }) => {
      const acc = Array.from({ length: outs }, () => locals("v128", vectors));
      const b = locals("v128", vectors);
      const w = local("v128");
      const offset = local("i32");
      const [done, again] = [label("done"), label("again")];
      const step = (i: number): Stmt =>
        seq(
          offset.set(i32.load(p.terms, 4 * i)),
          ...b.map((bv, v) => bv.set(v128.load(add(p[`x${v}`], offset)))),
          ...acc.flatMap((row, r) => [
            w.set(v128.load32splat(p.a, 4 * (i * outs + r))),
            ...row.map((c, v) => c.set(madd(fused, w, b[v], c))),
          ]),
          // The exit makes V8 11 finish the step's sums here (see `dense/gemm.ts`).
          brIf(done, i32.eqz(p.left.tee(sub(p.left, n(1))))),
        );
      const whole = seq(
        ...acc.flatMap((row) => [
          ...row.map((c, v) => v128.store(p[`y${v}`], c)),
          ...row.map((_, v) => p[`y${v}`].set(add(p[`y${v}`], p.channel))),
        ]),
      );
      const lanes = (c: Local<"v128">, y: Local<"i32">): Stmt =>
        seq(
          offset.set(y),
          ...[0, 1, 2, 3].map((l) =>
            when(gt(p.width, n(l)), seq(v128.store32(offset, c, 0, l), offset.set(add(offset, p.column)))),
          ),
          y.set(add(y, p.channel)),
        );
      return [
        ...acc.flatMap((row, r) => row.map((c) => c.set(v128.load32splat(p.bias, 4 * r)))),
        block(
          done,
          brIf(done, i32.eqz(p.left)),
          loop(
            again,
            ...Array.from({ length: UNROLL }, (_, i) => step(i)),
            p.terms.set(add(p.terms, n(4 * UNROLL))),
            p.a.set(add(p.a, n(4 * outs * UNROLL))),
            br(again),
          ),
        ),
        when(
          i32.and(i32.and(i32.eq(p.count, n(outs)), i32.eq(p.width, n(4))), i32.eq(p.column, n(4))),
          whole,
          seq(...acc.map((row, r) => when(gt(p.count, n(r)), seq(...row.map((c, v) => lanes(c, p[`y${v}`])))))),
        ),
      ];
    },
    "void",
    false,
  );
}

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

const multiplyParams = {
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

function emit(m: ModuleBuilder, fused: boolean, tile: Tile): void {
  const { outs: R, vectors: V } = tile;
  const tileFn = emitTile(m, fused, tile);
  const panelsOf = (outs: Expr<"i32">): Expr<"i32"> => divu(add(outs, n(R - 1)), n(R));

  m.func("pack", packParams, ({ p, locals }) => {
    const [u, panels, kk, r, source, at, line, group] = locals("i32", 8);
    return [
      panels.set(panelsOf(p.outs)),
      at.set(add(p.packed, mul(mul(p.from, p.k), n(4 * R)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        group.set(add(p.w, mul(divu(u, panels), p.groupBytes))),
        line.set(mul(remu(u, panels), n(R))),
        forRange(
          kk,
          n(0),
          p.k,
          1,
          source.set(add(add(group, mul(line, p.outBytes)), i32.load(add(p.weights, shl(kk, n(2)))))),
          forRange(
            r,
            line,
            add(line, n(R)),
            1,
            when(lt(r, p.outs), f32.store(at, f32.load(source)), f32.store(at, f32.const(0))),
            at.set(add(at, n(4))),
            source.set(add(source, p.outBytes)),
          ),
        ),
      ),
    ];
  });

  m.func("multiply", multiplyParams, ({ p, locals }) => {
    const [u, panels, panel, group, image, a, bias, xb, yb, count, width, row, column] = locals("i32", 13);
    const xs = locals("i32", V);
    const ys = locals("i32", V);
    const place = (v: number): Stmt =>
      seq(
        xs[v].set(add(add(xb, mul(row, p.xRow)), shl(column, n(2)))),
        ys[v].set(add(add(yb, mul(row, p.yRow)), mul(column, p.yColumn))),
        // The last vector of a row is moved back to end with it; pixels computed twice come out the same.
        when(
          ge(add(column, n(4)), p.columns),
          seq(row.set(add(row, n(1))), column.set(n(0))),
          seq(
            column.set(add(column, n(4))),
            column.set(select(column, sub(p.columns, n(4)), lt(add(column, n(4)), p.columns))),
          ),
        ),
      );
    return [
      panels.set(panelsOf(p.outs)),
      width.set(select(p.columns, n(4), lt(p.columns, n(4)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        panel.set(remu(u, panels)),
        group.set(divu(u, panels)),
        image.set(divu(group, p.groups)),
        group.set(remu(group, p.groups)),
        a.set(add(mul(group, panels), panel)),
        bias.set(add(p.bias, mul(a, n(4 * R)))),
        a.set(add(p.packed, mul(mul(a, p.k), n(4 * R)))),
        xb.set(add(p.x, add(mul(image, p.xImage), mul(group, p.xGroup)))),
        yb.set(add(add(mul(group, p.outs), mul(panel, n(R))), n(0))),
        yb.set(add(p.y, add(mul(image, p.yImage), mul(yb, p.yChannel)))),
        count.set(sub(p.outs, mul(panel, n(R)))),
        count.set(select(count, n(R), lt(count, n(R)))),
        row.set(n(0)),
        column.set(n(0)),
        whileLoop(
          lt(row, p.rows),
          place(0),
          ...Array.from({ length: V - 1 }, (_, i) =>
            when(lt(row, p.rows), place(i + 1), seq(xs[i + 1].set(xs[0]), ys[i + 1].set(ys[0]))),
          ),
          tileFn.call(...xs, ...ys, p.terms, a, p.k, bias, p.yChannel, p.yColumn, count, width),
        ),
      ),
    ];
  });
}

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
export const panelsOf = (outs: number, groups: number, tile: Tile): number =>
  groups * Math.ceil(outs / groups / tile.outs);

/** Biases laid out as the panels are, zeros where there is none. */
export function panelBias(bias: ArrayLike<number> | null, outs: number, groups: number, tile: Tile): Float32Array {
  const out = new Float32Array(panelsOf(outs, groups, tile) * tile.outs);
  if (!bias) return out;
  const [per, stride] = [outs / groups, Math.ceil(outs / groups / tile.outs) * tile.outs];
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
  const p = raw ? rawPlanes(inSize) : forward ? inputPlanes(s, draw.int(0, 9)) : gradientPlanes(s, draw.int(0, 9));
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

function trial(way: Way, tile: Tile, pointwise: boolean) {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const drawn = drawShape(draw, tile === DEPTHWISE);
    const s: ConvShape = pointwise
      ? {
          ...drawn,
          ...{ kernelHeight: 1, kernelWidth: 1, strideY: 1, strideX: 1, top: 0, left: 0 },
          ...{ width: drawn.width + 3, outHeight: drawn.height, outWidth: drawn.width + 3 },
        }
      : drawn;
    const images = draw.int(0, 3);
    const t = stage(draw, box, s, way, images, pointwise && isPointwise(s));
    const panels = panelsOf(t.to, s.groups, tile);
    const bias = box.put(panelBias(t.bias, t.to, s.groups, tile));
    const whole = box.put(new Float32Array(t.want.length).fill(9));
    const pieces = box.put(new Float32Array(t.want.length).fill(9));
    const packings: Comparison[] = [];
    const area = s.kernelHeight * s.kernelWidth;
    const perGroup = (s.outs / s.groups) * (s.channels / s.groups) * area;
    const outStride = way === "forward" ? (s.channels / s.groups) * area : area;
    for (const q of t.products) {
      const k = q.terms.length;
      const [terms, weights] = [box.put(q.terms), box.put(q.weights)];
      const packed = box.room(4 * panels * k * tile.outs);
      const w = box.put(t.w);
      inPieces(draw, panels, (a, b) =>
        box.call("pack", w, weights, k, t.to / s.groups, s.groups, 4 * outStride, 4 * perGroup, packed, a, b),
      );
      const wantPacked = packWeights(t.w, q.weights, t.to / s.groups, s.groups, outStride, perGroup, tile.outs);
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

function convKernel(name: string, summary: string, tile: Tile): Kernel {
  return {
    name,
    family: "conv",
    summary,
    functions: {
      pack: {
        params: Object.keys(packParams),
        does:
          `panels of ${tile.outs} outputs of a group, [group][panel][k][${tile.outs}]: output r, term i is the weight at ` +
          "byte r outBytes + weights[i] of the group; zeros beyond outs (a group's); units are panels",
      },
      multiply: {
        params: Object.keys(multiplyParams),
        does:
          "y = bias + packed · terms of x: value (o, r, c) of a group sums over i the packed weight times x at byte " +
          "r xRow + 4 c + terms[i] of the group; strides in bytes, bias laid out as the panels; units are image, group, " +
          "panel",
      },
    },
    emit({ shared, fused }) {
      const m = new ModuleBuilder({ shared });
      emit(m, fused, tile);
      return m.bytes();
    },
    trials: [
      { name: "forward", run: trial("forward", tile, false) },
      { name: "input's gradient", run: trial("gradient", tile, false) },
      ...(tile === DENSE
        ? [
            { name: "pointwise, in place", run: trial("forward", tile, true) },
            { name: "pointwise gradient, in place", run: trial("gradient", tile, true) },
          ]
        : []),
    ],
  };
}

export const conv: Kernel = convKernel(
  "conv-f32-4x8",
  "Convolution and its input gradient over padded planes, tiles of 4 outputs by 8 pixels",
  DENSE,
);
export const depthwise: Kernel = convKernel(
  "depthwise-f32-1x16",
  "Convolution with one output a group and its input gradient over padded planes, tiles of 16 pixels",
  DEPTHWISE,
);
