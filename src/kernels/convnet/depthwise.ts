/**
 * Depthwise convolutions over planes: 3x3 and 5x5, stride 1 and 2, padding floor(k / 2) on every side.
 *
 * A tile is two output rows x two vectors: an input row is loaded once for both rows, and a loaded weight serves two
 * vectors. Ladder, one thread, GFLOP/s at 3x3 128x56x56 / 5x5 240x28x28 (Zen 4, V8 11): one row x one vector 29 / 17; two
 * rows x two vectors without exits between taps 27 / 12; with exits 35 / 31; 5x5 weights stored four times over 33.
 */
import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
  forRange,
  i32,
  type Local,
  label,
  ModuleBuilder,
  madd,
  type Stmt,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { depthwiseTrials } from "./depthwise-trials.ts";
import { depthwiseRecord } from "./packing.ts";
import { add, at, bounds, c, clamped, exitsTo, type I32, lt, mul, params, range, sub } from "./planes.ts";
import { type KernelSize, type Place, type Stride, taps } from "./taps.ts";

const PARAMS = ["x", "y", "weights", "zeros", "height", "width", "xPlane", "yPlane", "lo", "hi"] as const;
const CHANNELS = [...PARAMS, "from", "to"] as const;
const ROWS_OF = [...PARAMS, "channels", "from", "to"] as const;

/** Output rows of a tile. */
const ROWS = 2;

function emit(size: KernelSize, stride: Stride, { shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const pad = size >> 1;
  const inputRows = (rows: number): number => (rows - 1) * stride + size;

  const run = m.func(
    "run",
    params([...PARAMS, "channelFrom", "channelTo", "rowFrom", "rowTo"]),
    (f) => {
      const { x, y, weights, zeros, height, width, rowFrom, rowTo } = f.p;
      const { low, high, set } = bounds(f, f.p.lo, f.p.hi);
      const image = taps(f, size, stride, height, width, zeros);
      const [channel, plane, target, w, oy, top] = f.locals("i32", 6);
      const rows = f.locals("i32", inputRows(ROWS));
      const outs = f.locals("i32", ROWS);
      const xs = f.local("v128");
      const acc = range(ROWS).map(() => f.locals("v128", 2));
      const pair = range(2).map(() => f.locals("v128", 2));
      // Nine weights stay in registers; 25 are loaded where they are used.
      const held = size === 3 ? f.locals("v128", 9) : [];
      const used = f.locals("v128", ROWS);

      /** Computes and stores `count` output rows x one vector for each place. */
      const tile = (count: number, places: readonly Place[], firsts: readonly I32[]): Stmt => {
        const done = label("tile");
        const exit = exitsTo(done, weights);
        const cells = range(count).flatMap((r) => places.map((_, v) => [r, v] as const));
        const inputRow = (i: number): Stmt[] => {
          const reached = range(count).filter((r) => i - r * stride >= 0 && i - r * stride < size);
          const index = (r: number, t: number): number => (i - r * stride) * size + t;
          const weight = (r: number, t: number): Local<"v128"> => held[index(r, t)] ?? used[r];
          return [
            ...range(size).flatMap((t) => [
              ...(held.length > 0 ? [] : reached.map((r) => used[r].set(v128.load(w, 16 * (1 + index(r, t)))))),
              ...places.flatMap((place, v) => [
                image.load(t - pad, at(rows[i], firsts[v], 1 + stride), place, xs, pair[v]),
                ...reached.map((r) => acc[r][v].set(madd(fused, weight(r, t), xs, acc[r][v]))),
              ]),
              exit(),
            ]),
          ];
        };
        return seq(
          xs.set(v128.load32splat(w)),
          ...cells.map(([r, v]) => acc[r][v].set(xs)),
          block(done, ...range(inputRows(count)).flatMap(inputRow)),
          ...cells.map(([r, v]) => image.store(outs[r], firsts[v], places[v], clamped(acc[r][v], low, high), xs)),
        );
      };

      /** `count` whole output rows from row oy on. */
      const strip = (count: number): Stmt =>
        seq(
          top.set(sub(mul(oy, c(stride)), c(pad))),
          ...rows.slice(0, inputRows(count)).map((row, i) => row.set(image.row(plane, add(top, c(i))))),
          ...outs.slice(0, count).map((out, r) => out.set(at(target, mul(add(oy, c(r)), image.outWidth), 2))),
          image.tiles(2, (places, firsts) => tile(count, places, firsts)),
        );

      return [
        set,
        image.begin,
        forRange(
          channel,
          f.p.channelFrom,
          f.p.channelTo,
          1,
          plane.set(at(x, mul(channel, f.p.xPlane), 2)),
          target.set(at(y, mul(channel, f.p.yPlane), 2)),
          w.set(add(weights, mul(channel, c(4 * depthwiseRecord(size))))),
          ...held.map((h, i) => h.set(v128.load32splat(w, 4 * (1 + i)))),
          forRange(oy, rowFrom, sub(rowTo, c(ROWS - 1)), ROWS, strip(ROWS)),
          when(lt(oy, rowTo), strip(1)),
        ),
      ];
    },
    "void",
    false,
  );
  m.func("channels", params(CHANNELS), (f) => {
    const given = PARAMS.map((name) => f.p[name]);
    return run.call(...given, f.p.from, f.p.to, c(0), i32.divs(add(f.p.height, c(stride - 1)), c(stride)));
  });
  m.func("rows", params(ROWS_OF), (f) => {
    const given = PARAMS.map((name) => f.p[name]);
    return run.call(...given, c(0), f.p.channels, f.p.from, f.p.to);
  });
  return m.bytes();
}

const does = (size: KernelSize, stride: Stride, unit: string): string =>
  "y = min(max(w * x + bias, lo), hi); weights see packDepthwise; zeros: 4 (width + 16) bytes of them; x [C][xPlane], " +
  `y [C][yPlane], strides in floats; padding ${size >> 1}; outputs are ` +
  `${stride === 1 ? "height x width" : "ceil(height / 2) x ceil(width / 2)"}; from, to: ${unit}`;

const depthwise = (size: KernelSize, stride: Stride): Kernel => ({
  name: `depthwise-f32-planes-${size}x${size}s${stride}`,
  family: "convnet",
  summary: `Depthwise ${size}x${size} convolution of planes, stride ${stride}, padding ${size >> 1}, bias and activation`,
  functions: {
    channels: { params: CHANNELS, does: does(size, stride, "channels") },
    rows: { params: ROWS_OF, does: does(size, stride, "output rows, of all channels") },
  },
  emit: (options) => emit(size, stride, options),
  trials: depthwiseTrials(size, stride),
});

export const depthwise3x3s1 = depthwise(3, 1);
export const depthwise3x3s2 = depthwise(3, 2);
export const depthwise5x5s1 = depthwise(5, 1);
export const depthwise5x5s2 = depthwise(5, 2);

const BY_SHAPE: Readonly<Record<string, Kernel>> = {
  "3/1": depthwise3x3s1,
  "3/2": depthwise3x3s2,
  "5/1": depthwise5x5s1,
  "5/2": depthwise5x5s2,
};

/** The kernel of a size and stride; undefined when there is none. */
export const depthwiseKernel = (size: number, stride: number): Kernel | undefined => BY_SHAPE[`${size}/${stride}`];
