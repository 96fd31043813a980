/**
 * TypeScript text without what does not matter: comments, white space, trailing commas. Two files with the same code
 * text do the same; reformatting or explaining a file leaves its code text as it is. No parser: strings, templates and
 * regular expressions are recognised well enough not to be mistaken for comments.
 */

const WORD = /[\w$\u0080-\uffff]/;
/** After these words a slash begins a regular expression. */
const BEFORE_REGEX = /(?:^|[^\w$])(?:return|typeof|case|in|of|do|else|void|delete|throw|new|instanceof|yield|await)$/;

/** End of the quoted text that begins at `at`; a quote that is never closed ends with its line. */
function quotedEnd(text: string, at: number): number {
  const quote = text[at];
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === quote) return i + 1;
    else if (text[i] === "\n") return i;
  }
  return text.length;
}

/** End of the template that begins at `at`. */
function templateEnd(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "`") return i + 1;
    else if (text[i] === "$" && text[i + 1] === "{") i = placeholderEnd(text, i + 2) - 1;
  }
  return text.length;
}

/** End of the code between `${` and `}`, the brace included. */
function placeholderEnd(text: string, at: number): number {
  let depth = 1;
  for (let i = at; i < text.length; ) {
    const c = text[i];
    if (c === "`") i = templateEnd(text, i);
    else if (c === '"' || c === "'") i = quotedEnd(text, i);
    else {
      if (c === "{") depth++;
      if (c === "}" && --depth === 0) return i + 1;
      i++;
    }
  }
  return text.length;
}

function regexEnd(text: string, at: number): number {
  let inClass = false;
  for (let i = at + 1; i < text.length; i++) {
    const c = text[i];
    if (c === "\\") i++;
    else if (c === "\n") return i;
    else if (c === "[") inClass = true;
    else if (c === "]") inClass = false;
    else if (c === "/" && !inClass) return i + 1;
  }
  return text.length;
}

/** End of the comment that begins at `at`, or `at` when none does. */
function commentEnd(text: string, at: number): number {
  if (text.startsWith("//", at)) {
    const end = text.indexOf("\n", at);
    return end < 0 ? text.length : end;
  }
  if (text.startsWith("/*", at)) {
    const end = text.indexOf("*/", at + 2);
    return end < 0 ? text.length : end + 2;
  }
  return at;
}

/** End of the string, template or regular expression that begins at `at`, or `at`; `before`: the last of the code so far. */
function literalEnd(text: string, at: number, before: string): number {
  const c = text[at];
  if (c === '"' || c === "'") return quotedEnd(text, at);
  if (c === "`") return templateEnd(text, at);
  if (c !== "/") return at;
  const operand = /[\w$)\]}"'`]!?$/.test(before) && !BEFORE_REGEX.test(before);
  return operand ? at : regexEnd(text, at);
}

/** The code of a TypeScript or JavaScript file. */
export function codeOf(text: string): string {
  const parts: string[] = [];
  // as many characters as the longest word before a regular expression, and one more
  let before = "";
  const put = (part: string): void => {
    parts.push(part);
    before = (before + part).slice(-11);
  };
  let spaced = false;
  for (let i = 0; i < text.length; ) {
    const comment = commentEnd(text, i);
    if (comment > i || /\s/.test(text[i])) {
      spaced = true;
      i = Math.max(comment, i + 1);
      continue;
    }
    const c = text[i];
    const last = before.slice(-1);
    // a space is kept only where two words, or two signs such as "+ +", would grow together
    if (spaced && ((WORD.test(c) && WORD.test(last)) || (c === last && "+-".includes(c)))) put(" ");
    spaced = false;
    const end = Math.max(literalEnd(text, i, before), i);
    if (last === "," && ")]}".includes(c)) parts.pop();
    put(end > i ? text.slice(i, end) : c);
    i = Math.max(end, i + 1);
  }
  return parts.join("");
}
