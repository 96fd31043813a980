/** Pruning before training: layer densities against worked examples, scores against their definitions, exact counts. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { noGrad, valueAndGrad } from "../../core/tape.ts";
import { full, type Tensor, tensor } from "../../core/tensor.ts";
import { examples } from "../../data/examples.ts";
import { mlp } from "../../models/mlp.ts";
import { normal } from "../../nn/init.ts";
import { disposeNet, EVALUATE, type Net } from "../../nn/net.ts";
import { mul, scale } from "../../nn/ops/elementwise.ts";
import { linear } from "../../nn/ops/linear.ts";
import { crossEntropy } from "../../nn/ops/loss.ts";
import { sumSquares } from "../../nn/ops/loss-element.ts";
import { sum } from "../../nn/ops/reduce.ts";
import { Param } from "../../nn/param.ts";
import { type Budget, keepCounts, uniform } from "../../sparsity/budget.ts";
import { er, erk, erkPlus, uniformPlus } from "../../sparsity/budget-shapes.ts";
import { saliency } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { Beginning, SparseTraining } from "../../sparsity/hook.ts";
import { unstructured } from "../../sparsity/pattern.ts";
import { prunedCount } from "../../sparsity/select.ts";
import { siteOf, sitesOf } from "../../sparsity/site.ts";
import { balancedLoss, grasp, snip } from "./before.ts";
import { staticRandom } from "./static.ts";
import { synflow } from "./synflow.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const draws = (n: number, name: string): Float32Array => {
  const s = stream(18, name);
  return Float32Array.from({ length: n }, (_, i) => s.normal(i));
};

/** Layers as budgets see them. */
const layers = (shapes: readonly (readonly number[])[]) =>
  shapes.map((shape, i) => {
    const units = shape.reduce((a, b) => a * b, 1);
    return { name: `l${i}`, rows: shape[0], columns: units / shape[0], shape, units };
  });

const LENET = layers([
  [300, 784],
  [100, 300],
  [10, 100],
]);
const CONVS = layers([
  [8, 4, 3, 3],
  [8, 8, 3, 3],
  [16, 8, 3, 3],
  [16, 16, 3, 3],
]);

function close(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i] - want[i])).toBeLessThanOrEqual(tolerance);
}

/** Published or printed values have 5 or 4 digits. */
test.each([
  ["ERK on LeNet-300-100 at density 0.1", erk, LENET, 0.1, [0.07957, 0.23019, 1], 5e-6],
  ["ERK on LeNet-300-100 at density 0.05", erk, LENET, 0.05, [0.03848, 0.11133, 0.91851], 5e-6],
  ["ERK on LeNet-300-100 at density 0.02", erk, LENET, 0.02, [0.01539, 0.04453, 0.3674], 5e-6],
  ["ERK on four convolutions at density 0.25", erk, CONVS, 0.25, [0.625, 0.3819, 0.2604, 0.1649], 5e-5],
  ["ER on four convolutions at density 0.25", er, CONVS, 0.25, [0.5357, 0.3571, 0.2679, 0.1786], 5e-5],
] as const)("%s gives the worked densities, and the total", (_, budget, list, density, want, tolerance) => {
  const shares = budget.shares(list, 1 - density);
  close(shares, want, tolerance);
  const all = list.reduce((n, l) => n + l.units, 0);
  expect(shares.reduce((n, s, i) => n + s * list[i].units, 0)).toBeCloseTo(density * all, 6);
});

test("ERK's scale: density over (sum of the shape / product of the shape) is 17.2642 and 8.3501 on LeNet-300-100", () => {
  expect(erk.shares(LENET, 0.9)[0] / (1084 / 235200)).toBeCloseTo(17.2642, 4);
  expect(erk.shares(LENET, 0.95)[0] / (1084 / 235200)).toBeCloseTo(8.3501, 4);
});

