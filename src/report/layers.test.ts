import { expect, test } from "vitest";
import type { LayerRow } from "../pipeline/record.ts";
import { groupLayers, kernelCodes, placeLayer, ranges } from "./layers.ts";

const layer = (name: string, change: Partial<LayerRow> = {}): LayerRow => ({
  name,
  rows: 8,
  columns: 4,
  sparsity: 0.5,
  packedBytes: 36,
  bf16Bytes: 64,
  decode: { kernel: "csr", reason: "csr: 1.20 times dense" },
  prefill: { kernel: "csr", reason: "csr: 1.30 times dense" },
  ...change,
});

test("a name has a block and a kind, or neither", () => {
  const place = (name: string) => {
    const { block, kind } = placeLayer(layer(name));
    return [block, kind];
  };
  expect(place("model.layers.11.self_attn.q_proj")).toEqual([11, "q"]);
  expect(place("model.layers.0.mlp.down_proj.weight")).toEqual([0, "down"]);
  expect(place("transformer.h.2.attn.c_attn")).toEqual([2, "c_attn"]);
  expect(place("lm_head")).toEqual([null, "lm_head"]);
});

test("numbers as ranges", () => {
  expect(ranges([0, 1, 2, 5, 7, 8])).toBe("0–2, 5, 7–8");
  expect(ranges([3])).toBe("3");
});

test("layers alike are one group, with its names and its sums; another reason is another group", () => {
  const rows = [0, 1, 2].flatMap((b) => [
    layer(`model.layers.${b}.self_attn.q_proj`, { sparsity: 0.5 + b / 100 }),
    layer(`model.layers.${b}.self_attn.o_proj`),
    layer(`model.layers.${b}.mlp.up_proj`, { decode: { kernel: "stored", reason: `dense, ${b === 1}` } }),
  ]);
  const groups = groupLayers([...rows, layer("lm_head")]);
  expect(groups.map((g) => g.names)).toEqual(["q, o of blocks 0–2; lm_head", "up of blocks 0, 2", "up of block 1"]);
  expect(groups[0].packedBytes).toBe(7 * 36);
  expect(groups[0].sparsity).toEqual({ least: 0.5, most: 0.52 });
  expect(groups.flatMap((g) => g.layers)).toHaveLength(10);
});

test("kernels have codes of their own, whatever they are called", () => {
  const names = ["block4x1", "csr", "nm", "stored", "dense", "diagonal", "diagonals", "d", "Ω", "€"];
  const codes = kernelCodes(names);
  expect(codes.size).toBe(names.length);
  expect(new Set(codes.values()).size).toBe(names.length);
});
