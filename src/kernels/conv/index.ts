/** Convolutions of images in NCHW for training: padded planes, forward, gradients of input and weights. */
import type { Kernel } from "../kernel.ts";
import { channelsKernel } from "./channels.ts";
import { CONV_PANEL, conv } from "./conv.ts";
import { depthwise } from "./depthwise.ts";
import { planes } from "./planes.ts";
import { pool } from "./pool.ts";
import { convWeights, depthwiseWeights } from "./weight-gradient.ts";

export { CONV_PANEL, channelsKernel, conv, convWeights, depthwise, depthwiseWeights, planes, pool };
export const convKernels: readonly Kernel[] = [
  planes,
  conv,
  depthwise,
  convWeights,
  depthwiseWeights,
  channelsKernel,
  pool,
];
