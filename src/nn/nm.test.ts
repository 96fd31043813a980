/** N:M views: packed products are their dense twins, gradients follow their rules, counts are closed forms. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { nmAxis } from "../core/compute/nm-training.ts";
import { init, shutdown } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import { nmBits } from "../kernels/sparse/nm-select.ts";
import { since, tally } from "./cost.ts";
import { convLayer } from "./layers/conv.ts";
import { linearLayer } from "./layers/linear.ts";
import { EVALUATE, type Net } from "./net.ts";
import { type NmOptions, nmView } from "./nm.ts";
import { sumSquares } from "./ops/loss-element.ts";
import type { View } from "./param.ts";

beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const draws = (n: number, name: string): Float32Array => {
  const s = stream(28, name);
  return Float32Array.from({ length: n }, (_, i) => s.normal(i));
};

const [B, IN, OUT] = [37, 48, 32];
const layer = (view?: View): Net => {
  const made = linearLayer("l", IN, OUT, { seed: 3, relu: true });
  made.params[0].view = view;
  made.params[1].assign(draws(OUT, "bias"));
  return made;
};
const dense = (options: NmOptions): View => ({ ...nmView(options), packed: undefined });

interface Run {
  readonly loss: number;
  readonly x: Float32Array;
  readonly w: Float32Array;
}

const run = (net: Net, shape: readonly number[] = [B, IN]): Run =>
  scope(() => {
    const x = tensor(
      draws(
        shape.reduce((a, b) => a * b, 1),
        "x",
      ),
      shape,
    );
    const { value, gradients } = valueAndGrad(
      (): Tensor => sumSquares(net.forward(x, EVALUATE)),
      [x, net.params[0].value],
    );
    return { loss: value.item(), x: gradients[0].toArray(), w: gradients[1].toArray() };
  });

function close(got: Float32Array, want: ArrayLike<number>): void {
  let [worst, size] = [0, 0];
  for (let i = 0; i < got.length; i++) {
    worst = Math.max(worst, Math.abs(got[i] - want[i]));
    size = Math.max(size, Math.abs(want[i]));
  }
  // f32 sums of at most 48 terms in another order
  expect(worst).toBeLessThan(1e-5 * size);
}

const bits = (w: Float32Array, n: number, m: number, along: "in" | "out"): Uint8Array =>
  nmBits(w, nmAxis([OUT, IN], { n, m, along }), n, m);

test.each([
  ["same", [2, 8]],
  ["outputs", [2, 8]],
  ["outputs", [1, 4]],
  ["same", [2, 4]],
  ["outputs", [1, 16]],
] as const)("packed products with backward %s at %j are the dense ones", (backward, pattern) => {
  const options: NmOptions = { pattern, backward };
  const packed = run(layer(nmView(options)));
  const twin = run(layer(dense(options)));
  expect(Math.abs(packed.loss - twin.loss)).toBeLessThan(1e-5 * twin.loss);
  close(packed.x, twin.x);
  close(packed.w, twin.w);
});

test("N = M is dense training, bit for bit", () => {
  const plain = run(layer());
  expect(run(layer(dense({ pattern: [4, 4], backward: "outputs" })))).toEqual(plain);
});

test("bidirectional pruning: groups along inputs ahead, along outputs back", () => {
  const net = layer(nmView({ pattern: [2, 8], backward: "outputs" }));
  const w = net.params[0].dense();
  const [ahead, back] = [bits(w, 2, 8, "in"), bits(w, 2, 8, "out")];
  const x = draws(B * IN, "x");
  const bias = net.params[1].dense();
  const dx = new Float64Array(B * IN);
  for (let b = 0; b < B; b++) {
    for (let o = 0; o < OUT; o++) {
      let y = bias[o];
      for (let k = 0; k < IN; k++) y += ahead[o * IN + k] * w[o * IN + k] * x[b * IN + k];
      if (y > 0) for (let k = 0; k < IN; k++) dx[b * IN + k] += 2 * y * back[o * IN + k] * w[o * IN + k];
    }
  }
  close(run(net).x, dx);
  expect(ahead.reduce((a, b) => a + b, 0)).toBe((OUT * IN) / 4);
  for (let k = 0; k < IN; k++) {
    for (let top = 0; top < OUT; top += 8) {
      let kept = 0;
      for (let o = top; o < top + 8; o++) kept += back[o * IN + k];
      expect(kept).toBe(2);
    }
  }
});

test("SR-STE adds lambda times the pruned weights; restricted gradients are masked by D", () => {
  const w = layer().params[0].dense();
  const kept = bits(w, 1, 4, "in");
  const straight = run(layer(nmView({ pattern: [1, 4] })));
  const lambda = 0.5;
  const refined = run(layer(nmView({ pattern: [1, 4], lambda })));
  close(
    refined.w,
    straight.w.map((g, i) => g + lambda * (1 - kept[i]) * w[i]),
  );
  const rest = (): number => 0.25;
  const faded = run(layer(nmView({ pattern: [1, 4], rest })));
  const masked = run(layer(nmView({ pattern: [1, 4], rest, gradient: "restricted" })));
  expect(masked.loss).toBe(faded.loss);
  expect(faded.loss).not.toBe(straight.loss);
  close(
    masked.w,
    faded.w.map((g, i) => g * (kept[i] ? 1 : 0.25)),
  );
});

test("multiply-adds of a step: (N/M + N/M + 1) / 3 of dense with bidirectional pruning, counted as they run", () => {
  const all = B * IN * OUT;
  const cost = (view: View): ReturnType<typeof since> => {
    const start = tally();
    run(layer(view));
    return since(start);
  };
  const options: NmOptions = { pattern: [2, 8], backward: "outputs" };
  const sparse = { forward: all / 4, dX: all / 4, dW: all };
  expect(cost(nmView(options))).toEqual({ ran: sparse, nonZero: sparse });
  expect(cost(dense(options))).toEqual({ ran: { forward: all, dX: all, dW: all }, nonZero: sparse });
  const ahead = cost(nmView({ pattern: [2, 8] }));
  expect(ahead.ran).toEqual({ forward: all / 4, dX: all, dW: all });
});

test("convolutions see groups of channels at each kernel position", () => {
  const make = (view?: View): Net => {
    const net = convLayer("c", 8, 16, 3, { seed: 2, padding: 1 });
    net.params[0].view = view;
    return net;
  };
  const shape = [2, 8, 5, 5];
  const w = make().params[0].dense();
  const axis = nmAxis([16, 8, 3, 3], { n: 2, m: 8, along: "in" });
  const kept = nmBits(w, axis, 2, 8);
  // kept of the first output and kernel position
  expect([0, 1, 2, 3, 4, 5, 6, 7].reduce((n, c) => n + kept[c * 9], 0)).toBe(2);
  const pruned = make();
  pruned.params[0].assign(w.map((v, i) => v * kept[i]));
  const want = run(pruned, shape);
  const got = run(make(nmView({ pattern: [2, 8] })), shape);
  expect(got.loss).toBe(want.loss);
  expect(got.x).toEqual(want.x);
  expect(got.w).toEqual(want.w);
  const other = run(make(nmView({ pattern: [2, 8], backward: "outputs" })), shape);
  expect(other.loss).toBe(want.loss);
  expect(other.x).not.toEqual(want.x);
});

test("a width that M does not divide is refused", () => {
  expect(() => run(layer(nmView({ pattern: [1, 5] })))).toThrow(LacunaError);
});
