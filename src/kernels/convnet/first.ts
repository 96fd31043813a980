/**
 * Dense 3x3 convolution over planes, stride 1 or 2, padding 1: the first layer of a network, straight from the image.
 *
 * A tile is four outputs x one vector of one output row. Made for few inputs: it walks all of them for every four
 * outputs. Ladder, one thread, GFLOP/s at 3 -> 32, 224 x 224, stride 2 (Zen 4, V8 11): two vectors with exits after each
 * row of taps 19, after each tap 22; one vector 26; weights addressed by a sum instead of an offset, which V8 would keep
 * in 36 pointers, 32.
 */
import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
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
import { add, at, bounds, c, clamped, exitsTo, type I32, ltu, mul, params, range, shl, sub } from "./planes.ts";
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
    const [xs, ws] = [f.local("v128"), f.local("v128")];
    const acc = f.locals("v128", GROUP);
    const pair = f.locals("v128", 2);

    const tile = ([place]: readonly Place[], [first]: readonly I32[]): Stmt => {
      const done = label("inputs");
      const exit = exitsTo(done, weights);
      const tapAt = (ky: number, kx: number): Stmt[] => [
        image.load(kx - PAD, at(rows[ky], first, 1 + stride), place, xs, pair),
        ...acc.flatMap((sum, r) => [
          ws.set(v128.load32splat(add(w, c(4 * (GROUP * (SIZE * ky + kx) + r))))),
          sum.set(madd(fused, ws, xs, sum)),
        ]),
        exit(),
      ];
      return seq(
        w.set(add(weights, mul(mul(o, f.p.in), c(4 * SIZE * SIZE)))),
        ...rows.map((row, i) => row.set(starts[i])),
        left.set(f.p.in),
        ...acc.map((sum, r) => sum.set(v128.load32splat(at(bias, o, 2), 4 * r))),
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
        ...acc.map((sum, r) =>
          when(i32.gt(sub(out, o), c(r)), image.store(outs[r], first, place, clamped(sum, low, high), ws)),
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
          image.tiles(1, tile),
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
