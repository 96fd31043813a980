/** `lacuna/training`: sparse training: patterns, budgets, scores, schedules, rewiring, presets and the loop. */
export { type Layer as HardwareLayer, resnet18 as resnet18Layers } from "../hardware/layers.ts";
export { SAT, type Sat } from "../hardware/sat.ts";
export { energy, type StepCost, scheduleText, trainingStep } from "../hardware/training-step.ts";
export { bdwp, keepForward, sdgp, sdwp, srSte } from "../methods/training/bdwp.ts";
export { grasp, snip } from "../methods/training/before.ts";
export { gmp } from "../methods/training/gmp.ts";
export { imp } from "../methods/training/imp.ts";
export { itop } from "../methods/training/itop.ts";
export { rigl } from "../methods/training/rigl.ts";
export { set } from "../methods/training/set.ts";
export { staticRandom } from "../methods/training/static.ts";
export { synflow } from "../methods/training/synflow.ts";
export { type Budget, uniform } from "../sparsity/budget.ts";
export { er, erk, erkPlus, uniformPlus } from "../sparsity/budget-shapes.ts";
export { byRow, choose, globally } from "../sparsity/choose.ts";
export { gradient, magnitude, momentum, movement, random, type Score } from "../sparsity/criteria.ts";
export type { Hook, Run, SparseTraining } from "../sparsity/hook.ts";
export { figuresOf, type NetFigures } from "../sparsity/meter.ts";
export { blocks, nm, type Pattern, parsePattern, printPattern, unstructured } from "../sparsity/pattern.ts";
export { type Rewire, rewire } from "../sparsity/rewire.ts";
export {
  type Cadence,
  constant,
  cosine,
  cubic,
  everyEpochs,
  everySteps,
  exponential,
  linear,
  type Ramp,
  sine,
  stairs,
} from "../sparsity/schedule.ts";
export { type Site, sitesOf } from "../sparsity/site.ts";
export { type FitOptions, fit, type Source, sourceOf } from "../train/fit.ts";
export { trainLoop } from "../train/loop.ts";
export { type Phases, pruneInPhases } from "../train/phases.ts";
