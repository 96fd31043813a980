/**
 * Decode and prefill of model folders, dense against packed sparse, on each number of threads, in one interleaved run;
 * and the resident size of a process that only loads a model and generates.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { LacunaError } from "../../../src/core/errors.ts";
import { interleave, type Timing } from "../../../src/runtime/timing.ts";
import type { GenerateFacts, GenerateSetup } from "../generate/lacuna.ts";
import { ROOT } from "../machine.ts";
import { type Count, type Outcome, type Rate, type Row, rateOf, ratioRow } from "../outcome.ts";
import { Seat, seatClock } from "../seat.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

/** As `lacuna bench` takes them. */
const PREFILL = 128;
const PROMPT = 128;
const DECODE = 32;

interface Contestant {
  readonly label: string;
  readonly folder: string;
  readonly threads: number;
  readonly seat: Seat;
  readonly facts: GenerateFacts;
}

/** Labels of folders: their names, made unique by number. */
export function labelsOf(folders: readonly string[]): string[] {
  const names = folders.map((f) => basename(resolve(f)));
  return names.map((n, i) => (names.indexOf(n) === i ? n : `${n}-${i + 1}`));
}

function resident(folder: string, threads: number): { before: number; peak: number | null } {
  const script = fileURLToPath(new URL("../generate/resident.ts", import.meta.url));
  const args = ["--import", "tsx", script, folder, String(threads), String(PREFILL), String(PROMPT)];
  const stdout = execFileSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(stdout) as { before: number; peak: number | null };
}

function ratios(use: "decode" | "prefill", timing: Timing, all: readonly Contestant[]): { rows: Row[]; rates: Rate[] } {
  const rows: Row[] = [];
  const rates: Rate[] = [];
  const [first] = all;
  for (const c of all) {
    const tokens = use === "decode" ? DECODE : PREFILL;
    const shape = `${c.facts.shape}, ${use === "decode" ? `behind ${PROMPT} tokens` : `${PREFILL} tokens`}`;
    const id = `generate/${use}/${c.label}-${c.threads}`;
    const common = { shape, threads: c.threads, sparsity: c.facts.sparsity };
    const name = c.seat.name;
    rates.push(
      rateOf(timing, name, tokens, { id, what: `${use}, ${c.label}`, shape, threads: c.threads, unit: "tokens/s" }),
    );
    const what = `${use}, ${c.label}`;
    if (c.label !== first.label) {
      const base = all.find((o) => o.label === first.label && o.threads === c.threads)!;
      rows.push(
        ratioRow(timing, name, base.seat.name, {
          id: `${id}-over-${first.label}`,
          what,
          over: base.seat.name,
          ...common,
        }),
      );
    }
    const single = all.find((o) => o.label === c.label)!;
    if (single.threads !== c.threads) {
      rows.push(
        ratioRow(timing, name, single.seat.name, {
          id: `${id}-over-${single.threads}`,
          what,
          over: single.seat.name,
          ...common,
        }),
      );
    }
  }
  return { rows, rates };
}

async function run({ quick, threads, models, say }: SuiteOptions): Promise<Outcome> {
  const folders = models.length > 0 ? models : [join(ROOT, "models", "sotu")];
  const labels = labelsOf(folders);
  const text = await readFile(join(ROOT, "models", "sotu", "text", "calibration-32k.txt"), "utf8");
  // Measured anew, once per number of threads: a profile cached on a busy day would choose the wrong forms today.
  const profile = await mkdtemp(join(tmpdir(), "lacuna-bench-"));
  const all: Contestant[] = [];
  try {
    for (const [i, folder] of folders.entries()) {
      for (const n of threads) {
        say(`loading ${labels[i]}, threads: ${n}`);
        const setup: GenerateSetup = {
          folder: resolve(folder),
          threads: n,
          text: text.slice(0, 40_000),
          prefill: PREFILL,
          prompt: PROMPT,
          decode: DECODE,
          profile,
        };
        const name = `${labels[i]}, threads: ${n}`;
        const seat = await Seat.open(name, new URL("../generate/lacuna.ts", import.meta.url), setup);
        all.push({ label: labels[i], folder, threads: n, seat, facts: seat.call<GenerateFacts>("facts") });
      }
    }
    const shapes = new Set(all.map((c) => c.facts.shape));
    if (shapes.size > 1) {
      throw new LacunaError({
        about: "models",
        expected: "folders of one architecture, so that ratios mean something",
        got: [...shapes].join("; "),
        hint: "Compare a model with its own pruned folders.",
      });
    }
    const parts: { rows: Row[]; rates: Rate[] }[] = [];
    for (const use of ["decode", "prefill"] as const) {
      say(use);
      const options = quick ? { rounds: 5, slice: 20, warmUp: 50 } : { rounds: 21, slice: 60, warmUp: 300 };
      const variants = all.map((c) => c.seat.variant(use));
      parts.push(ratios(use, await interleave(variants, { ...options, clock: seatClock }), all));
    }
    const counts: Count[] = [];
    const notes: string[] = [];
    for (const c of all) {
      const { bytes, forms } = c.facts;
      notes.push(`${c.seat.name}: decodes with ${forms.decode}; prefills with ${forms.prefill}`);
      if (c.threads !== threads[0]) continue;
      const add = (key: string, what: string, value: number): void => {
        counts.push({ id: `generate/${c.label}/${key}`, what: `${c.label}: ${what}`, unit: "bytes", value });
      };
      add("file", "weights in the file", bytes.file);
      add("engine", "weights, cache and buffers in engine memory", bytes.resident);
      add("token", "weights read for one token", bytes.perToken);
    }
    for (const [i, folder] of folders.entries()) {
      say(`resident size of ${labels[i]}`);
      const { before, peak } = resident(resolve(folder), threads[0]);
      if (peak === null) {
        notes.push(`${labels[i]}: peak resident size is counted on Linux only`);
        continue;
      }
      const what = (text: string): string => `${labels[i]}: ${text}`;
      counts.push({
        id: `generate/${labels[i]}/process`,
        what: what("process before it loads the model"),
        unit: "bytes",
        value: before,
      });
      counts.push({
        id: `generate/${labels[i]}/resident`,
        what: what("peak resident size of the process"),
        unit: "bytes",
        value: peak,
      });
    }
    return { rows: parts.flatMap((p) => p.rows), rates: parts.flatMap((p) => p.rates), counts, notes };
  } finally {
    for (const c of all) await c.seat.close();
    await rm(profile, { recursive: true, force: true });
  }
}

export const generateSuite: Suite = {
  name: "generate",
  shows: "decode and prefill tokens/s of model folders (--models dense,sparse,..), and resident sizes",
  peers: [],
  run,
};
