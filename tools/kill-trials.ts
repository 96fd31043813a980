/**
 * Kills `lacuna train` and `lacuna prune` at random moments and looks at what is left:
 * `npx tsx tools/kill-trials.ts [--trials 20] [--seed 1] [--record]`.
 *
 * A killed training is started again until it ends; its weights must be, byte for byte, those of one that nobody killed.
 * After a killed pruning there is no folder, or a whole one of the right bytes; a leftover is refused as a model; and the
 * next run succeeds and leaves nothing hidden. Every other kill waits until a file is being written. `--record` writes
 * results/kill-trials.json.
 */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Driver, drive, root, someText, trainRecipe } from "../src/cli/drive.ts";
import { LacunaError } from "../src/core/errors.ts";
import { type Stream, stream } from "../src/core/random.ts";
import { writeFileAtomically } from "../src/formats/atomic.node.ts";
import { isTemporaryName } from "../src/formats/temporary.ts";
import { loadModel } from "../src/models/open.node.ts";
import { provenance } from "../src/runtime/machine.node.ts";

export interface TrainTrials {
  readonly kills: number;
  /** kills that met a file half-written */
  readonly duringWrites: number;
  /** trainings that came to their end */
  readonly finished: number;
  /** of those, the ones whose weights were those of the undisturbed run */
  readonly identical: number;
  readonly steps: number;
}

export interface PruneTrials {
  readonly kills: number;
  readonly duringWrites: number;
  /** what a kill left under the output's name */
  readonly left: { readonly none: number; readonly whole: number; readonly partial: number };
  /** temporary folders found, and how many of them were refused as models */
  readonly leftovers: number;
  readonly refused: number;
  /** runs after a kill that succeeded, gave the same bytes, and left nothing hidden */
  readonly recovered: number;
}

