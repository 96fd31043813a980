/** Runs of a small experiment with known figures: in child processes as a user's runs are, or here where that is the same. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type FixtureOptions, fixture } from "./fixture.ts";
import { type Outcome, type ReproduceOptions, type ReproduceProgress, reproduce } from "./reproduce.node.ts";

const f = fixture();
let runs = 0;
let work = "";
beforeEach(() => {
  f.clear();
  work = join(f.folder, `work-${++runs}`);
});
afterAll(() => {
  vi.unstubAllEnvs();
  f.dispose();
});

const ALL = ["baseline#1", "baseline#2", "method#1", "method#2", "shared#0"];
/** A module is loaded once a process, so each declaration needs a name of its own. */
const written = (options: FixtureOptions = {}): string => f.write(options, `experiment-${runs}`);
const one = async (source: string, options: ReproduceOptions = {}): Promise<Outcome> =>
  (await reproduce([source], { work, jobs: 0, ...options }))[0];

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};
const pids = (): number[] => [...new Set(f.log().map((line) => line.pid))];
const dead = async (): Promise<void> => {
  await vi.waitFor(() => expect(pids().filter(alive)).toEqual([]), { timeout: 10_000, interval: 50 });
};

describe("a run", () => {
  test("runs each cell once, judges the claims, and makes the record", async () => {
    const seen: ReproduceProgress[] = [];
    const { record } = await one(written({ milliseconds: 300 }), { jobs: 2, onProgress: (p) => seen.push(p) });
    expect(f.begun()).toEqual(ALL);
    expect(record).toMatchObject({
      paper: 36,
      method: "DSnoT",
      split: "test",
      seeds: [1, 2],
      jobs: 2,
      minutesPromised: 1,
      verdict: "shown",
      cells: { "baseline#2": { accuracy: 20 }, "method#1": { accuracy: 13 }, "shared#0": { constant: 1 } },
    });
    expect(record?.claims).toMatchObject([
      { id: "C1", perSeed: [3, 4], value: 3.5, low: 3, high: 4, shown: true, fragile: false },
      { id: "F", perSeed: [10, 20], shown: true },
    ]);
    expect(record?.hash).toMatch(/^[0-9a-f]{16}$/);
    expect(record?.seconds).toBeGreaterThan(1.5 * 0.9);
    expect(record?.peakBytes).toBeGreaterThan(2e7);
    // two processes at most, and in this run both were wanted
    expect(pids()).toHaveLength(2);
    expect(pids()).not.toContain(process.pid);
    expect(seen.at(-1)).toEqual({ done: 1, secondsLeft: 0, cells: 5, finished: 5, running: [] });
    expect(seen.some((p) => p.running.length === 2)).toBe(true);
    for (const [i, p] of seen.entries()) if (i > 0) expect(p.finished).toBeGreaterThanOrEqual(seen[i - 1].finished);
    await dead();
  });

  test("finds what was kept: nothing is run again, and the record's figures are the same", async () => {
    const source = written();
    const first = await one(source);
    f.clear();
    const second = await one(source);
    expect(f.begun()).toEqual([]);
    const { date, ...same } = first.record!;
    expect(second.record).toMatchObject({ ...same, seconds: expect.closeTo(same.seconds, 9) });
    await one(source, { fresh: true });
    expect(f.begun()).toEqual(ALL);
  });

  test("of changed code does not find what the older code has kept", async () => {
    const before = await one(f.write({}, "before/changing"));
    f.clear();
    const commented = await one(f.write({ method: "/* as before */" }, "commented/changing"));
    expect(f.begun()).toEqual([]);
    const after = await one(f.write({ method: "let changed = true" }, "after/changing"));
    expect(f.begun()).toEqual(ALL);
    expect(commented.record?.hash).toBe(before.record?.hash);
    expect(after.record?.hash).not.toBe(before.record?.hash);
  });

  test("with --dev measures on validation data, and keeps that apart from test data", async () => {
    const source = written();
    expect((await one(source, { mode: "dev" })).record).toMatchObject({ split: "validation", verdict: "shown" });
    expect(new Set(f.log().map((line) => line.split))).toEqual(new Set(["validation"]));
    f.clear();
    await one(source);
    expect(f.begun()).toEqual(ALL);
    expect(new Set(f.log().map((line) => line.split))).toEqual(new Set(["test"]));
  });

  test("with --quick has one seed, no verdict, no test data, and keeps nothing", async () => {
    const { record } = await one(written(), { mode: "quick" });
    expect(record).toMatchObject({ quick: true, verdict: null, seeds: [1], split: "validation" });
    expect(f.log().every((line) => line.quick && line.split === "validation" && line.pid === process.pid)).toBe(true);
    expect(() => readdirSync(work)).toThrow(/ENOENT/);
  });

  test("runs cells that measure time by themselves, after the others", async () => {
    await one(written({ milliseconds: 100, alone: ["method"] }), { jobs: 2 });
    const log = f.log().sort((a, b) => a.at - b.at || (a.event === "end" ? -1 : 1));
    const timed = log.filter((line) => line.cell.startsWith("method"));
    expect(log.slice(-4)).toEqual(timed);
    expect(timed.map((line) => line.event)).toEqual(["begin", "end", "begin", "end"]);
  });
});

