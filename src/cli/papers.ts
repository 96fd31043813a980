/** How the commands about papers take numbers and show claims and records. */
import { InvalidArgumentError } from "commander";
import type { Claim, PaperRecord } from "../papers/contract.ts";
import { boundText, kindText, madeText, shownText, valueText } from "../papers/words.ts";
import { table } from "./format.ts";

/** Parser of a paper's number. */
export function paperArgument(text: string): number {
  if (!/^0*[1-9]\d?$/.test(text)) throw new InvalidArgumentError("Expected a paper's number, such as 36.");
  return Number(text);
}

/** Claims before they were tried. */
export const claimLines = (claims: readonly Claim[]): string[] =>
  table(
    ["claim", "kind", "bound", "says"],
    claims.map((c) => [c.id, kindText(c), boundText(c), c.text]),
  );

/** A record: its verdict, each claim with its figures, and how it was made. */
export function recordLines(record: PaperRecord): string[] {
  if (record.skipped !== undefined) return [`skipped: ${record.skipped}`];
  const verdict = record.quick
    ? "a smoke run: the figures mean nothing, and there is no verdict"
    : `verdict: ${record.verdict}${record.split === "validation" ? " (on validation data, no record)" : ""}`;
  const rows = record.claims.map((c) => [c.id, kindText(c), valueText(c), boundText(c), shownText(c), c.text]);
  return [verdict, ...table(["claim", "kind", "value", "bound", "", "says"], rows), madeText(record)];
}
