/**
 * What a command of `lacuna` is. Each lives in a file of its own under commands/ and is thin: parse, call, print.
 */
import type { Command as Program } from "commander";
import { InvalidArgumentError } from "commander";
import { LacunaError } from "../core/errors.ts";
import { checkSparsity } from "../sparsity/pattern.ts";
import type { Console } from "./console.ts";

export interface Command {
  /** adds the command to the program; `run` wraps an action with console, signals and error handling */
  register(program: Program, run: Runner): void;
}

/** Gives an action its console and turns what it throws into an exit code. */
export type Runner = <O extends { json?: boolean }>(
  options: O,
  action: (console: Console) => Promise<void>,
) => Promise<void>;

/** Parser of a whole-number option within bounds. */
export const wholeNumber =
  (low: number, high = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < low || value > high) {
      throw new InvalidArgumentError(
        `Expected a whole number from ${low}${high === Number.MAX_SAFE_INTEGER ? " up" : ` to ${high}`}.`,
      );
    }
    return value;
  };

/** Parser of a number option within bounds. */
export const realNumber =
  (low: number, high: number) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === "" || !(value >= low && value <= high)) {
      throw new InvalidArgumentError(`Expected a number from ${low} to ${high}.`);
    }
    return value;
  };

/** Parser of a share of zeros in [0, 1). */
export const share =
  (about: string) =>
  (text: string): number => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (Number.isNaN(value) && text !== "NaN") {
      const expected = "a fraction of zeros in [0, 1), such as 0.5";
      throw new LacunaError({ about, expected, got: JSON.stringify(text), hint: "For 50 %, write 0.5." });
    }
    return checkSparsity(value, about);
  };

/** Parser of a comma-separated list. */
export const list = (text: string): string[] =>
  text
    .split(",")
    .map((s) => s.trim())
    .filter((s) => s !== "");
