/**
 * The pointwise part of an LSTM cell (Hochreiter and Schmidhuber 1997, with forget gates: Gers et al. 2000), all gates
 * in one pass. A row of gates holds four blocks of H: input, forget, candidate, output. The products with the weights
 * are matrix products elsewhere; peepholes and projections are not known here.
 */
import type { Kernel } from "../kernel.ts";
import { defineKernel, described } from "../pointwise/define.ts";
import { sigmoidOf, tanhOf } from "../pointwise/math.ts";
import { eachRow, stream } from "../pointwise/stream.ts";
import type { Expr, Local, Stmt } from "../wasm/asm.ts";
import { i32, seq } from "../wasm/asm.ts";
import { lstmTrials } from "./lstm.trials.ts";

const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, i32.const(2));

/** Sets four pointers to the blocks of the row at `base`. */
const blocks = (pointers: readonly Local<"i32">[], base: Expr<"i32">, H: Expr<"i32">): Stmt =>
  seq(...pointers.map((p, i) => p.set(i === 0 ? base : i32.add(pointers[i - 1], bytesOf(H)))));

const forward = described(
  { gates: "i32", bias: "i32", before: "i32", cells: "i32", out: "i32", H: "i32", from: "i32", to: "i32" },
  "gates[r] + bias become i, f, g, o (sigmoid, sigmoid, tanh, sigmoid), in place; cells = f before + i g; " +
    "out = o tanh(cells); units are rows",
  (f) => {
    const { gates, bias, before, cells, out, H, from, to } = f.p;
    const g = f.locals("i32", 4);
    const b = f.locals("i32", 4);
    const rowBytes = bytesOf(H);
    return eachRow(
      f,
      from,
      to,
      [
        [gates, i32.shl(H, i32.const(4))],
        [before, rowBytes],
        [cells, rowBytes],
        [out, rowBytes],
      ],
      blocks(g, gates, H),
      blocks(b, bias, H),
      stream(
        f,
        H,
        [...g, ...b, before, cells, out].map((p) => [p, 4] as const),
        1,
        (o) => {
          const [input, forget, candidate, output, cell] = Array.from({ length: 5 }, () => f.local(o.type));
          const raw = (i: number) => o.add(o.load(g[i]), o.load(b[i]));
          return seq(
            input.set(sigmoidOf(o, f, raw(0))),
            forget.set(sigmoidOf(o, f, raw(1))),
            candidate.set(tanhOf(o, f, raw(2))),
            output.set(sigmoidOf(o, f, raw(3))),
            cell.set(o.add(o.mul(forget, o.load(before)), o.mul(input, candidate))),
            ...[input, forget, candidate, output].map((v, i) => o.store(g[i], v)),
            o.store(cells, cell),
            o.store(out, o.mul(output, tanhOf(o, f, cell))),
          );
        },
      ),
      gates.set(i32.add(gates, i32.shl(H, i32.const(4)))),
    );
  },
);

const backward = described(
  {
    gates: "i32",
    before: "i32",
    cells: "i32",
    dout: "i32",
    dlater: "i32",
    dcells: "i32",
    dgates: "i32",
    H: "i32",
    from: "i32",
    to: "i32",
  },
  "from i, f, g, o and the gradients dout + dlater of out and dcells of cells: dgates of the gates before their " +
    "functions, and dcells becomes the gradient of before, in place; dgates may be gates; units are rows",
  (f) => {
    const { gates, before, cells, dout, dlater, dcells, dgates, H, from, to } = f.p;
    const g = f.locals("i32", 4);
    const d = f.locals("i32", 4);
    const rowBytes = bytesOf(H);
    const four = i32.shl(H, i32.const(4));
    return eachRow(
      f,
      from,
      to,
      [
        [gates, four],
        [dgates, four],
        [before, rowBytes],
        [cells, rowBytes],
        [dout, rowBytes],
        [dlater, rowBytes],
        [dcells, rowBytes],
      ],
      blocks(g, gates, H),
      blocks(d, dgates, H),
      stream(
        f,
        H,
        [...g, ...d, before, cells, dout, dlater, dcells].map((p) => [p, 4] as const),
        1,
        (o) => {
          const [input, forget, candidate, output, t, dh, dc] = Array.from({ length: 7 }, () => f.local(o.type));
          const rest = (v: Expr<typeof o.type>) => o.sub(o.value(1), v);
          const ofSigmoid = (v: Local<typeof o.type>, by: Expr<typeof o.type>) => o.mul(by, o.mul(v, rest(v)));
          return seq(
            ...[input, forget, candidate, output].map((v, i) => v.set(o.load(g[i]))),
            t.set(tanhOf(o, f, o.load(cells))),
            dh.set(o.add(o.load(dout), o.load(dlater))),
            dc.set(o.add(o.load(dcells), o.mul(o.mul(dh, output), rest(o.mul(t, t))))),
            o.store(d[0], ofSigmoid(input, o.mul(dc, candidate))),
            o.store(d[1], ofSigmoid(forget, o.mul(dc, o.load(before)))),
            o.store(d[2], o.mul(o.mul(dc, input), rest(o.mul(candidate, candidate)))),
            o.store(d[3], ofSigmoid(output, o.mul(dh, t))),
            o.store(dcells, o.mul(dc, forget)),
          );
        },
      ),
      gates.set(i32.add(gates, four)),
      dgates.set(i32.add(dgates, four)),
    );
  },
);

export const lstmKernel: Kernel = defineKernel({
  name: "lstm-f32",
  family: "recurrent",
  summary: "Gates, cell and output of an LSTM step for rows of a batch, and their gradients.",
  functions: { forward, backward },
  trials: lstmTrials,
});
