/**
 * The experiments that exist: paper number -> experiment, loaded when it is asked for.
 *
 * To add a paper, write `src/papers/NN-slug.ts` with a default export and add its line here.
 */
import type { Experiment } from "./contract.ts";

type Load = () => Promise<{ readonly default: Experiment }>;

export const experiments: Readonly<Record<number, Load>> = {
  3: () => import("./03-progressive-gradient-flow.ts"),
  16: () => import("./16-fast-sparse-convnets.ts"),
  18: () => import("./18-random-pruning.ts"),
  20: () => import("./20-sparse-ift.ts"),
  50: () => import("./50-sparse-model-soups.ts"),
  25: () => import("./25-dsl.ts"),
  24: () => import("./24-cl-dst.ts"),
  27: () => import("./27-sparcl.ts"),
  28: () => import("./28-bdwp-sat.ts"),
  35: () => import("./35-gradual-pruning.ts"),
  39: () => import("./39-quickselection.ts"),
  49: () => import("./49-iss-p.ts"),
};
