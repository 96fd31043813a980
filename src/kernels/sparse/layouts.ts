/**
 * The layouts of sparse weights that have kernels. This list drives the streams, the kernels and their trials, the choice
 * of a layer's form, the forecast and the benches; a layout is nowhere named a second time.
 *
 * An entry of a stream is a block of `rows` outputs x `columns` inputs that are stored together; `csr` is the 1x1 block.
 * Names are the pattern's text as far as a name allows: `block4x1` holds `4x1`, `nm4x1` holds N:M shared by four outputs
 * (`2:4@4x1`), `nm1x1` N:M that each output has for itself (`2:4`).
 */

export const LAYOUT_NAMES = ["csr", "block2x1", "block4x1", "block1x16", "nm1x1", "nm4x1"] as const;
export type LayoutName = (typeof LAYOUT_NAMES)[number];

export interface Layout {
  readonly name: LayoutName;
  /** outputs of an entry */
  readonly rows: 1 | 2 | 4;
  /** consecutive inputs of an entry */
  readonly columns: 1 | 16;
  /** where an entry's column stands: a 16-bit number each, or a signed byte relative to a step that moves evenly (N:M) */
  readonly index: "columns" | "steps";
  /** text of the pattern that fills it best; N:M stands for any */
  readonly pattern: string;
  readonly title: string;
  /** bf16 values: in order, or each eight interleaved as [0 4 1 5 2 6 3 7], which widens with one operation a vector */
  readonly halves: "plain" | "pairs";
}

const layout = (l: Layout): Layout => l;

export const LAYOUTS: Readonly<Record<LayoutName, Layout>> = {
  csr: layout({
    name: "csr",
    rows: 1,
    columns: 1,
    index: "columns",
    pattern: "unstructured",
    title: "CSR",
    halves: "plain",
  }),
  block2x1: layout({
    name: "block2x1",
    rows: 2,
    columns: 1,
    index: "columns",
    pattern: "2x1",
    title: "blocks of two outputs",
    halves: "plain",
  }),
  block4x1: layout({
    name: "block4x1",
    rows: 4,
    columns: 1,
    index: "columns",
    pattern: "4x1",
    title: "blocks of four outputs",
    halves: "pairs",
  }),
  block1x16: layout({
    name: "block1x16",
    rows: 1,
    columns: 16,
    index: "columns",
    pattern: "1x16",
    title: "blocks of sixteen inputs",
    halves: "pairs",
  }),
  nm1x1: layout({
    name: "nm1x1",
    rows: 1,
    columns: 1,
    index: "steps",
    pattern: "N:M",
    title: "N:M of each output",
    halves: "plain",
  }),
  nm4x1: layout({
    name: "nm4x1",
    rows: 4,
    columns: 1,
    index: "steps",
    pattern: "N:M@4x1",
    title: "N:M shared by four outputs",
    halves: "pairs",
  }),
};

export const layouts: readonly Layout[] = LAYOUT_NAMES.map((name) => LAYOUTS[name]);

/** Values of an entry. */
export const entrySize = (l: Pick<Layout, "rows" | "columns">): number => l.rows * l.columns;
