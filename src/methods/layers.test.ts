import { expect, test } from "vitest";
import { llamaPrunable } from "../models/llama/config.ts";
import { tinyConfig } from "../models/llama/tiny.ts";
import { chooseLayers, matchesLayer } from "./layers.ts";

const NAMES = llamaPrunable(tinyConfig({ layers: 12 }));
const bare = (names: readonly string[]): string[] =>
  names.map((n) => n.replace("model.layers.", "").replace(".weight", ""));

test("globs and runs of whole parts", () => {
  const name = "model.layers.1.mlp.down_proj.weight";
  for (const glob of ["*down_proj", "*.mlp.*", name, "model.layers.?.*", "down_proj", "layers.1", "mlp", "1.mlp"]) {
    expect(matchesLayer(glob, name), glob).toBe(true);
  }
  // `layers.1` is not `layers.11`, dots are dots, a glob is anchored.
  for (const glob of ["layers.11", "down", "mlp.*", "model.layers.1.mlpxdown_proj", "*up_proj", ""]) {
    expect(matchesLayer(glob, name), glob).toBe(false);
  }
  expect(matchesLayer("layers.1", "model.layers.11.mlp.down_proj.weight")).toBe(false);
});

test("only some, less others, in the order of the model", () => {
  expect(chooseLayers(NAMES, {})).toEqual(NAMES);
  expect(chooseLayers(NAMES, { only: ["*.mlp.*", "layers.0"] }).length).toBe(12 * 3 + 4);
  expect(bare(chooseLayers(NAMES, { only: ["layers.3"], skip: ["self_attn", "*up_proj"] }))).toEqual([
    "3.mlp.gate_proj",
    "3.mlp.down_proj",
  ]);
});

test("a glob that means nothing, and nothing left, are errors", () => {
  expect(() => chooseLayers(NAMES, { skip: ["dwon_proj"] })).toThrow(/skip: expected layers.*Did you mean down_proj/);
  expect(() => chooseLayers(NAMES, { only: ["layers.12"] })).toThrow(/only: expected layers of this model/);
  expect(() => chooseLayers(NAMES, { skip: ["*"] })).toThrow(/at least one layer to prune/);
});
