/**
 * An LSTM layer over all steps of a sequence as one operation (Hochreiter and Schmidhuber 1997; forget gates of Gers et
 * al. 2000): i, f, g, o = x W_x^T + h W_h^T + b; c = sigma(f) c + sigma(i) tanh(g); h = sigma(o) tanh(c).
 *
 * Sequences lie time-major, [T * B, D]: the rows of one step are neighbours. The product with x runs over all steps at
 * once, as do the gradients of both weights; what runs step by step is the product with h and one fused kernel. All
 * sequences of a batch have the same length; there are no peepholes and no projection.
 */

import { memory, parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { outside } from "../../core/scope.ts";
import { record } from "../../core/tape.ts";
import { clone, Tensor, zeros } from "../../core/tensor.ts";
import { lstmKernel } from "../../kernels/recurrent/index.ts";
import { sumRows } from "./elementwise.ts";
import type { Factor, Rows } from "./factor.ts";

/** Output and cell of one layer, each [B, H]. */
export interface CellState {
  readonly h: Tensor;
  readonly c: Tensor;
}

export interface LstmWeights {
  /** [4H, D] and [4H, H]; blocks of rows: input, forget, candidate, output */
  readonly input: Factor;
  readonly hidden: Factor;
  /** [4H] */
  readonly bias: Tensor;
}

export interface LstmResult {
  /** h of every step, [T * B, H] */
  readonly output: Tensor;
  /** state after the last step; gradients flow into it within the same tape */
  readonly last: CellState;
}

/** Sequences that a thread takes at a time. */
const GRAIN = 16;

/** x [T * B, D], time-major, from `state` (default zeros) on. */
export function lstm(x: Tensor, weights: LstmWeights, batch: number, state?: CellState): LstmResult {
  const { input, hidden, bias } = weights;
  const H = hidden.in;
  const rows = x.shape[0];
  const steps = rows / batch;
  demand(
    x.shape.length === 2 && Number.isInteger(steps) && steps >= 1 && x.shape[1] === input.in && input.out === 4 * H,
    () => ({
      about: `LSTM of ${H} units on a batch of ${batch}`,
      expected: `inputs [T x ${batch}, ${input.in}] and weights of ${4 * H} rows`,
      got: `[${x.shape.join(", ")}] and ${input.out} rows`,
      hint: "Rows are time-major: all sequences of step 0, then of step 1.",
    }),
  );
  const start = state ?? { h: zeros([batch, H]), c: zeros([batch, H]) };
  const gates = new Tensor([rows, 4 * H]);
  const cells = new Tensor([rows, H]);
  const output = new Tensor([rows, H]);
  /** address of step t in [T * B, width]; before the first step, the state at the start */
  const at = (all: Tensor, t: number, width: number): number => all.ptr + 4 * t * batch * width;
  const before = (all: Tensor, first: Tensor, t: number): number => (t === 0 ? first.ptr : at(all, t - 1, H));

  input.forward(x.ptr, rows, gates.ptr, false);
  input.rest();
  for (let t = 0; t < steps; t++) {
    const own = at(gates, t, 4 * H);
    if (t > 0 || state) hidden.forward(before(output, start.h, t), batch, own, true);
    const args = [own, bias.ptr, before(cells, start.c, t), at(cells, t, H), at(output, t, H), H];
    parallel(lstmKernel, "forward", args, batch, GRAIN);
  }
  hidden.rest();

  /** gradients of the last state, which later operations leave here before this one's turn comes */
  const late: { h: Tensor | null; c: Tensor | null } = { h: null, c: null };
  const taken = (name: "h" | "c"): Tensor => {
    const kept = late[name];
    late[name] = null;
    if (!kept) return zeros([batch, H]);
    const own = clone(kept);
    kept.dispose();
    return own;
  };
  record(
    "lstm",
    [x, input.value, hidden.value, bias, start.h, start.c],
    output,
    (dy, [wantX, wantInput, wantHidden, wantBias, wantH]) => {
      const dgates = new Tensor(gates.shape);
      const dh = taken("h");
      const dc = taken("c");
      for (let t = steps - 1; t >= 0; t--) {
        const own = at(dgates, t, 4 * H);
        const saved = [at(gates, t, 4 * H), before(cells, start.c, t), at(cells, t, H)];
        const args = [...saved, at(dy, t, H), dh.ptr, dc.ptr, own, H];
        parallel(lstmKernel, "backward", args, batch, GRAIN);
        if (t > 0 || wantH) hidden.backward(own, batch, dh.ptr);
      }
      let dx: Tensor | null = null;
      if (wantX) {
        dx = new Tensor(x.shape);
        input.backward(dgates.ptr, rows, dx.ptr);
      }
      const parts: Rows[] = [];
      if (steps > 1) parts.push({ dy: at(dgates, 1, 4 * H), x: output.ptr, rows: rows - batch });
      if (state || steps === 1) parts.push({ dy: dgates.ptr, x: start.h.ptr, rows: batch });
      const result = [
        dx,
        wantInput ? input.gradient([{ dy: dgates.ptr, x: x.ptr, rows }]) : null,
        wantHidden ? hidden.gradient(parts) : null,
        wantBias ? sumRows(dgates, 4 * H) : null,
        dh,
        dc,
      ];
      input.rest();
      hidden.rest();
      return result;
    },
    [gates, cells, ...input.saved, ...hidden.saved],
  );
  /** A copy of the last step's rows. Its gradient waits in `late`; zeros for the output make the rule above run. */
  const lastOf = (name: "h" | "c", all: Tensor): Tensor => {
    const y = new Tensor([batch, H]);
    y.f32.set(memory.f32(at(all, steps - 1, H), y.size));
    return record(`lstm.${name}`, [output], y, (d) => {
      late[name] = outside(() => clone(d));
      return [zeros(output.shape)];
    });
  };
  return { output, last: { h: lastOf("h", output), c: lastOf("c", cells) } };
}
