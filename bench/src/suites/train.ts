/**
 * One training step (forward, backward, optimiser) of the network that ships, beside the same network in tfjs and jax-js.
 *
 * Contestants sit in isolates of their own and take turns. Before anything is timed, all must give the same losses over
 * three steps of plain Adam from the same weights: forward, backward and update are the same mathematics, or the run
 * ends here. Lacuna is then timed with the recipe's AdamW, decay and clipping, the peers with their Adam, which is less.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { init, shutdown } from "../../../src/core/engine.ts";
import { batchStream, START } from "../../../src/data/batches.ts";
import { loadTokenizer } from "../../../src/data/tokenizer.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { parseLlamaConfig } from "../../../src/models/llama/config.ts";
import { interleave } from "../../../src/runtime/timing.ts";
import { parseRecipe, trainRecipe } from "../../../src/train/recipe.ts";
import { ROOT } from "../machine.ts";
import { type Count, type Outcome, type Rate, type Row, rateOf, ratioRow } from "../outcome.ts";
import { TFJS_PACKAGES } from "../peers/tfjs.ts";
import { Seat, seatClock } from "../seat.ts";
import { livelyWeights, shapeOf, type TrainSetup, tokensPerStep } from "../train/setup.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

/** Steps over which losses must agree. */
export const CHECKED_STEPS = 3;
/** How far losses of about 10 may differ between f32 engines that sum in other orders. */
export const LOSS_TOLERANCE = 1e-3;
/** Batches that take turns. */
const BATCHES = 4;

export interface Contestant {
  readonly name: string;
  /** file under train/ */
  readonly module: "lacuna" | "tfjs" | "jax";
  readonly threads: number;
  readonly transposes?: boolean;
}

/** The recipe's network; real text, so that embedding rows are hit as they are in training. */
async function setupOf(quick: boolean): Promise<TrainSetup> {
  const path = join(ROOT, "recipes", "sotu.yaml");
  const recipe = parseRecipe(await readFile(path, "utf8"), path, trainRecipe);
  const config = parseLlamaConfig(recipe.model as JsonObject, path);
  const tokenizer = await loadTokenizer(join(ROOT, "models", "sotu"));
  const text = await readFile(join(ROOT, "models", "sotu", "text", "calibration-32k.txt"), "utf8");
  const batch = quick ? 1 : recipe.batch;
  const all = batchStream(tokenizer.encode(text), { batch, length: recipe.length, seed: 1 });
  const batches = Array.from({ length: BATCHES }, (_, i) => all.at({ ...START, index: i }));
  return {
    config,
    weights: livelyWeights(config),
    batches,
    batch,
    tokens: recipe.length,
    rate: 1e-3,
    optimiser: recipe.optimiser,
    threads: 1,
  };
}

/** Opens a contestant in its isolate. */
export const openTrainer = (c: Contestant, setup: TrainSetup): Promise<Seat> =>
  Seat.open(c.name, new URL(`../train/${c.module}.ts`, import.meta.url), {
    ...setup,
    threads: c.threads,
    transposes: c.transposes === true,
  });

/** Throws unless the losses agree step by step; returns the largest difference. */
export function checkLosses(name: string, reference: readonly number[], losses: readonly number[]): number {
  const apart = Math.max(...reference.map((x, i) => Math.abs(x - losses[i])));
  if (losses.length === reference.length && apart <= LOSS_TOLERANCE) return apart;
  throw new Error(
    `bench: ${name} does not compute the same network: losses ${losses.join(", ")} instead of ${reference.join(", ")}`,
  );
}

const SHORT: Readonly<Record<string, string>> = {
  "tfjs-wasm": "tfjs",
  "tfjs-wasm, explicit transposes": "tfjs-transposes",
  "jax-js": "jax",
};

interface Timed {
  readonly setup: TrainSetup;
  readonly first: string;
}

