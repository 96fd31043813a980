/**
 * Checkpoints of a training run: f32 masters, both moments, and the run's state, in one safetensors file written
 * atomically. Two files take turns, so a broken newer one leaves the older. Resuming gives the same bits.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { memory } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import type { Tensor } from "../core/tensor.ts";
import { writeFileAtomically } from "../formats/atomic.node.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { encodeSafetensors, type NewTensor } from "../formats/safetensors-write.ts";
import { fileSource } from "../formats/source.node.ts";
import type { WeightSource } from "../formats/weights.ts";
import type { AdamW } from "../nn/optimiser.ts";

const stateSchema = z.strictObject({
  version: z.literal(1),
  /** optimiser steps done */
  step: z.number().int().nonnegative(),
  cursor: z.strictObject({ epoch: z.number().int().nonnegative(), index: z.number().int().nonnegative() }),
  /** what the run is: a checkpoint of another recipe is refused */
  recipe: z.string(),
  /** seconds of training so far, over all sittings */
  seconds: z.number().nonnegative(),
  history: z.array(z.record(z.string(), z.number())),
});

export type CheckpointState = z.infer<typeof stateSchema>;

const FILES = ["checkpoint-a.safetensors", "checkpoint-b.safetensors"] as const;
const bytesOf = (t: Tensor): Uint8Array => memory.u8(t.ptr, t.bytes).slice();

function* tensorsOf(optimiser: AdamW): Generator<readonly [string, Tensor]> {
  for (const [i, p] of optimiser.parameters.entries()) {
    yield [`master.${p.name}`, p.value];
    yield [`first.${p.name}`, optimiser.first[i]];
    yield [`second.${p.name}`, optimiser.second[i]];
  }
}

/** Writes the older of the two files anew. `turn` is the number of checkpoints written so far. */
export async function saveCheckpoint(
  folder: string,
  optimiser: AdamW,
  state: CheckpointState,
  turn: number,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tensors: NewTensor[] = [...tensorsOf(optimiser)].map(([name, t]) => ({
    name,
    dtype: "F32",
    shape: t.shape,
    data: bytesOf(t),
  }));
  const bytes = encodeSafetensors(tensors, { state: JSON.stringify(state) });
  await writeFileAtomically(join(folder, FILES[turn % 2]), bytes);
}

async function open(path: string): Promise<{ source: WeightSource; state: CheckpointState } | null> {
  let source: WeightSource | undefined;
  try {
    source = await openSafetensors(fileSource(path), path);
    return { source, state: stateSchema.parse(JSON.parse(source.metadata.state ?? "null")) };
  } catch {
    // Missing, cut short or damaged: the other file is there for this case.
    await source?.close();
    return null;
  }
}

/** Loads the newest whole checkpoint into the optimiser and its parameters; `null` if there is none. */
export async function loadCheckpoint(
  folder: string,
  optimiser: AdamW,
  recipe: string,
): Promise<(CheckpointState & { turn: number }) | null> {
  const found = await Promise.all(FILES.map((f) => open(join(folder, f))));
  try {
    const best = found.flatMap((f, i) => (f ? [{ ...f, file: i }] : [])).sort((a, b) => b.state.step - a.state.step)[0];
    if (!best) return null;
    if (best.state.recipe !== recipe) {
      throw new LacunaError({
        about: folder,
        expected: "checkpoints of this recipe",
        got: "checkpoints of another one",
        hint: "Give the changed recipe another output folder, or start anew with --fresh.",
      });
    }
    for (const [name, t] of tensorsOf(optimiser)) {
      const bytes = await best.source.read(name);
      if (bytes.length !== t.bytes) {
        throw new LacunaError({
          about: `${folder}, ${name}`,
          expected: `${t.bytes} bytes`,
          got: `${bytes.length}`,
          hint: "The checkpoint belongs to another model; start anew with --fresh.",
        });
      }
      memory.u8(t.ptr, t.bytes).set(bytes);
    }
    optimiser.steps = best.state.step;
    // The next one overwrites the other file.
    return { ...best.state, turn: best.file + 1 };
  } finally {
    await Promise.all(found.map((f) => f?.source.close()));
  }
}
