/** BDWP and its family on convolutions and linear layers: masks in two directions, gradients, counts, and the end. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { type Tensor, tensor } from "../../core/tensor.ts";
import { mlp } from "../../models/mlp.ts";
import { plainCnn } from "../../models/plain-cnn.ts";
import { since, tally, totalMacs } from "../../nn/cost.ts";
import { convLayer } from "../../nn/layers/conv.ts";
import { linearLayer } from "../../nn/layers/linear.ts";
import { disposeNet, EVALUATE, type Net } from "../../nn/net.ts";
import { crossEntropy } from "../../nn/ops/loss.ts";
import { sumSquares } from "../../nn/ops/loss-element.ts";
import { Sgd } from "../../nn/optimiser.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import { siteOf, sitesOf } from "../../sparsity/site.ts";
import { fitSteps } from "../../train/fit-steps.ts";
import { bdwp, divisibleSites, keepForward, nmBitsOf, sdgp, sdwp, srSte, trainingShare } from "./bdwp.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const draws = (n: number, name: string): Float32Array => {
  const s = stream(28, name);
  return Float32Array.from({ length: n }, (_, i) => s.normal(i));
};
const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

const [OUT, IN] = [16, 8];
const conv = (): Net => convLayer("l", IN, OUT, 3, { seed: 2, padding: 1, stride: 2 });
const line = (): Net => linearLayer("l", IN, OUT, { seed: 2 });
const cases = [
  ["convolution", conv, [3, IN, 6, 6]],
  ["linear", line, [10, IN]],
] as const;

/** Loss, dx and dw of one layer with a method's view. */
function gradients(net: Net, shape: readonly number[], method?: SparseTraining) {
  const sites = [siteOf(net.params[0], 0)];
  method?.begin?.({ net, sites, seed: 1, inputShape: shape, loss: () => tensor([0]) });
  return scope(() => {
    const x = tensor(draws(size(shape), "x"), shape);
    const { value, gradients: g } = valueAndGrad(
      (): Tensor => sumSquares(net.forward(x, EVALUATE)),
      [x, net.params[0].value],
    );
    return { loss: value.item(), dx: g[0].toArray(), dw: g[1].toArray() };
  });
}

/** The layer with these weights, dense. */
function plain(make: () => Net, weights: Float32Array, shape: readonly number[]) {
  const net = make();
  net.params[0].assign(weights);
  return gradients(net, shape);
}

function close(got: Float32Array, want: Float32Array): void {
  const most = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  // f32 sums of at most some hundred terms in another order
  expect(got.reduce((m, v, i) => Math.max(m, Math.abs(v - want[i])), 0)).toBeLessThan(1e-5 * most);
}

const kernelOf = (shape: readonly number[]): number => size(shape.slice(2));

describe("masks", () => {
  test.each(cases)(
    "%s: N of each M along the inputs ahead and along the outputs back, at each kernel position",
    (_, make) => {
      const site = siteOf(make().params[0], 0);
      const kernel = kernelOf(site.shape);
      const w = site.param.dense();
      const all = w.reduce((s, v) => s + v * v, 0);
      for (const [n, m] of [
        [2, 8],
        [2, 4],
        [1, 8],
      ] as const) {
        const [ahead, back] = [nmBitsOf(site, [n, m], "in"), nmBitsOf(site, [n, m], "out")];
        for (let k = 0; k < kernel; k++) {
          for (let o = 0; o < OUT; o++) {
            for (let top = 0; top < IN; top += m) {
              let kept = 0;
              for (let i = top; i < top + m; i++) kept += ahead[(o * IN + i) * kernel + k];
              expect(kept).toBe(n);
            }
          }
          for (let i = 0; i < IN; i++) {
            for (let top = 0; top < OUT; top += m) {
              let kept = 0;
              for (let o = top; o < top + m; o++) kept += back[(o * IN + i) * kernel + k];
              expect(kept).toBe(n);
            }
          }
        }
        for (const bits of [ahead, back]) {
          // The largest of each group hold at least their share of its squares.
          expect(w.reduce((s, v, i) => s + bits[i] * v * v, 0) / all).toBeGreaterThanOrEqual(n / m);
        }
        expect(ahead).not.toEqual(back);
      }
    },
  );
});

