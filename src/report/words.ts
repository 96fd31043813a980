/**
 * What a run found, in sentences: the promise, the recommended variant, names of methods and patterns. Plain text, used
 * by the page and by the terminal; every figure comes from the record.
 */
import type { CompressRecord, PromiseLine, VariantResult, VariantSpec } from "../pipeline/record.ts";
import { against, DASH, percent, times } from "./figures.ts";

const METHODS: Readonly<Record<string, string>> = { magnitude: "Magnitude", wanda: "Wanda", sparsegpt: "SparseGPT" };

export const methodName = (method: string): string => METHODS[method] ?? method;

/** "SparseGPT, 4x1" */
export const methodAndPattern = (spec: Pick<VariantSpec, "method" | "pattern">): string =>
  `${methodName(spec.method)}, ${spec.pattern}`;

export function describeSpec(spec: VariantSpec | null): string {
  if (!spec) return "as it came, nothing pruned";
  const recovered = spec.recoverSteps > 0 ? `, ${spec.recoverSteps} recovery steps` : "";
  return `${methodAndPattern(spec)} at ${percent(spec.sparsity, 0)}${recovered}`;
}

export const recommendedVariant = (record: CompressRecord): VariantResult | undefined =>
  record.variants.find((v) => v.label === record.recommended);

export function boundText(line: PromiseLine): string {
  return `${line.atMost ? "at most" : "at least"} ${against(line.value, line.bound).bound}`;
}

export const valueText = (line: PromiseLine): string => against(line.value, line.bound).value;

/** ", 1.084 to 1.093 over 3 seeds"; empty with one seed. */
export function seedsText(line: PromiseLine): string {
  const values = line.perSeed ?? [];
  if (values.length < 2) return "";
  return `, ${Math.min(...values).toFixed(3)} to ${Math.max(...values).toFixed(3)} over ${values.length} seeds`;
}

export const promiseKept = (record: CompressRecord): boolean =>
  record.promise.length > 0 && record.promise.every((line) => line.kept);

/** The promise kept or not, in one sentence. */
export function promiseSentence(record: CompressRecord): string {
  const name = record.recommended === "" ? "No variant" : `“${record.recommended}”`;
  if (record.promise.length === 0) return "This recipe sets no bounds, so there is no promise to keep or break.";
  const broken = record.promise.filter((line) => !line.kept);
  if (broken.length === 0) {
    const all = record.promise.length === 1 ? "its bound" : `all ${record.promise.length} bounds`;
    return `The promise is kept: ${name} stays within ${all}.`;
  }
  const what = broken.map((line) => `${line.what} is ${valueText(line)}, not ${boundText(line)}`).join("; ");
  return `The promise is not kept: for ${name} ${what}.`;
}

/** The recommended variant and what it costs and gives, in one sentence. */
export function recommendationSentence(record: CompressRecord): string {
  const v = recommendedVariant(record);
  if (!v) return "No variant is recommended.";
  if (!v.spec) return "The dense model is recommended: no variant of this run is worth its loss.";
  return (
    `Recommended: “${v.label}” (${describeSpec(v.spec)}): perplexity ${times(v.ratio, 3)} that of dense, ` +
    `${percent(v.achieved)} zeros in ${percent(v.bytes.share)} of the BF16 bytes, ` +
    `decode ${times(v.decode.ratio.median)} and prefill ${times(v.prefill.ratio.median)} as fast as dense.`
  );
}

/** A value inside a recipe of unknown form, as text; a dash when it is not there. */
export function recipeText(recipe: unknown, ...path: readonly string[]): string {
  const value = path.reduce<unknown>(
    (at, key) => (at !== null && typeof at === "object" ? (at as Record<string, unknown>)[key] : undefined),
    recipe,
  );
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value) && value.length > 0) return value.map(String).join(", ");
  return DASH;
}
