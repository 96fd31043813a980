/**
 * Dense 3x3 convolution over planes, stride 1 or 2, padding 1: the first layer of a network, straight from the image.
 *
 * A tile is four outputs x two vectors of one output row; a tap costs four loaded weights, two vectors of inputs and
 * eight multiply-adds, and ends with an exit that is never taken (see depthwise.ts). Made for few inputs: it walks all
 * of them for every four outputs.
 */
import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
  brIf,
  forRange,
  i32,
  label,
  ModuleBuilder,
  madd,
  type Stmt,
  select,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { convTrials } from "./first-trials.ts";
import { CONV_GROUP as GROUP } from "./packing.ts";
import { add, at, bounds, c, clamped, type I32, ltu, mul, params, range, shl, sub } from "./planes.ts";
import { type Place, type Stride, taps } from "./taps.ts";

const SIZE = 3;
const PAD = 1;
const PARAMS = [
  "x",
  "y",
  "weights",
  "bias",
  "zeros",
  "in",
  "out",
  "height",
  "width",
  "xPlane",
  "yPlane",
  "lo",
  "hi",
  "from",
  "to",
] as const;

function emit(stride: Stride, { shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  m.func("rows", params(PARAMS), (f) => {
    const { x, weights, bias, zeros, out, height, width, from, to } = f.p;
    const { low, high, set } = bounds(f, f.p.lo, f.p.hi);
    const image = taps(f, SIZE, stride, height, width, zeros);
    const [oy, top, o, w, left, planeBytes, yBytes] = f.locals("i32", 7);
    const rows = f.locals("i32", SIZE);
    const steps = f.locals("i32", SIZE);
    const starts = f.locals("i32", SIZE);
    const outs = f.locals("i32", GROUP);
    const [xs, ws] = [f.locals("v128", 2), f.local("v128")];
    const acc = range(GROUP).map(() => f.locals("v128", 2));
    const pair = range(2).map(() => f.locals("v128", 2));

    const tile = (places: readonly Place[], firsts: readonly I32[]): Stmt => {
      const done = label("inputs");
      const tapAt = (ky: number, kx: number): Stmt[] => [
        ...places.map((place, v) => image.load(kx - PAD, rows[ky], firsts[v], place, xs[v], pair[v])),
        ...range(GROUP).flatMap((r) => [
          ws.set(v128.load32splat(w, 4 * (GROUP * (SIZE * ky + kx) + r))),
          ...places.map((_, v) => acc[r][v].set(madd(fused, ws, xs[v], acc[r][v]))),
        ]),
        brIf(done, i32.eqz(weights)),
      ];
      return seq(
        w.set(add(weights, mul(mul(o, f.p.in), c(4 * SIZE * SIZE)))),
        ...rows.map((row, i) => row.set(starts[i])),
        left.set(f.p.in),
        ...range(GROUP).flatMap((r) => [
          ws.set(v128.load32splat(at(bias, o, 2), 4 * r)),
          ...places.map((_, v) => acc[r][v].set(ws)),
        ]),
        block(
          done,
          whileLoop(
            left,
            ...range(SIZE).flatMap((ky) => range(SIZE).flatMap((kx) => tapAt(ky, kx))),
            w.set(add(w, c(4 * GROUP * SIZE * SIZE))),
            ...rows.map((row, i) => row.set(add(row, steps[i]))),
            left.set(sub(left, c(1))),
          ),
        ),
        ...range(GROUP).map((r) =>
          when(
            i32.gt(sub(out, o), c(r)),
            seq(...places.map((place, v) => image.store(outs[r], firsts[v], place, clamped(acc[r][v], low, high), ws))),
          ),
        ),
      );
    };

    return [
      set,
      image.begin,
      planeBytes.set(shl(f.p.xPlane, c(2))),
      yBytes.set(shl(f.p.yPlane, c(2))),
      forRange(
        oy,
        from,
        to,
        1,
        top.set(sub(mul(oy, c(stride)), c(PAD))),
        ...starts.flatMap((start, i) => [
          start.set(image.row(x, add(top, c(i)))),
          // the row of zeros serves every input
          steps[i].set(select(planeBytes, c(0), ltu(add(top, c(i)), height))),
        ]),
        forRange(
          o,
          c(0),
          out,
          GROUP,
          ...outs.map((row, r) => row.set(add(at(f.p.y, mul(oy, image.outWidth), 2), mul(add(o, c(r)), yBytes)))),
          image.tiles(tile),
        ),
      ),
    ];
  });
  return m.bytes();
}

const conv = (stride: Stride): Kernel => ({
  name: `conv-f32-planes-3x3s${stride}`,
  family: "convnet",
  summary: `Dense 3x3 convolution of planes, stride ${stride}, padding 1, bias and activation; for few inputs`,
  functions: {
    rows: {
      params: PARAMS,
      does:
        "y = min(max(w * x + bias, lo), hi) for the output rows from..to; weights [ceil(out / 4)][in][9][4] and bias " +
        "padded to 4, see packConv; zeros: 4 (width + 16) bytes of them; x [in][xPlane], y [out][yPlane], strides in " +
        `floats; outputs are ${stride === 1 ? "height x width" : "ceil(height / 2) x ceil(width / 2)"}`,
    },
  },
  emit: (options) => emit(stride, options),
  trials: convTrials(stride),
});

export const conv3x3s1 = conv(1);
export const conv3x3s2 = conv(2);
