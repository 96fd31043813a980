/**
 * Budgets from the shapes of a network's layers: uniform+, Erdős-Rényi (ER), ERK and ERK+.
 *
 * ER: density in proportion to (out + in) / (out in) (Mocanu et al. 2018); ERK: to sum(shape) / prod(shape), kernel
 * included (Evci et al. 2020). A layer pushed over density 1 becomes dense and the rest is solved anew, so the total is
 * met exactly. uniform+ (Gale et al. 2019) and ERK+ (Liu et al. 2022) treat the first or last layer apart. A budget that
 * cannot be met is a `LacunaError`, not a quiet change of sparsity. The order of the layers is that of the network.
 */
import { LacunaError } from "../core/errors.ts";
import { type Budget, type BudgetLayer, uniform } from "./budget.ts";

const unitsOf = (layers: readonly BudgetLayer[]): number => layers.reduce((sum, l) => sum + l.units, 0);

function infeasible(id: string, sparsity: number, expected: string, got: string): never {
  throw new LacunaError({
    about: `budget ${id} at sparsity ${sparsity}`,
    expected,
    got,
    hint: "Ask for another sparsity, another budget, or leave the layer out of the sites.",
  });
}

/** Densities in proportion to `raw`, at most 1, with sum(density * units) = kept. */
function proportional(layers: readonly BudgetLayer[], raw: readonly number[], kept: number): number[] {
  const dense = layers.map(() => false);
  for (;;) {
    let left = kept;
    let weight = 0;
    layers.forEach((l, i) => {
      if (dense[i]) left -= l.units;
      else weight += raw[i] * l.units;
    });
    const eps = weight === 0 ? 0 : left / weight;
    const most = Math.max(...raw.map((r, i) => (dense[i] ? 0 : eps * r)));
    if (most <= 1) return raw.map((r, i) => (dense[i] ? 1 : Math.max(0, eps * r)));
    raw.forEach((r, i) => {
      if (!dense[i] && eps * r === most) dense[i] = true;
    });
  }
}

const shapeOf = (l: BudgetLayer): readonly number[] => l.shape ?? [l.rows, l.columns];
const sum = (a: readonly number[]): number => a.reduce((x, y) => x + y, 0);
const product = (a: readonly number[]): number => a.reduce((x, y) => x * y, 1);

const byShape = (id: string, raw: (shape: readonly number[]) => number): Budget => ({
  id,
  shares: (layers, sparsity) =>
    proportional(
      layers,
      layers.map((l) => raw(shapeOf(l))),
      (1 - sparsity) * unitsOf(layers),
    ),
});

export const er: Budget = byShape("er", (shape) => sum(shape.slice(0, 2)) / product(shape.slice(0, 2)));

export const erk: Budget = byShape("erk", (shape) => sum(shape) / product(shape));

/** ERK over all layers but the last, which keeps the density `last`. */
export const erkPlus = (last = 1): Budget => ({
  id: "erk+",
  shares(layers, sparsity) {
    const head = layers[layers.length - 1];
    const rest = layers.slice(0, -1);
    const left = (1 - sparsity) * unitsOf(layers) - last * head.units;
    if (left < 0) {
      const most = 1 - (last * head.units) / unitsOf(layers);
      infeasible(
        "erk+",
        sparsity,
        `at most ${most.toFixed(4)}, with ${head.name} at density ${last}`,
        String(sparsity),
      );
    }
    const shapes = rest.map(shapeOf);
    return [
      ...proportional(
        rest,
        shapes.map((s) => sum(s) / product(s)),
        left,
      ),
      last,
    ];
  },
});

/** First layer dense, last layer at least at density `last`, one density for the rest. */
export const uniformPlus = (last = 0.2): Budget => ({
  id: "uniform+",
  shares(layers, sparsity) {
    if (layers.length < 3) return uniform.shares(layers, sparsity);
    const [first] = layers;
    const head = layers[layers.length - 1];
    const middle = unitsOf(layers) - first.units - head.units;
    const kept = (1 - sparsity) * unitsOf(layers);
    // The last layer shares the density of the middle unless that is below its floor.
    const shared = (kept - first.units) / (middle + head.units);
    const density = shared >= last ? shared : (kept - first.units - last * head.units) / middle;
    if (density < 0) {
      const most = 1 - (first.units + last * head.units) / unitsOf(layers);
      const why = `at most ${most.toFixed(4)}: ${first.name} dense and ${head.name} at density ${last}`;
      infeasible("uniform+", sparsity, why, String(sparsity));
    }
    return layers.map((l) => (l === first ? 1 : l === head ? Math.max(shared, last) : density));
  },
});
