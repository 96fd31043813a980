/** Convolutions of images in NCHW for training: padded planes, forward, gradients of input and weights. */
import type { Kernel } from "../kernel.ts";
import { conv, depthwise } from "./conv.ts";
import { planes } from "./planes.ts";
import { convWeights, depthwiseWeights } from "./weight-gradient.ts";

export { conv, convWeights, depthwise, depthwiseWeights, planes };
export const convKernels: readonly Kernel[] = [planes, conv, depthwise, convWeights, depthwiseWeights];
