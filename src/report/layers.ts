/**
 * A model's layers as a reader wants them: names split into block and kind, layers that are alike in everything told
 * once, kernels in words.
 */
import type { LayerRow } from "../pipeline/record.ts";

export interface PlacedLayer extends LayerRow {
  /** number of the block, or null for a layer outside of the blocks */
  readonly block: number | null;
  /** "q", "down", or the whole name */
  readonly kind: string;
}

/** `model.layers.3.self_attn.q_proj.weight` -> block 3, kind q. */
export function placeLayer(layer: LayerRow): PlacedLayer {
  const found = /(?:^|\.)(?:layers|blocks|h)\.(\d+)\.(.+)$/.exec(layer.name);
  if (!found) return { ...layer, block: null, kind: layer.name };
  const kind = found[2]
    .replace(/\.weight$/, "")
    .replace(/_proj$/, "")
    .split(".");
  return { ...layer, block: Number(found[1]), kind: kind[kind.length - 1] };
}

const KERNELS: Readonly<Record<string, string>> = {
  stored: "dense, as stored",
  expanded: "dense, in f32",
  packed: "dense, f32 panels",
  block4x1: "4x1 blocks",
  block2x1: "2x1 blocks",
  block1x16: "1x16 blocks",
  nm1x1: "N:M",
  nm4x1: "N:M by 4 rows",
  nm: "N:M by 4 rows", // its name in records of version 0.1
  csr: "CSR",
};

const DENSE = new Set(["stored", "expanded", "packed", "panel", "dense", "gemm", "gemv"]);

export const kernelName = (kernel: string): string => KERNELS[kernel] ?? kernel;
export const runsDense = (kernel: string): boolean => DENSE.has(kernel);

/** One or two letters for each kernel, all different. */
export function kernelCodes(kernels: readonly string[]): Map<string, string> {
  const codes = new Map<string, string>();
  const usual: Readonly<Record<string, string>> = {
    block4x1: "4x1",
    block2x1: "2x1",
    block1x16: "1x16",
    nm1x1: "N:M",
    nm4x1: "NM",
    nm: "NM",
    csr: "CSR",
    stored: "D",
    expanded: "D32",
    packed: "DP",
  };
  for (const kernel of kernels) {
    const taken = new Set(codes.values());
    const letters = [...kernel.toUpperCase()].filter((c) => /[A-Z0-9]/.test(c)).join("");
    const tries = [
      usual[kernel],
      letters.slice(0, 1),
      letters.slice(0, 2),
      letters.slice(0, 3),
      String(codes.size + 1),
    ];
    codes.set(kernel, tries.find((t) => t !== undefined && t !== "" && !taken.has(t)) ?? `${codes.size + 1}`);
  }
  return codes;
}

/** Ascending numbers as ranges: 0, 1, 2, 5 -> "0–2, 5". */
export function ranges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length; ) {
    let end = i;
    while (end + 1 < numbers.length && numbers[end + 1] === numbers[end] + 1) end++;
    parts.push(end === i ? `${numbers[i]}` : `${numbers[i]}–${numbers[end]}`);
    i = end + 1;
  }
  return parts.join(", ");
}

/** Layers with the same shape, kernels and reasons. */
export interface LayerGroup {
  /** "q, o of blocks 0–5" */
  readonly names: string;
  readonly layers: readonly PlacedLayer[];
  readonly rows: number;
  readonly columns: number;
  readonly sparsity: { readonly least: number; readonly most: number };
  readonly packedBytes: number;
  readonly bf16Bytes: number;
  readonly decode: LayerRow["decode"];
  readonly prefill: LayerRow["prefill"];
}

function nameGroup(layers: readonly PlacedLayer[]): string {
  const blocksOf = new Map<string, number[]>();
  const others: string[] = [];
  for (const layer of layers) {
    if (layer.block === null) others.push(layer.name);
    else blocksOf.set(layer.kind, [...(blocksOf.get(layer.kind) ?? []), layer.block]);
  }
  const kindsOf = new Map<string, string[]>();
  for (const [kind, blocks] of blocksOf) {
    const where = ranges(blocks.sort((a, b) => a - b));
    kindsOf.set(where, [...(kindsOf.get(where) ?? []), kind]);
  }
  const named = [...kindsOf].map(
    ([where, kinds]) => `${kinds.join(", ")} of block${/[–,]/.test(where) ? "s" : ""} ${where}`,
  );
  return [...named, ...others].join("; ");
}

export function groupLayers(layers: readonly LayerRow[]): LayerGroup[] {
  const groups = new Map<string, PlacedLayer[]>();
  for (const layer of layers) {
    const { rows, columns, decode, prefill } = layer;
    const key = JSON.stringify([rows, columns, decode.kernel, decode.reason, prefill.kernel, prefill.reason]);
    groups.set(key, [...(groups.get(key) ?? []), placeLayer(layer)]);
  }
  return [...groups.values()].map((own) => {
    const { rows, columns, decode, prefill } = own[0];
    const sparsities = own.map((l) => l.sparsity);
    return {
      names: nameGroup(own),
      layers: own,
      rows,
      columns,
      sparsity: { least: Math.min(...sparsities), most: Math.max(...sparsities) },
      packedBytes: own.reduce((sum, l) => sum + l.packedBytes, 0),
      bf16Bytes: own.reduce((sum, l) => sum + l.bf16Bytes, 0),
      decode,
      prefill,
    };
  });
}
