/**
 * Reverse-mode differentiation over a tape.
 *
 * Each operation that has a gradient calls `record` with its own backward rule; custom rules (straight-through and the
 * like) use the same call. The tape keeps the tensors it needs beyond their scope and lets go of them as the backward
 * pass leaves them behind. Second derivatives are not taken.
 */

import { pointwise } from "../kernels/pointwise/index.ts";
import { call, parallel } from "./engine.ts";
import { scope } from "./scope.ts";
import { Tensor } from "./tensor.ts";

/** Gradients of the inputs, in their order, from the gradient of the output; `null` where none flows. */
export type Backward = (dy: Tensor, wanted: readonly boolean[]) => readonly (Tensor | null)[];

/** One recorded operation: the tape is also the operation graph. */
export interface Operation {
  readonly name: string;
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  readonly backward: Backward;
}

class Tape {
  readonly operations: Operation[] = [];
  readonly #tracked = new Set<Tensor>();
  readonly #letGo: (() => void)[] = [];

  track(t: Tensor): void {
    this.#tracked.add(t);
  }

  tracks(t: Tensor): boolean {
    return this.#tracked.has(t);
  }

  push(op: Operation, saved: readonly Tensor[]): void {
    this.operations.push(op);
    this.#tracked.add(op.output);
    for (const t of saved) this.#letGo.push(t.retain());
  }

  release(): void {
    for (const f of this.#letGo) f();
    this.#letGo.length = 0;
  }
}

let tape: Tape | null = null;

/** True while operations are being recorded. */
export const recording = (): boolean => tape !== null;

/**
 * Declares how gradients flow through `output`, if anyone asks for them. `saved` are further tensors that the rule
 * reads (inputs and output are always kept). Returns `output`.
 */
export function record(
  name: string,
  inputs: readonly Tensor[],
  output: Tensor,
  backward: Backward,
  saved: readonly Tensor[] = [],
): Tensor {
  if (tape && inputs.some((t) => tape?.tracks(t))) {
    tape.push({ name, inputs, output, backward }, [...inputs, output, ...saved]);
  }
  return output;
}

/** Runs `fn` without recording. */
export function noGrad<R>(fn: () => R): R {
  const before = tape;
  tape = null;
  try {
    return fn();
  } finally {
    tape = before;
  }
}

/** y += x, for f32 tensors of one size. */
export function accumulate(y: Tensor, x: Tensor): void {
  if (x.size < 1 << 15) call(pointwise, "axpy", 1, x.ptr, y.ptr, 0, x.size);
  else parallel(pointwise, "axpy", [1, x.ptr, y.ptr], x.size, 1 << 14);
}

function copy(t: Tensor): Tensor {
  const c = new Tensor(t.shape, t.dtype);
  c.f32.set(t.f32);
  return c;
}

export interface Gradients<R> {
  readonly value: R;
  /** one a tensor asked for, in order; zeros where the loss does not depend on it */
  readonly gradients: readonly Tensor[];
}

/**
 * Value of `fn` and the gradients of its loss with respect to `wrt`. `fn` returns the loss, a tensor of one element,
 * or an object that has it as `loss`. Weighted losses are formed inside `fn`.
 */
export function valueAndGrad<R extends Tensor | { readonly loss: Tensor }>(
  fn: () => R,
  wrt: readonly Tensor[],
): Gradients<R> {
  if (tape) throw new Error("valueAndGrad: nested tapes are not supported");
  const t = new Tape();
  for (const w of wrt) t.track(w);
  return scope(() => {
    let value: R;
    tape = t;
    try {
      value = fn();
    } catch (error) {
      t.release();
      throw error;
    } finally {
      tape = null;
    }
    try {
      const loss = value instanceof Tensor ? value : value.loss;
      if (loss.size !== 1) throw new Error(`valueAndGrad: the loss has ${loss.size} elements, not one`);
      return { value, gradients: backward(t, loss, wrt) };
    } finally {
      t.release();
    }
  });
}

function backward(t: Tape, loss: Tensor, wrt: readonly Tensor[]): Tensor[] {
  // A gradient that an operation returned may be shared with others; only sums made here may be added to in place.
  const grads = new Map<Tensor, { tensor: Tensor; own: boolean }>();
  const one = new Tensor(loss.shape, "f32");
  one.f32[0] = 1;
  grads.set(loss, { tensor: one, own: true });
  const wanted = new Set(wrt);
  for (let i = t.operations.length - 1; i >= 0; i--) {
    const op = t.operations[i];
    const dy = grads.get(op.output);
    if (!dy) continue;
    const need = op.inputs.map((x) => t.tracks(x));
    const parts = scope(() => op.backward(dy.tensor, need).map((g, k) => (need[k] ? g : null)));
    op.inputs.forEach((x, k) => {
      const g = parts[k];
      if (!g) return;
      const sum = grads.get(x);
      if (!sum) grads.set(x, { tensor: g, own: false });
      else if (sum.own) {
        accumulate(sum.tensor, g);
        if (g !== dy.tensor) g.dispose();
      } else {
        const fresh = copy(sum.tensor);
        accumulate(fresh, g);
        grads.set(x, { tensor: fresh, own: true });
      }
    });
    if (!wanted.has(op.output)) grads.delete(op.output);
    const shared = [...grads.values()].some((g) => g.tensor === dy.tensor);
    if (!shared && !parts.includes(dy.tensor)) dy.tensor.dispose();
  }
  return wrt.map((w) => {
    const g = grads.get(w)?.tensor;
    if (g) return g;
    const zero = new Tensor(w.shape, "f32");
    zero.f32.fill(0);
    return zero;
  });
}
