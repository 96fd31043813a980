/** All suites, in the order they run. */
import { gemmSuite } from "./gemm.ts";
import { generateSuite } from "./generate.ts";
import type { Suite } from "./suite.ts";
import { trainSuite } from "./train.ts";

export const SUITES: readonly Suite[] = [gemmSuite, generateSuite, trainSuite];
