/** Lacuna's side of `sparse-training`: the layers and the optimiser that `fit` runs. */
import { init, memory } from "../../../src/core/engine.ts";
import { scope } from "../../../src/core/scope.ts";
import { valueAndGrad } from "../../../src/core/tape.ts";
import { type Tensor, tensor } from "../../../src/core/tensor.ts";
import { mlp } from "../../../src/models/mlp.ts";
import { disposeNet, type Mode, type Net } from "../../../src/nn/net.ts";
import { crossEntropy } from "../../../src/nn/ops/loss.ts";
import { Adam } from "../../../src/nn/optimiser.ts";
import { ADAM, turns } from "../train/setup.ts";
import { type Contestant, type Form, maskOf, type StepSetup } from "./setup.ts";

const MODE: Mode = { train: true, t: { step: 0, steps: 1 }, seed: 0 };

/** Bytes of a trained network, without activations. */
export interface Bytes {
  readonly parameters: number;
  readonly gradients: number;
  /** most bytes of tensors held at once during a step, activations and scratch included */
  readonly peak: number;
}

export interface Lacuna extends Contestant {
  bytes(): Bytes;
}

function build(setup: StepSetup, form: Form): Net {
  const net = mlp(setup.sizes, { seed: 1 });
  const weights = net.params.filter((p) => p.shape.length === 2);
  for (const [l, p] of weights.entries()) {
    p.assign(setup.weights[l]);
    if (l === weights.length - 1 || form.storage === "dense") continue;
    p.setMask(maskOf(l, p.numel, form.sparsity));
    if (form.storage === "csr") p.as("csr");
  }
  return net;
}

interface Running {
  step(): number;
  readonly net: Net;
  dispose(): void;
}

function start(setup: StepSetup, form: Form): Running {
  const net = build(setup, form);
  const optimiser = new Adam(net.params, { ...ADAM, weightDecay: 0, clip: 0 });
  const batches = turns(
    setup.batches.map(({ x, y }): { x: Tensor; y: Tensor } => ({
      x: tensor(x, [setup.batch, setup.sizes[0]]),
      y: tensor(y),
    })),
  );
  return {
    net,
    step: () =>
      scope(() => {
        const { x, y } = batches.next();
        const wrt = net.params.map((p) => p.value);
        const { value, gradients } = valueAndGrad(() => crossEntropy(net.forward(x, MODE), y), wrt);
        optimiser.step(gradients, setup.rate);
        return value.item();
      }),
    dispose: () => {
      optimiser.dispose();
      disposeNet(net);
    },
  };
}

export async function open(setup: StepSetup & Form & { readonly threads: number }): Promise<Lacuna> {
  await init({ threads: setup.threads });
  const own = start(setup, setup);
  return {
    losses({ steps, form = setup }) {
      const other = start(setup, form);
      const found = Array.from({ length: steps }, () => other.step());
      other.dispose();
      return found;
    },
    step: () => own.step(),
    bytes() {
      own.step();
      memory.resetPeak();
      own.step();
      return {
        parameters: own.net.params.reduce((n, p) => n + p.bytes, 0),
        gradients: own.net.params.reduce((n, p) => n + p.value.bytes, 0),
        peak: memory.peak,
      };
    },
  };
}