async function run(options: SuiteOptions): Promise<Outcome> {
  const { quick, threads, say } = options;
  await init({ threads: 1 }); // the weights are drawn by the engine's generator
  const setup = await setupOf(quick);
  shutdown();
  const own = threads.map((n): Contestant => ({ name: `lacuna, threads: ${n}`, module: "lacuna", threads: n }));
  const peers: readonly Contestant[] = [
    { name: "tfjs-wasm", module: "tfjs", threads: 1 },
    { name: "tfjs-wasm, explicit transposes", module: "tfjs", threads: 1, transposes: true },
    { name: "jax-js", module: "jax", threads: 1 },
  ];
  const notes: string[] = [];
  const seats: { contestant: Contestant; seat: Seat }[] = [];
  try {
    let reference: readonly number[] = [];
    for (const contestant of [...own, ...peers]) {
      say(`${contestant.name}: same losses?`);
      let seat: Seat;
      try {
        seat = await openTrainer(contestant, setup);
      } catch (error) {
        if (contestant.module === "lacuna") throw error;
        notes.push(`${contestant.name} did not start on Node ${process.versions.node}: ${(error as Error).message}`);
        continue;
      }
      seats.push({ contestant, seat });
      const losses = seat.call<number[]>("losses", CHECKED_STEPS);
      if (reference.length === 0) reference = losses;
      else {
        const apart = checkLosses(contestant.name, reference, losses);
        notes.push(
          `${contestant.name}: losses of ${CHECKED_STEPS} Adam steps within ${apart.toExponential(1)} of Lacuna's`,
        );
      }
    }
    say("timing");
    const timing = await interleave(
      seats.map(({ seat }) => seat.variant("step")),
      { rounds: quick ? 3 : 7, slice: 1, warmUp: 0, clock: seatClock },
    );
    return outcome(timing, { setup, first: own[0].name }, seats, notes);
  } finally {
    for (const { seat } of seats) await seat.close();
  }
}

function outcome(
  timing: Awaited<ReturnType<typeof interleave>>,
  { setup, first }: Timed,
  seats: readonly { contestant: Contestant; seat: Seat }[],
  notes: readonly string[],
): Outcome {
  const shape = shapeOf(setup);
  const what = "training step";
  const rows: Row[] = [];
  const rates: Rate[] = [];
  const counts: Count[] = [];
  for (const { contestant: c, seat } of seats) {
    const short = c.module === "lacuna" ? `lacuna-${c.threads}` : SHORT[c.name];
    const base = { shape, threads: c.threads };
    rates.push(
      rateOf(timing, c.name, tokensPerStep(setup), { id: `train/${short}`, what: c.name, unit: "tokens/s", ...base }),
    );
    const peak = seat.call<number | null>("peak");
    if (peak !== null) {
      counts.push({ id: `train/${short}/peak`, what: `${c.name}: peak bytes of tensors`, unit: "bytes", value: peak });
    }
    if (c.name === first) continue;
    if (c.module === "lacuna") {
      const over = first;
      rows.push(ratioRow(timing, c.name, first, { id: `train/${short}-over-1`, what, over, ...base }));
    } else {
      const over = `${c.name}, 1 thread`;
      for (const { contestant: o } of seats.filter((s) => s.contestant.module === "lacuna")) {
        const id = `train/lacuna-${o.threads}-over-${short}`;
        rows.push(ratioRow(timing, o.name, c.name, { id, what, over, shape, threads: o.threads }));
      }
    }
  }
  return {
    rows,
    rates,
    counts,
    notes: [...notes, "tfjs-wasm and jax-js have one thread in Node; jax-js keeps no count of its bytes"],
  };
}

export const trainSuite: Suite = {
  name: "train",
  shows: "one training step of the shipped model's network, tokens/s and peak bytes, over tfjs-wasm and jax-js",
  peers: [...TFJS_PACKAGES, "@jax-js/jax"],
  run,
};
