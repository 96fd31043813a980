/** The kernel that converts between element types. */
import type { Kernel } from "../kernel.ts";
import { convert } from "./convert.ts";

export { convert };
export const convertKernels: readonly Kernel[] = [convert];
