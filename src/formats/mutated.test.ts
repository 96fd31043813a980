/**
 * Files that were damaged on purpose, thrown at the readers: each must load as what it was, or be refused with a
 * `LacunaError`. Never another exception, never a tensor whose bytes are not those of its shape, never a huge one.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import type { DType } from "./dtype.ts";
import { dtypeBytes, elementCount } from "./dtype.ts";
import { isJsonObject, parseJson } from "./json.ts";
import { filesInMemory, openModel } from "./model-folder.ts";
import { encodeSafetensors, memoryTarget } from "./safetensors-write.ts";
import { memorySource } from "./source.ts";
import { expectTensor } from "./weights.ts";
import type { WeightFormat, WeightPlan } from "./weights-write.ts";
import { configFor, writeWeights } from "./weights-write.ts";

const utf8 = new TextEncoder();
const text = (value: object): Uint8Array => utf8.encode(JSON.stringify(value));

const single = { rows: 1, cols: 1 };
const plan: WeightPlan[] = [
  { name: "norm.weight", dtype: "F32", shape: [4] },
  { name: "a.weight", dtype: "BF16", shape: [4, 8], packing: { pattern: "2:4", block: single } },
  { name: "b.weight", dtype: "F16", shape: [8, 12], packing: { pattern: "4x1", block: { rows: 4, cols: 1 } } },
  { name: "embed.weight", dtype: "BF16", shape: [2, 3] },
];

/** Two of every four inputs, the same for four outputs, so that every pattern of the plan holds. */
function dense({ dtype, shape }: WeightPlan): Uint8Array {
  const size = dtypeBytes[dtype];
  const out = new Uint8Array(elementCount(shape)! * size);
  for (let i = 0; i < out.length; i += size) {
    if ((i / size) % 4 < 2) out.fill(0x3c, i, i + size);
  }
  return out;
}

type Folder = Map<string, Uint8Array>;
const base = { model_type: "llama", hidden_size: 4 };

async function folder(format: WeightFormat): Promise<Folder> {
  const target = memoryTarget();
  const writer = writeWeights(target, format, plan);
  for (const weight of plan) await writer.write(weight.name, dense(weight));
  await writer.finish();
  return new Map([
    ["config.json", text(configFor(base, format, plan))],
    ["model.safetensors", target.bytes()],
  ]);
}

function shardedFolder(): Folder {
  const whole = plan.map((weight) => ({ ...weight, data: dense(weight) }));
  const files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const weight_map = Object.fromEntries(plan.map(({ name }, i) => [name, files[i % 2]]));
  return new Map([
    ["config.json", text(base)],
    ["model.safetensors.index.json", text({ metadata: { total_size: 1 }, weight_map })],
    [files[0], encodeSafetensors(whole.filter((_, i) => i % 2 === 0))],
    [files[1], encodeSafetensors(whole.filter((_, i) => i % 2 === 1))],
  ]);
}

const folders: Folder[] = [
  await folder("dense"),
  await folder("packed"),
  await folder("packed"),
  await folder("sparse-bitmask"),
  await folder("sparse-24-bitmask"),
  shardedFolder(),
];

const hostile = [
  "-1",
  "0",
  "1",
  "2",
  "3",
  "4",
  "8",
  "65536",
  "0.5",
  "1e400",
  "4294967296",
  "9007199254740991",
  "18446744073709551616",
  "null",
  "true",
  "[]",
  "{}",
  "[1,1]",
  "[4,8]",
  "[0,0]",
  '""',
  '"__proto__"',
  '"constructor"',
  '"../x.safetensors"',
  '"/etc/passwd"',
  '"U8"',
  '"F32"',
  '"F64"',
  '"BOOL"',
  '"\\ud800"',
  '"\\u0000"',
  '"a.weight"',
  '"a.weight.bitmask"',
  '"sparse-bitmask"',
  "{",
  "]",
  ",",
  "",
  "[".repeat(200),
];
const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|[{}[\],:]/g;

