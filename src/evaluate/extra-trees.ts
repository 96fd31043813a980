/**
 * Extremely randomised trees (Geurts, Ernst, Wehenkel 2006): at each node some features are drawn, one threshold for each
 * evenly between its extremes, and the split with the least Gini impurity is taken. No bootstrap; trees grow until nodes
 * are pure or alike. A judge of selected features.
 */
import { demand } from "../core/errors.ts";
import { type Stream, stream } from "../core/random.ts";
import { type Examples, widthOf } from "../data/examples.ts";

export interface ExtraTreesOptions {
  /** default 50 */
  readonly trees?: number;
  /** features drawn at a node; default the rounded square root of their number */
  readonly features?: number;
  /** nodes with fewer examples are leaves; default 2 */
  readonly minSplit?: number;
  readonly seed: number;
}

interface Tree {
  /** feature of each node, -1 for a leaf */
  readonly feature: number[];
  readonly threshold: number[];
  /** children of a node; examples at or below the threshold go left */
  readonly left: number[];
  readonly right: number[];
  /** class shares of a leaf */
  readonly shares: (Float64Array | null)[];
}

export interface ExtraTrees {
  readonly trees: readonly Tree[];
  readonly classes: number;
  readonly width: number;
}

/** Gini impurity times the number of examples, from class counts. */
function impurity(counts: Int32Array, n: number): number {
  let squares = 0;
  for (const c of counts) squares += c * c;
  return n === 0 ? 0 : n - squares / n;
}

/** Values by feature, so that a scan over the examples of a node stays within one column. */
function columnsOf(e: Examples): Float32Array[] {
  const w = widthOf(e);
  return Array.from({ length: w }, (_, f) => Float32Array.from({ length: e.count }, (_, i) => e.x[i * w + f]));
}

function grow(e: Examples, columns: readonly Float32Array[], draws: Stream, drawn: number, minSplit: number): Tree {
  const w = columns.length;
  const order = Int32Array.from({ length: e.count }, (_, i) => i);
  const tree: Tree = { feature: [], threshold: [], left: [], right: [], shares: [] };
  const features = Int32Array.from({ length: w }, (_, i) => i);
  const [all, low] = [new Int32Array(e.classes), new Int32Array(e.classes)];
  let draw = 0;
  const add = (): number => {
    tree.feature.push(-1);
    tree.threshold.push(0);
    tree.left.push(-1);
    tree.right.push(-1);
    return tree.shares.push(null) - 1;
  };
  const open: [node: number, from: number, to: number][] = [[add(), 0, e.count]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [node, from, to] = next;
    const n = to - from;
    all.fill(0);
    for (let i = from; i < to; i++) all[e.y[order[i]]]++;
    const whole = impurity(all, n);
    let [best, feature, threshold] = [Number.POSITIVE_INFINITY, -1, 0];
    if (n >= minSplit && whole > 0) {
      // features that are constant here do not count towards those drawn
      for (let tried = 0, left = w; tried < drawn && left > 0; left--) {
        const [a, b] = draws.words(draw++);
        const pick = Math.floor((a * left) / 4294967296);
        const f = features[pick];
        features[pick] = features[left - 1];
        features[left - 1] = f;
        const column = columns[f];
        let min = column[order[from]];
        let max = min;
        for (let i = from + 1; i < to; i++) {
          const v = column[order[i]];
          if (v < min) min = v;
          if (v > max) max = v;
        }
        if (min === max) continue;
        tried++;
        const cut = min + ((max - min) * b) / 4294967296;
        low.fill(0);
        let below = 0;
        for (let i = from; i < to; i++) {
          if (column[order[i]] <= cut) {
            low[e.y[order[i]]]++;
            below++;
          }
        }
        let squares = 0;
        for (let c = 0; c < e.classes; c++) squares += (all[c] - low[c]) ** 2;
        const cost = impurity(low, below) + (n - below) - squares / (n - below);
        if (cost < best) [best, feature, threshold] = [cost, f, cut];
      }
    }
    if (feature < 0) {
      tree.shares[node] = Float64Array.from(all, (c) => c / n);
      continue;
    }
    const column = columns[feature];
    let middle = from;
    for (let i = from; i < to; i++) {
      if (column[order[i]] > threshold) continue;
      const t = order[i];
      order[i] = order[middle];
      order[middle++] = t;
    }
    tree.feature[node] = feature;
    tree.threshold[node] = threshold;
    tree.left[node] = add();
    tree.right[node] = add();
    open.push([tree.right[node], middle, to], [tree.left[node], from, middle]);
  }
  return tree;
}

/** Grows the trees; a function of (examples, options) alone. */
export function extraTrees(e: Examples, options: ExtraTreesOptions): ExtraTrees {
  const w = widthOf(e);
  const { trees = 50, features = Math.max(1, Math.round(Math.sqrt(w))), minSplit = 2, seed } = options;
  demand(e.count > 0 && trees >= 1 && features >= 1 && features <= w && minSplit >= 2, () => ({
    about: "extra trees",
    expected: `examples, trees, 1 to ${w} features at a node, splits of at least 2`,
    got: `${e.count} examples, ${trees} trees, ${features} features, ${minSplit}`,
    hint: "Check the options.",
  }));
  const columns = columnsOf(e);
  return {
    classes: e.classes,
    width: w,
    trees: Array.from({ length: trees }, (_, t) =>
      grow(e, columns, stream(seed, `extra-trees/${t}`), features, minSplit),
    ),
  };
}

/** Mean class shares [N, classes] over the trees. */
export function treeShares(model: ExtraTrees, e: Examples): Float64Array {
  const { width: w, classes, trees } = model;
  demand(widthOf(e) === w, () => ({
    about: "extra trees",
    expected: `${w} features`,
    got: String(widthOf(e)),
    hint: "Select the same features as for training.",
  }));
  const out = new Float64Array(e.count * classes);
  for (const tree of trees) {
    for (let i = 0; i < e.count; i++) {
      let node = 0;
      while (tree.feature[node] >= 0) {
        const v = e.x[i * w + tree.feature[node]];
        node = v <= tree.threshold[node] ? tree.left[node] : tree.right[node];
      }
      const shares = tree.shares[node]!;
      for (let c = 0; c < classes; c++) out[i * classes + c] += shares[c] / trees.length;
    }
  }
  return out;
}
