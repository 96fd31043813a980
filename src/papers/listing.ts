/** The catalogue with what has become of each paper: whether it is implemented, and the verdict of its last record. */
import { type CatalogueEntry, catalogue, type Site, type Stage } from "./catalogue/index.ts";
import type { PaperRecord, Verdict } from "./contract.ts";
import { isImplemented } from "./load.ts";

export type Status = "implemented" | "planned";
export const STATUSES: readonly Status[] = ["implemented", "planned"];

export interface Listed extends CatalogueEntry {
  readonly status: Status;
  /** of the last record; null where there is none, or it was skipped */
  readonly verdict: Verdict | null;
}

export interface Filter {
  /** each must occur somewhere in the entry */
  readonly words?: readonly string[];
  readonly site?: Site;
  readonly stage?: Stage;
  readonly status?: Status;
}

function mentions(entry: CatalogueEntry, word: string): boolean {
  const { paper, slug, method, title, authors, venue, arxiv, pattern, idea, note, sites, stages } = entry;
  const text = [paper, slug, method, title, authors, venue, arxiv, pattern, idea, note, ...sites, ...stages].join("\n");
  return text.toLowerCase().includes(word.toLowerCase());
}

export function listing(records: ReadonlyMap<number, PaperRecord>, filter: Filter = {}): Listed[] {
  const { words = [], site, stage, status } = filter;
  return catalogue
    .map((entry) => ({
      ...entry,
      status: isImplemented(entry.paper) ? ("implemented" as const) : ("planned" as const),
      verdict: records.get(entry.paper)?.verdict ?? null,
    }))
    .filter((e) => !site || e.sites.includes(site))
    .filter((e) => !stage || e.stages.includes(stage))
    .filter((e) => !status || e.status === status)
    .filter((e) => words.every((word) => mentions(e, word)));
}
