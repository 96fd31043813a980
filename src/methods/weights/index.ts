/** Weight-pruning methods by name. A new one is a file beside this and a line here. */
import { LacunaError } from "../../core/errors.ts";
import { nearest } from "../../sparsity/nearest.ts";
import { magnitude } from "./magnitude.ts";
import type { WeightMethod } from "./method.ts";
import { sparsegpt } from "./sparsegpt.ts";
import { wanda } from "./wanda.ts";

export type { LayerInput, LayerResult, LayerStatistics, WeightMethod } from "./method.ts";
export { magnitude, sparsegpt, wanda };

export const methods: readonly WeightMethod[] = [magnitude, wanda, sparsegpt];

/** Throws `LacunaError` with the nearest name for an unknown one. */
export function methodNamed(id: string): WeightMethod {
  const found = methods.find((m) => m.id === id.toLowerCase());
  if (found) return found;
  const ids = methods.map((m) => m.id);
  const near = nearest(id, ids);
  throw new LacunaError({
    about: "method",
    expected: ids.join(", "),
    got: JSON.stringify(id),
    hint: near ? `Did you mean ${near}?` : "See lacuna prune --help.",
  });
}
