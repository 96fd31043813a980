/**
 * A strict JSON reader (RFC 8259) for files that come from strangers.
 *
 * It differs from `JSON.parse` in that duplicate keys and deep nesting are refused, and that each mistake becomes a
 * `LacunaError` with its place. A key `__proto__` becomes an ordinary own property. Numbers are doubles.
 */

import { refuse, show } from "./refuse.ts";

export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;
export interface JsonObject {
  [key: string]: JsonValue;
}

const maxDepth = 64;
const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Decodes UTF-8; bytes that are not UTF-8 are an error. `where` names the file. */
export function decodeText(bytes: Uint8Array, where: string): string {
  try {
    // a copy, because TextDecoder refuses views of shared memory in browsers
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.slice());
  } catch (cause) {
    refuse(where, "UTF-8 text", "bytes that are not UTF-8", "The file is damaged or not what its name says.", cause);
  }
}

/** Parses `text`; throws a `LacunaError` about `where` if it is not JSON or repeats a key. */
export function parseJson(text: string, where: string): JsonValue {
  let at = 0;

  const fail = (expected: string): never =>
    refuse(
      where,
      expected,
      at < text.length ? `${show(text.slice(at, at + 20))} at character ${at}` : `the end of the text`,
      "The file is damaged or was cut short; fetch or write it again.",
    );

  const space = () => {
    for (;;) {
      const code = text.charCodeAt(at);
      if (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) at++;
      else return;
    }
  };

  const string = (): string => {
    const start = at++;
    let plain = true;
    for (; ; at++) {
      const code = text.charCodeAt(at);
      if (code === 0x22) break;
      if (!(code >= 0x20)) fail("a JSON string that is closed and has no control characters");
      if (code === 0x5c) {
        plain = false;
        at++;
      }
    }
    at++;
    if (plain) return text.slice(start + 1, at - 1);
    try {
      return JSON.parse(text.slice(start, at)) as string;
    } catch {
      at = start;
      return fail("a JSON string");
    }
  };

  const word = <T extends JsonValue>(spelled: string, value: T): T => {
    if (!text.startsWith(spelled, at)) fail("a JSON value");
    at += spelled.length;
    return value;
  };

  const array = (depth: number): JsonValue[] => {
    at++;
    const out: JsonValue[] = [];
    space();
    if (text[at] === "]") {
      at++;
      return out;
    }
    for (;;) {
      out.push(value(depth + 1));
      space();
      const mark = text[at];
      if (mark !== "," && mark !== "]") fail('"," or "]"');
      at++;
      if (mark === "]") return out;
    }
  };

  const object = (depth: number): JsonObject => {
    at++;
    const out: JsonObject = {};
    space();
    if (text[at] === "}") {
      at++;
      return out;
    }
    for (;;) {
      space();
      if (text[at] !== '"') fail("a key in double quotes");
      const key = string();
      if (Object.hasOwn(out, key)) {
        refuse(where, "each key once", `the key ${show(key)} twice`, "Fetch the file again or mend it by hand.");
      }
      space();
      if (text[at] !== ":") fail('":"');
      at++;
      const entry = value(depth + 1);
      if (key === "__proto__") {
        Object.defineProperty(out, key, { value: entry, enumerable: true, configurable: true, writable: true });
      } else {
        out[key] = entry;
      }
      space();
      const mark = text[at];
      if (mark !== "," && mark !== "}") fail('"," or "}"');
      at++;
      if (mark === "}") return out;
    }
  };

  const value = (depth: number): JsonValue => {
    if (depth > maxDepth) fail(`at most ${maxDepth} levels of nesting`);
    space();
    switch (text[at]) {
      case "{":
        return object(depth);
      case "[":
        return array(depth);
      case '"':
        return string();
      case "t":
        return word("true", true);
      case "f":
        return word("false", false);
      case "n":
        return word("null", null);
      default: {
        numberPattern.lastIndex = at;
        const match = numberPattern.exec(text);
        if (!match) return fail("JSON");
        at = numberPattern.lastIndex;
        return Number(match[0]);
      }
    }
  };

  const out = value(0);
  space();
  if (at < text.length) fail("nothing after the JSON value");
  return out;
}

/** Parses `text` as a JSON object. */
export function parseJsonObject(text: string, where: string): JsonObject {
  const value = parseJson(text, where);
  if (!isJsonObject(value)) refuse(where, "a JSON object", show(value), "The file is not what its name says.");
  return value;
}
