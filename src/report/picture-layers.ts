/** Pictures of the layers of one variant: zeros in each, and what computes it. */
import type { CompressRecord, LayerRow } from "../pipeline/record.ts";
import * as figures from "./figures.ts";
import { USES } from "./forecast.ts";
import { kernelCodes, kernelName, placeLayer, runsDense } from "./layers.ts";
import { list, type Picture, unique } from "./picture.ts";
import { type Cell, GREY, grid, PALETTE, SYMBOLS, swatch } from "./plot.ts";
import { recommendedVariant } from "./words.ts";

/** Blocks down, kinds of layer across; layers outside of blocks one a row. */
function layerGrid(layers: readonly LayerRow[], cell: (l: LayerRow) => Omit<Cell, "x" | "y">, ink: string): string {
  const placed = layers.map(placeLayer);
  return grid({
    cells: placed.map((l) => ({
      x: l.block === null ? "–" : l.kind,
      y: l.block === null ? l.name : `${l.block}`,
      ...cell(l),
    })),
    columns: unique(placed.map((l) => (l.block === null ? "–" : l.kind))),
    rows: unique(placed.map((l) => (l.block === null ? l.name : `${l.block}`))),
    y: "block",
    ink,
  });
}

export function layerPictures(record: CompressRecord): Picture[] {
  const recommended = recommendedVariant(record);
  const v = recommended?.spec ? recommended : record.variants.find((o) => o.spec);
  if (!v || v.layers.length === 0) return [];
  const least = v.layers.reduce((a, b) => (b.sparsity < a.sparsity ? b : a));
  const most = v.layers.reduce((a, b) => (b.sparsity > a.sparsity ? b : a));
  const sparsity: Picture = {
    id: "layers-sparsity",
    title: `Zeros by layer: ${v.label}`,
    svg: layerGrid(
      v.layers,
      (l) => ({
        fill: PALETTE[0],
        opacity: 0.08 + 0.47 * Math.min(1, Math.max(0, l.sparsity)),
        text: Number.isFinite(l.sparsity) ? `${Math.round(100 * l.sparsity)}` : figures.DASH,
        title: `${l.name}: ${figures.percent(l.sparsity)} zeros`,
      }),
      "currentColor",
    ),
    legend: [],
    finding:
      most.sparsity - least.sparsity < 0.005
        ? `Every layer has ${figures.percent(least.sparsity)} zeros.`
        : `From ${figures.percent(least.sparsity)} zeros (${least.name}) to ${figures.percent(most.sparsity)} (${most.name}).`,
    note: "Percent of zeros, counted in the packed folder.",
  };
  const kernels = unique(v.layers.flatMap((l) => USES.map((use) => l[use].kernel)));
  const codes = kernelCodes(kernels);
  const sparseOnes = kernels.filter((k) => !runsDense(k));
  const colourOf = (k: string): string =>
    runsDense(k) ? GREY : PALETTE.filter((c) => c !== GREY)[sparseOnes.indexOf(k) % (PALETTE.length - 1)];
  return [
    sparsity,
    ...USES.map((use): Picture => {
      const used = unique(v.layers.map((l) => l[use].kernel));
      const n = (k: string): number => v.layers.filter((l) => l[use].kernel === k).length;
      return {
        id: `layers-${use}`,
        title: `What computes each layer, ${use}`,
        svg: layerGrid(
          v.layers,
          (l) => ({
            fill: colourOf(l[use].kernel),
            text: codes.get(l[use].kernel) ?? "",
            title: `${l.name}: ${l[use].kernel}; ${l[use].reason}`,
          }),
          "#0b0d10",
        ),
        legend: used.map((k) => ({
          name: `${codes.get(k)} = ${kernelName(k)}`,
          swatch: swatch({ colour: colourOf(k), symbol: SYMBOLS[1] }),
        })),
        finding: `“${v.label}”, ${use}: of ${v.layers.length} layers ${list(used.map((k) => `${n(k)} run ${runsDense(k) ? kernelName(k) : `sparse (${kernelName(k)})`}`))}.`,
        note: "The reason for each is in the section on layers.",
      };
    }),
  ];
}