test("ERK+ and uniform+ hold their ends and the total; on LeNet-300-100 uniform+ at 90 % is refused", () => {
  const all = CONVS.reduce((n, l) => n + l.units, 0);
  const total = (budget: Budget, s: number): number =>
    budget.shares(CONVS, s).reduce((n, share, i) => n + share * CONVS[i].units, 0);
  expect(total(erkPlus(), 0.4)).toBeCloseTo(0.6 * all, 6);
  expect(erkPlus().shares(CONVS, 0.4)[3]).toBe(1);
  expect(() => erkPlus().shares(CONVS, 0.5)).toThrow(LacunaError);
  expect(total(uniformPlus(), 0.6)).toBeCloseTo(0.4 * all, 6);
  const shares = uniformPlus().shares(CONVS, 0.8);
  expect(shares[0]).toBe(1);
  expect(shares[3]).toBe(0.2);
  expect(total(uniformPlus(), 0.8)).toBeCloseTo(0.2 * all, 6);
  // The first layer holds 88 % of the weights.
  expect(() => uniformPlus().shares(LENET, 0.9)).toThrow(LacunaError);
});

test("counts of every budget add up to what the sparsity leaves", () => {
  for (const budget of [uniform, er, erk]) {
    for (const s of [0.5, 0.9, 0.98, 0.995]) {
      const keep = keepCounts(budget, LENET, unstructured, s);
      expect(keep.reduce((a, b) => a + b, 0)).toBe(266200 - prunedCount(s, 266200));
    }
  }
});

/** A method's masks on a net, with a loss over fixed inputs. */
function begin(net: Net, method: SparseTraining, seed = 1): readonly Uint8Array[] {
  const sites = sitesOf(net);
  const width = sites[0].columns;
  const classes = sites[sites.length - 1].rows;
  const b: Beginning = {
    net,
    sites,
    seed,
    inputShape: [16, width],
    loss: () => {
      const y = tensor(Int32Array.from({ length: 16 }, (_, i) => i % classes));
      return crossEntropy(net.forward(tensor(draws(16 * width, "x"), [16, width]), EVALUATE), y);
    },
  };
  method.begin?.(b);
  return sites.map((s) => s.param.bits());
}

const ones = (bits: Uint8Array): number => bits.reduce((a, b) => a + b, 0);

test("random masks: exact counts, the same for the same seed, other places for another", () => {
  const net = mlp([30, 20, 10], { seed: 1 });
  const sparsity = 0.9;
  const first = begin(net, staticRandom({ sparsity }));
  const sites = sitesOf(net);
  expect(first.map(ones)).toEqual([...keepCounts(erk, sites, unstructured, sparsity)]);
  expect(begin(net, staticRandom({ sparsity }))).toEqual(first);
  expect(begin(net, staticRandom({ sparsity }), 2)).not.toEqual(first);
  // pruned before training means 0 from the first step on
  first.forEach((bits, i) => {
    sites[i].param.dense().forEach((w, j) => {
      if (bits[j] === 0) expect(w).toBe(0);
    });
  });
  disposeNet(net);
});

test("SNIP's score is |dL/dm| of an explicit mask variable at 1", () => {
  const weight = new Param("w", [6, 9], normal(0.5), 3);
  const x = draws(5 * 9, "snip x");
  const y = Int32Array.from([0, 5, 2, 2, 4]);
  const lossAt = (w: Tensor): Tensor => crossEntropy(linear(tensor(x, [5, 9]), w), tensor(y));
  const wanted = scope(() => {
    const mask = full([6, 9], 1);
    const { gradients } = valueAndGrad(() => lossAt(mul(mask, weight.value)), [mask]);
    return gradients[0].toArray().map(Math.abs);
  });
  const site = siteOf(weight, 0);
  const score = saliency.of(
    site,
    probe([site], () => lossAt(weight.value), 1),
  );
  // two f32 products in another order
  close(score, wanted, 2e-7);
  weight.dispose();
});

test("SNIP keeps the largest |w g| of the whole network, not of each layer", () => {
  const net = mlp([12, 9, 4], { seed: 2 });
  const sites = sitesOf(net);
  let scores: Float64Array[] = [];
  const bits = begin(net, {
    id: "look",
    hooks: [],
    begin(b) {
      const e = probe(sites, b.loss, 1);
      scores = sites.map((s) => saliency.of(s, e));
      snip({ sparsity: 0.8 }).begin?.(b);
    },
  });
  const kept: number[] = [];
  const gone: number[] = [];
  bits.forEach((layer, i) => {
    layer.forEach((bit, j) => {
      (bit ? kept : gone).push(scores[i][j]);
    });
  });
  expect(gone).toHaveLength(prunedCount(0.8, 144));
  expect(Math.min(...kept)).toBeGreaterThanOrEqual(Math.max(...gone));
  disposeNet(net);
});

