/**
 * Which form each 1x1 layer of a convolutional network runs in, and why: dense, or sparse by single weights or by blocks
 * of 2 or 4 outputs. Every mask can be stored in every form, at the price of the zeros inside of blocks; each form is
 * rated by how many times faster than dense it is, and the best one wins.
 *
 * Ratings come from a `ConvSpeeds`: the rules here, which are fixed, or measurements (`convnet-profile.ts`).
 */
import type { Block } from "../kernels/convnet/stream.ts";

export const POINTWISE_FORMS = ["csr", "block2x1", "block4x1"] as const;
export type SparsePointwise = (typeof POINTWISE_FORMS)[number];
export type PointwiseForm = "dense" | SparsePointwise;

export const BLOCKS: Readonly<Record<SparsePointwise, Block>> = { csr: 1, block2x1: 2, block4x1: 4 };

export interface PointwiseFacts {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  /** of the image it runs on */
  readonly pixels: number;
  /** zeros / weights */
  readonly sparsity: number;
  /** weights stored in each form, the zeros inside of blocks included / weights */
  readonly density: Readonly<Record<SparsePointwise, number>>;
}

/** What is known of how fast forms are. */
export interface ConvSpeeds {
  /** for reasons: "on this machine" */
  readonly where: string;
  /** times faster than the dense form; undefined when not known */
  ratio(facts: PointwiseFacts, form: SparsePointwise): number | undefined;
}

/**
 * The rules: speed = 1 / (density / factor + OVERHEAD / inputs), fitted to layers of MobileNets at 30 to 90 % zeros,
 * which it meets within a fifth (Zen 4, one thread, without fused multiply-add). Every output costs something besides
 * its entries, which shows where inputs are few.
 */
const FACTORS: Readonly<Record<SparsePointwise, number>> = { csr: 0.72, block2x1: 0.93, block4x1: 0.94 };
const OVERHEAD = 2;

export const convRules: ConvSpeeds = {
  where: "by the rules",
  ratio: (facts, form) => 1 / (facts.density[form] / FACTORS[form] + OVERHEAD / Math.max(1, facts.in)),
};

/** A sparse form must be this much faster than dense. */
const MARGIN = 1.05;

export interface PointwiseChoice {
  readonly form: PointwiseForm;
  /** why, in words */
  readonly reason: string;
  /** expected speed against dense, of the best sparse form */
  readonly ratio?: number;
}

/** Looks at a weight [out, in]. */
export function pointwiseFacts(
  name: string,
  weight: Float32Array,
  out: number,
  inputs: number,
  pixels: number,
): PointwiseFacts {
  const density = { csr: 0, block2x1: 0, block4x1: 0 };
  const size = Math.max(1, weight.length);
  for (const form of POINTWISE_FORMS) {
    const block = BLOCKS[form];
    let blocks = 0;
    for (let top = 0; top < out; top += block) {
      for (let k = 0; k < inputs; k++) {
        for (let o = top; o < Math.min(out, top + block); o++) {
          if (weight[o * inputs + k] === 0) continue;
          blocks++;
          break;
        }
      }
    }
    density[form] = (blocks * block) / size;
  }
  return { name, out, in: inputs, pixels, sparsity: weight.length === 0 ? 0 : 1 - density.csr, density };
}

export interface ConvChooseOptions {
  /** `auto` (default): what is faster; `dense`: never sparse; `sparse`: the best sparse form wherever there are zeros */
  readonly kernels?: "auto" | "dense" | "sparse";
  readonly speeds?: ConvSpeeds;
}

const percent = (x: number): string => `${Math.round(100 * x)} %`;
const times = (x: number): string => `${x < 10 ? x.toFixed(2) : x.toFixed(1)} times dense`;

export function choosePointwise(facts: PointwiseFacts, options: ConvChooseOptions = {}): PointwiseChoice {
  const { kernels = "auto", speeds = convRules } = options;
  if (kernels === "dense") return { form: "dense", reason: "dense: asked for" };
  if (facts.sparsity === 0) return { form: "dense", reason: "dense: no zeros" };
  const rated = POINTWISE_FORMS.map((form) => ({ form, ratio: speeds.ratio(facts, form) }))
    .filter((r): r is { form: SparsePointwise; ratio: number } => r.ratio !== undefined)
    .sort((a, b) => b.ratio - a.ratio);
  const best = rated[0];
  const zeros = `${percent(facts.sparsity)} zeros`;
  if (!best) return { form: "dense", reason: `dense: speed of ${zeros} not known ${speeds.where}` };
  const { form, ratio } = best;
  if (kernels === "sparse" || ratio >= MARGIN) {
    return { form, reason: `${form}: ${zeros}, ${times(ratio)} ${speeds.where}`, ratio };
  }
  const verb = ratio < 1 ? "lose" : "gain too little";
  return { form: "dense", reason: `dense: ${zeros} ${verb} ${speeds.where} (${times(ratio)} as ${form})`, ratio };
}
