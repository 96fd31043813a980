/** The commands about papers, as a user meets them: lists, cards, a run that is killed and goes on, and what is refused. */
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { catalogue } from "../papers/catalogue/index.ts";
import type { PaperRecord } from "../papers/contract.ts";
import { fixture } from "../papers/fixture.ts";
import type { Listed } from "../papers/listing.ts";
import { implemented } from "../papers/load.ts";
import { type Driver, drive, type Said } from "./drive.ts";

const f = fixture();
let cli: Driver;
beforeAll(async () => {
  cli = await drive();
}, 120_000);
afterAll(() => {
  cli?.dispose();
  f.dispose();
});

const json = (said: Said): unknown => {
  expect({ code: said.code, stdout: said.stdout.slice(-2) }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/[\]}]\n/),
  });
  return JSON.parse(said.stdout);
};
const experiment = (...args: Parameters<typeof f.write>): string => fileURLToPath(f.write(...args));

/** A module without an experiment. */
const none = (): string => {
  writeFileSync(join(f.folder, "none.mjs"), "export default { paper: 36 };");
  return join(f.folder, "none.mjs");
};

const planned = catalogue.find((e) => !implemented().includes(e.paper));

describe("lacuna papers", () => {
  test("lists the 59, for people and as JSON", async () => {
    const [text, value] = await Promise.all([cli.run("papers"), cli.run("papers", "--json")]);
    expect(text.stdout.split("\n").filter((line) => /^ *\d+ {2}\S/.test(line))).toHaveLength(59);
    expect(text.stdout).toMatch(/^59 papers, \d+ implemented/m);
    const list = json(value) as Listed[];
    expect(list.map((e) => e.paper)).toEqual(catalogue.map((e) => e.paper));
    expect(list.filter((e) => e.status === "implemented").map((e) => e.paper)).toEqual(implemented());
  });

  test("filters by words, site, stage and status", async () => {
    const [words, site] = await Promise.all([
      cli.run("papers", "wanda", "dsnot", "--json"),
      cli.run("papers", "--site", "updates", "--stage", "fine-tuning", "--status", "planned", "--json"),
    ]);
    expect((json(words) as Listed[]).map((e) => e.slug)).toEqual(["dsnot"]);
    for (const e of json(site) as Listed[]) {
      expect(e.sites).toContain("updates");
      expect(e.stages).toContain("fine-tuning");
      expect(e.status).toBe("planned");
    }
    const wrong = await cli.run("papers", "--site", "gradients");
    expect(wrong).toMatchObject({ code: 1, stdout: "" });
    expect(wrong.stderr).toMatch(/Allowed choices are weights, activations, attention, updates, structure/);
  });
});

