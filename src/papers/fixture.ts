/**
 * An experiment for tests of the bench: coins whose gain over a baseline is known. It is written as a module of plain
 * JavaScript, as a user's own experiment would be, and logs when each of its cells begins and ends. No part of the package.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

export interface FixtureOptions {
  readonly paper?: number;
  /** what each cell waits */
  readonly milliseconds?: number;
  readonly data?: readonly string[];
  readonly minutes?: number;
  /** threshold of the main claim; the gain is 2 + seed */
  readonly threshold?: number;
  /** statements at the start of the method's cells, as `throw new Error("boom")` */
  readonly method?: string;
  /** cells that run alone, by key */
  readonly alone?: readonly string[];
}

export interface Log {
  readonly cell: string;
  readonly event: "begin" | "end";
  readonly pid: number;
  readonly at: number;
  readonly quick: boolean;
  readonly split: string;
}

export interface Fixture {
  readonly folder: string;
  /** writes the experiment and gives its address */
  write(options?: FixtureOptions, name?: string): string;
  log(): Log[];
  /** names of the cells that began since the log was last cleared, sorted */
  begun(): string[];
  clear(): void;
  dispose(): void;
}

function moduleText(log: string, o: FixtureOptions): string {
  return `
import { appendFileSync } from "node:fs";
const say = (cell, event, c) => appendFileSync(${JSON.stringify(log)}, JSON.stringify(
  { cell, event, pid: process.pid, at: Date.now(), quick: c.quick, split: c.split }) + "\\n");
const alone = ${JSON.stringify(o.alone ?? [])};
const cell = (key, seed, body) => ({
  key, seed, gflop: key === "baseline" ? 2 : 1, alone: alone.includes(key),
  async run(c) {
    const name = key + "#" + seed;
    say(name, "begin", c);
    for (let i = 0; i < 10; i++) {
      c.progress(i / 10);
      await new Promise((resolve) => setTimeout(resolve, c.quick ? 0 : ${(o.milliseconds ?? 0) / 10}));
    }
    const figures = body(c);
    say(name, "end", c);
    return figures;
  },
});
export default {
  paper: ${o.paper ?? 36}, method: "methods/weights/wanda.ts", uses: [], minutes: ${o.minutes ?? 1},
  data: ${JSON.stringify(o.data ?? [])}, seeds: [1, 2], quickSeeds: [1],
  claims: [
    { id: "C1", text: "the method gains on the baseline", metric: "gain", op: ">=", threshold: ${o.threshold ?? 3},
      main: true, kind: "effect", needs: ["F"], basis: "reasoned" },
    { id: "F", text: "the baseline is better than nothing", metric: "baseline", op: ">=", threshold: 10,
      main: false, kind: "floor", basis: "reasoned" },
  ],
  cells: (seed) => [
    cell("baseline", seed, () => ({ accuracy: 10 * seed })),
    cell("method", seed, (c) => { ${o.method ?? ""}; return { accuracy: 11 * seed + 2 }; }),
    cell("shared", 0, () => ({ constant: 1 })),
  ],
  metrics: (seed, get) => ({
    gain: (get("method").accuracy - get("baseline").accuracy) * get("shared").constant,
    baseline: get("baseline").accuracy,
  }),
};
`;
}

export function fixture(): Fixture {
  const folder = mkdtempSync(join(tmpdir(), "lacuna-papers-"));
  const file = join(folder, "log");
  const log = (): Log[] =>
    existsSync(file)
      ? readFileSync(file, "utf8")
          .split("\n")
          .filter((line) => line !== "")
          .map((line) => JSON.parse(line) as Log)
      : [];
  return {
    folder,
    write(options = {}, name = "experiment") {
      const path = join(folder, `${name}.mjs`);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, moduleText(file, options));
      return pathToFileURL(path).href;
    },
    log,
    begun: () =>
      log()
        .filter((line) => line.event === "begin")
        .map((line) => line.cell)
        .sort(),
    clear: () => rmSync(file, { force: true }),
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}