describe("what goes wrong", () => {
  test("an error in a cell names the cell; other cells are kept, other papers go on", async () => {
    const bad = f.write({ method: 'if (c.seed === 2) throw new Error("boom")' }, "bad");
    const good = f.write({ paper: 35 }, "good");
    const records: number[] = [];
    const [first, second] = await reproduce([bad, good], {
      work,
      jobs: 0,
      onRecord: (r) => void records.push(r.paper),
    });
    expect(String(first.error)).toMatch(/^Error: cell method#2: boom/);
    expect(first.record).toBeUndefined();
    expect(second.record?.verdict).toBe("shown");
    expect(records).toEqual([35]);
    const kept = readdirSync(join(work, "36"), { recursive: true, encoding: "utf8" });
    expect(kept.some((name) => name.endsWith("baseline%231.json"))).toBe(true);
    expect(kept.some((name) => name.includes("method%232"))).toBe(false);
  });

  test("a user's error of a cell stays one, and figures that are no numbers are refused", async () => {
    const { error } = await one(written({ method: "return { accuracy: 0 / 0 }" }));
    expect(error).toMatchObject({
      name: "LacunaError",
      complaint: { about: expect.stringMatching(/^cell method#\d: figure accuracy$/), got: "NaN" },
    });
  });

  test("a process that dies is an error of its cell", async () => {
    const { error } = await one(written({ method: 'process.kill(process.pid, "SIGKILL")' }), { jobs: 1 });
    const about = expect.stringMatching(/^cell method#\d: its process$/);
    expect(error).toMatchObject({ complaint: { about, got: "the signal SIGKILL" } });
  });

  test("data that is missing skips the paper: a reason, no cells, no claims, no verdict", async () => {
    vi.stubEnv("LACUNA_DATA", join(f.folder, "no-data"));
    vi.stubEnv("LACUNA_CACHE", join(f.folder, "no-cache"));
    const { record } = await one(written({ data: ["ml-100k"] }));
    expect(record).toMatchObject({ skipped: "LACUNA_DATA/ml-100k missing", cells: {}, claims: [], verdict: null });
    expect(f.begun()).toEqual([]);
  });

  test("when it is stopped its processes end, and what was done is found again", async () => {
    const source = written({ milliseconds: 400 });
    const abort = new AbortController();
    const running = one(source, {
      jobs: 2,
      signal: abort.signal,
      onProgress: (p) => p.finished >= 2 && abort.abort(),
    });
    await expect(running).rejects.toMatchObject({ name: "AbortError" });
    await dead();
    const ended = f.log().filter((line) => line.event === "end");
    expect(ended.length).toBeLessThan(5);
    f.clear();
    expect((await one(source)).record?.verdict).toBe("shown");
    expect(f.begun().length).toBeGreaterThan(0);
    expect(f.begun().length).toBeLessThanOrEqual(3);
  });
});
