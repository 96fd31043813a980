/**
 * Patterns: which elements of a weight [R, C] (out x in) stand or fall together, as plain values with a text form.
 *
 * Text: `unstructured`, `2:4` (at most 2 of 4 consecutive inputs kept), `4x1` (blocks, out x in), `2:4@4x1` (2:4 shared
 * by 4 output rows), `row`, `column`; `channel`, `head` and `layer` name groups that span several weights.
 * A pattern meets a weight in `layoutOf`: every one becomes a grid of units, with a quota a run for N:M. Nothing is
 * scored or selected here.
 */
import { demand, LacunaError } from "../core/errors.ts";
import { nearest } from "./nearest.ts";

export type Pattern =
  | { readonly kind: "unstructured" }
  /** keep of each run of `of` consecutive inputs; the choice is shared by `rows` outputs (1: each row its own) */
  | { readonly kind: "nm"; readonly keep: number; readonly of: number; readonly rows: number }
  | { readonly kind: "block"; readonly rows: number; readonly columns: number }
  | { readonly kind: "row" | "column" | "channel" | "head" | "layer" };

export const unstructured: Pattern = { kind: "unstructured" };

/** N:M: at most `keep` of every `of` consecutive inputs; shared by `rows` outputs. */
export function nm(keep: number, of: number, rows = 1): Pattern {
  const good = [keep, of, rows].every((n) => Number.isInteger(n) && n >= 1) && keep < of && of <= 64;
  demand(good, () => ({
    about: `pattern ${keep}:${of}${rows === 1 ? "" : `@${rows}x1`}`,
    expected: "whole numbers with 1 <= N < M <= 64",
    got: `N = ${keep}, M = ${of}, rows = ${rows}`,
    hint: "N is the number kept of each M, as in 2:4.",
  }));
  return { kind: "nm", keep, of, rows };
}

/** Blocks of `rows` outputs by `columns` inputs. */
export function blocks(rows: number, columns: number): Pattern {
  demand(Number.isInteger(rows) && Number.isInteger(columns) && rows >= 1 && columns >= 1, () => ({
    about: `pattern ${rows}x${columns}`,
    expected: "two positive whole numbers, outputs x inputs",
    got: `${rows} and ${columns}`,
    hint: "4x1 is four outputs that share one input; 1x16 is sixteen inputs of one output.",
  }));
  return rows === 1 && columns === 1 ? unstructured : { kind: "block", rows, columns };
}

const WORDS = ["unstructured", "row", "column", "channel", "head", "layer"] as const;

/** Reads a pattern's text. Throws `LacunaError` for anything else. */
export function parsePattern(text: string): Pattern {
  const t = text.trim().toLowerCase().replaceAll("×", "x");
  for (const kind of WORDS) if (t === kind) return { kind };
  const run = /^(\d+):(\d+)(?:@(\d+)x1)?$/.exec(t);
  if (run) return nm(Number(run[1]), Number(run[2]), run[3] === undefined ? 1 : Number(run[3]));
  const block = /^(\d+)x(\d+)$/.exec(t);
  if (block) return blocks(Number(block[1]), Number(block[2]));
  const near = nearest(t, [...WORDS, "2:4", "4:8", "4x1", "1x16", "2:4@4x1"]);
  throw new LacunaError({
    about: "pattern",
    expected: "unstructured, N:M such as 2:4, a block such as 4x1, N:M@rx1 such as 2:4@4x1, row or column",
    got: JSON.stringify(text),
    hint: near ? `Did you mean ${near}?` : "N:M keeps N of each M inputs; a block is outputs x inputs.",
  });
}

/** The text that `parsePattern` reads back. */
export function printPattern(p: Pattern): string {
  switch (p.kind) {
    case "nm":
      return p.rows === 1 ? `${p.keep}:${p.of}` : `${p.keep}:${p.of}@${p.rows}x1`;
    case "block":
      return `${p.rows}x${p.columns}`;
    default:
      return p.kind;
  }
}

/** A weight that a pattern is laid over. */
export interface LayerShape {
  readonly name: string;
  /** outputs, R */
  readonly rows: number;
  /** inputs, C */
  readonly columns: number;
}

