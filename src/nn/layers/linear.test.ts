/** Linear layers over parameters in each storage: gradients, equality of twins, carrying state over, and what is refused. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, memory, shutdown } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { type Tensor, tensor } from "../../core/tensor.ts";
import { since, tally } from "../cost.ts";
import { EVALUATE } from "../net.ts";
import { relu } from "../ops/activation.ts";
import { addRow } from "../ops/elementwise.ts";
import { linear } from "../ops/linear.ts";
import { sumSquares } from "../ops/loss-element.ts";
import { AdamW } from "../optimiser.ts";
import { type Fill, Param } from "../param.ts";
import { linearLayer } from "./linear.ts";

beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const draws = (n: number, name: string): Float32Array => {
  const s = stream(5, name);
  return Float32Array.from({ length: n }, (_, i) => s.normal(i));
};

function maskFor(n: number, density: number, name: string): { bits: Uint8Array; kept: number } {
  const s = stream(6, name);
  const bits = Uint8Array.from({ length: n }, (_, i) => (s.uniform(i) < density ? 1 : 0));
  return { bits, kept: bits.reduce((a, b) => a + b, 0) };
}

/** The same layer masked and stored sparse. */
function twins(inputs: number, outputs: number, density: number, relu = false) {
  const make = () => {
    const layer = linearLayer("l", inputs, outputs, { seed: 3, relu });
    layer.params[1].assign(draws(outputs, "bias"));
    layer.params[0].setMask(maskFor(inputs * outputs, density, "mask"));
    return layer;
  };
  const [masked, sparse] = [make(), make()];
  sparse.params[0].as("csr");
  return { masked, sparse };
}

const lossOf = (layer: ReturnType<typeof linearLayer>, x: Tensor) => () => sumSquares(layer.forward(x, EVALUATE));

/** f32 sums of n terms in another order: n roundings of the sum of sizes; 1e-5 of the largest value is several times that. */
function close(got: ArrayLike<number>, want: ArrayLike<number>, relative = 1e-5): void {
  const size = Array.from(want).reduce((m, w) => Math.max(m, Math.abs(w)), 1e-3);
  expect(got.length).toBe(want.length);
  let worst = 0;
  for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs(got[i] - want[i]));
  expect(worst).toBeLessThan(relative * size);
}

test.each([
  [1, 7, 5, 0.4, false],
  [3, 30, 22, 0.3, true],
  [18, 64, 33, 0.1, false],
  [37, 41, 52, 0.5, true],
  [70, 33, 9, 0.5, true],
  [128, 200, 90, 0.05, true],
])(
  "%i examples, %i to %i at density %d: the sparse layer is its masked twin",
  (batch, inputs, outputs, density, relu) =>
    scope(() => {
      const { masked, sparse } = twins(inputs, outputs, density, relu);
      const x = tensor(draws(batch * inputs, "x"), [batch, inputs]);
      const wrt = (l: typeof masked) => [x, ...l.params.map((p) => p.value)];
      const a = valueAndGrad(lossOf(masked, x), wrt(masked));
      const b = valueAndGrad(lossOf(sparse, x), wrt(sparse));
      expect(Math.abs(a.value.item() - b.value.item())).toBeLessThan(1e-5 * a.value.item());
      close(b.gradients[0].f32, a.gradients[0].f32);
      close(b.gradients[2].f32, a.gradients[2].f32);
      const [p] = sparse.params;
      const wide = new Float32Array(p.numel);
      const g = b.gradients[1].f32;
      p.sparse?.forEach((entry, flat) => {
        wide[flat] = g[entry];
      });
      const bits = p.bits();
      close(
        wide,
        a.gradients[1].f32.map((v, i) => v * bits[i]),
      );
      // padding gets no gradient
      expect(g.reduce((n, v) => n + (v !== 0 ? 1 : 0), 0)).toBeLessThanOrEqual(p.kept);
      for (const l of [masked, sparse]) for (const q of l.params) q.dispose();
    }),
);

test("bias and ReLU inside of the operation are the operations after it, bit for bit", () =>
  scope(() => {
    for (const [batch, outputs] of [
      [20, 23],
      [80, 10],
    ]) {
      const layer = linearLayer("l", 30, outputs, { seed: 3, relu: true });
      const [w, b] = layer.params;
      b.assign(draws(outputs, "bias"));
      const x = tensor(draws(batch * 30, "x"), [batch, 30]);
      const wrt = [x, w.value, b.value];
      const inside = valueAndGrad(lossOf(layer, x), wrt);
      const after = valueAndGrad(() => sumSquares(relu(addRow(linear(x, w.value), b.value))), wrt);
      expect(inside.value.item()).toBe(after.value.item());
      inside.gradients.forEach((g, i) => {
        expect(g.toArray()).toEqual(after.gradients[i].toArray());
      });
    }
  }));

test("the dense gradient is taken when somebody asks for it, and counted", () =>
  scope(() => {
    const { masked, sparse } = twins(20, 12, 0.2);
    const x = tensor(draws(6 * 20, "x"), [6, 20]);
    const want = valueAndGrad(lossOf(masked, x), [masked.params[0].value]).gradients[0].toArray();
    let got = new Float32Array();
    const [p] = sparse.params;
    p.onDenseGradient = (g) => {
      got = g.toArray();
    };
    const start = tally();
    valueAndGrad(lossOf(sparse, x), [p.value]);
    close(got, want);
    const { ran, nonZero } = since(start);
    expect(ran).toEqual({ forward: 6 * p.kept, dX: 0, dW: 6 * (p.kept + p.numel) });
    expect(nonZero).toEqual({ forward: 6 * p.kept, dX: 0, dW: 6 * p.kept });
  }));

