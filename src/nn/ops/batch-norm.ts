/**
 * Batch normalisation of images [B, C, H, W] or features [B, C] (Ioffe and Szegedy 2015), perhaps with ReLU behind it.
 *
 * Training normalises with the batch's statistics and hands them out; what becomes of them (running averages,
 * recalibration) is the layer's business. Evaluation normalises with given statistics, and gradients flow there too.
 */
import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { channelsKernel } from "../../kernels/conv/index.ts";

/** Mean and variance [C] of each channel; the variance is over all elements, not all but one. */
export interface Statistics {
  readonly mean: Tensor;
  readonly variance: Tensor;
}

export interface BatchNormOptions {
  /** default 1e-5 */
  readonly eps?: number;
  /** max(., 0) of the result, in the same pass; default false */
  readonly relu?: boolean;
  /** normalise with these instead of the batch's */
  readonly statistics?: Statistics;
}

export interface BatchNormResult {
  readonly y: Tensor;
  /** those that were used */
  readonly statistics: Statistics;
}

/** (x - mean) / sqrt(variance + eps) gamma + beta for each channel; gamma and beta [C]. */
export function batchNorm(x: Tensor, gamma: Tensor, beta: Tensor, options: BatchNormOptions = {}): BatchNormResult {
  const { eps = 1e-5, relu = false } = options;
  const [batch, channels] = x.shape;
  demand(x.shape.length >= 2 && x.size > 0 && gamma.size === channels && beta.size === channels, () => ({
    about: "batchNorm",
    expected: `at least one example [B, ${gamma.size}, ..] for gamma [${gamma.size}] and beta [${beta.size}]`,
    got: `[${x.shape.join(", ")}]`,
    hint: "Check the layer's channels.",
  }));
  const size = x.size / (batch * channels);
  const fixed = options.statistics !== undefined;
  const statistics = options.statistics ?? { mean: new Tensor([channels]), variance: new Tensor([channels]) };
  const { mean, variance } = statistics;
  const y = new Tensor(x.shape);
  const sizes = [batch, channels, size, eps, relu ? 1 : 0];
  const grain = Math.max(1, Math.ceil(16384 / (batch * size)));
  const [pointers, order] = fixed
    ? ([[x, gamma, beta, mean, variance, y], "apply"] as const)
    : ([[x, gamma, beta, y, mean, variance], "forward"] as const);
  parallel(channelsKernel, order, [...pointers.map((t) => t.ptr), ...sizes], channels, grain);
  record(
    "batchNorm",
    [x, gamma, beta],
    y,
    (dy, [wantX]) => {
      const dx = new Tensor(x.shape);
      const [dgamma, dbeta] = [new Tensor([channels]), new Tensor([channels])];
      const all = [x, gamma, beta, mean, variance, dy, dx, dgamma, dbeta].map((t) => t.ptr);
      parallel(channelsKernel, "backward", [...all, ...sizes, fixed ? 1 : 0], channels, grain);
      return [wantX ? dx : null, dgamma, dbeta];
    },
    [mean, variance],
  );
  return { y, statistics };
}
