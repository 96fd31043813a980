/**
 * The same dense network in jax-js on its WebAssembly backend: value, gradients and Adam in one `jit`, as its users write
 * it. Arrays are counted references: whatever is used again is passed as `.ref`. One thread in Node.
 */
import { defaultDevice, init, jit, nn, numpy as np, valueAndGrad } from "@jax-js/jax";
import { ADAM, turns } from "../train/setup.ts";
import type { Contestant, StepSetup } from "./setup.ts";

type Arrays = Record<string, np.Array>;

interface State {
  p: Arrays;
  m: Arrays;
  v: Arrays;
  steps: number;
}

export async function open(setup: StepSetup): Promise<Contestant> {
  await init("wasm");
  defaultDevice("wasm");
  const { sizes, batch, rate } = setup;
  const layers = sizes.length - 1;
  const { beta1, beta2, eps } = ADAM;
  const batches = turns(setup.batches);

  const loss = (p: Arrays, x: np.Array, labels: np.Array): np.Array => {
    let h = x;
    for (let l = 0; l < layers; l++) {
      h = np.matmul(h, p[`w${l}`]).add(p[`b${l}`]);
      if (l < layers - 1) h = nn.relu(h);
    }
    const wanted = nn.oneHot(labels, sizes[layers]);
    return nn
      .logSoftmax(h, -1)
      .mul(wanted)
      .sum()
      .mul(-1 / batch);
  };
  const graph = valueAndGrad(loss);
  // c1 and c2 are Adam's bias corrections: scalars that change with each step, so they are arguments.
  const step = jit((p: Arrays, m: Arrays, v: Arrays, x: np.Array, labels: np.Array, c1: np.Array, c2: np.Array) => {
    const names = Object.keys(p);
    const refs = Object.fromEntries(names.map((n) => [n, p[n].ref]));
    const [value, grads] = graph(refs, x, labels) as [np.Array, Arrays];
    const next: { p: Arrays; m: Arrays; v: Arrays } = { p: {}, m: {}, v: {} };
    for (const n of names) {
      const g = grads[n];
      next.m[n] = m[n].mul(beta1).add(g.ref.mul(1 - beta1));
      next.v[n] = v[n].mul(beta2).add(np.square(g).mul(1 - beta2));
      const size = np.sqrt(next.v[n].ref.mul(c2.ref)).add(eps);
      next.p[n] = p[n].sub(next.m[n].ref.mul(c1.ref).div(size).mul(rate));
    }
    c1.dispose();
    c2.dispose();
    return { value, ...next };
  });

  /** Kernels [in, out] and biases; `zero` for the moments. */
  const arrays = (zero: boolean): Arrays =>
    Object.fromEntries(
      Array.from({ length: layers }, (_, l) => {
        const w = zero
          ? np.zeros([sizes[l], sizes[l + 1]])
          : np
              .array(setup.weights[l].slice())
              .reshape([sizes[l + 1], sizes[l]])
              .transpose();
        return [
          [`w${l}`, w],
          [`b${l}`, np.zeros([sizes[l + 1]])],
        ] as const;
      }).flat(),
    );
  const fresh = (): State => ({ p: arrays(false), m: arrays(true), v: arrays(true), steps: 0 });

  const advance = (s: State): number => {
    const { x, y } = batches.next();
    s.steps++;
    const out = step(
      s.p,
      s.m,
      s.v,
      np.array(x.slice()).reshape([batch, sizes[0]]),
      np.array(y.slice(), { dtype: np.int32 }),
      np.array(1 / (1 - beta1 ** s.steps)),
      np.array(1 / (1 - beta2 ** s.steps)),
    );
    s.p = out.p;
    s.m = out.m;
    s.v = out.v;
    return out.value.dataSync()[0];
  };

  let own: State | undefined;
  return {
    losses({ steps }) {
      batches.restart();
      const s = fresh();
      const found = Array.from({ length: steps }, () => advance(s));
      for (const group of [s.p, s.m, s.v]) for (const a of Object.values(group)) a.dispose();
      return found;
    },
    step() {
      own ??= fresh();
      return advance(own);
    },
  };
}
