/**
 * `fitSteps`: trains a network step by step by a loss of one's own, with the methods that hooks bring. For what has no
 * labelled examples and no epochs: streams of text, patches of images. `fit` is for the rest.
 */
import type { Tensor } from "../core/tensor.ts";
import type { Mode, Net } from "../nn/net.ts";
import type { Optimiser } from "../nn/optimiser.ts";
import type { Hook, SparseTraining } from "../sparsity/hook.ts";
import { constant, type Ramp } from "../sparsity/schedule.ts";
import { type Site, sitesOf } from "../sparsity/site.ts";
import { type StepReport, trainLoop } from "./loop.ts";

export interface FitStepsOptions {
  readonly optimiser: Optimiser;
  readonly steps: number;
  /** learning rate, or a ramp of it */
  readonly rate: number | Ramp;
  /** of noise, and of what hooks draw */
  readonly seed: number;
  /** mean loss of the step `mode.t.step`, a tensor of one element; draws its own batch */
  readonly loss: (mode: Mode) => Tensor;
  /** sparse training: its masks are set before the first step */
  readonly method?: SparseTraining;
  readonly hooks?: readonly Hook[];
  /** weights that methods and hooks work on; default: the method's, else all prunable ones */
  readonly sites?: readonly Site[];
  /** shape of one batch of inputs, for methods that bring their own data */
  readonly inputShape?: readonly number[];
  readonly onStep?: (report: StepReport) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/**
 * Trains to `steps`, from the optimiser's step count on. Throws the signal's reason when aborted, and `LacunaError` when
 * the loss is no longer finite.
 */
export async function fitSteps(net: Net, options: FitStepsOptions): Promise<void> {
  const { optimiser, steps, seed, loss, method, rate } = options;
  const hooks = [...(method?.hooks ?? []), ...(options.hooks ?? [])];
  const sites = options.sites ?? method?.sites?.(net) ?? (hooks.length > 0 || method ? sitesOf(net) : []);
  if (method?.begin && optimiser.steps === 0) {
    const first = (): Tensor => loss({ train: true, t: { step: 0, steps }, seed });
    method.begin({ net, sites, seed, inputShape: options.inputShape ?? [], loss: first });
  }
  await trainLoop(
    { optimiser, loss: (_, t) => loss({ train: true, t, seed }) },
    {
      rate: { at: typeof rate === "number" ? constant(rate) : rate, steps },
      ...(hooks.length > 0 && { hooked: { net, hooks, seed, sites } }),
      ...(options.onStep && { afterStep: options.onStep }),
      ...(options.signal && { signal: options.signal }),
    },
  );
}
