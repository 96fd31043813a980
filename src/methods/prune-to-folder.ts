/**
 * Pruning straight into a folder: each weight is written as soon as it is pruned, in a folder that appears whole or not
 * at all. What pruning and saving mean is in `prune.ts` and `save.ts`. Node only.
 */
import { writeModelFolder } from "../formats/model-write.node.ts";
import type { WeightPlan } from "../formats/weights-write.ts";
import { llamaPrunable } from "../models/llama/config.ts";
import type { Model } from "../models/model.ts";
import { type LayerShape, layoutOf } from "../sparsity/pattern.ts";
import { type PruneOptions, type PrunePlan, planPruning, runPruning } from "./prune.ts";
import type { PruneReport } from "./report.ts";
import { checkFormat, packingOf, planned, planTensor, recordFile, recordOf, type SaveOptions, saves } from "./save.ts";

/** Elements of the kept units, at most: ragged units count as whole ones. */
const keptAtMost = (plan: PrunePlan, shape: LayerShape, keep: number): number => {
  const { height, width } = layoutOf(plan.pattern, shape);
  return Math.min(keep * height * width, shape.rows * shape.columns);
};

/**
 * Prunes a model straight into a new folder: each weight is written as soon as it is pruned, so that memory holds one
 * block and its statistics, never the model. Options and errors are those of `prune` and `save`; on any error and on
 * abort nothing is left behind.
 */
export async function pruneToFolder(
  model: Model,
  folder: string,
  options: PruneOptions & Pick<SaveOptions, "format" | "force" | "provenance">,
): Promise<PruneReport> {
  const { format = "packed", force, signal } = options;
  const { weights } = model;
  const plan = planPruning(model, options);
  const targets = new Map(plan.targets.map((t) => [t.shape.name, t]));
  checkFormat(format, plan.pattern, "format");
  const prunable = new Set(llamaPrunable(model.config));
  const stored: WeightPlan[] = [];
  for (const name of weights.names) {
    const target = targets.get(name);
    const info = weights.info(name);
    if (!target) {
      stored.push(await planTensor(model, name, prunable.has(name), format));
      continue;
    }
    const packing = packingOf(plan.pattern, target.shape);
    const pays = saves(info, target.shape, packing, keptAtMost(plan, target.shape, target.keep));
    stored.push(planned(info, pays ? packing : undefined));
  }
  // Filled in while the weights are written, read by the writer after them.
  const files: Record<string, string> = {};
  let report: PruneReport | undefined;
  await writeModelFolder(
    folder,
    { config: model.rawConfig, format, plan: stored, ...(model.folder !== "" && { companions: model.folder }), files },
    async (write) => {
      report = await runPruning(plan, ({ name, bytes }) => write(name, bytes), options);
      for (const { name } of stored) {
        if (!targets.has(name)) await write(name, await weights.read(name));
      }
      files[recordFile] = recordOf(model, { prune: report }, options);
    },
    { force: force ?? false, ...(signal && { signal }) },
  );
  return report as PruneReport;
}
