/**
 * Elementwise operations and their gradients, on f32 tensors of one shape (or a row broadcast over rows).
 */

import { parallel } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { type Shape, Tensor } from "../../core/tensor.ts";
import { pointwise, reduce } from "../../kernels/pointwise/index.ts";

/** Elements a thread takes at a time: enough to pay for the hand-over. */
export const GRAIN = 1 << 14;

function same(name: string, a: Tensor, b: Tensor): void {
  if (a.size !== b.size) {
    throw new LacunaError({
      about: name,
      expected: `two tensors of one size, [${a.shape.join(", ")}]`,
      got: `[${b.shape.join(", ")}]`,
      hint: "Check the shapes.",
    });
  }
}

const run = (fn: string, args: readonly number[], size: number): void => parallel(pointwise, fn, args, size, GRAIN);

function binary(name: "add" | "sub" | "mul", a: Tensor, b: Tensor): Tensor {
  same(name, a, b);
  const y = new Tensor(a.shape);
  run(name, [a.ptr, b.ptr, y.ptr], y.size);
  return y;
}

export function add(a: Tensor, b: Tensor): Tensor {
  return record("add", [a, b], binary("add", a, b), (dy) => [dy, dy]);
}

export function sub(a: Tensor, b: Tensor): Tensor {
  return record("sub", [a, b], binary("sub", a, b), (dy, [, wantB]) => [dy, wantB ? scale(dy, -1) : null]);
}

export function mul(a: Tensor, b: Tensor): Tensor {
  return record("mul", [a, b], binary("mul", a, b), (dy, [wantA, wantB]) => [
    wantA ? binary("mul", dy, b) : null,
    wantB ? binary("mul", dy, a) : null,
  ]);
}

/** s * x for a plain number s. */
export function scale(x: Tensor, s: number): Tensor {
  const y = new Tensor(x.shape);
  run("scale", [x.ptr, s, y.ptr], y.size);
  return record("scale", [x], y, (dy) => [scale(dy, s)]);
}

/** x [.., C] + bias [C]. */
export function addRow(x: Tensor, bias: Tensor): Tensor {
  const cols = bias.size;
  const rows = x.size / cols;
  const y = new Tensor(x.shape);
  parallel(pointwise, "addRow", [x.ptr, bias.ptr, y.ptr, cols], rows, Math.max(1, Math.ceil(GRAIN / cols)));
  return record("addRow", [x, bias], y, (dy, [, wantBias]) => [dy, wantBias ? sumRows(dy, cols) : null]);
}

/** Sum over all rows of x [.., C], in a fixed order. */
export function sumRows(x: Tensor, cols: number): Tensor {
  const out = new Tensor([cols]);
  const rows = x.size / cols;
  parallel(
    reduce,
    "sumRows",
    [x.ptr, out.ptr, rows, cols],
    Math.ceil(cols / 4),
    Math.max(1, Math.ceil(GRAIN / (4 * Math.max(1, rows)))),
  );
  return out;
}

/** silu(gate) * up, the gated activation of Llama's feed-forward (Shazeer 2020, "GLU variants"). */
export function siluGate(gate: Tensor, up: Tensor): Tensor {
  same("siluGate", gate, up);
  const y = new Tensor(gate.shape);
  run("siluGate", [gate.ptr, up.ptr, y.ptr], y.size);
  return record("siluGate", [gate, up], y, (dy) => {
    const dGate = new Tensor(gate.shape);
    const dUp = new Tensor(up.shape);
    run("siluGateBackward", [gate.ptr, up.ptr, dy.ptr, dGate.ptr, dUp.ptr], dy.size);
    return [dGate, dUp];
  });
}

/** The same values in another shape; nothing is copied, forward or backward. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  return record("reshape", [x], x.reshape(shape), (dy) => [dy.reshape(x.shape)]);
}
