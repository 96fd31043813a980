/**
 * Dense 1x1 convolution over planes: C = W · X with W packed in panels of 4 outputs, tile 4x8, bias, activation, residual.
 *
 * The tile is that of dense/gemm.ts. It differs in three points, each of which saves a pass over memory: pixels are read
 * from the planes in place (or from a packed strip: `xRow` is the stride from input to input, `xTile` from tile to tile),
 * all inputs are summed in one go, and the activation is applied before anything is stored.
 */

import { packPanels } from "../dense/pack.ts";
import type { Comparison, EmitOptions, Kernel, Trial } from "../kernel.ts";
import {
  block,
  br,
  brIf,
  f32x4,
  forRange,
  i32,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { pixelsOf } from "./depthwise-trials.ts";
import { groupBias } from "./packing.ts";
import { add, at, bounds, c, clamped, mul, params, range, shl, sub } from "./planes.ts";
import { draw1x1 } from "./sparse-trials.ts";

/** Outputs of a panel. */
export const PANEL = 4;
/** Pixels of a tile. */
export const TILE = 8;
const UNROLL = 4;

const GIVEN = [
  "w",
  "bias",
  "x",
  "y",
  "residual",
  "xRow",
  "xTile",
  "yPlane",
  "in",
  "out",
  "pixels",
  "lo",
  "hi",
] as const;
const PARAMS = [...GIVEN, "from", "to"] as const;

function emit({ shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const tile = m.func(
    "tile",
    params(["w", "bias", "x", "y", "residual", "xBytes", "yBytes", "left", "outs", "lo", "hi"]),
    (f) => {
      const { w, bias, x, y, residual, xBytes, yBytes, left, outs } = f.p;
      const { low, high, set } = bounds(f, f.p.lo, f.p.hi);
      const acc = range(PANEL).map(() => f.locals("v128", 2));
      const [b0, b1, av] = f.locals("v128", 3);
      const done = label("done");
      const again = label("again");
      const step = (i: number): Stmt =>
        seq(
          b0.set(v128.load(x)),
          b1.set(v128.load(x, 16)),
          x.set(add(x, xBytes)),
          ...acc.flatMap(([c0, c1], r) => [
            av.set(v128.load32splat(w, 16 * i + 4 * r)),
            c0.set(madd(fused, av, b0, c0)),
            c1.set(madd(fused, av, b1, c1)),
          ]),
          brIf(done, i32.eqz(left.tee(sub(left, c(1))))),
        );
      const store = (r: number): Stmt => {
        const sums = acc[r].map((a) => clamped(a, low, high));
        return seq(
          when(
            residual,
            seq(
              ...sums.map((sum, v) => v128.store(y, f32x4.add(sum, v128.load(residual, 16 * v)), 16 * v)),
              residual.set(add(residual, yBytes)),
            ),
            seq(...sums.map((sum, v) => v128.store(y, sum, 16 * v))),
          ),
          y.set(add(y, yBytes)),
        );
      };
      return [
        set,
        ...acc.flatMap(([c0, c1], r) => [c0.set(v128.load32splat(bias, 4 * r)), c1.set(c0)]),
        block(
          done,
          brIf(done, i32.eqz(left)),
          loop(again, ...range(UNROLL).map(step), w.set(add(w, c(16 * UNROLL))), br(again)),
        ),
        store(0),
        ...range(PANEL - 1).map((r) => when(i32.gt(outs, c(r + 1)), store(r + 1))),
      ];
    },
    "void",
    false,
  );
  const each = (name: string, byPanels: boolean): void => {
    m.func(name, params(PARAMS), (f) => {
      const { w, bias, x, y, residual, out, pixels, from, to, lo, hi } = f.p;
      const [p, t, xBytes, yBytes, panelBytes, tileBytes, at0] = f.locals("i32", 7);
      const tiles = i32.divs(add(pixels, c(TILE - 1)), c(TILE));
      const panels = i32.divs(add(out, c(PANEL - 1)), c(PANEL));
      const first = (pointer: typeof y) => add(pointer, at0);
      return [
        xBytes.set(shl(f.p.xRow, c(2))),
        yBytes.set(shl(f.p.yPlane, c(2))),
        tileBytes.set(shl(f.p.xTile, c(2))),
        panelBytes.set(mul(f.p.in, c(4 * PANEL))),
        forRange(
          t,
          byPanels ? c(0) : from,
          byPanels ? tiles : to,
          1,
          forRange(
            p,
            byPanels ? from : c(0),
            byPanels ? to : panels,
            1,
            at0.set(add(mul(t, c(4 * TILE)), mul(mul(p, c(PANEL)), yBytes))),
            tile.call(
              add(w, mul(p, panelBytes)),
              at(bias, p, 4),
              add(x, mul(t, tileBytes)),
              first(y),
              mul(first(residual), i32.ne(residual, c(0))),
              ...[xBytes, yBytes, f.p.in, sub(out, mul(p, c(PANEL))), lo, hi],
            ),
          ),
        ),
      ];
    });
  };
  each("columns", false);
  each("rows", true);
  return m.bytes();
}

const does = (unit: string): string =>
  "y = min(max(w * x + bias, lo), hi) + residual, where that is not 0; w packed by panels4 of pack-f32, bias padded to 4; " +
  "x is read at 4 (tile * xTile + input * xRow); y and residual [out][yPlane]; whole tiles of 8 pixels are read and " +
  `written; from, to: ${unit}`;

const trial: Trial = {
  name: "products and their splits",
  run(draw, box): readonly Comparison[] {
    const d = draw1x1(draw, 19, 1);
    const { out, inputs, pixels, lo, hi } = d;
    const wide = TILE * Math.ceil(pixels / TILE);
    const tiles = wide / TILE;
    const panels = Math.ceil(out / PANEL);
    const w = box.put(packPanels(d.weights, inputs, 1, out, inputs, PANEL));
    const bias = box.put(groupBias(d.bias, out, PANEL));
    const room = (values: Float32Array): Float32Array => {
      const wider = new Float32Array(out * wide);
      for (let o = 0; o < out; o++) wider.set(values.subarray(o * d.yPlane, o * d.yPlane + pixels), o * wide);
      return wider;
    };
    const residual = d.residual ? box.put(room(d.residual)) : 0;
    const strips = new Float32Array(tiles * inputs * TILE);
    for (let t = 0; t < tiles; t++) {
      for (let k = 0; k < inputs; k++) {
        const from = k * d.xPlane + t * TILE;
        strips.set(d.x.subarray(from, from + TILE), (t * inputs + k) * TILE);
      }
    }
    const inPlace = [box.put(d.x), d.xPlane, TILE];
    const packed = [box.put(strips), TILE, TILE * inputs];
    const run = (
      fn: string,
      [x, xRow, xTile]: readonly number[],
      ...ranges: readonly (readonly [number, number])[]
    ): Float32Array => {
      const y = box.put(new Float32Array(out * wide).fill(Number.NaN));
      for (const [from, to] of ranges) {
        box.call(fn, w, bias, x, y, residual, xRow, xTile, wide, inputs, out, pixels, lo, hi, from, to);
      }
      return pixelsOf(box.f32(y, out * wide), out, wide, pixels);
    };
    const got = run("columns", inPlace, [0, tiles]);
    const [column, row] = [draw.int(0, tiles), draw.int(0, panels)];
    return [
      { what: "y", got, want: d.want.values, tolerance: d.want.bounds },
      {
        what: "y split by columns",
        got: run("columns", inPlace, [column, tiles], [0, column]),
        want: got,
        tolerance: 0,
      },
      { what: "y split by rows", got: run("rows", inPlace, [row, panels], [0, row]), want: got, tolerance: 0 },
      { what: "y from strips", got: run("columns", packed, [0, tiles]), want: got, tolerance: 0 },
    ];
  },
};

export const conv1x1Dense: Kernel = {
  name: "conv1x1-f32-planes-dense",
  family: "convnet",
  summary: "Dense 1x1 convolution of planes, tile 4x8, with bias, activation and residual",
  functions: {
    columns: { params: PARAMS, does: does("tiles of 8 pixels") },
    rows: { params: PARAMS, does: does("panels of 4 outputs") },
  },
  emit,
  trials: [trial],
};
