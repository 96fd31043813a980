/** Kernels of convolutional networks at inference: planes from the first layer to the last, 1x1 layers sparse. */
import type { Kernel } from "../kernel.ts";
import { conv1x1Dense } from "./dense.ts";
import { depthwise3x3s1, depthwise3x3s2, depthwise5x5s1, depthwise5x5s2 } from "./depthwise.ts";
import { conv3x3s1, conv3x3s2 } from "./first.ts";
import { poolPlanes } from "./pool.ts";
import { conv1x1Block2, conv1x1Block4, conv1x1Csr } from "./sparse.ts";

export const convnet: readonly Kernel[] = [
  conv1x1Csr,
  conv1x1Block2,
  conv1x1Block4,
  conv1x1Dense,
  conv3x3s1,
  conv3x3s2,
  depthwise3x3s1,
  depthwise3x3s2,
  depthwise5x5s1,
  depthwise5x5s2,
  poolPlanes,
];
