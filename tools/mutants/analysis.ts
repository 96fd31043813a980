/**
 * What became of the mutants that no trial and no test noticed, one by one. Keyed by file, before and after, so that an
 * entry stays right when lines move; an entry whose mutant is drawn no more does no harm.
 */
export interface Analysis {
  readonly file: string;
  readonly before: string;
  readonly after: string;
  /** `equivalent`: no caller can see it. `accepted`: it can be seen, and why nothing looks. */
  readonly verdict: "equivalent" | "accepted";
  readonly why: string;
}

export const ANALYSES: readonly Analysis[] = [];
