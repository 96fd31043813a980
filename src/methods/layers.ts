/**
 * Which linears a step works on: all prunable ones, less `skip`, or `only` some, by their names.
 *
 * A glob is matched against the whole name with and without `.weight` (`*` any characters, `?` one). Without wildcards
 * it may also be a run of whole parts of the name: `down_proj`, `self_attn`, `layers.0`.
 */
import { LacunaError } from "../core/errors.ts";
import { nearest } from "../sparsity/nearest.ts";

export interface LayerChoice {
  readonly skip?: readonly string[] | undefined;
  readonly only?: readonly string[] | undefined;
}

const bare = (name: string): string => name.replace(/\.weight$/, "");

/** Whether a glob means this layer. */
export function matchesLayer(glob: string, name: string): boolean {
  if (/[*?]/.test(glob)) {
    const parts = glob
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".");
    const whole = new RegExp(`^${parts}$`);
    return whole.test(name) || whole.test(bare(name));
  }
  return `.${name}.`.includes(`.${glob}.`);
}

/** The chosen names, in their order. Throws a `LacunaError` for a glob that means none, or when none is left. */
export function chooseLayers(names: readonly string[], choice: LayerChoice): string[] {
  const { only, skip } = choice;
  for (const [option, globs] of Object.entries({ only, skip })) {
    for (const glob of globs ?? []) {
      if (names.some((name) => matchesLayer(glob, name))) continue;
      const parts = [...new Set(names.flatMap((name) => bare(name).split(".")))];
      const near = nearest(glob, parts);
      throw new LacunaError({
        about: option,
        expected: `layers of this model, such as ${bare(names[0])}`,
        got: JSON.stringify(glob),
        hint: near ? `Did you mean ${near}?` : "See the names with `lacuna inspect`; * stands for any characters.",
      });
    }
  }
  const some = (globs: readonly string[], name: string): boolean => globs.some((glob) => matchesLayer(glob, name));
  const chosen = names.filter((name) => (!only || some(only, name)) && !some(skip ?? [], name));
  if (chosen.length === 0) {
    throw new LacunaError({
      about: "layers",
      expected: "at least one layer to prune",
      got: "none that skip and only leave",
      hint: "Skip fewer layers.",
    });
  }
  return chosen;
}
