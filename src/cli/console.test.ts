import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { duration, makeConsole, report, timeLeft } from "./console.ts";

let out = "";
let err = "";

beforeEach(() => {
  out = "";
  err = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    err += text;
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

test("a user's error shows about, expected, got and hint, and gives exit code 1", () => {
  const error = new LacunaError({ about: "sparsity", expected: "less than 1", got: "2", hint: "Write 0.2." });
  expect(report(error)).toBe(1);
  expect(err).toBe("error: sparsity\n  expected: less than 1\n  got:      2\n  Write 0.2.\n");
  expect(out).toBe("");
});

test("anything else that is thrown is a defect: exit code 2, the place it came from, and a request to report it", () => {
  expect(report(new TypeError("x is undefined"))).toBe(2);
  expect(err).toContain("defect: TypeError: x is undefined");
  expect(err).toContain("console.test.ts");
  expect(err).toContain("please report it");
  err = "";
  expect(report("a string")).toBe(2);
  expect(err).toContain("defect: a string");
  expect(out).toBe("");
});

test("Ctrl-C gives 130, not an error", () => {
  const abort = new AbortController();
  abort.abort();
  expect(report(abort.signal.reason)).toBe(130);
  expect(err).toMatch(/^stopped/);
});

test("with --json only the result's value reaches stdout", () => {
  const console = makeConsole(true, new AbortController().signal);
  console.print("a line");
  console.write("a piece");
  console.progress("working", 0.5, 61);
  console.endProgress();
  console.result({ a: [1, 2] });
  expect(JSON.parse(out)).toEqual({ a: [1, 2] });
  expect(err).toBe("working: 50 %, 1 min 1 s left\n");
});

test("without --json the lines do, and the value does not", () => {
  const console = makeConsole(false, new AbortController().signal);
  console.print("a line");
  console.write("a piece");
  console.result({ a: 1 });
  expect(out).toBe("a line\na piece");
  expect(err).toBe("");
});

test("durations read like words", () => {
  const shown = [0, 0.4, 59.4, 59.6, 75, 3599.4, 3660, Number.NaN, Number.POSITIVE_INFINITY].map(duration);
  expect(shown).toEqual(["0 s", "0 s", "59 s", "1 min 0 s", "1 min 15 s", "59 min 59 s", "1 h 1 min", "?", "?"]);
});

test("the time left follows from the time taken and the share done", () => {
  let now = 5_000;
  const left = timeLeft(() => now);
  expect(left(0)).toBeNaN();
  now = 15_000;
  expect(left(0.25)).toBe(30);
  expect(left(1)).toBe(0);
});
