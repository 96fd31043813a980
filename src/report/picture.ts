/** A picture of the report: chart, legend, and what it shows in words. */
import { type Series, swatch } from "./plot.ts";

export interface LegendEntry {
  readonly name: string;
  /** SVG */
  readonly swatch: string;
}

export interface Picture {
  readonly id: string;
  readonly title: string;
  /** SVG; it is hidden from assistive readers, the figure around it carries `finding` as its label */
  readonly svg: string;
  readonly legend: readonly LegendEntry[];
  /** what it shows */
  readonly finding: string;
  /** how to read it */
  readonly note: string;
}

export const legendOf = (series: readonly Series[]): LegendEntry[] =>
  series.map((s) => ({ name: s.name, swatch: swatch(s) }));

export const unique = (names: readonly string[]): string[] => [...new Set(names)];

/** "a, b and c" */
export const list = (parts: readonly string[]): string =>
  parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}`;