test("a change of mask carries values and optimiser state over, in both storages alike", () =>
  scope(() => {
    const fills: readonly Fill[] = ["zero", "init", { normal: 0.1 }];
    for (const fill of fills) {
      const { masked, sparse } = twins(24, 16, 0.3);
      const optimisers = [masked, sparse].map((l) => new AdamW(l.params, { clip: 0 }));
      const x = tensor(draws(9 * 24, "x"), [9, 24]);
      [masked, sparse].forEach((l, i) => {
        for (let step = 0; step < 3; step++) {
          const wrt = l.params.map((p) => p.value);
          optimisers[i].step(valueAndGrad(lossOf(l, x), wrt).gradients, 1e-2);
        }
      });
      const before = sparse.params[0].dense();
      const old = sparse.params[0].bits();
      const next = maskFor(24 * 16, 0.3, "next");
      for (const l of [masked, sparse]) l.params[0].setMask(next, fill);
      const [m, s] = [masked.params[0], sparse.params[0]];
      expect([s.kept, m.kept]).toEqual([next.kept, next.kept]);
      expect(s.bits()).toEqual(next.bits);
      close(s.dense(), m.dense());
      for (const name of ["m", "v"]) close(s.denseSlot(name), m.denseSlot(name), 1e-4);
      const initial = s.initial();
      let carried = 0;
      s.dense().forEach((v, i) => {
        if (!next.bits[i]) expect(v).toBe(0);
        else if (old[i]) {
          expect(v).toBe(before[i]);
          carried++;
        } else {
          if (fill === "zero") expect(v).toBe(0);
          if (fill === "init") expect(v).toBe(Math.fround(initial(i)));
          expect(s.denseSlot("v")[i]).toBe(0);
        }
      });
      expect(carried).toBeGreaterThan(20);
      expect(s.denseSlot("v").some((v) => v > 0)).toBe(true);
    }
  }));

test("back from sparse to masked is the same parameter", () =>
  scope(() => {
    const { masked, sparse } = twins(11, 9, 0.4);
    const [m, s] = [masked.params[0], sparse.params[0]];
    expect(s.storage).toBe("csr");
    expect(s.dense()).toEqual(m.dense());
    s.as("masked");
    expect(s.storage).toBe("masked");
    expect(s.dense()).toEqual(m.dense());
    expect(s.bits()).toEqual(m.bits());
    s.assign(draws(99, "other"));
    m.assign(draws(99, "other"));
    s.as("csr");
    expect(s.dense()).toEqual(m.dense());
    s.assign(new Float32Array(99).fill(2));
    expect(s.dense()).toEqual(Float32Array.from(m.bits(), (b) => 2 * b));
  }));

test("the bytes of a sparse parameter follow its non-zeros, and all are given back", () => {
  const once = (): void => {
    const layer = linearLayer("big", 512, 256, { seed: 1, bias: false });
    const [p] = layer.params;
    const dense = p.bytes;
    p.setMask(maskFor(512 * 256, 0.05, "few"));
    p.as("csr");
    expect(p.bytes).toBeLessThan(0.1 * dense);
    scope(() => {
      valueAndGrad(lossOf(layer, tensor(draws(4 * 512, "x"), [4, 512])), [p.value]);
    });
    p.setMask(maskFor(512 * 256, 0.06, "more"));
    p.dispose();
  };
  once(); // kernels are loaded into engine memory when they first run
  const live = memory.live;
  once();
  expect(memory.live).toBe(live);
});

test("what cannot be stored sparse is refused", () => {
  const held = linearLayer("h", 4, 4, { seed: 1 }).params[0];
  held.off = "held";
  expect(() => held.as("csr")).toThrow(/held/);
  const convolution = new Param("c", [4, 4, 3, 3], () => () => 0, 1);
  expect(() => convolution.as("csr")).toThrow(LacunaError);
  expect(() => held.setMask({ bits: new Uint8Array(3), kept: 0 })).toThrow(/mask of h.weight/);
});

test("held weights stay and are not used; live ones train on", () =>
  scope(() => {
    const x = tensor(draws(5 * 6, "x"), [5, 6]);
    for (const off of ["held", "live"] as const) {
      const layer = linearLayer("l", 6, 4, { seed: 2, off });
      const [p] = layer.params;
      const start = p.dense();
      const mask = maskFor(24, 0.5, "half");
      p.setMask(mask);
      expect(p.dense()).toEqual(start);
      const optimiser = new AdamW(layer.params, { clip: 0, weightDecay: 0 });
      const { value, gradients } = valueAndGrad(
        lossOf(layer, x),
        layer.params.map((q) => q.value),
      );
      const used = start.map((v, i) => v * mask.bits[i]);
      let want = 0;
      for (let b = 0; b < 5; b++) {
        for (let o = 0; o < 4; o++) {
          let y = 0;
          for (let k = 0; k < 6; k++) y += used[o * 6 + k] * x.f32[b * 6 + k];
          want += y * y;
        }
      }
      expect(Math.abs(value.item() - want)).toBeLessThan(1e-5 * want);
      optimiser.step(gradients, 0.1);
      p.dense().forEach((v, i) => {
        if (mask.bits[i] || off === "live") expect(v).not.toBe(start[i]);
        else expect(v).toBe(start[i]);
      });
    }
  }));
