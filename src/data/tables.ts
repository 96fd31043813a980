/**
 * Tables of numbers with a class in the last column, comma-separated: UCI ISOLET and UCI optical digits. The splits are
 * drawn with equal shares of each class.
 */
import { demand, LacunaError } from "../core/errors.ts";
import { decodeText } from "../formats/json.ts";
import { type Examples, examples, type Splits, stratified } from "./examples.ts";
import { type DataFiles, readPlain } from "./files.ts";

export interface TableFormat {
  readonly name: string;
  /** columns before the class */
  readonly features: number;
  readonly classes: number;
  /** the label of class 0 */
  readonly firstLabel: number;
  /** the least and the greatest value of a feature */
  readonly range: readonly [number, number];
}

/** 617 numbers in [-1, 1] and the letter, 1 to 26. */
export const ISOLET: TableFormat = { name: "isolet", features: 617, classes: 26, firstLabel: 1, range: [-1, 1] };

/** 8 x 8 counts of 0 to 16 and the digit. */
export const DIGITS: TableFormat = { name: "digits", features: 64, classes: 10, firstLabel: 0, range: [0, 16] };

/** Reads lines of `features` numbers and a class; `where` names the file in errors. */
export function readTable(text: string, format: TableFormat, where: string): Examples {
  const { features, classes, firstLabel, range } = format;
  const lines = text.split(/\r?\n/);
  while (lines.length > 0 && lines.at(-1)!.trim() === "") lines.pop();
  demand(lines.length > 0, () => ({
    about: where,
    expected: `lines of ${features} numbers and a class`,
    got: "an empty file",
    hint: "Fetch the file again.",
  }));
  const x = new Float32Array(lines.length * features);
  const y = new Uint8Array(lines.length);
  lines.forEach((line, row) => {
    const wrong = (expected: string, got: string): never => {
      throw new LacunaError({ about: `${where}, line ${row + 1}`, expected, got, hint: "Fetch the file again." });
    };
    const cells = line.split(",");
    if (cells.length !== features + 1) wrong(`${features} numbers and a class`, `${cells.length} cells`);
    for (let i = 0; i < features; i++) {
      const value = cells[i].trim() === "" ? Number.NaN : Number(cells[i]);
      if (!(value >= range[0] && value <= range[1]))
        wrong(`numbers from ${range[0]} to ${range[1]}`, JSON.stringify(cells[i]));
      x[row * features + i] = value;
    }
    const label = cells[features].trim() === "" ? Number.NaN : Number(cells[features]) - firstLabel;
    if (!(Number.isInteger(label) && label >= 0 && label < classes))
      wrong(`a class from ${firstLabel} to ${firstLabel + classes - 1}`, JSON.stringify(cells[features]));
    y[row] = label;
  });
  return examples({ name: format.name, shape: [features], classes, x, y });
}

export interface TableOptions {
  /** of the split; default 0 */
  readonly seed?: number;
  /** shares; default 0.2 each */
  readonly validation?: number;
  readonly test?: number;
}

/** The table of `file`, split with equal shares of each class. */
export async function tableSplits(
  files: DataFiles,
  file: string,
  format: TableFormat,
  options: TableOptions = {},
): Promise<Splits> {
  const where = `${files.where}/${file}`;
  const all = readTable(decodeText(await readPlain(files, file), where), format, where);
  const { seed = 0, validation = 0.2, test = 0.2 } = options;
  return stratified(all, { seed, validation, test });
}