class Dice {
  readonly #draws: Stream;
  #next = 0;
  constructor(seed: number, name: string) {
    this.#draws = stream(seed, name);
  }
  /** uniform in [0, 1) */
  roll(): number {
    return this.#draws.below(this.#next++, 1 << 30) / (1 << 30);
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Temporary files and folders of atomic writes, in the driver's folder and the hidden ones in it. */
function temporaries(cli: Driver): string[] {
  const names = readdirSync(cli.folder, { withFileTypes: true });
  const inside = names.filter((e) => e.isDirectory() && e.name.endsWith(".train"));
  return [...names.map((e) => e.name), ...inside.flatMap((e) => readdirSync(join(cli.folder, e.name)))].filter(
    isTemporaryName,
  );
}

interface Killed {
  /** false when the command was done before its time had come */
  readonly killed: boolean;
  readonly writing: boolean;
}

/** Starts a command and kills it after at most `most` ms, or a little after a write has begun. */
async function killSometime(cli: Driver, args: readonly string[], most: number, dice: Dice): Promise<Killed> {
  const atWrite = dice.roll() < 0.5;
  const wait = dice.roll() * most;
  const known = new Set(temporaries(cli));
  const { child, said } = cli.start(...args);
  let ended = false;
  said.then(() => {
    ended = true;
  });
  const start = performance.now();
  while (!ended && performance.now() - start < wait) await pause(Math.min(2, wait));
  if (atWrite) {
    while (!ended && temporaries(cli).every((name) => known.has(name))) await pause(0);
    await pause(dice.roll() * 4);
  }
  const writing = temporaries(cli).some((name) => !known.has(name));
  child.kill("SIGKILL");
  const { code, signal, stderr } = await said;
  if (signal !== "SIGKILL" && code !== 0) throw new Error(`${args.join(" ")} failed by itself:\n${stderr}`);
  return { killed: signal === "SIGKILL", writing: signal === "SIGKILL" && writing };
}

async function mustRun(cli: Driver, ...args: string[]): Promise<number> {
  const start = performance.now();
  const { code, stderr } = await cli.run(...args);
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}:\n${stderr}`);
  return performance.now() - start;
}

const weights = (cli: Driver, model: string): Buffer => readFileSync(join(cli.folder, model, "model.safetensors"));

export async function killTraining(cli: Driver, trials: number, seed: number): Promise<TrainTrials> {
  const steps = 40;
  const files = { text: "train.txt", validation: "validation.txt", steps };
  writeFileSync(join(cli.folder, files.text), someText("calibration-32k", 20_000));
  writeFileSync(join(cli.folder, files.validation), someText("validation-32k", 4_000));
  for (const out of ["undisturbed", "trained"]) {
    // The output's name is part of a recipe, but of no number in the run.
    writeFileSync(join(cli.folder, `${out}.yaml`), JSON.stringify(trainRecipe({ ...files, out })));
  }
  const most = await mustRun(cli, "train", "undisturbed.yaml", "--json");
  const wanted = weights(cli, "undisturbed");
  const dice = new Dice(seed, "kill-trials/train");
  let kills = 0;
  let duringWrites = 0;
  let finished = 0;
  let identical = 0;
  const check = (): void => {
    finished++;
    if (weights(cli, "trained").equals(wanted)) identical++;
    rmSync(join(cli.folder, "trained"), { recursive: true });
    rmSync(join(cli.folder, ".trained.train"), { recursive: true, force: true });
  };
  while (kills < trials) {
    const { killed, writing } = await killSometime(cli, ["train", "trained.yaml", "--json"], most, dice);
    if (killed) kills++;
    if (writing) duringWrites++;
    if (existsSync(join(cli.folder, "trained"))) check();
  }
  if (kills > 0 && existsSync(join(cli.folder, ".trained.train"))) {
    await mustRun(cli, "train", "trained.yaml", "--json");
    check();
  }
  return { kills, duringWrites, finished, identical, steps };
}

async function refuses(path: string): Promise<boolean> {
  try {
    await (await loadModel(path)).weights.close();
    return false;
  } catch (error) {
    return error instanceof LacunaError;
  }
}

export async function killPruning(cli: Driver, trials: number, seed: number): Promise<PruneTrials> {
  const model = "dense";
  if (!existsSync(join(cli.folder, model))) cli.randomModel(model);
  writeFileSync(join(cli.folder, "calibrate.txt"), someText("calibration-32k", 24_000));
  const args = ["prune", model, "--method", "sparsegpt", "--sparsity", "0.5", "--calibrate", "calibrate.txt", "-o"];
  const most = await mustRun(cli, ...args, "undisturbed-sparse");
  const wanted = weights(cli, "undisturbed-sparse");
  const target = join(cli.folder, "sparse");
  const dice = new Dice(seed, "kill-trials/prune");
  const left = { none: 0, whole: 0, partial: 0 };
  let kills = 0;
  let duringWrites = 0;
  let leftovers = 0;
  let refused = 0;
  let recovered = 0;
  while (kills < trials) {
    rmSync(target, { recursive: true, force: true });
    const { killed, writing } = await killSometime(cli, [...args, "sparse"], most, dice);
    if (!killed) continue;
    kills++;
    if (writing) duringWrites++;
    if (!existsSync(target)) left.none++;
    else if (!(await refuses(target)) && weights(cli, "sparse").equals(wanted)) left.whole++;
    else left.partial++;
    for (const name of temporaries(cli)) {
      leftovers++;
      if (await refuses(join(cli.folder, name))) refused++;
    }
    await mustRun(cli, ...args, "sparse", "--force");
    if (weights(cli, "sparse").equals(wanted) && temporaries(cli).length === 0) recovered++;
  }
  return { kills, duringWrites, left, leftovers, refused, recovered };
}

/** What must hold for the two to pass. */
export function sound(train: TrainTrials, prune: PruneTrials): boolean {
  return (
    train.identical === train.finished &&
    train.finished > 0 &&
    prune.left.partial === 0 &&
    prune.refused === prune.leftovers &&
    prune.recovered === prune.kills
  );
}

if (process.argv[1]?.endsWith("kill-trials.ts")) {
  const { values } = parseArgs({
    options: {
      trials: { type: "string", default: "20" },
      seed: { type: "string", default: "1" },
      record: { type: "boolean", default: false },
    },
  });
  const trials = Number(values.trials);
  const seed = Number(values.seed);
  const cli = await drive();
  try {
    const train = await killTraining(cli, trials, seed);
    const prune = await killPruning(cli, trials, seed);
    const passed = sound(train, prune);
    const { lacuna, date, machine, node } = provenance();
    const record = { kind: "kill-trials", version: 1, lacuna, date, machine, node, trials, seed, train, prune, passed };
    console.log(JSON.stringify(record, null, 2));
    if (values.record) {
      await writeFileAtomically(join(root, "results", "kill-trials.json"), `${JSON.stringify(record, null, 2)}\n`);
    }
    process.exitCode = passed ? 0 : 1;
  } finally {
    cli.dispose();
  }
}