test("a ratio keeps the counts by layer and throws the places away", () => {
  const net = mlp([40, 30, 10], { seed: 2 });
  const own = begin(net, snip({ sparsity: 0.9 }));
  const again = mlp([40, 30, 10], { seed: 2 });
  const shuffled = begin(again, snip({ sparsity: 0.9, shuffled: true }));
  expect(shuffled.map(ones)).toEqual(own.map(ones));
  expect(shuffled).not.toEqual(own);
  disposeNet(net);
  disposeNet(again);
});

test("on a quadratic loss w'Aw / 2 the Hessian's product with the gradient is AAw", () => {
  const n = 12;
  const weight = new Param("w", [1, n], normal(1), 4);
  const b = draws(n * n, "A");
  const a = Float32Array.from({ length: n * n }, (_, i) => b[i] + b[(i % n) * n + Math.floor(i / n)]);
  const loss = (): Tensor => scale(sum(mul(linear(weight.value, tensor(a, [n, n])), weight.value)), 0.5);
  const times = (v: Float64Array): Float64Array =>
    v.map((_, i) => v.reduce((total, x, j) => total + a[i * n + j] * x, 0));
  const w = Float64Array.from(weight.value.toArray());
  const wanted = times(times(w));
  const site = siteOf(weight, 0);
  const got = probe([site], loss, 1).hessianGrad(site);
  const size = wanted.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  // a central difference is exact here, but e |g| = 0.01 leaves f32 gradients two to three digits less
  close(got, wanted, 1e-3 * size);
  weight.dispose();
});

/** A 2-layer ReLU network and its gradient in f64, for the double backward pass that the engine does not have. */
function plainGradient(w: Float64Array, x: ArrayLike<number>, y: Int32Array, [d, h, k]: number[], temperature: number) {
  const rows = y.length;
  const [w1, w2] = [w.subarray(0, h * d), w.subarray(h * d)];
  const g = new Float64Array(w.length);
  for (let r = 0; r < rows; r++) {
    const hidden = Array.from({ length: h }, (_, i) => {
      let z = 0;
      for (let j = 0; j < d; j++) z += w1[i * d + j] * x[r * d + j];
      return Math.max(0, z);
    });
    const logits = Array.from(
      { length: k },
      (_, c) => hidden.reduce((z, v, i) => z + w2[c * h + i] * v, 0) / temperature,
    );
    const powers = logits.map(Math.exp);
    const total = powers.reduce((p, q) => p + q, 0);
    const dz = powers.map((p, c) => (p / total - (c === y[r] ? 1 : 0)) / rows / temperature);
    for (let i = 0; i < h; i++) {
      let back = 0;
      for (let c = 0; c < k; c++) {
        g[h * d + c * h + i] += dz[c] * hidden[i];
        back += dz[c] * w2[c * h + i];
      }
      if (hidden[i] > 0) for (let j = 0; j < d; j++) g[i * d + j] += back * x[r * d + j];
    }
  }
  return g;
}

test.each([1, 200])(
  "GraSP's Hg of a ReLU network at temperature %d is the f64 one, and its largest w Hg are kept",
  (T) => {
    const dims = [10, 8, 5];
    const rows = 25;
    const net = mlp(dims, { seed: 3, bias: false });
    const x = draws(rows * dims[0], "grasp x");
    const y = Int32Array.from({ length: rows }, (_, i) => i % dims[2]);
    const set = examples({ name: "drawn", shape: [dims[0]], classes: dims[2], x, y: Uint8Array.from(y) });
    const sites = sitesOf(net);
    const w = Float64Array.from(sites.flatMap((s) => [...s.param.dense()]));
    const g = plainGradient(w, x, y, dims, T);
    const e = 1e-6 / Math.sqrt(g.reduce((n, v) => n + v * v, 0));
    const up = plainGradient(
      w.map((v, i) => v + e * g[i]),
      x,
      y,
      dims,
      T,
    );
    const down = plainGradient(
      w.map((v, i) => v - e * g[i]),
      x,
      y,
      dims,
      T,
    );
    const wanted = up.map((v, i) => (v - down[i]) / (2 * e));
    const loss = balancedLoss(set, { count: 5, temperature: T });
    const b: Beginning = { net, sites, seed: 1, inputShape: [rows, dims[0]], loss: () => sum(full([1], 0)) };
    const evidence = probe(sites, () => loss(b), 1);
    const got = sites.flatMap((s) => [...evidence.hessianGrad(s)]);
    const size = wanted.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    close(got, wanted, 5e-3 * size);
    grasp({ sparsity: 0.5, loss }).begin?.(b);
    const score = w.map((v, i) => v * wanted[i]);
    const bits = sites.flatMap((s) => [...s.param.bits()]);
    const mean = (bit: number): number => {
      const chosen = Array.from(score).filter((_, i) => bits[i] === bit);
      return chosen.reduce((n, v) => n + v, 0) / chosen.length;
    };
    // signed: what goes has the smallest w Hg, which are negative, and not the smallest |w Hg|
    expect(mean(0)).toBeLessThan(Math.min(0, mean(1)));
    disposeNet(net);
  },
);

