/**
 * The process that judges: draws the sample, goes through it, and writes a line for each verdict. The parent watches its
 * lines and ends it when a step takes too long: an endless loop cannot be left from within.
 */
import { createHash } from "node:crypto";
import { appendFileSync, readdirSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { stream } from "../../src/core/random.ts";
import { createJudge, type Judge, src } from "./judge.ts";
import { type Line, readCache } from "./kept.ts";
import { leftOut } from "./left-out.ts";
import { applySite, findSites, type Site, siteKey } from "./sites.ts";

export interface Sampled {
  readonly site: Site;
  /** changes with the site, its file, and all that its verdict depends on */
  readonly hash: string;
}

export const kernelFiles = (): string[] =>
  readdirSync(join(src, "kernels"), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".ts"))
    .map((f) => `kernels/${f}`)
    .sort();

/** Shares of `total` in proportion to `sizes`, by largest remainder. */
export function shares(sizes: readonly number[], total: number): number[] {
  const all = sizes.reduce((a, b) => a + b, 0);
  const exact = sizes.map((s) => (total * s) / all);
  const whole = exact.map(Math.floor);
  const left = total - whole.reduce((a, b) => a + b, 0);
  const byRemainder = exact.map((e, i) => [e - whole[i], i] as const).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  for (const [, i] of byRemainder.slice(0, left)) whole[i]++;
  return whole;
}

/**
 * Draws in proportion to the sites of each file. Which sites of a file are drawn depends on the seed and on what the sites
 * are, not on where they stand: a change elsewhere in the file leaves most of the sample as it was.
 */
export function drawSample(sitesOf: readonly (readonly Site[])[], count: number, seed: number): Site[] {
  const quotas = shares(
    sitesOf.map((s) => s.length),
    count,
  );
  return sitesOf.flatMap((sites, i) =>
    sites
      .map((site) => ({ site, lot: stream(seed, `mutants/${siteKey(site)}`).uniform(0) }))
      .sort((a, b) => a.lot - b.lot)
      .slice(0, quotas[i])
      .map(({ site }) => site),
  );
}

export function sample(
  judge: Judge,
  count: number,
  seed: number,
): { sampled: Sampled[]; sites: number; files: number } {
  const files = kernelFiles().filter((f) => leftOut(f) === undefined);
  const sitesOf = files.map((f) => findSites(f, judge.sources.text(join(src, f)), judge.methods));
  const digests = new Map<string, string>();
  const digest = (file: string): string => {
    let d = digests.get(file);
    if (d === undefined) {
      const hash = createHash("sha256");
      for (const input of judge.inputs(file)) hash.update(judge.sources.text(input));
      hash.update(`fused ${judge.fused}`);
      d = hash.digest("hex").slice(0, 16);
      digests.set(file, d);
    }
    return d;
  };
  const sampled = drawSample(sitesOf, count, seed).map((site) => ({
    site,
    hash: createHash("sha256")
      .update(`${digest(site.file)}\n${siteKey(site)}`)
      .digest("hex")
      .slice(0, 24),
  }));
  return { sampled, sites: sitesOf.reduce((n, s) => n + s.length, 0), files: files.length };
}

export const lineOf = ({ site, hash }: Sampled, verdict: Line["verdict"]): Line => {
  const { file, line, kind, before, after, occurrence } = site;
  return { hash, file, line, kind, before, after, occurrence, verdict };
};

interface Drawing {
  readonly sampled: readonly Sampled[];
  readonly sites: number;
  readonly files: number;
}

/** The sample, kept in `place` for the next process: finding sites takes longer than judging ten of them. */
function drawnOnce(judge: Judge, count: number, seed: number, place: string): Drawing {
  const hash = createHash("sha256").update(`${count} ${seed} ${judge.fused}`);
  for (const file of judge.everything()) hash.update(judge.sources.text(file));
  const here = dirname(fileURLToPath(import.meta.url));
  for (const file of readdirSync(here).sort()) hash.update(readFileSync(join(here, file)));
  const key = hash.digest("hex");
  try {
    const kept = JSON.parse(readFileSync(place, "utf8")) as Drawing & { readonly key: string };
    if (kept.key === key) return kept;
  } catch {
    // none, or one of a run that was broken off
  }
  const drawing = sample(judge, count, seed);
  writeFileSync(place, JSON.stringify({ key, ...drawing }));
  return drawing;
}

/** Processor seconds that the longest step took, and which that was. */
function stopwatch(): { readonly begin: (step: string) => void; readonly longest: () => string } {
  const now = (): number => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;
  let [step, since, most, which] = ["start", now(), 0, ""];
  const begin = (next: string): void => {
    const at = now();
    if (at - since > most && step !== "start") [most, which] = [at - since, step];
    [step, since] = [next, at];
  };
  return { begin, longest: () => `${most.toFixed(1)} s: ${which}` };
}

/** Arguments: the folder for what is kept, the size of the sample, the seed. */
async function main([folder, count, seed]: readonly string[]): Promise<void> {
  const say = (message: object): void => {
    writeSync(1, `${JSON.stringify(message)}\n`);
  };
  const judge = createJudge(join(folder, "compiled"));
  const cache = join(folder, "verdicts.jsonl");
  const { sampled, sites, files } = drawnOnce(judge, Number(count), Number(seed), join(folder, "drawn.json"));
  const watch = stopwatch();
  const known = readCache(cache);
  say({ sites, files, fused: judge.fused, hashes: sampled.map((s) => s.hash) });
  // Files in turn, so that an unfinished run has looked everywhere.
  const places = new Map<string, number>();
  const turn = sampled.map((s) => {
    const place = places.get(s.site.file) ?? 0;
    places.set(s.site.file, place + 1);
    return { s, place };
  });
  for (const { s } of turn.sort((a, b) => a.place - b.place)) {
    const before = known.get(s.hash);
    if (before) continue;
    say({ begins: lineOf(s, { status: "timeout", reached: true }) });
    const text = applySite(judge.sources.text(join(src, s.site.file)), s.site);
    const verdict = await judge.judge(s.site.file, text, (step) => {
      watch.begin(step);
      say({ step });
    });
    watch.begin("start");
    appendFileSync(cache, `${JSON.stringify(lineOf(s, verdict))}\n`);
    say({ done: verdict.status, by: verdict.by, file: s.site.file, after: s.site.after });
  }
  say({ finished: true, longest: watch.longest() });
}

if (process.argv[1]?.endsWith("mutants/run.ts")) await main(process.argv.slice(2)).then(() => process.exit(0));