describe("lacuna paper", () => {
  test("shows a card", async () => {
    const [text, value] = await Promise.all([cli.run("paper", "36"), cli.run("paper", "036", "--json")]);
    expect(text.stdout).toMatch(/^36 {2}DSnoT \((planned|implemented)\)\n\nDynamic Sparse No Training/);
    expect(text.stdout).toMatch(/arXiv 2310\.08915/);
    expect(json(value)).toMatchObject({ entry: { paper: 36, arxiv: "2310.08915" } });
  });

  test.concurrent.for(["0", "60", "dsnot", "3.5"])("refuses %s", async (number) => {
    const said = await cli.run("paper", number, "--json");
    expect(said).toMatchObject({ code: 1, stdout: "" });
    expect(said.stderr).toMatch(/a paper's number|a number from 1 to 59/);
  });
});

describe("lacuna reproduce", () => {
  test("prints one record as JSON and nothing else; progress goes to stderr", async () => {
    const said = await cli.run("reproduce", experiment({ milliseconds: 50 }, "one"), "--json", "--jobs", "2");
    const record = json(said) as PaperRecord;
    expect(record).toMatchObject({ paper: 36, verdict: "shown", seeds: [1, 2], jobs: 2 });
    expect(record.claims.map((c) => c.shown)).toEqual([true, true]);
    expect(said.stderr).toMatch(/^\d of 5 cells \(36 baseline#1.*\): \d+ %/);
  });

  test("several papers give a list, and a claim that is not shown is said in words", async () => {
    const files = [experiment({ threshold: 4 }, "a"), experiment({ paper: 35 }, "b")];
    const [list, text] = [await cli.run("reproduce", ...files, "--json"), await cli.run("reproduce", ...files)];
    expect((json(list) as PaperRecord[]).map((r) => r.verdict).sort()).toEqual(["not shown", "shown"]);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(
      /verdict: not shown\nclaim .*\nC1 +effect, main +3\.5 \(3 to 4\) +≥ 4 +not shown, seeds disagree/,
    );
  });

  test("--quick prints the verdict null and writes nothing", async () => {
    const before = existsSync(join(cli.folder, "cache")) ? readdirSync(join(cli.folder, "cache")) : [];
    const record = json(await cli.run("reproduce", experiment({}, "quick"), "--quick", "--json"));
    expect(record).toMatchObject({ quick: true, verdict: null });
    expect(existsSync(join(cli.folder, "cache")) ? readdirSync(join(cli.folder, "cache")) : []).toEqual(before);
    expect(existsSync(join(cli.folder, "results"))).toBe(false);
  });

  test("killed at any moment it goes on at the cell where it stopped, and its processes end with it", async () => {
    const file = experiment({ milliseconds: 500 }, "killed");
    f.clear();
    const ended = (): string[] => f.log().flatMap((line) => (line.event === "end" ? line.cell : []));
    const { child, said } = cli.start("reproduce", file, "--json", "--jobs", "1");
    await vi.waitFor(() => expect(ended().length).toBe(2), { timeout: 30_000, interval: 20 });
    await vi.waitFor(() => expect(f.begun().length).toBe(3), { timeout: 30_000, interval: 20 });
    child.kill("SIGKILL");
    expect(await said).toMatchObject({ signal: "SIGKILL", stdout: "" });
    const pids = new Set(f.log().map((line) => line.pid));
    const alive = (pid: number): boolean => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    await vi.waitFor(() => expect([...pids].filter(alive)).toEqual([]), { timeout: 10_000, interval: 50 });
    const done = ended();
    f.clear();
    expect(json(await cli.run("reproduce", file, "--json", "--jobs", "1"))).toMatchObject({ verdict: "shown" });
    expect(f.begun().filter((cell) => done.includes(cell))).toEqual([]);
    expect(f.begun()).toHaveLength(5 - done.length);
  });

  test("Ctrl-C ends it and its processes", async () => {
    const file = experiment({ milliseconds: 2000 }, "stopped");
    f.clear();
    const { child, said } = cli.start("reproduce", file, "--jobs", "2");
    await vi.waitFor(() => expect(f.begun().length).toBe(2), { timeout: 30_000, interval: 20 });
    child.kill("SIGINT");
    const result = await said;
    expect(result.code).toBe(130);
    expect(result.stderr).toMatch(/^stopped; nothing half-written/m);
    expect(f.log().filter((line) => line.event === "end")).toEqual([]);
  });
});

describe.concurrent("refused, with nothing on stdout,", () => {
  const refused: readonly (readonly [string, () => string[], RegExp])[] = [
    ["no paper", () => [], /expected: a paper's number, or --all/],
    ["a number and --all", () => ["1", "--all"], /expected: numbers or --all/],
    ["a name", () => ["dsnot"], /Expected a paper's number or an experiment's file/],
    ["--quick with --record", () => ["1", "--quick", "--record"], /expected: a full run for --record/],
    ["--quick with --dev", () => ["1", "--quick", "--dev"], /one of --quick and --dev/],
    [
      "--record of an own experiment",
      () => [experiment({}, "own"), "--record"],
      /papers of the catalogue for --record/,
    ],
    ["a number that is none", () => ["77"], /expected: a number from 1 to 59\n {2}got: {6}77/],
    ["an own file that is no experiment", () => [none()], /a module whose default export is an experiment/],
  ];
  test.for(refused)("is %s", async ([, args, message]) => {
    const said = await cli.run("reproduce", ...args(), "--json");
    expect(said).toMatchObject({ stdout: "" });
    expect(said.code).not.toBe(0);
    expect(said.stderr).toMatch(message);
  });

  test.skipIf(!planned)("is a paper that is only planned", async () => {
    const said = await cli.run("reproduce", String(planned?.paper), "--json");
    expect(said).toMatchObject({ code: 1, stdout: "" });
    expect(said.stderr).toMatch(
      /^error: paper \d+ \(.+\)\n {2}expected: a paper with an experiment\n {2}got: {6}one that is planned/,
    );
  });

  test("is what fails in a cell, which is named; a defect is exit code 2", async () => {
    const said = await cli.run("reproduce", experiment({ method: 'throw new Error("boom")' }, "boom"), "--json");
    expect(said).toMatchObject({ code: 2, stdout: "" });
    expect(said.stderr).toMatch(/^defect: cell method#[12]: Error: boom\n {4}at /m);
  });
});
