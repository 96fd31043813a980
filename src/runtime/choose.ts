/**
 * Which form each layer runs in, and why: every form that could hold the weight is rated by how much faster than the
 * best dense form it is, for one token and for many, and the best one wins.
 *
 * Ratings come from a `Speeds`: the default rules here, which are fixed, or the machine profile (`profile.ts`).
 * Results of `eval`, `prune` and `train` never depend on either; only `generate`, `bench` and `forecast` use them.
 */
import type { Tensor } from "../core/tensor.ts";
import { packedElements } from "../kernels/dense/by-output.ts";
import { bytesOf, type ElementType } from "../kernels/dense/element.ts";
import { layouts } from "../kernels/sparse/layouts.ts";
import { blockDensity, blocksFit, MAX_COLUMNS, nmSupported, nmViolation } from "../kernels/sparse/streams.ts";
import { measure } from "../sparsity/measure.ts";
import { parsePattern, printPattern } from "../sparsity/pattern.ts";
import {
  countZeros,
  type DenseForm,
  type LayerChoice,
  type Quota,
  type SparseForm,
  type UseChoice,
  valuesOf,
} from "./layer.ts";

export interface WeightShape {
  readonly out: number;
  readonly in: number;
  readonly type: ElementType;
}

/** One token at a time, or many. */
export type Use = "decode" | "prefill";
const USES = ["decode", "prefill"] as const;

/** Tokens that stand for "many" in measurements. */
export const MANY = 256;

/** What is known of how fast forms are. */
export interface Speeds {
  /** for reasons: "on this machine" */
  readonly where: string;
  /** the fastest dense form; undefined when not known */
  dense(shape: WeightShape, use: Use): DenseForm | undefined;
  /** speed of a sparse form against the best dense one; `density` = weights or blocks kept */
  ratio(shape: WeightShape, use: Use, form: SparseForm, density: number): number | undefined;
}

/**
 * The default rules: speed = factor / density, from interleaved measurements at 1024 wide (Zen 4, one thread, without
 * fused multiply-add; suites `spmm` and `layers` of the bench) against weights read as stored: with one token CSR equals dense at 80 % and
 * 4x1 is 1.4 times as fast at 50 %; with many CSR is 1.3 times at 50 % and 4x1 1.9 times.
 */
const FACTORS: Readonly<Record<Use, Readonly<Record<SparseForm, number>>>> = {
  decode: { csr: 0.2, block2x1: 0.37, block4x1: 0.7, block1x16: 0.68, nm1x1: 0.22, nm4x1: 0.7 },
  prefill: { csr: 0.65, block2x1: 0.92, block4x1: 0.95, block1x16: 0.76, nm1x1: 0.67, nm4x1: 1 },
};

export const defaultRules: Speeds = {
  where: "by the default rules",
  dense: (_, use) => (use === "decode" ? "stored" : "packed"),
  ratio: (_, use, form, density) => FACTORS[use][form] / Math.max(density, 0.01),
};

/** A sparse form must be this much faster than dense to be worth a second layout. */
const MARGIN = 1.05;
/** Fewer zeros than this cannot pay in any form. */
const FEWEST_ZEROS = 0.05;

export interface Candidate {
  readonly form: SparseForm;
  /** blocks of the layout (weights for csr) or slots of N:M held, of all there could be */
  readonly density: number;
}

export interface LayerFacts extends WeightShape {
  readonly name: string;
  /** zeros / elements */
  readonly sparsity: number;
  /** text of the pattern found in the values; null without zeros */
  readonly pattern: string | null;
  readonly candidates: readonly Candidate[];
  readonly quota?: Quota;
}

/** N:M that the values keep, and the strictest form for it: the pattern named in the file if it holds, else the one found. */
function quotaOf(
  values: Float32Array,
  out: number,
  width: number,
  patterns: readonly string[],
): { readonly quota: Quota; readonly form: SparseForm } | undefined {
  const forms = layouts.filter((l) => l.index === "steps").sort((a, b) => b.rows - a.rows);
  for (const text of patterns) {
    const p = parsePattern(text);
    if (p.kind !== "nm" || !nmSupported(p.keep, p.of, width)) continue;
    const held = forms.find((l) => p.rows % l.rows === 0 && !nmViolation(values, out, width, p.keep, p.of, l.rows));
    if (held) return { quota: { n: p.keep, m: p.of }, form: held.name };
  }
  return undefined;
}

/** Blocks of two are not worth a look where blocks of four hold hardly more zeros. */
const SAME_BLOCKS = 1.1;
/** A form rated so far below the best by the default rules, for one token and for many, is not worth a measurement. */
const WORTH_A_LOOK = 0.7;

/** Every form that could hold the weight and might be the fastest, the best by the default rules first. */
function candidatesOf(values: Float32Array, out: number, width: number, sparsity: number, nm?: Candidate): Candidate[] {
  const blocks = layouts
    .filter((l) => l.index === "columns" && blocksFit(l.columns, width))
    .map((l): Candidate => {
      const density = l.name === "csr" ? 1 - sparsity : blockDensity(values, out, width, l.rows, l.columns);
      return { form: l.name, density };
    });
  const four = blocks.find((c) => c.form === "block4x1")?.density ?? 1;
  const found = blocks.filter((c) => c.form !== "block2x1" || four > SAME_BLOCKS * c.density);
  const all = nm ? [nm, ...found] : found;
  const rating = (use: Use, c: Candidate): number => FACTORS[use][c.form] / Math.max(c.density, 0.01);
  const best = { decode: 0, prefill: 0 };
  for (const c of all) for (const use of USES) best[use] = Math.max(best[use], rating(use, c));
  return all
    .filter((c) => USES.some((use) => rating(use, c) >= WORTH_A_LOOK * best[use]))
    .sort((a, b) => rating("decode", b) - rating("decode", a));
}

