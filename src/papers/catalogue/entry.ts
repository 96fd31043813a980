/** What the catalogue says of one paper. What is not known stays null. */

/** Where the zeros are. */
export type Site = "weights" | "activations" | "attention" | "updates" | "structure";
export const SITES: readonly Site[] = ["weights", "activations", "attention", "updates", "structure"];

/** When they are made. */
export type Stage = "before training" | "during training" | "fine-tuning" | "after training" | "inference" | "analysis";
export const STAGES: readonly Stage[] = [
  "before training",
  "during training",
  "fine-tuning",
  "after training",
  "inference",
  "analysis",
];

export interface CatalogueEntry {
  /** 1 to 59; what `lacuna paper` and `lacuna reproduce` take */
  readonly paper: number;
  /** with the number, the name of the experiment's file and of the record */
  readonly slug: string;
  /** name of the method, or of the study */
  readonly method: string;
  readonly title: string;
  readonly authors: string;
  readonly venue: string | null;
  /** of publication, else of the preprint */
  readonly year: number | null;
  readonly arxiv: string | null;
  /** address of the authors' code */
  readonly code: string | null;
  /** the main one first */
  readonly sites: readonly Site[];
  readonly stages: readonly Stage[];
  /** which zeros are allowed, in words */
  readonly pattern: string | null;
  /** the idea in one or two sentences of our own */
  readonly idea: string;
  /** what a reader should know of this entry */
  readonly note?: string;
}
