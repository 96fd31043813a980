/** All suites, in the order they run. */
import { attentionSuite } from "./attention.ts";
import { ceilingSuite } from "./ceiling.ts";
import { convnetsSuite } from "./convnets.ts";
import { gemmSuite } from "./gemm.ts";
import { generateSuite } from "./generate.ts";
import { laddersSuite } from "./ladders.ts";
import { layersSuite } from "./layers.ts";
import { relaxedSuite } from "./relaxed.ts";
import { sparseTrainingSuite } from "./sparse-training.ts";
import { spmmSuite } from "./spmm.ts";
import type { Suite } from "./suite.ts";
import { threadsSuite } from "./threads.ts";
import { trainSuite } from "./train.ts";
import { vectorsSuite } from "./vectors.ts";

export const SUITES: readonly Suite[] = [
  ceilingSuite,
  gemmSuite,
  spmmSuite,
  vectorsSuite,
  attentionSuite,
  threadsSuite,
  relaxedSuite,
  laddersSuite,
  layersSuite,
  generateSuite,
  trainSuite,
  sparseTrainingSuite,
  convnetsSuite,
];

/** The suites that hold the promises about kernels, convolutional networks and threads (`docs/speed.md`). */
export const MATRIX: readonly Suite[] = [
  ceilingSuite,
  gemmSuite,
  spmmSuite,
  vectorsSuite,
  attentionSuite,
  threadsSuite,
  convnetsSuite,
  relaxedSuite,
];