interface Mutation {
  readonly kind: "flip" | "data" | "truncate" | "extend" | "token" | "swap" | "metadata" | "length";
  readonly file: number;
  readonly at: number;
  readonly to: number;
}

/** Replaces, drops or repeats one token of a JSON text. */
function mutateJson(json: string, at: number, to: number): string {
  const found = [...json.matchAll(tokens)];
  if (found.length === 0) return json;
  const token = found[at % found.length];
  const choice = to % (hostile.length + 2);
  const next =
    choice < hostile.length
      ? hostile[choice]
      : choice === hostile.length
        ? `${token[0]}${token[0]}`
        : found[(to >>> 8) % found.length][0];
  return json.slice(0, token.index) + next + json.slice(token.index + token[0].length);
}

function withHeader(bytes: Uint8Array, edit: (json: string) => string): Uint8Array {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (!(length <= bytes.length - 8)) return bytes;
  const header = utf8.encode(edit(new TextDecoder().decode(bytes.subarray(8, 8 + length))));
  const out = new Uint8Array(8 + header.length + bytes.length - 8 - length);
  new DataView(out.buffer).setBigUint64(0, BigInt(header.length), true);
  out.set(header, 8);
  out.set(bytes.subarray(8 + length), 8 + header.length);
  return out;
}

/** Mutates inside the JSON text that stands as a string in the header's metadata. */
function mutateMetadata(json: string, at: number, to: number): string {
  let header: unknown;
  try {
    header = JSON.parse(json);
  } catch {
    return json;
  }
  const metadata = isJsonObject(header) ? header.__metadata__ : undefined;
  if (!isJsonObject(header) || !isJsonObject(metadata) || typeof metadata.lacuna !== "string") {
    return mutateJson(json, at, to);
  }
  return JSON.stringify({ ...header, __metadata__: { ...metadata, lacuna: mutateJson(metadata.lacuna, at, to) } });
}

function mutate(files: Folder, { kind, file, at, to }: Mutation): void {
  const names = [...files.keys()].filter((known) => kind !== "data" || known.endsWith(".safetensors"));
  const name = names[file % names.length];
  const bytes = files.get(name)!;
  const isJson = name.endsWith(".json");
  switch (kind) {
    case "flip": {
      const out = bytes.slice();
      if (out.length > 0) out[at % out.length] ^= 1 + (to % 255);
      return void files.set(name, out);
    }
    case "data": {
      // behind the header, where bitmasks and values are
      const out = bytes.slice();
      const start = out.length < 8 ? 0 : 8 + Number(new DataView(out.buffer).getBigUint64(0, true) % 2n ** 32n);
      if (start < out.length) out[start + (at % (out.length - start))] ^= 1 << (to & 7);
      return void files.set(name, out);
    }
    case "truncate":
      return void files.set(name, bytes.slice(0, at % (bytes.length + 1)));
    case "extend": {
      const out = new Uint8Array(bytes.length + 1 + (to % 16));
      out.set(bytes);
      return void files.set(name, out);
    }
    case "swap":
      return void files.set(name, files.get(names[to % names.length])!);
    case "length": {
      const out = bytes.slice();
      if (out.length >= 8) new DataView(out.buffer).setBigUint64(0, BigInt(at) * (to % 3 === 0 ? 2n ** 33n : 1n), true);
      return void files.set(name, out);
    }
    default: {
      const edit = (json: string) => (kind === "token" ? mutateJson(json, at, to) : mutateMetadata(json, at, to));
      if (isJson) files.set(name, utf8.encode(edit(new TextDecoder().decode(bytes))));
      else if (bytes.length >= 8) files.set(name, withHeader(bytes, edit));
    }
  }
}