/** A weight cut into units: a grid of `height` x `width` tiles, ragged at the lower and right edge. */
export interface Layout {
  readonly height: number;
  readonly width: number;
  readonly unitRows: number;
  readonly unitColumns: number;
  /** unitRows * unitColumns */
  readonly units: number;
  /** N:M: `keep` of each `of` consecutive units of a unit row; `of` divides unitColumns */
  readonly quota?: { readonly keep: number; readonly of: number };
}

function tile(shape: LayerShape, height: number, width: number, quota?: Layout["quota"]): Layout {
  const unitRows = Math.ceil(shape.rows / height);
  const unitColumns = Math.ceil(shape.columns / width);
  return { height, width, unitRows, unitColumns, units: unitRows * unitColumns, ...(quota && { quota }) };
}

/**
 * The units of `pattern` on one weight. N:M must divide the input width; blocks may have a ragged tail.
 * Throws `LacunaError` naming layer, width and pattern.
 */
export function layoutOf(pattern: Pattern, shape: LayerShape): Layout {
  switch (pattern.kind) {
    case "unstructured":
      return tile(shape, 1, 1);
    case "block":
      return tile(shape, pattern.rows, pattern.columns);
    case "row":
      return tile(shape, 1, shape.columns);
    case "column":
      return tile(shape, shape.rows, 1);
    case "nm":
      demand(shape.columns % pattern.of === 0, () => ({
        about: `layer ${shape.name}`,
        expected: `an input width that ${pattern.of} divides, for pattern ${printPattern(pattern)}`,
        got: `${shape.columns} inputs`,
        hint: divisorHint(shape.columns),
      }));
      return tile(shape, pattern.rows, 1, { keep: pattern.keep, of: pattern.of });
    default:
      throw new LacunaError({
        about: `layer ${shape.name}`,
        expected: "a pattern inside one linear weight: unstructured, N:M, a block, row or column",
        got: `pattern ${pattern.kind}, which removes a group that spans several weights`,
        hint: `For one weight, "row" removes outputs and "column" removes inputs.`,
      });
  }
}

function divisorHint(width: number): string {
  const fits = [8, 4, 2].find((m) => width % m === 0);
  const block = "a block pattern such as 4x1";
  return `Use ${fits ? `${fits / 2}:${fits}, ` : ""}${block} or unstructured, or leave the layer out with --skip.`;
}

/** Sparsity that the pattern itself fixes (2:4: 0.5), or undefined where it is free. */
export function fixedSparsity(pattern: Pattern): number | undefined {
  return pattern.kind === "nm" ? 1 - pattern.keep / pattern.of : undefined;
}

/** Throws unless 0 <= sparsity < 1. */
export function checkSparsity(sparsity: number, about = "sparsity"): number {
  demand(sparsity >= 0 && sparsity < 1, () => ({
    about,
    expected: "a fraction of zeros in [0, 1), such as 0.5",
    got: String(sparsity),
    hint: sparsity > 1 && sparsity < 100 ? `For ${sparsity} %, write ${sparsity / 100}.` : "1 would remove everything.",
  }));
  return sparsity;
}

/** The sparsity to use: the asked one, or the pattern's own; both given must agree within 1e-6. */
export function settleSparsity(pattern: Pattern, asked: number | undefined): number {
  const fixed = fixedSparsity(pattern);
  if (asked !== undefined) checkSparsity(asked);
  if (fixed === undefined) {
    demand(asked !== undefined, () => ({
      about: "sparsity",
      expected: `a fraction of zeros in [0, 1) for pattern ${printPattern(pattern)}`,
      got: "none",
      hint: "Only N:M patterns fix it themselves.",
    }));
    return asked;
  }
  demand(asked === undefined || Math.abs(asked - fixed) < 1e-6, () => ({
    about: "sparsity",
    expected: `${fixed}, which pattern ${printPattern(pattern)} fixes`,
    got: String(asked),
    hint: "Leave the sparsity out, or choose another pattern.",
  }));
  return fixed;
}
