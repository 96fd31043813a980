/** Softmax over rows, and its gradient from the result. Both work in place. */
import type { Kernel } from "../kernel.ts";
import { defineKernel, described } from "../pointwise/define.ts";
import { expOf } from "../pointwise/math.ts";
import { eachRow, fold, stream } from "../pointwise/stream.ts";
import type { Expr } from "../wasm/asm.ts";
import { f32, i32 } from "../wasm/asm.ts";
import { softmaxTrials } from "./softmax.trials.ts";

const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, i32.const(2));

const rows = described(
  { x: "i32", out: "i32", cols: "i32", from: "i32", to: "i32" },
  "out[r] = softmax(x[r]); -inf gives 0; units are rows",
  (f) => {
    const { x, out, cols, from, to } = f.p;
    const a = f.local("i32");
    const [most, sum, factor] = f.locals("f32", 3);
    return eachRow(
      f,
      from,
      to,
      [
        [x, bytesOf(cols)],
        [out, bytesOf(cols)],
      ],
      a.set(x),
      fold(f, cols, [[a, 4]], [most], "max", (o, k) => [o.load(a, 4 * k)]),
      a.set(out),
      stream(
        f,
        cols,
        [
          [x, 4],
          [out, 4],
        ],
        2,
        (o, k) => o.store(out, expOf(o, f, o.sub(o.load(x, 4 * k), o.splat(most))), 4 * k),
      ),
      out.set(a),
      fold(f, cols, [[a, 4]], [sum], "sum", (o, k) => [o.load(a, 4 * k)]),
      factor.set(f32.div(f32.const(1), sum)),
      stream(f, cols, [[out, 4]], 4, (o, k) => o.store(out, o.mul(o.load(out, 4 * k), o.splat(factor)), 4 * k)),
    );
  },
);

const backward = described(
  { y: "i32", dy: "i32", dx: "i32", cols: "i32", from: "i32", to: "i32" },
  "dx[r] = y[r] * (dy[r] - sum(y[r] * dy[r])), y = softmax(x); units are rows",
  (f) => {
    const { y, dy, dx, cols, from, to } = f.p;
    const [a, b] = f.locals("i32", 2);
    const dot = f.local("f32");
    return eachRow(
      f,
      from,
      to,
      [
        [y, bytesOf(cols)],
        [dy, bytesOf(cols)],
        [dx, bytesOf(cols)],
      ],
      a.set(y),
      b.set(dy),
      fold(
        f,
        cols,
        [
          [a, 4],
          [b, 4],
        ],
        [dot],
        "sum",
        (o, k) => [o.mul(o.load(a, 4 * k), o.load(b, 4 * k))],
      ),
      stream(
        f,
        cols,
        [
          [y, 4],
          [dy, 4],
          [dx, 4],
        ],
        4,
        (o, k) => o.store(dx, o.mul(o.load(y, 4 * k), o.sub(o.load(dy, 4 * k), o.splat(dot))), 4 * k),
      ),
    );
  },
);

export const softmax: Kernel = defineKernel({
  name: "softmax-f32",
  family: "norm",
  summary: "Softmax over rows and its gradient.",
  functions: { rows, backward },
  trials: softmaxTrials,
});