test("SynFlow's score is conserved by every hidden unit, so that all layers have the same total, R", () => {
  const net = mlp([9, 8, 7, 4], { seed: 5, bias: false });
  for (const p of net.params) p.assign(p.dense().map(Math.abs));
  const sites = sitesOf(net);
  const flow = (): Tensor => sum(net.forward(full([1, 9], 1), EVALUATE));
  const r = scope(() => noGrad(() => flow().item()));
  const evidence = probe(sites, flow, 1);
  const scores = sites.map((s) => saliency.of(s, evidence));
  for (const layer of scores) expect(layer.reduce((a, b) => a + b, 0) / r).toBeCloseTo(1, 5);
  for (let l = 0; l + 1 < sites.length; l++) {
    const { rows, columns } = sites[l];
    for (let unit = 0; unit < rows; unit++) {
      const incoming = scores[l].subarray(unit * columns, (unit + 1) * columns).reduce((a, b) => a + b, 0);
      let outgoing = 0;
      for (let o = 0; o < sites[l + 1].rows; o++) outgoing += scores[l + 1][o * rows + unit];
      expect(Math.abs(incoming - outgoing)).toBeLessThan(1e-5 * r);
    }
  }
  disposeNet(net);
});

test("SynFlow's rounds leave every layer some weights where one round empties one; signs and values come back", () => {
  const sizes = [20, 40, 40, 40, 4];
  const sparsity = 0.995;
  const make = (rounds: number): { net: Net; bits: readonly Uint8Array[] } => {
    const net = mlp(sizes, { seed: 6 });
    return { net, bits: begin(net, synflow({ sparsity, rounds })) };
  };
  const [one, many] = [make(1), make(100)];
  expect(Math.min(...one.bits.map(ones))).toBe(0);
  expect(Math.min(...many.bits.map(ones))).toBeGreaterThan(0);
  const all = many.bits.reduce((n, b) => n + b.length, 0);
  expect(many.bits.reduce((n, b) => n + ones(b), 0)).toBe(all - prunedCount(sparsity, all));
  const fresh = sitesOf(mlp(sizes, { seed: 6 }));
  sitesOf(many.net).forEach((s, i) => {
    const before = fresh[i].param.dense();
    expect(s.param.dense()).toEqual(before.map((w, j) => (many.bits[i][j] ? w : 0)));
  });
  disposeNet(one.net);
  disposeNet(many.net);
});

test("balanced scores see each class alike, and the same examples at each call", () => {
  const y = Uint8Array.from({ length: 90 }, (_, i) => (i < 60 ? 0 : 1));
  const set = examples({ name: "skewed", shape: [3], classes: 2, x: draws(270, "skew"), y });
  const seen: number[][] = [];
  const net: Net = {
    params: [],
    forward: (x) => {
      seen.push([...x.toArray()]);
      return full([x.shape[0], 2], 0);
    },
  };
  const b = { net, sites: [], seed: 1, inputShape: [4, 3], loss: () => sumSquares(full([1], 0)) };
  const loss = balancedLoss(set, { count: 10 });
  scope(() => {
    loss(b);
    loss(b);
  });
  expect(seen[0]).toHaveLength(20 * 3);
  expect(seen[1]).toEqual(seen[0]);
});
