/**
 * The one error a user sees: what was expected, what came, what to do next.
 *
 * Anything else that is thrown is a defect of ours; the command line tells the two apart by this class.
 */

export interface Complaint {
  /** the file, tensor, option or value it is about */
  readonly about: string;
  readonly expected: string;
  readonly got: string;
  /** what the reader can do */
  readonly hint: string;
}

export class LacunaError extends Error {
  readonly complaint: Complaint;

  constructor(complaint: Complaint, options?: ErrorOptions) {
    const { about, expected, got, hint } = complaint;
    super(`${about}: expected ${expected}, got ${got}. ${hint}`, options);
    this.name = "LacunaError";
    this.complaint = complaint;
  }
}

/** Throws a `LacunaError` unless `condition` holds. */
export function demand(condition: unknown, complaint: () => Complaint): asserts condition {
  if (!condition) throw new LacunaError(complaint());
}