describe("gradients", () => {
  test.each(cases)("%s: y of W_f, dX of W_b, dW whole", (_, make, shape) => {
    const net = make();
    const site = siteOf(net.params[0], 0);
    const w = site.param.dense();
    const [ahead, back] = (["in", "out"] as const).map((along) => {
      const bits = nmBitsOf(site, [2, 8], along);
      return w.map((v, i) => v * bits[i]);
    });
    const got = gradients(net, shape, bdwp());
    const forward = plain(make, ahead, shape);
    expect(got.loss).toBeCloseTo(forward.loss, 4);
    close(got.dw, forward.dw);
    // Pruned weights train on.
    expect(got.dw.every((g, i) => ahead[i] !== 0 || g !== 0 || forward.dw[i] === 0)).toBe(true);
    expect(got.dw.filter((g, i) => ahead[i] === 0 && g !== 0).length).toBeGreaterThan(0.9 * 0.75 * w.length);
    // dX is linear in the weight that goes back: with dY of the forward weight it is that of W_b.
    const dy = scope(() => {
      const x = tensor(draws(size(shape), "x"), shape);
      const reference = make();
      reference.params[0].assign(ahead);
      return reference
        .forward(x, EVALUATE)
        .toArray()
        .map((v) => 2 * v);
    });
    close(got.dx, inputGradient(make, back, shape, dy));
    expect(got.dx).not.toEqual(forward.dx);
  });

  /** dX for a given dY, from the definition of both layers. */
  function inputGradient(make: () => Net, w: Float32Array, shape: readonly number[], dy: Float32Array): Float32Array {
    const dx = new Float64Array(size(shape));
    const images = shape[0];
    if (make === line) {
      for (let b = 0; b < images; b++)
        for (let o = 0; o < OUT; o++) for (let i = 0; i < IN; i++) dx[b * IN + i] += dy[b * OUT + o] * w[o * IN + i];
      return Float32Array.from(dx);
    }
    const [side, out] = [shape[2], shape[2] / 2];
    for (let b = 0; b < images; b++)
      for (let o = 0; o < OUT; o++)
        for (let i = 0; i < IN; i++)
          for (let y = 0; y < out; y++)
            for (let x = 0; x < out; x++)
              for (let u = 0; u < 3; u++)
                for (let v = 0; v < 3; v++) {
                  const [r, c] = [2 * y + u - 1, 2 * x + v - 1];
                  if (r < 0 || c < 0 || r >= side || c >= side) continue;
                  dx[((b * IN + i) * side + r) * side + c] +=
                    dy[((b * OUT + o) * out + y) * out + x] * w[((o * IN + i) * 3 + u) * 3 + v];
                }
    return Float32Array.from(dx);
  }

  test.each(cases)(
    "%s: weights that are 2:8 both ways already train as they are, with the true gradient",
    (_, make, shape) => {
      const kernel = kernelOf(make().params[0].shape);
      // Kept where output and input leave the remainder that the kernel position asks for: 2 of 8 along both.
      const w = draws(OUT * IN * kernel, "w").map((v, at) => {
        const [o, i, k] = [Math.floor(at / (IN * kernel)), Math.floor(at / kernel) % IN, at % kernel];
        return (o + i + k) % 4 === 0 ? v : 0;
      });
      const net = make();
      net.params[0].assign(w);
      const got = gradients(net, shape, bdwp());
      const want = plain(make, w, shape);
      expect(got.loss).toBeCloseTo(want.loss, 4);
      close(got.dx, want.dx);
      close(got.dw, want.dw);
    },
  );

  test.each(cases)("%s: SDWP and SDGP leave the forward product and dW dense", (_, make, shape) => {
    const w = make().params[0].dense();
    const want = plain(make, w, shape);
    const dy = scope(() =>
      make()
        .forward(tensor(draws(size(shape), "x"), shape), EVALUATE)
        .toArray()
        .map((v) => 2 * v),
    );
    const places = dy.length / (shape[0] * OUT);
    const prunedDy = dy.map((v, at) => {
      const [b, c, p] = [Math.floor(at / (OUT * places)), Math.floor(at / places) % OUT, at % places];
      const top = c - (c % 8);
      const larger = Array.from({ length: 8 }, (_, i) => Math.abs(dy[(b * OUT + top + i) * places + p])).filter(
        (other) => other > Math.abs(v),
      );
      return larger.length < 2 ? v : 0;
    });
    const back = nmBitsOf(siteOf(make().params[0], 0), [2, 8], "out");
    for (const [method, of, from] of [
      [sdwp(), w.map((v, i) => v * back[i]), dy],
      [sdgp(), w, prunedDy],
    ] as const) {
      const got = gradients(make(), shape, method);
      expect(got.loss).toBe(want.loss);
      close(got.dw, want.dw);
      close(got.dx, inputGradient(make, of, shape, from));
    }
  });

  test.each(cases)("%s: SR-STE goes back through W_f and adds lambda times what is pruned", (_, make, shape) => {
    const net = make();
    const w = net.params[0].dense();
    const bits = nmBitsOf(siteOf(net.params[0], 0), [2, 8], "in");
    const got = gradients(net, shape, srSte({ lambda: 0.5 }));
    const want = plain(
      make,
      w.map((v, i) => v * bits[i]),
      shape,
    );
    close(got.dx, want.dx);
    close(
      got.dw,
      want.dw.map((g, i) => g + (bits[i] ? 0 : 0.5 * w[i])),
    );
  });
});

const STAGES = [{ channels: 8 }, { channels: 16, stride: 2 }, { channels: 16, stride: 2 }];
const cnn = (): Net => plainCnn({ seed: 4, stages: STAGES, size: 8, classes: 4 });

