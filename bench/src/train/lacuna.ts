/** Lacuna's side of `train`: the parts that `lacuna train` uses, with its AdamW, decay and clipping. */
import { init, memory } from "../../../src/core/engine.ts";
import { scope } from "../../../src/core/scope.ts";
import { valueAndGrad } from "../../../src/core/tape.ts";
import { tensor } from "../../../src/core/tensor.ts";
import { assembleLlama, forwardLogits, ropeTables } from "../../../src/models/llama/model.ts";
import { makeParameters } from "../../../src/models/llama/parameters.ts";
import { crossEntropy } from "../../../src/nn/ops/loss.ts";
import { AdamW } from "../../../src/nn/optimiser.ts";
import { ADAM, type Trainer, type TrainSetup, turns } from "./setup.ts";

export async function open(setup: TrainSetup): Promise<Trainer> {
  const { config, weights, batch, rate } = setup;
  await init({ threads: setup.threads });
  const valuesOf = new Map(weights.map((w) => [w.name, w.values]));
  const parameters = makeParameters(config, (name, values) => values.set(valuesOf.get(name)!));
  const byName = new Map(parameters.map((p) => [p.name, p.value]));
  const model = assembleLlama(config, (name) => byName.get(name)!);
  const tables = ropeTables(config, setup.tokens);
  const wrt = parameters.map((p) => p.value);
  const batches = turns(setup.batches);

  const stepWith = (optimiser: AdamW): number =>
    scope(() => {
      const { inputs, targets } = batches.next();
      const { value, gradients } = valueAndGrad(
        () => crossEntropy(forwardLogits(model, tables, inputs, batch), tensor(targets)),
        wrt,
      );
      optimiser.step(gradients, rate);
      return value.item();
    });

  let own: AdamW | undefined;
  const step = (): number => {
    own ??= new AdamW(parameters, setup.optimiser);
    return stepWith(own);
  };

  return {
    losses(steps) {
      for (const p of parameters) p.value.f32.set(valuesOf.get(p.name)!);
      batches.restart();
      const plain = new AdamW(parameters, { ...ADAM, weightDecay: 0, clip: 0 });
      const found = Array.from({ length: steps }, () => stepWith(plain));
      plain.dispose();
      return found;
    },
    step,
    peak() {
      memory.resetPeak();
      step();
      return memory.peak;
    },
  };
}
