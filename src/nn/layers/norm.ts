/**
 * Batch norm and layer norm over `Param`s, and the recalibration of running statistics.
 *
 * Training updates the running statistics with each forward pass: running = (1 - momentum) running + momentum batch,
 * with the batch's unbiased variance, as PyTorch does. Evaluation uses them.
 */
import { outside, scope } from "../../core/scope.ts";
import { noGrad } from "../../core/tape.ts";
import { full, type Tensor, zeros } from "../../core/tensor.ts";
import { constant } from "../init.ts";
import { EVALUATE, type Net } from "../net.ts";
import { batchNorm, type Statistics } from "../ops/batch-norm.ts";
import { layerNorm } from "../ops/norm.ts";
import { Param } from "../param.ts";

export interface BatchNormLayerOptions {
  readonly seed: number;
  /** default 1e-5 */
  readonly eps?: number;
  /** weight of the newest batch; default 0.1 */
  readonly momentum?: number;
  /** max(., 0) of the result in the same pass; default false */
  readonly relu?: boolean;
  /** initial gain; default 1 (0 for the last norm of a residual branch: Goyal et al. 2017) */
  readonly gain?: number;
}

/** Set while statistics are re-estimated: the weight of the newest batch in a plain average. */
let averaging: number | undefined;

function follow(running: Tensor, batch: Tensor, momentum: number, correction: number): void {
  const [r, b] = [running.f32, batch.f32];
  for (let i = 0; i < r.length; i++) r[i] = (1 - momentum) * r[i] + momentum * correction * b[i];
}

/**
 * Batch norm of [B, channels, ..] with the parameters `<name>.weight` and `<name>.bias` and the buffers `<name>.mean`
 * and `<name>.variance`.
 */
export function batchNormLayer(name: string, channels: number, options: BatchNormLayerOptions): Net {
  const { seed, eps = 1e-5, momentum = 0.1, relu = false, gain = 1 } = options;
  const gamma = new Param(`${name}.weight`, [channels], constant(gain), seed, { role: "norm" });
  const beta = new Param(`${name}.bias`, [channels], constant(0), seed, { role: "norm" });
  const running: Statistics = outside(() => ({ mean: zeros([channels]), variance: full([channels], 1) }));
  return {
    params: [gamma, beta],
    buffers: [
      { name: `${name}.mean`, value: running.mean },
      { name: `${name}.variance`, value: running.variance },
    ],
    forward: (x, mode) => {
      const statistics = mode.train ? undefined : running;
      const result = batchNorm(x, gamma.value, beta.value, { eps, relu, statistics });
      if (mode.train) {
        const count = x.size / channels;
        follow(running.mean, result.statistics.mean, averaging ?? momentum, 1);
        follow(running.variance, result.statistics.variance, averaging ?? momentum, count / Math.max(1, count - 1));
      }
      return result.y;
    },
  };
}

/**
 * Estimates all running statistics anew: the plain average over the batches' statistics, each batch run in training
 * mode. Needed after weights were averaged or pruned. Parameters stay as they are.
 */
export function recalibrate(net: Net, batches: Iterable<Tensor>, seed = 0): void {
  let done = 0;
  try {
    for (const x of batches) {
      averaging = 1 / ++done;
      noGrad(() =>
        scope(() => {
          net.forward(x, { ...EVALUATE, train: true, seed });
        }),
      );
    }
  } finally {
    averaging = undefined;
  }
}

/** Layer norm of [.., width] with the parameters `<name>.weight` and `<name>.bias`; eps default 1e-5. */
export function layerNormLayer(name: string, width: number, seed: number, eps = 1e-5): Net {
  const weight = new Param(`${name}.weight`, [width], constant(1), seed, { role: "norm" });
  const bias = new Param(`${name}.bias`, [width], constant(0), seed, { role: "norm" });
  return { params: [weight, bias], forward: (x) => layerNorm(x, weight.value, bias.value, eps) };
}
