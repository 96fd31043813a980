/** Runs one cell and checks what it returns. Shared by child processes and by runs within a process. */
import { LacunaError } from "../core/errors.ts";
import type { Cell, CellContext, Experiment, Figures } from "./contract.ts";

/** Name of a cell among all cells of its experiment. */
export const cellName = (cell: Pick<Cell, "key" | "seed">): string => `${cell.key}#${cell.seed}`;

/** The cells of an experiment for these seeds, by name, each once. Throws when one seed has a key twice. */
export function cellsOf(experiment: Experiment, seeds: readonly number[]): Map<string, Cell> {
  const all = new Map<string, Cell>();
  for (const seed of seeds) {
    const own = experiment.cells(seed);
    const twice = own.find((c, i) => own.findIndex((other) => other.key === c.key) < i);
    const work = own.find((c) => !(c.gflop > 0 && Number.isFinite(c.gflop)));
    if (twice || work || own.length === 0) {
      const [expected, got] = twice
        ? ["cells with different keys", `${twice.key} twice`]
        : work
          ? ["an estimate of work above 0", `${work.gflop} for ${work.key}`]
          : ["at least one cell", "none"];
      const about = `cells of paper ${experiment.paper}, seed ${seed}`;
      throw new LacunaError({ about, expected, got, hint: "Mend `cells` of the experiment." });
    }
    for (const cell of own) if (!all.has(cellName(cell))) all.set(cellName(cell), cell);
  }
  return all;
}

/** An error of a cell, with the cell's name before what it is about. */
export function inCell(name: string, error: unknown): unknown {
  if (error instanceof LacunaError) {
    return new LacunaError({ ...error.complaint, about: `cell ${name}: ${error.complaint.about}` }, { cause: error });
  }
  if (!(error instanceof Error) || error.name === "AbortError") return error;
  const named = new Error(`cell ${name}: ${error.message}`);
  named.stack = `cell ${name}: ${error.stack}`; // where the cell went wrong, not where it was noticed
  return named;
}

/** Runs a cell; throws for a figure that is not finite. */
export async function runCell(cell: Cell, context: Omit<CellContext, "seed">): Promise<Figures> {
  context.signal.throwIfAborted();
  const figures = await cell.run({ ...context, seed: cell.seed });
  for (const [name, value] of Object.entries(figures)) {
    if (Number.isFinite(value)) continue;
    throw new LacunaError({
      about: `figure ${name}`,
      expected: "a finite number",
      got: String(value),
      hint: "Training diverged, or something was divided by nothing.",
    });
  }
  return figures;
}
