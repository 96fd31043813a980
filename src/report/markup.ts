/**
 * HTML as values: a tagged template that escapes every string put into it, so that text from a record (prompts, samples,
 * labels, paths) can never become markup. Only strings and markup are taken; a number has to be formatted first, which
 * keeps NaN, null and undefined out of a page.
 */

/** Text that is HTML already. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Piece = string | Markup | readonly Piece[] | false;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** C0 and C1 controls but tab, line feed, carriage return: not allowed in HTML; shown as the replacement character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

export const escapeHtml = (text: string): string =>
  text.replace(CONTROLS, "\ufffd").replace(/[&<>"']/g, (c) => ENTITIES[c]);

function render(piece: Piece): string {
  if (piece === false) return "";
  if (piece instanceof Markup) return piece.text;
  if (typeof piece === "string") return escapeHtml(piece);
  return piece.map(render).join("");
}

export function html(parts: TemplateStringsArray, ...pieces: readonly Piece[]): Markup {
  return new Markup(parts.reduce((text, part, i) => text + render(pieces[i - 1]) + part));
}
