/** Convolutions, batch norm and pooling of images in NCHW for training, with gradients. */
import type { Kernel } from "../kernel.ts";
import { channelsKernel } from "./channels.ts";
import { CONV_PANEL, conv } from "./conv.ts";
import { convListed } from "./listed.ts";
import { planes } from "./planes.ts";
import { pool } from "./pool.ts";
import { convWeights } from "./weight-gradient.ts";

export { CONV_PANEL, channelsKernel, conv, convListed, convWeights, planes, pool };
export const convKernels: readonly Kernel[] = [planes, conv, convWeights, convListed, channelsKernel, pool];
