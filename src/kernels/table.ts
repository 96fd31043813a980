/**
 * The one list of kernels: it drives the property test, the benches, the documentation and the studio's picker.
 * One line a family; a family is a folder that exports an array of kernels.
 */

import { attention } from "./attention/index.ts";
import { convKernels } from "./conv/index.ts";
import { convertKernels } from "./convert/index.ts";
import { convnet } from "./convnet/index.ts";
import { dense } from "./dense/index.ts";
import { factor } from "./factor/index.ts";
import { graphKernels } from "./graph/index.ts";
import type { Kernel } from "./kernel.ts";
import { lossKernels } from "./loss/index.ts";
import { normKernels } from "./norm/index.ts";
import { optimiserKernels } from "./optimiser/index.ts";
import { pointwiseKernels } from "./pointwise/index.ts";
import { quant } from "./quant/index.ts";
import { recurrentKernels } from "./recurrent/index.ts";
import { sparse } from "./sparse/index.ts";
import { top } from "./top/index.ts";

export const kernels: readonly Kernel[] = [
  ...attention, //
  ...convKernels,
  ...dense,
  ...factor,
  ...pointwiseKernels,
  ...sparse,
  ...quant,
  ...normKernels,
  ...lossKernels,
  ...optimiserKernels,
  ...convertKernels,
  ...convnet,
  ...recurrentKernels,
  ...graphKernels,
  ...top,
];

const byName = new Map(kernels.map((kernel) => [kernel.name, kernel]));

export function kernelNamed(name: string): Kernel {
  const kernel = byName.get(name);
  if (!kernel) throw new Error(`no kernel is named "${name}"; there are: ${[...byName.keys()].join(", ")}`);
  return kernel;
}
