/**
 * The machine profile on disk: one JSON file in the user's cache folder, `LACUNA_CACHE`, else `XDG_CACHE_HOME/lacuna`,
 * else `~/.cache/lacuna`. A file that is damaged, or of another machine, version or number of threads, is ignored and
 * replaced. Nothing depends on it but which kernel runs; a folder that cannot be written costs a new measurement.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../formats/atomic.node.ts";
import { cacheFolder } from "../formats/cache.node.ts";
import { LINEARS } from "../models/llama/block.ts";
import { weightName } from "../models/llama/load.ts";
import type { Model } from "../models/model.ts";
import type { LayerFacts, Speeds } from "./choose.ts";
import { DENSE_FORMS } from "./layer.ts";
import { profileKey } from "./machine.node.ts";
import {
  type Cell,
  emptyProfile,
  footprintOf,
  type MeasureOptions,
  measureFor,
  type Profile,
  type ProfileKey,
  type Shares,
} from "./profile.ts";
import type { Spread } from "./timing.ts";

const FORMAT = "lacuna-profile";
/** 2: forms by the names of their layouts, a finer grid of densities */
const VERSION = 3;

const canonical = (key: ProfileKey): string => JSON.stringify(Object.entries(key).sort());

/** The file of a key: machines that share a home folder do not fight over one file. */
export function profilePath(key: ProfileKey, folder = cacheFolder()): string {
  const name = createHash("sha256").update(canonical(key)).digest("hex").slice(0, 12);
  return join(folder, `profile-${name}.json`);
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (v: unknown): v is Json => typeof v === "object" && v !== null && !Array.isArray(v);
const isPositive = (v: unknown): v is number => typeof v === "number" && Number.isFinite(v) && v > 0;

const isSpread = (v: unknown): v is Spread =>
  isObject(v) && ["median", "low", "high", "min", "max", "repeats"].every((k) => isPositive(v[k]));

const isCell = (v: unknown): v is Cell =>
  isObject(v) &&
  (DENSE_FORMS as readonly unknown[]).includes(v.dense) &&
  isPositive(v.milliseconds) &&
  typeof v.date === "string" &&
  isObject(v.denseRatios) &&
  Object.values(v.denseRatios).every(isPositive) &&
  isObject(v.sparse) &&
  Object.values(v.sparse).every(isSpread);

const isShares = (v: unknown): v is Shares =>
  isObject(v) &&
  typeof v.date === "string" &&
  isPositive(v.tokens) &&
  typeof v.context === "number" &&
  isSpread(v.layers) &&
  isObject(v.shapes) &&
  Object.values(v.shapes).every(isPositive);

/** The cached profile of this key, or an empty one. Never throws for what is in the file. */
export async function readProfile(key: ProfileKey = profileKey(), folder = cacheFolder()): Promise<Profile> {
  try {
    const json: unknown = JSON.parse(await readFile(profilePath(key, folder), "utf8"));
    if (!isObject(json) || json.format !== FORMAT || json.version !== VERSION) return emptyProfile(key);
    if (!isObject(json.key) || canonical(json.key as unknown as ProfileKey) !== canonical(key))
      return emptyProfile(key);
    if (!isObject(json.cells) || !Object.values(json.cells).every(isCell)) return emptyProfile(key);
    if (!isObject(json.shares) || !Object.values(json.shares).every(isShares)) return emptyProfile(key);
    return {
      key,
      cells: { ...(json.cells as Record<string, Cell>) },
      shares: { ...(json.shares as Record<string, Shares>) },
    };
  } catch {
    return emptyProfile(key);
  }
}

/** Writes the profile; false when the folder cannot be written. */
export async function writeProfile(profile: Profile, folder = cacheFolder()): Promise<boolean> {
  const text = JSON.stringify({ format: FORMAT, version: VERSION, ...profile }, null, 1);
  try {
    await writeFileAtomically(profilePath(profile.key, folder), `${text}\n`);
    return true;
  } catch {
    return false;
  }
}

export interface MeasuredOptions extends MeasureOptions {
  /** bytes of all the layers of the model, as stored */
  readonly modelBytes: number;
  readonly folder?: string;
}

/** `measuredSpeeds` for a model: `createRunner(model, { speeds: machineSpeeds(model) })`. */
export function machineSpeeds(model: Pick<Model, "config" | "weights">, options: Partial<MeasuredOptions> = {}) {
  const { config, weights } = model;
  let modelBytes = 0;
  for (let i = 0; i < config.layers; i++) {
    for (const name of LINEARS) modelBytes += weights.info(weightName(i, name)).bytes;
  }
  return measuredSpeeds({ modelBytes, ...options });
}

/**
 * For `createRunner`'s `speeds`: reads the cached profile, measures what is missing as layers come, and saves what is
 * new. The same object may serve several runners.
 */
export function measuredSpeeds(options: MeasuredOptions): (layers: readonly LayerFacts[]) => Promise<Speeds> {
  const folder = options.folder ?? cacheFolder();
  const footprint = footprintOf(options.modelBytes);
  let reading: Promise<Profile> | undefined;
  return async (layers) => {
    reading ??= readProfile(profileKey(), folder);
    const profile = await reading;
    const before = JSON.stringify(profile.cells);
    const speeds = await measureFor(profile, layers, footprint, options);
    if (JSON.stringify(profile.cells) !== before) await writeProfile(profile, folder);
    return speeds;
  };
}
