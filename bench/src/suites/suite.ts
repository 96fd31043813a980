/** What a suite is: a name, what it shows, the peers it needs, and a run that hands back its outcome. */
import type { Outcome } from "../outcome.ts";

export interface SuiteOptions {
  /** minutes instead of many: smaller inputs, fewer rounds; never recorded */
  readonly quick: boolean;
  /** numbers of threads to run Lacuna with, ascending */
  readonly threads: readonly number[];
  /** model folders, the dense one first; only `generate` reads it */
  readonly models: readonly string[];
  /** says what is going on, for a person who waits */
  readonly say: (text: string) => void;
}

export interface Suite {
  readonly name: string;
  readonly shows: string;
  /** npm names, whose versions go into the record */
  readonly peers: readonly string[];
  /** everything in it has one thread: it runs on one core (`pin.ts`) */
  readonly oneCore?: boolean;
  run(options: SuiteOptions): Promise<Outcome>;
}
