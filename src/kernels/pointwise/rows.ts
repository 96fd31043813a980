/** Products of rows with rows and with one number a row: scores of pairs of embeddings, and their gradients. */
import type { Kernel } from "../kernel.ts";
import type { Expr } from "../wasm/asm.ts";
import { f32, i32, seq } from "../wasm/asm.ts";
import { defineKernel, described } from "./define.ts";
import { rowsTrials } from "./rows.trials.ts";
import { eachRow, fold, stream } from "./stream.ts";

const c = i32.const;
const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, c(2));

const dot = described(
  { a: "i32", b: "i32", out: "i32", cols: "i32", from: "i32", to: "i32" },
  "out[r] = sum over c of a[r, c] b[r, c]; units are rows",
  (f) => {
    const { a, b, out, cols, from, to } = f.p;
    const sum = f.local("f32");
    return eachRow(
      f,
      from,
      to,
      [
        [a, bytesOf(cols)],
        [b, bytesOf(cols)],
        [out, c(4)],
      ],
      fold(
        f,
        cols,
        [
          [a, 4],
          [b, 4],
        ],
        [sum],
        "sum",
        (o, k) => [o.mul(o.load(a, 4 * k), o.load(b, 4 * k))],
      ),
      f32.store(out, sum),
      out.set(i32.add(out, c(4))),
    );
  },
);

const scaled = described(
  { x: "i32", s: "i32", out: "i32", cols: "i32", from: "i32", to: "i32" },
  "out[r, c] = s[r] x[r, c]; units are rows",
  (f) => {
    const { x, s, out, cols, from, to } = f.p;
    const factor = f.local("f32");
    return eachRow(
      f,
      from,
      to,
      [
        [x, bytesOf(cols)],
        [s, c(4)],
        [out, bytesOf(cols)],
      ],
      seq(factor.set(f32.load(s)), s.set(i32.add(s, c(4)))),
      stream(
        f,
        cols,
        [
          [x, 4],
          [out, 4],
        ],
        4,
        (o, k) => o.store(out, o.mul(o.load(x, 4 * k), o.splat(factor)), 4 * k),
      ),
    );
  },
);

export const rowsKernel: Kernel = defineKernel({
  name: "rows-f32",
  family: "pointwise",
  summary: "Dot products of paired rows, and rows times one number each.",
  functions: { dot, scaled },
  trials: rowsTrials,
});
