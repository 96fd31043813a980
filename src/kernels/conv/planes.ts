/**
 * Copies images into planes with zeros around them, rows and columns dealt out by their stride (`geometry.ts`).
 */
import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import { defineKernel, described } from "../pointwise/define.ts";
import { agree, inPieces } from "../pointwise/trial.ts";
import { type Expr, f32, forRange, i32, type Stmt, select, seq, v128, when, whileLoop } from "../wasm/asm.ts";
import { bytesOfPlanes, gradientPlanes, inputPlanes, type Planes } from "./geometry.ts";
import { drawShape } from "./trial.ts";

const { add, sub, mul, shl, lt, gt, ge, divs } = i32;
const n = i32.const;
const bytes = (count: Expr<"i32">): Expr<"i32"> => shl(count, n(2));
const most = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => select(a, b, gt(a, b));
const least = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => select(a, b, lt(a, b));

const split = described(
  {
    x: "i32",
    out: "i32",
    height: "i32",
    width: "i32",
    rows: "i32",
    columns: "i32",
    pitch: "i32",
    plane: "i32",
    strideY: "i32",
    strideX: "i32",
    phasesY: "i32",
    phasesX: "i32",
    top: "i32",
    left: "i32",
    from: "i32",
    to: "i32",
  },
  "plane (ry, rx) of each channel: out[r, i] = x[strideY r + ry - top, strideX i + rx - left] where that exists, else " +
    "0; plane, a multiple of 4, in elements; units are channels",
  (f) => {
    const { p } = f;
    const [u, ry, rx, source, target, at, end, r, r1, i0, i1, s, count, step, sourceRow, targetRow] = f.locals(
      "i32",
      16,
    );
    const v = f.local("v128");
    /** ceil(a / b) where a is positive, else 0 */
    const firstOf = (pad: Expr<"i32">, phase: Expr<"i32">, stride: Expr<"i32">): Expr<"i32"> =>
      divs(most(n(0), add(sub(pad, phase), sub(stride, n(1)))), stride);
    const endOf = (size: Expr<"i32">, pad: Expr<"i32">, phase: Expr<"i32">, stride: Expr<"i32">): Expr<"i32"> =>
      divs(most(n(0), sub(add(add(size, pad), stride), add(phase, n(1)))), stride);
    const zeroUpTo = (limit: Expr<"i32">): Stmt =>
      seq(
        whileLoop(i32.leu(add(at, n(16)), limit), v128.store(at, v128.const32(0, 0, 0, 0)), at.set(add(at, n(16)))),
        whileLoop(i32.ltu(at, limit), f32.store(at, f32.const(0)), at.set(add(at, n(4)))),
      );
    const copyRow = seq(
      when(
        i32.eq(p.strideX, n(1)),
        seq(
          whileLoop(
            ge(count, n(16)),
            ...[0, 16, 32, 48].map((o) => v128.store(at, v128.load(s, o), o)),
            s.set(add(s, n(64))),
            at.set(add(at, n(64))),
            count.set(sub(count, n(16))),
          ),
          whileLoop(
            ge(count, n(4)),
            v128.store(at, v128.load(s)),
            s.set(add(s, n(16))),
            at.set(add(at, n(16))),
            count.set(sub(count, n(4))),
          ),
        ),
        when(
          i32.eq(p.strideX, n(2)),
          // Of the eight elements read the last is behind the fourth that is wanted: there must be a fifth.
          whileLoop(
            gt(count, n(4)),
            v.set(v128.load(s)),
            v128.store(at, v128.shuffle32(v, v128.load(s, 16), [0, 2, 4, 6])),
            s.set(add(s, n(32))),
            at.set(add(at, n(16))),
            count.set(sub(count, n(4))),
          ),
        ),
      ),
      whileLoop(
        gt(count, n(0)),
        f32.store(at, f32.load(s)),
        s.set(add(s, step)),
        at.set(add(at, n(4))),
        count.set(sub(count, n(1))),
      ),
    );
    return [
      step.set(bytes(p.strideX)),
      target.set(add(p.out, bytes(mul(mul(mul(p.from, p.phasesY), p.phasesX), p.plane)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        source.set(add(p.x, bytes(mul(u, mul(p.height, p.width))))),
        forRange(
          ry,
          n(0),
          p.phasesY,
          1,
          forRange(
            rx,
            n(0),
            p.phasesX,
            1,
            at.set(target),
            end.set(add(target, bytes(p.plane))),
            i0.set(firstOf(p.left, rx, p.strideX)),
            i1.set(least(p.columns, endOf(p.width, p.left, rx, p.strideX))),
            r1.set(least(p.rows, endOf(p.height, p.top, ry, p.strideY))),
            r.set(firstOf(p.top, ry, p.strideY)),
            targetRow.set(add(target, bytes(add(mul(r, p.pitch), i0)))),
            sourceRow.set(
              add(
                source,
                bytes(
                  add(mul(sub(add(mul(r, p.strideY), ry), p.top), p.width), sub(add(mul(i0, p.strideX), rx), p.left)),
                ),
              ),
            ),
            i1.set(sub(i1, i0)),
            forRange(
              r,
              r,
              r1,
              1,
              zeroUpTo(targetRow),
              s.set(sourceRow),
              count.set(i1),
              copyRow,
              targetRow.set(add(targetRow, bytes(p.pitch))),
              sourceRow.set(add(sourceRow, bytes(mul(p.strideY, p.width)))),
            ),
            zeroUpTo(end),
            target.set(end),
          ),
        ),
      ),
    ];
  },
);

/** Plain twin: planes of `count` channels x [count, height, width]. */
export function splitPlanes(
  x: ArrayLike<number>,
  count: number,
  height: number,
  width: number,
  p: Planes,
  strideY: number,
  strideX: number,
): Float64Array {
  const out = new Float64Array((count * bytesOfPlanes(p)) / 4);
  for (let c = 0; c < count; c++) {
    for (let ry = 0; ry < p.phasesY; ry++) {
      for (let rx = 0; rx < p.phasesX; rx++) {
        const base = ((c * p.phasesY + ry) * p.phasesX + rx) * p.plane;
        for (let r = 0; r < p.rows; r++) {
          for (let i = 0; i < p.columns; i++) {
            const y = strideY * r + ry - p.top;
            const xx = strideX * i + rx - p.left;
            if (y < 0 || y >= height || xx < 0 || xx >= width) continue;
            out[base + r * p.pitch + i] = x[(c * height + y) * width + xx];
          }
        }
      }
    }
  }
  return out;
}

function trial(which: "input" | "gradient") {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const s = drawShape(draw);
    const count = draw.int(0, 3);
    const p = which === "input" ? inputPlanes(s, draw.int(0, 20)) : gradientPlanes(s, draw.int(0, 20));
    const [height, width] = which === "input" ? [s.height, s.width] : [s.outHeight, s.outWidth];
    const [strideY, strideX] = which === "input" ? [s.strideY, s.strideX] : [1, 1];
    const values = draw.floats(count * height * width);
    const want = splitPlanes(values, count, height, width, p, strideY, strideX);
    const x = box.put(values);
    // Whatever lies there before must not be seen.
    const whole = box.put(new Float32Array(want.length).fill(7));
    const pieces = box.put(new Float32Array(want.length).fill(7));
    const run = (out: number, from: number, to: number): number =>
      box.call(
        "split",
        ...[x, out, height, width, p.rows, p.columns, p.pitch, p.plane, strideY, strideX],
        ...[p.phasesY, p.phasesX, p.top, p.left, from, to],
      );
    run(whole, 0, count);
    inPieces(draw, count, (from, to) => run(pieces, from, to));
    return agree("planes", box.f32(whole, want.length), box.f32(pieces, want.length), want, 0);
  };
}

export const planes: Kernel = defineKernel({
  name: "planes-f32",
  family: "conv",
  summary: "Images to planes with zeros around them, rows and columns dealt out by their stride",
  functions: { split },
  trials: [
    { name: "of an input", run: trial("input") },
    { name: "of a gradient", run: trial("gradient") },
  ],
});
