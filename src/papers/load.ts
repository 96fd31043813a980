/** Finds an experiment: by its paper's number in the registry, or in a module of one's own. */
import { LacunaError } from "../core/errors.ts";
import { type CatalogueEntry, catalogue } from "./catalogue/index.ts";
import type { Experiment } from "./contract.ts";
import { experiments } from "./index.ts";
import { checkExperiment } from "./judge.ts";

/** A paper's number, or the address (file:///...) of a module whose default export is an experiment. */
export type Source = number | string;

/** The catalogue's entry of a paper. Throws for a number that is none. */
export function entryOf(paper: number): CatalogueEntry {
  const entry = catalogue.find((e) => e.paper === paper);
  if (entry) return entry;
  throw new LacunaError({
    about: "paper",
    expected: `a number from 1 to ${catalogue.length}`,
    got: String(paper),
    hint: "`lacuna papers` lists them.",
  });
}

export const isImplemented = (paper: number): boolean => paper in experiments;

/** Numbers of the papers that have an experiment, in order. */
export const implemented = (): number[] =>
  Object.keys(experiments)
    .map(Number)
    .sort((a, b) => a - b);

/** Loads an experiment and checks its declaration. */
export async function loadExperiment(source: Source): Promise<Experiment> {
  if (typeof source === "string") {
    const { default: experiment } = (await import(/* @vite-ignore */ source)) as { readonly default?: Experiment };
    if (typeof experiment?.cells !== "function") {
      const hint = "docs/adding-a-paper.md shows how one is written.";
      throw new LacunaError({
        about: source,
        expected: "a module whose default export is an experiment",
        got: "none",
        hint,
      });
    }
    entryOf(experiment.paper);
    checkExperiment(experiment, source);
    return experiment;
  }
  const { method } = entryOf(source);
  const load = experiments[source];
  if (!load) {
    throw new LacunaError({
      about: `paper ${source} (${method})`,
      expected: "a paper with an experiment",
      got: "one that is planned",
      hint: `Implemented so far: ${implemented().join(", ") || "none"}. See \`lacuna papers --status implemented\`.`,
    });
  }
  const { default: experiment } = await load();
  checkExperiment(experiment, `experiment of paper ${source}`);
  return experiment;
}
