/** The command line: what is understood and what is a mistake. */
import { expect, test } from "vitest";
import { LacunaError } from "../../src/core/errors.ts";
import { parseCall } from "./call.ts";
import { MATRIX, SUITES } from "./suites/index.ts";

test("suites and options", () => {
  expect(parseCall([])).toBe("help");
  expect(parseCall(["train", "--help"])).toBe("help");
  const call = parseCall(["train", "gemm", "--record", "--threads", "1,4", "--models", "a,b"]);
  expect(call).toMatchObject({ quick: false, json: false, record: true, threads: [1, 4], models: ["a", "b"] });
  expect(call !== "help" && call.suites.map((s) => s.name)).toEqual(["train", "gemm"]);
  const all = parseCall(["all", "--quick", "--json"]);
  expect(all !== "help" && all.suites.map((s) => s.name)).toEqual(SUITES.map((s) => s.name));
  const matrix = parseCall(["--quick"]);
  expect(matrix !== "help" && matrix.suites).toEqual(MATRIX);
  const more = parseCall(["matrix", "ladders", "gemm", "--record", "--resume"]);
  expect(more !== "help" && more.suites.map((s) => s.name)).toEqual([...MATRIX.map((s) => s.name), "ladders"]);
});

test.each([
  [["gmm"], "suite"],
  [["train", "--fast"], "bench"],
  [["train", "--threads", "2,1"], "--threads"],
  [["train", "--threads", "0"], "--threads"],
  [["train", "--threads", "two"], "--threads"],
  [["train", "--quick", "--record"], "--record"],
  [["train", "--resume"], "--resume"],
])("mistake: %j", (args, about) => {
  let caught: unknown;
  try {
    parseCall(args);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(LacunaError);
  expect((caught as LacunaError).complaint.about).toBe(about);
});