/** A few steps on random images; losses, multiply-adds and weights. */
async function train(net: Net, method?: SparseTraining, steps = 6) {
  const losses: number[] = [];
  const start = tally();
  await fitSteps(net, {
    optimiser: new Sgd(net.params, { momentum: 0.9 }),
    steps,
    rate: 0.05,
    seed: 1,
    loss: (mode) => {
      const x = tensor(draws(12 * 64, `x${mode.t.step}`), [12, 1, 8, 8]);
      return crossEntropy(net.forward(x, mode), tensor(Int32Array.from({ length: 12 }, (_, i) => i % 4)));
    },
    ...(method && { method }),
    onStep: ({ loss }) => {
      losses.push(loss);
    },
  });
  return { losses, macs: since(start), weights: net.params.map((p) => p.dense()) };
}

describe("training", () => {
  test("N = M is dense training, bit for bit", async () => {
    const [dense, pruned] = [cnn(), cnn()];
    const a = await train(dense);
    const b = await train(pruned, bdwp({ pattern: [8, 8] }));
    expect(b.losses).toEqual(a.losses);
    expect(b.weights).toEqual(a.weights);
    for (const net of [dense, pruned]) disposeNet(net);
  });

  test("the family is four methods, and none of them is dense training", async () => {
    const seen = new Set<string>();
    for (const method of [undefined, bdwp(), srSte(), sdwp(), sdgp()]) {
      const net = cnn();
      seen.add(String((await train(net, method)).losses));
      disposeNet(net);
    }
    expect(seen.size).toBe(5);
  });

  test("sites: weights that M divides both ways, not the first layer and not the classifier", () => {
    const names = (net: Net, m: number): string[] => divisibleSites(net, m).map((s) => s.name);
    expect(names(cnn(), 8)).toEqual(["conv1.weight", "conv2.weight"]);
    expect(names(cnn(), 16)).toEqual(["conv2.weight"]);
    expect(() => names(cnn(), 32)).toThrow(LacunaError);
  });

  test("multiply-adds of masked layers are (N/M + N/M + 1) / 3 of dense: 2:4 2/3, 2:8 1/2, 1:8 and 2:16 5/12", async () => {
    expect(trainingShare([2, 4], 2)).toBeCloseTo(2 / 3, 15);
    expect(trainingShare([2, 8], 2)).toBe(0.5);
    expect(trainingShare([1, 8], 2)).toBeCloseTo(5 / 12, 15);
    expect(trainingShare([2, 16], 2)).toBeCloseTo(5 / 12, 15);
    expect(trainingShare([2, 8], 1)).toBe(0.75);
    expect(trainingShare([2, 8], 0)).toBe(1);
    const [dense, pruned] = [cnn(), cnn()];
    const a = (await train(dense)).macs.nonZero;
    const b = (await train(pruned, bdwp())).macs.nonZero;
    const masked = 6 * 12 * sitesOf(pruned, { roles: ["weight"] }).reduce((n, s) => n + s.macs, 0);
    // the first layer has no dX in either
    const [stem, , , head] = sitesOf(pruned).map((s) => 6 * 12 * s.macs);
    expect(totalMacs(a)).toBe(2 * stem + 3 * masked + 3 * head);
    expect(totalMacs(b)).toBe(2 * stem + 1.5 * masked + 3 * head);
    expect(b.dW).toBe(a.dW);
    for (const net of [dense, pruned]) disposeNet(net);
  });

  test("in linear layers packed products of that many multiply-adds run", async () => {
    const net = mlp([16, 32, 24, 4], { seed: 1 });
    const sites = divisibleSites(net, 8);
    bdwp().begin?.({ net, sites, seed: 1, inputShape: [5, 16], loss: () => tensor([0]) });
    const start = tally();
    scope(() => {
      const x = tensor(draws(5 * 16, "x"), [5, 16]);
      return valueAndGrad(
        () => sumSquares(net.forward(x, EVALUATE)),
        net.params.map((p) => p.value),
      ).value;
    });
    const { ran } = since(start);
    const [first, second, head] = [5 * 16 * 32, 5 * 32 * 24, 5 * 24 * 4];
    const pruned = new Set(sites.map((s) => s.name));
    const firstAhead = pruned.has(net.params[0].name) ? first / 4 : first;
    expect(ran).toEqual({
      forward: firstAhead + second / 4 + head,
      dX: second / 4 + head,
      dW: first + second + head,
    });
    disposeNet(net);
  });

  test("at the end the weights are W_f under its mask, and nothing changes for who evaluates", async () => {
    const net = cnn();
    await train(net, bdwp());
    const sites = divisibleSites(net, 8);
    const answer = (): Float32Array =>
      scope(() => net.forward(tensor(draws(5 * 64, "new"), [5, 1, 8, 8]), EVALUATE).toArray());
    const before = answer();
    keepForward(sites, [2, 8]);
    expect(answer()).toEqual(before);
    for (const { param } of sites) {
      expect(param.kept).toBe(param.numel / 4);
      expect(param.dense().filter((v) => v !== 0).length).toBeLessThanOrEqual(param.kept);
    }
    disposeNet(net);
  });
});