const readable = (text: string): boolean => {
  try {
    parsePattern(text);
    return true;
  } catch {
    return false;
  }
};

/** Looks at a weight's values. `named` is the pattern its file gives, if any. */
export function layerFacts(name: string, weight: Tensor, named?: string): LayerFacts {
  const [out, width] = weight.shape;
  const type = weight.dtype as ElementType;
  const sparsity = weight.size === 0 ? 0 : countZeros(weight) / weight.size;
  if (sparsity < FEWEST_ZEROS || width > MAX_COLUMNS) {
    return { name, out, in: width, type, sparsity, pattern: null, candidates: [] };
  }
  const values = valuesOf(weight);
  const found = measure(values, { name, rows: out, columns: width }).pattern;
  const pattern = found && printPattern(found);
  const nm = quotaOf(values, out, width, [named, pattern].filter((p) => p != null && readable(p)) as string[]);
  const candidates = candidatesOf(
    values,
    out,
    width,
    sparsity,
    nm && { form: nm.form, density: nm.quota.n / nm.quota.m },
  );
  return { name, out, in: width, type, sparsity, pattern, candidates, ...(nm && { quota: nm.quota }) };
}

const percent = (x: number): string => `${Math.round(100 * x)} %`;
const times = (x: number): string => `${x < 10 ? x.toFixed(2) : x.toFixed(1)} times dense`;
const columns = (use: Use): string => (use === "decode" ? "one column" : "many columns");

const DENSE_WORDS: Readonly<Record<DenseForm, string>> = {
  stored: "read as stored",
  expanded: "held in f32",
  packed: "held in f32 panels",
  panel: "held in panels for one token",
};

/** Bytes of a dense form beside the stored weight. */
function extraBytes(f: WeightShape, form: DenseForm): number {
  if (form === "stored" || (form === "expanded" && f.type === "f32")) return 0;
  return form === "panel" ? bytesOf(f.type) * packedElements(f.out, f.in) : 4 * f.in * 8 * Math.ceil(f.out / 8);
}

/** Bytes that may still be spent on copies of weights. */
export interface Purse {
  left: number;
}

function denseChoice(f: LayerFacts, use: Use, speeds: Speeds, purse: Purse, why: string, ratio?: number): UseChoice {
  const best = speeds.dense(f, use) ?? "stored";
  const cost = extraBytes(f, best);
  const form = cost <= purse.left ? best : "stored";
  if (form === best) purse.left -= cost;
  const note = form === best ? DENSE_WORDS[form] : `${DENSE_WORDS.stored}: no bytes left for a copy`;
  return { form, reason: `${why}; ${note}`, ...(ratio !== undefined && { ratio }) };
}

function chooseUse(f: LayerFacts, use: Use, speeds: Speeds, purse: Purse, always: boolean): UseChoice {
  if (f.in > MAX_COLUMNS && f.sparsity >= FEWEST_ZEROS) {
    return denseChoice(f, use, speeds, purse, `dense: no sparse kernel takes more than ${MAX_COLUMNS} columns`);
  }
  if (f.candidates.length === 0) {
    const why = f.sparsity === 0 ? "dense: no zeros" : `dense: only ${(100 * f.sparsity).toFixed(1)} % zeros`;
    return denseChoice(f, use, speeds, purse, why);
  }
  const rated = f.candidates
    .map((c) => ({ ...c, ratio: speeds.ratio(f, use, c.form, c.density) }))
    .filter((c): c is Candidate & { ratio: number } => c.ratio !== undefined)
    .sort((a, b) => b.ratio - a.ratio);
  const best = rated[0];
  const what = `${percent(f.sparsity)} ${f.pattern ?? "zeros"}`;
  if (!best) return denseChoice(f, use, speeds, purse, `dense: speed of ${what} not known ${speeds.where}`);
  if (always || best.ratio >= MARGIN) {
    return { form: best.form, reason: `${best.form}: ${times(best.ratio)} ${speeds.where}`, ratio: best.ratio };
  }
  const verb = best.ratio < 1 ? "loses" : "gains too little";
  const why = `expanded: ${what} ${verb} at ${f.out} x ${f.in}, ${columns(use)}, ${speeds.where} (${times(best.ratio)} as ${best.form})`;
  return denseChoice(f, use, speeds, purse, why, best.ratio);
}

export interface ChooseOptions {
  /** `auto`: what is faster; `sparse`: the best sparse form wherever there are zeros; `dense`: never sparse */
  readonly kernels?: "auto" | "dense" | "sparse";
  readonly speeds?: Speeds;
  /** bytes for copies of dense weights; shared by the layers in their order */
  readonly purse?: Purse;
}

export function chooseLayer(facts: LayerFacts, options: ChooseOptions = {}): LayerChoice {
  const { kernels = "auto", speeds = defaultRules, purse = { left: Number.POSITIVE_INFINITY } } = options;
  const choose = (use: Use): UseChoice => {
    if (kernels === "dense" && facts.candidates.length > 0) {
      return denseChoice(facts, use, speeds, purse, "dense: asked for");
    }
    return chooseUse(facts, use, speeds, purse, kernels === "sparse");
  };
  return { decode: choose("decode"), prefill: choose("prefill"), ...(facts.quota && { quota: facts.quota }) };
}
