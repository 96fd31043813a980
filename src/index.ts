/**
 * The public API of Lacuna, by floor: from the engine at the bottom to whole jobs at the top. Node; what a browser can
 * run will have an entry of its own.
 */

// Engine: errors, start and stop, tensors, gradients.
export { type EngineOptions, init, shutdown, threads } from "./core/engine.ts";
export { type Complaint, LacunaError } from "./core/errors.ts";
export { stream } from "./core/random.ts";
export { scope } from "./core/scope.ts";
export { type Gradients, noGrad, valueAndGrad } from "./core/tape.ts";
export { type DType, type Shape, Tensor, tensor, zeros } from "./core/tensor.ts";
// Data.
export { type Examples, first, type Splits, selectFeatures } from "./data/examples.ts";
export { loadMnist } from "./data/load.node.ts";
// Measuring.
export { type Inspection, inspect } from "./evaluate/inspect.ts";
export { nearestAccuracy } from "./evaluate/neighbours.ts";
export { type Perplexity, type PerplexityOptions, perplexity, type TokenText } from "./evaluate/perplexity.ts";
// Models and their files.
export type { TensorInfo, WeightSource } from "./formats/weights.ts";
export type { WeightFormat } from "./formats/weights-write.ts";
// Pruning, recovery, saving.
export { type PruneOptions, type PruneProgress, prune } from "./methods/prune.ts";
export { pruneToFolder } from "./methods/prune-to-folder.ts";
export { type RecoverOptions, type RecoveryProgress, recover } from "./methods/recovery/finetune.ts";
export type { LayerReport, PruneReport, RecoveryReport } from "./methods/report.ts";
export { pack, type SaveOptions, save, unpack } from "./methods/save.ts";
export type { PrunedModel, SparseModel } from "./methods/sparse-model.ts";
export {
  type QuickSelectionOptions,
  quickSelection,
  type Selection,
  strongest,
} from "./methods/training/quickselection.ts";
export { magnitude, methods, sparsegpt, type WeightMethod, wanda } from "./methods/weights/index.ts";
export type { LlamaConfig } from "./models/llama/config.ts";
export type { Model } from "./models/model.ts";
export { loadModel } from "./models/open.node.ts";
// Layers, losses, optimisers.
export { DenseLinear, type Linear } from "./nn/linear.ts";
export { type AttentionShape, attention, type RopeTables, rope } from "./nn/ops/attention.ts";
export { add, addRow, mul, reshape, scale, siluGate, sub } from "./nn/ops/elementwise.ts";
export { embedding } from "./nn/ops/embedding.ts";
export { linear } from "./nn/ops/linear.ts";
export { crossEntropy, distillation, tokenLosses } from "./nn/ops/loss.ts";
export { rmsNorm } from "./nn/ops/norm.ts";
export { AdamW, type AdamWOptions, type Parameter } from "./nn/optimiser.ts";
export { type RateOptions, rateAt } from "./nn/rate.ts";
// Running: prefill, decode, sampling, and what this machine makes of sparsity.
export { type ForecastOptions, type ForecastRecord, forecast } from "./runtime/forecast.ts";
export { type GenerateOptions, type Generation, type GenerationStatistics, generate } from "./runtime/generate.ts";
export { createRunner, type Runner, type RunnerOptions } from "./runtime/runner.ts";
export type { SampleOptions } from "./runtime/sample.ts";
// Sparsity: patterns, masks, budgets.
export { type Budget, budgets, uniform } from "./sparsity/budget.ts";
export { type Mask, maskOf } from "./sparsity/mask.ts";
export { blocks, nm, type Pattern, parsePattern, printPattern, unstructured } from "./sparsity/pattern.ts";
// Training.
export {
  type TrainOptions,
  type TrainProgress,
  type TrainRecord,
  trainLanguageModel,
} from "./train/language-model.ts";
export { parseRecipe, type TrainRecipe, trainRecipe } from "./train/recipe.ts";
