/**
 * Bidirectional N:M pruning during training (BDWP; Fang et al. 2023, arXiv 2309.13015), and its family. In each step two
 * N:M versions of the one dense weight are made: W_f, grouped along the inputs, for the forward product, and W_b, grouped
 * along the outputs, for the gradient of the input. The gradient of the weight is dense and goes straight through, so that
 * pruned weights train on; inference uses W_f. Both masks are those of the largest magnitudes, ties to the lower index.
 *
 * The gradient of the input is not that of the function that ran, as W_b is not W_f. SR-STE (Zhou et al. 2021) prunes the
 * forward product alone and goes back through W_f; SDWP prunes W_b alone, and SDGP the output's gradient in place of it.
 * The paper's choice of SR-STE's term in BDWP is not known; `lambda` adds it, and the default leaves it out.
 *
 * Sites are weights of role "weight" whose inputs and outputs M divides: no stem, no classifier.
 */

import { type Nm, nmAxis, nmMask } from "../../core/compute/nm-training.ts";
import { memory, scratch } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import type { Net } from "../../nn/net.ts";
import { type NmOptions, nmView } from "../../nn/nm.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import { type Site, sitesOf } from "../../sparsity/site.ts";

/** N kept of M. */
export type NmPattern = readonly [n: number, m: number];

export interface NmTrainingOptions {
  /** default 2:8 */
  readonly pattern?: NmPattern;
  /** SR-STE's term: adds lambda times the pruned weights to the gradient of the forward weight */
  readonly lambda?: number;
}

/** Weights with groups of M in both directions, of role "weight" alone. Throws `LacunaError` if there are none. */
export function divisibleSites(net: Net, m: number): readonly Site[] {
  const sites = sitesOf(net, { roles: ["weight"] });
  const odd = sites.filter(({ shape: [out, width] }) => out % m !== 0 || width % m !== 0).map((s) => s.name);
  demand(odd.length < sites.length, () => ({
    about: `N:M training with M = ${m}`,
    expected: "a weight whose inputs and outputs M divides",
    got: sites.map((s) => `${s.name} [${s.shape.join(", ")}]`).join(", "),
    hint: "Choose another M, or other widths.",
  }));
  return sitesOf(net, { roles: ["weight"], except: odd });
}

function throughViews(id: string, pattern: NmPattern, options: Omit<NmOptions, "pattern">): SparseTraining {
  return {
    id: `${id} ${pattern.join(":")}`,
    sites: (net) => divisibleSites(net, pattern[1]),
    begin: ({ sites }) => {
      for (const { param } of sites) param.view = nmView({ pattern, ...options });
    },
    hooks: [],
  };
}

export const bdwp = ({ pattern = [2, 8], lambda = 0 }: NmTrainingOptions = {}): SparseTraining =>
  throughViews("bdwp", pattern, { backward: "outputs", lambda });

/** The forward product alone; lambda is 2e-4 where it is not given, as its authors have it. */
export const srSte = ({ pattern = [2, 8], lambda = 2e-4 }: NmTrainingOptions = {}): SparseTraining =>
  throughViews("sr-ste", pattern, { lambda });

/** The weight of the input's gradient alone. */
export const sdwp = ({ pattern = [2, 8] }: NmTrainingOptions = {}): SparseTraining =>
  throughViews("sdwp", pattern, { forward: false, backward: "outputs" });

/** The output's gradient, N of M consecutive channels of each example and place, before the input's is made of it. */
export const sdgp = ({ pattern = [2, 8] }: NmTrainingOptions = {}): SparseTraining =>
  throughViews("sdgp", pattern, { forward: false, backward: "gradients" });

/**
 * Share of a layer's training multiply-adds that are left where both, one or none of forward product and input's gradient
 * run at N/M: (f + b + 1) / 3. SR-STE counts as one: W_f has no groups along what its second product sums over.
 */
export const trainingShare = ([n, m]: NmPattern, products: 0 | 1 | 2): number =>
  (3 - products + (products * n) / m) / 3;

/** Mask of the N largest of each M of a weight as it is now, 1 = kept, grouped as FF or BP sees it. */
export function nmBitsOf({ param }: Site, [n, m]: NmPattern, along: Nm["along"]): Uint8Array {
  return scratch(param.numel, (at) => {
    nmAxis(param.shape, { n, m, along }, `parameter ${param.name}`);
    nmMask(param.value.ptr, param.shape, { n, m, along }, at);
    return memory.u8(at, param.numel).slice();
  });
}

/** Ends the training: weights become W_f under its mask, which is what evaluation has seen already, and the views go. */
export function keepForward(sites: readonly Site[], pattern: NmPattern): void {
  for (const site of sites) {
    const bits = nmBitsOf(site, pattern, "in");
    site.param.view = undefined;
    site.param.off = "zero";
    site.param.setMask({ bits, kept: bits.reduce((n, b) => n + b, 0) });
  }
}