/** Opens and reads everything. Returns the names that still are what they were; throws what the readers throw. */
async function load(files: Folder, tally: { refused: number; loaded: number }): Promise<void> {
  const entries = new Map([...files].map(([name, bytes]) => [name, () => memorySource(bytes, name)]));
  const model = await openModel(filesInMemory(entries));
  const { weights } = model;
  for (const name of weights.names) {
    const info = weights.info(name);
    expect(info.bytes).toBe(elementCount(info.shape)! * dtypeBytes[info.dtype]);
    expect(info.bytes).toBeLessThan(2 ** 26); // the files have a few hundred bytes
    try {
      expect((await weights.read(name)).length).toBe(info.bytes);
    } catch (error) {
      if (!(error instanceof LacunaError)) throw error;
      tally.refused++;
    }
  }
  for (const { name, dtype, shape } of plan) {
    try {
      expectTensor(weights, name, shape, [dtype as DType]);
      expect((await weights.read(name)).length).toBe(elementCount(shape)! * dtypeBytes[dtype]);
      tally.loaded++;
    } catch (error) {
      if (!(error instanceof LacunaError)) throw error;
      tally.refused++;
    }
  }
  await model.close();
}

const mutation = (...kinds: Mutation["kind"][]): fc.Arbitrary<Mutation> =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    // without bias towards small numbers, which would spoil the first bytes again and again
    file: fc.noBias(fc.nat(1000)),
    at: fc.noBias(fc.nat(100_000)),
    to: fc.noBias(fc.nat(1_000_000)),
  });
/** Half the folders get damage that an opened file can still hide: in bitmasks and values, behind a sound header. */
const mutations = fc.oneof(
  fc.array(mutation("data"), { minLength: 1, maxLength: 3 }),
  fc.array(mutation("flip", "truncate", "extend", "token", "token", "metadata", "metadata", "swap", "length"), {
    minLength: 1,
    maxLength: 2,
  }),
);

test("the undamaged folders load", async () => {
  for (const files of folders) {
    const tally = { refused: 0, loaded: 0 };
    await load(files, tally);
    expect(tally).toEqual({ refused: 0, loaded: plan.length });
  }
});

test("2,500 damaged folders: loaded as they were, or refused with one clear error", async () => {
  const tally = { refused: 0, loaded: 0 };
  let runs = 0;
  let refusedAtOpening = 0;
  await fc.assert(
    fc.asyncProperty(fc.nat(folders.length - 1), mutations, async (which, list) => {
      runs++;
      const files: Folder = new Map(folders[which]);
      for (const m of list) mutate(files, m);
      try {
        await load(files, tally);
      } catch (error) {
        if (!(error instanceof LacunaError)) throw error;
        const { about, expected, got, hint } = error.complaint;
        expect([about, expected, got, hint].every((part) => part.length > 0)).toBe(true);
        expect(error.message.length).toBeLessThan(2000);
        refusedAtOpening++;
      }
    }),
    { numRuns: 2500 },
  );
  expect(runs).toBeGreaterThanOrEqual(2500);
  // all three ends are reached, or the mutations would be too mild or too wild to say anything
  expect(refusedAtOpening).toBeGreaterThan(500);
  expect(tally.loaded).toBeGreaterThan(500);
  expect(tally.refused).toBeGreaterThan(20);
});

test("our JSON reader agrees with the engine's on what it accepts", () => {
  let accepted = 0;
  fc.assert(
    fc.property(fc.json(), fc.option(fc.tuple(fc.nat(), fc.nat())), (json, change) => {
      const source = change ? mutateJson(json, ...change) : json;
      let ours: unknown;
      try {
        ours = parseJson(source, "x");
      } catch (error) {
        expect(error).toBeInstanceOf(LacunaError);
        // what we refuse and the engine does not: a key twice, or nesting beyond the limit
        let theirs = true;
        try {
          JSON.parse(source);
        } catch {
          theirs = false;
        }
        if (theirs) expect((error as Error).message).toMatch(/each key once|levels of nesting/);
        return;
      }
      accepted++;
      expect(ours).toEqual(JSON.parse(source));
    }),
    { numRuns: 1000 },
  );
  expect(accepted).toBeGreaterThan(300);
});
