/** LSTM layers over parameters: the sparse form is its masked twin, products are counted, stacks are layers in a row. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import type { Tensor } from "../../core/tensor.ts";
import { since, tally } from "../cost.ts";
import { EVALUATE } from "../net.ts";
import { add } from "../ops/elementwise.ts";
import { checkGradients, drawer, weigh } from "../ops/gradient-check.ts";
import { Adam } from "../optimiser.ts";
import type { Param } from "../param.ts";
import { type LstmLayer, lstmLayer, lstmStack } from "./recurrent.ts";

beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const random = drawer(81);

/** Every fifth weight, shifted by the row so that rows differ. */
function thin(p: Param): void {
  const width = p.shape[1];
  const bits = Uint8Array.from({ length: p.numel }, (_, i) => ((i + Math.floor(i / width)) % 5 === 0 ? 1 : 0));
  p.setMask({ bits, kept: bits.reduce((n, b) => n + b, 0) });
}

function twins(D: number, H: number): { masked: LstmLayer; sparse: LstmLayer } {
  const make = (): LstmLayer => {
    const layer = lstmLayer("l", D, H, { seed: 4 });
    for (const p of layer.params.slice(0, 2)) thin(p);
    return layer;
  };
  const [masked, sparse] = [make(), make()];
  for (const p of sparse.params.slice(0, 2)) p.as("csr");
  return { masked, sparse };
}

/** Sums of some ten terms in another order, over a few steps of the recurrence. */
function close(got: ArrayLike<number>, want: ArrayLike<number>, within: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i] - want[i]), `element ${i}`).toBeLessThan(within);
}

test.each([
  [3, 4],
  [5, 21],
])("%i steps of %i sequences: CSR trains as its masked twin does, states, gradients and steps", (T, B) => {
  const [D, H] = [13, 10];
  const { masked, sparse } = twins(D, H);
  const x = random([T * B, D]);
  const start = { h: random([B, H], 0.5), c: random([B, H], 0.5) };
  const values = (l: LstmLayer): Tensor[] => l.params.map((p) => p.value);
  const loss = (l: LstmLayer) => () => {
    const { output, last } = l.run(x, B, EVALUATE, start);
    return add(weigh(output), weigh(last.c));
  };
  const optimisers = [masked, sparse].map((l) => new Adam(l.params, { clip: 1 }));
  const wholes: Float32Array[] = [];
  sparse.params[1].onDenseGradient = (g) => wholes.push(g.toArray());
  for (let step = 0; step < 4; step++) {
    scope(() => {
      const runs = [masked, sparse].map((l) => valueAndGrad(loss(l), [...values(l), x, start.h, start.c]));
      close([runs[1].value.item()], [runs[0].value.item()], 2e-4);
      // bias, input and state: tensors of one shape in both
      for (const k of [2, 3, 4, 5]) close(runs[1].gradients[k].toArray(), runs[0].gradients[k].toArray(), 1e-4);
      close(wholes[step], runs[0].gradients[1].toArray(), 1e-4);
      const norms = optimisers.map((o, i) => o.step(runs[i].gradients.slice(0, 3), 0.01));
      close([norms[1]], [norms[0]], 1e-4 * norms[0]);
    });
  }
  masked.params.forEach((p, k) => {
    close(sparse.params[k].dense(), p.dense(), 1e-4);
    close(sparse.params[k].denseSlot("m"), p.denseSlot("m"), 1e-4);
  });
});

test("products are counted as they run: sparse ones by their non-zeros, no product with a start of zeros", () => {
  const [T, B, D, H] = [3, 4, 13, 10];
  const { masked, sparse } = twins(D, H);
  const x = random([T * B, D]);
  const counted = (l: LstmLayer) => {
    const start = tally();
    valueAndGrad(
      () => weigh(l.run(x, B, EVALUATE).output),
      l.params.map((p) => p.value),
    );
    return since(start);
  };
  const uses = (p: Param, rows: number, by: "numel" | "kept"): number => rows * p[by];
  const [input, hidden] = masked.params;
  const want = (by: "numel" | "kept") => ({
    forward: uses(input, T * B, by) + uses(hidden, (T - 1) * B, by),
    dX: uses(hidden, (T - 1) * B, by),
    dW: uses(input, T * B, by) + uses(hidden, (T - 1) * B, by),
  });
  expect(counted(masked)).toEqual({ ran: want("numel"), nonZero: want("kept") });
  expect(counted(sparse)).toEqual({ ran: want("kept"), nonZero: want("kept") });
});

test("a stack is its layers in a row, with what happens between; gradients of the whole", () => {
  const between = (y: Tensor, layer: number): Tensor => (layer === 0 ? add(y, y) : y);
  const stack = lstmStack("s", 3, 4, 2, { seed: 6, between });
  const x = random([6, 3]);
  const { output, last } = stack.run(x, 2, EVALUATE);
  const first = stack.layers[0].run(x, 2, EVALUATE);
  const second = stack.layers[1].run(add(first.output, first.output), 2, EVALUATE);
  expect(output.toArray()).toEqual(second.output.toArray());
  expect(last[0].h.toArray()).toEqual(first.last.h.toArray());
  checkGradients([x, ...stack.params.map((p) => p.value)], () => weigh(stack.run(x, 2, EVALUATE).output));
});
