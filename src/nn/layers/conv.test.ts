/** Convolution layers stored sparse against the same layers masked: values, gradients, growth, and what is counted. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import type { Tensor } from "../../core/tensor.ts";
import { since, tally } from "../cost.ts";
import { EVALUATE, type Net } from "../net.ts";
import { mul } from "../ops/elementwise.ts";
import { drawer } from "../ops/gradient-check.ts";
import { sum } from "../ops/reduce.ts";
import { type ConvLayerOptions, convLayer, convSize } from "./conv.ts";

beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const random = drawer(23);

interface Case {
  readonly name: string;
  readonly channels: readonly [number, number];
  readonly kernel: number;
  readonly size: number;
  readonly options?: Partial<ConvLayerOptions>;
  readonly sparsity: number;
}
const cases: Case[] = [
  { name: "3x3, 90 %", channels: [6, 9], kernel: 3, size: 9, options: { padding: 1 }, sparsity: 0.9 },
  {
    name: "3x3, stride 2, bias",
    channels: [4, 7],
    kernel: 3,
    size: 8,
    options: { stride: 2, padding: 1, bias: true },
    sparsity: 0.7,
  },
  { name: "1x1, odd image", channels: [12, 10], kernel: 1, size: 7, sparsity: 0.8 },
  { name: "1x1 on planes of a power of two", channels: [40, 12], kernel: 1, size: 16, sparsity: 0.8 },
  { name: "1x1, stride 2", channels: [8, 8], kernel: 1, size: 9, options: { stride: 2 }, sparsity: 0.5 },
  { name: "groups", channels: [6, 8], kernel: 3, size: 6, options: { padding: 1, groups: 2 }, sparsity: 0.6 },
  { name: "depthwise", channels: [6, 6], kernel: 3, size: 6, options: { padding: 1, groups: 6 }, sparsity: 0.4 },
  { name: "one weight left", channels: [3, 4], kernel: 3, size: 5, options: { padding: 1 }, sparsity: 0.99 },
];

/** Masks a share of the weights, drawn by hash; at least one stays. */
function mask(net: Net, sparsity: number): void {
  const weight = net.params[0];
  const s = stream(9, weight.name);
  const order = [...s.permutation(weight.numel)];
  const kept = Math.max(1, weight.numel - Math.floor(sparsity * weight.numel));
  const bits = new Uint8Array(weight.numel);
  for (const i of order.slice(0, kept)) bits[i] = 1;
  weight.setMask({ bits, kept });
}

function gradients(net: Net, x: Tensor, seed: Tensor): Tensor[] {
  const all = [x, ...net.params.map((p) => p.value)];
  return [...valueAndGrad(() => sum(mul(net.forward(x, EVALUATE), seed)), all).gradients];
}

function close(what: string, got: Float32Array, want: Float32Array): void {
  expect(got.length, what).toBe(want.length);
  // Sums of at most some hundred products of unit size in two orders.
  const allowed = 1e-5 * Math.max(1, ...want.map(Math.abs));
  expect(
    got.reduce((m, g, i) => Math.max(m, Math.abs(g - want[i])), 0),
    what,
  ).toBeLessThan(allowed);
}

for (const t of cases) {
  test(`${t.name}: sparse and masked agree`, () =>
    scope(() => {
      const make = (): Net => convLayer("conv", t.channels[0], t.channels[1], t.kernel, { seed: 3, ...t.options });
      const [masked, sparse] = [make(), make()];
      for (const net of [masked, sparse]) mask(net, t.sparsity);
      const weight = sparse.params[0].as("csr");
      expect(weight.storage).toBe("csr");
      const side = convSize(t.size, t.kernel, t.options ?? {});
      const x = random([3, t.channels[0], t.size, t.size]);
      const seed = random([3, t.channels[1], side, side]);
      const start = tally();
      const y = sparse.forward(x, EVALUATE);
      const ran = since(start).ran.forward;
      expect(ran).toBe(3 * side * side * weight.kept);
      close("y", y.toArray(), masked.forward(x, EVALUATE).toArray());

      let dense: Float32Array | undefined;
      weight.onDenseGradient = (g) => {
        dense = g.toArray();
      };
      const want = gradients(masked, x, seed);
      const got = gradients(sparse, x, seed);
      close("dx", got[0].toArray(), want[0].toArray());
      if (got[2]) close("dbias", got[2].toArray(), want[2].toArray());
      const whole = want[1].toArray();
      close("dense gradient", dense as unknown as Float32Array, whole);
      // Places between the rows hold no weight, and their gradient is 0: an optimiser leaves them at 0.
      const values = got[1].toArray();
      const listed = new Float32Array(values.length);
      weight.sparse?.forEach((place, flat) => {
        listed[place] = whole[flat];
      });
      close("dw", values, listed);
      for (const net of [masked, sparse]) for (const p of net.params) p.dispose();
    }));
}

test("a change of the mask gives new lists", () =>
  scope(() => {
    const make = (): Net => convLayer("conv", 4, 5, 3, { seed: 3, padding: 1 });
    const [masked, sparse] = [make(), make()];
    for (const net of [masked, sparse]) mask(net, 0.8);
    sparse.params[0].as("csr");
    const x = random([2, 4, 6, 6]);
    sparse.forward(x, EVALUATE);
    const bits = sparse.params[0].bits();
    const first = bits.indexOf(1);
    bits[first] = 0;
    bits[(first + 17) % bits.length] = 1;
    const kept = bits.reduce((n, b) => n + b, 0);
    for (const net of [masked, sparse]) net.params[0].setMask({ bits, kept }, "init");
    close("y", sparse.forward(x, EVALUATE).toArray(), masked.forward(x, EVALUATE).toArray());
    expect(sparse.params[0].dense()).toEqual(masked.params[0].dense());
    for (const net of [masked, sparse]) for (const p of net.params) p.dispose();
  }));
