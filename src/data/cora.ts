/**
 * Cora in the LINQS format (Sen et al. 2008): `cora.content` (id, words 0/1, class; tab-separated) and `cora.cites` (two
 * ids a line), with the split of Planetoid (Yang et al. 2016) where `planetoid-split.json` is there.
 */
import { demand, LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { decodeText, isJsonObject, parseJson } from "../formats/json.ts";
import { type DataFiles, readPlain } from "./files.ts";

export interface CitationGraph {
  readonly nodes: number;
  readonly features: number;
  readonly classes: readonly string[];
  /** [nodes, features], 0 or 1 */
  readonly x: Uint8Array;
  /** [nodes] */
  readonly y: Uint8Array;
  /** undirected edges, each once with from < to, no loops, sorted */
  readonly edges: { readonly from: Int32Array; readonly to: Int32Array };
  /** nodes whose label trains, validates, tests */
  readonly train: Int32Array;
  readonly validation: Int32Array;
  readonly test: Int32Array;
  /** "planetoid", or "seeded": 20 nodes a class, 500 and 1,000 drawn by seed */
  readonly split: "planetoid" | "seeded";
}

interface Nodes {
  readonly ids: ReadonlyMap<string, number>;
  readonly features: number;
  readonly classes: readonly string[];
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

const linesOf = (text: string): string[] => text.split(/\r?\n/).filter((line) => line !== "");
const again = "Fetch the file again.";

/** Reads `cora.content`; classes are numbered in alphabetical order. */
export function readContent(text: string, where: string): Nodes {
  const lines = linesOf(text);
  const features = (lines[0]?.split("\t").length ?? 0) - 2;
  demand(features >= 1, () => ({
    about: where,
    expected: "lines of an id, words and a class, separated by tabs",
    got: lines.length === 0 ? "an empty file" : `${features + 2} cells in the first line`,
    hint: again,
  }));
  const ids = new Map<string, number>();
  const x = new Uint8Array(lines.length * features);
  const names: string[] = [];
  lines.forEach((line, i) => {
    const wrong = (expected: string, got: string): never => {
      throw new LacunaError({ about: `${where}, line ${i + 1}`, expected, got, hint: again });
    };
    const cells = line.split("\t");
    if (cells.length !== features + 2) wrong(`${features + 2} cells as in the first line`, String(cells.length));
    if (ids.has(cells[0])) wrong("an id that is new", cells[0]);
    ids.set(cells[0], i);
    for (let f = 0; f < features; f++) {
      const cell = cells[f + 1];
      if (cell !== "0" && cell !== "1") wrong("words as 0 or 1", JSON.stringify(cell));
      x[i * features + f] = cell === "1" ? 1 : 0;
    }
    names.push(cells[features + 1]);
  });
  const classes = [...new Set(names)].sort();
  demand(classes.length <= 256, () => ({
    about: where,
    expected: "at most 256 classes",
    got: String(classes.length),
    hint: again,
  }));
  const number = new Map(classes.map((c, i) => [c, i]));
  return { ids, features, classes, x, y: Uint8Array.from(names, (c) => number.get(c)!) };
}

/** Reads `cora.cites` as undirected edges: direction and repetition are dropped, and so are loops. */
export function readCites(text: string, nodes: Nodes, where: string): { from: Int32Array; to: Int32Array } {
  const n = nodes.y.length;
  const keys = new Set<number>();
  linesOf(text).forEach((line, i) => {
    const ends = line.split("\t");
    const [a, b] = ends.map((id) => nodes.ids.get(id));
    if (ends.length !== 2 || a === undefined || b === undefined) {
      throw new LacunaError({
        about: `${where}, line ${i + 1}`,
        expected: "two ids of cora.content, separated by a tab",
        got: JSON.stringify(line),
        hint: "The two files belong to different copies; fetch both again.",
      });
    }
    if (a !== b) keys.add(Math.min(a, b) * n + Math.max(a, b));
  });
  const sorted = Float64Array.from(keys).sort();
  return { from: Int32Array.from(sorted, (k) => Math.floor(k / n)), to: Int32Array.from(sorted, (k) => k % n) };
}

type Parts = Pick<CitationGraph, "train" | "validation" | "test">;

/** Reads the split: three lists of ids, as they stand in `cora.content`. */
export function readPlanetoidSplit(text: string, nodes: Nodes, where: string): Parts {
  const json = parseJson(text, where);
  const seen = new Set<number>();
  const list = (key: keyof Parts): Int32Array => {
    const ids = isJsonObject(json) ? json[key] : undefined;
    const places = Array.isArray(ids) ? ids.map((id) => nodes.ids.get(String(id)) ?? -1) : [-1];
    const bad = places.findIndex((p) => p < 0 || seen.size === seen.add(p).size);
    demand(bad < 0, () => ({
      about: `${where}: ${key}`,
      expected: "a list of ids of cora.content, none twice",
      got: Array.isArray(ids) ? JSON.stringify(ids[bad]) : "no list",
      hint: again,
    }));
    return Int32Array.from(places);
  };
  return { train: list("train"), validation: list("validation"), test: list("test") };
}

/** Planetoid's sizes, drawn by seed: 20 nodes of each class to train on, then 500 and 1,000 of the others. */
export function seededSplit(nodes: Nodes, seed: number): Parts {
  const order = stream(seed, "split/cora").permutation(nodes.y.length);
  const left = new Int32Array(nodes.classes.length).fill(20);
  const train: number[] = [];
  const others: number[] = [];
  for (const node of order) (left[nodes.y[node]]-- > 0 ? train : others).push(node);
  const part = (list: number[]): Int32Array => Int32Array.from(list).sort();
  return { train: part(train), validation: part(others.slice(0, 500)), test: part(others.slice(500, 1500)) };
}

/** The graph; `seed` draws a split where none comes with the files (default 0). */
export async function citationGraph(
  files: DataFiles,
  options: { readonly seed?: number } = {},
): Promise<CitationGraph> {
  const text = async (name: string): Promise<string> =>
    decodeText(await readPlain(files, name), `${files.where}/${name}`);
  const nodes = readContent(await text("cora.content"), `${files.where}/cora.content`);
  const edges = readCites(await text("cora.cites"), nodes, `${files.where}/cora.cites`);
  const name = "planetoid-split.json";
  const given = (await files.list()).some((f) => f === name || f === `${name}.gz`);
  const parts = given
    ? readPlanetoidSplit(await text(name), nodes, `${files.where}/${name}`)
    : seededSplit(nodes, options.seed ?? 0);
  const { features, classes, x, y } = nodes;
  return { nodes: y.length, features, classes, x, y, edges, ...parts, split: given ? "planetoid" : "seeded" };
}
