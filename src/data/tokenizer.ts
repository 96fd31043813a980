/**
 * A thin wrapper over `@huggingface/tokenizers`: text to token ids and back, with the bytes behind every token.
 *
 * The bytes (GPT-2's byte symbols, or SentencePiece pieces with byte fallback) give decoding that never breaks a UTF-8
 * character while it streams, and bits per byte. Reads a Hugging Face folder; does not download and does not train.
 */
import type { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { LacunaError } from "../core/errors.ts";

/** The JSON values of tokenizer.json and tokenizer_config.json, for where there is no file system. */
export interface TokenizerJson {
  readonly tokenizer: object;
  readonly config?: object | undefined;
}

export interface EncodedText {
  /** token ids, with those the post-processor adds */
  readonly ids: Int32Array;
  /** UTF-8 bytes of the text that each token stands for; 0 for a token that the post-processor added */
  readonly bytes: Int32Array;
}

/** Turns tokens into text as they come; holds back the bytes of an unfinished character. */
export interface StreamingDecoder {
  /** text that is complete after this token; may be empty */
  push(id: number): string;
  /** the rest; an unfinished character becomes U+FFFD */
  end(): string;
}

export interface Tokenizer {
  /** one more than the largest id */
  readonly vocabSize: number;
  readonly bos: number | null;
  readonly eos: number | null;
  /** ids of `text`; `special` (default true) applies the post-processor, as prepending the bos token */
  encode(text: string, special?: boolean): Int32Array;
  /** `encode` with the bytes of each token */
  encodeFile(text: string): EncodedText;
  /** text of `ids`; special tokens are left out unless `special` */
  decode(ids: ArrayLike<number>, special?: boolean): string;
  streamingDecoder(): StreamingDecoder;
  /** UTF-8 bytes that a token stands for in running text */
  tokenBytes(id: number): Uint8Array;
  /** id of a token's text, as `<|endoftext|>` */
  idOf(token: string): number | null;
  isSpecial(id: number): boolean;
}

type Json = { readonly [key: string]: unknown };
const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** The parts of a pre-tokenizer, decoder or normalizer: a `Sequence` is opened. */
function parts(value: unknown): Json[] {
  if (!isJson(value)) return [];
  const inner = value.decoders ?? value.pretokenizers ?? value.normalizers;
  return Array.isArray(inner) ? inner.flatMap(parts) : [value];
}

/** GPT-2's printable symbols of the 256 bytes, inverted: character code to byte. */
function bytesOfSymbols(): Map<number, number> {
  const table = new Map<number, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    table.set(printable ? byte : next++, byte);
  }
  return table;
}

/** Gives the bytes of a vocabulary entry, by the kind of decoder the tokenizer declares. */
function byteReader(tokenizer: Json): (token: string) => Uint8Array {
  const encoder = new TextEncoder();
  const decoders = parts(tokenizer.decoder);
  if (decoders.some((decoder) => decoder.type === "ByteLevel")) {
    const table = bytesOfSymbols();
    return (token) => Uint8Array.from(token, (symbol) => table.get(symbol.charCodeAt(0)) ?? 63);
  }
  return (token) => {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : encoder.encode(token.replaceAll("\u2581", " "));
  };
}

/** SentencePiece tokenizers put a space before the first word, which decoding takes away again. */
function dropsFirstSpace(tokenizer: Json): boolean {
  return parts(tokenizer.decoder).some(
    (decoder) =>
      (decoder.type === "Strip" && decoder.content === " " && Number(decoder.start) > 0) ||
      (decoder.type === "Metaspace" && (decoder.prepend_scheme ?? "always") !== "never"),
  );
}

function complain(about: string, expected: string, got: string, hint: string, cause?: unknown): LacunaError {
  return new LacunaError({ about, expected, got, hint }, cause === undefined ? undefined : { cause });
}

const reason = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

async function readJson(folder: string, name: string, optional: boolean): Promise<Json | undefined> {
  const { readFile } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const path = join(folder, name);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if (optional && (cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw complain(
      path,
      "a Hugging Face tokenizer beside the model",
      reason(cause),
      "Copy tokenizer.json of the model into the folder.",
      cause,
    );
  }
  try {
    const value: unknown = JSON.parse(text);
    if (isJson(value)) return value;
    throw new Error("JSON that is not an object");
  } catch (cause) {
    throw complain(path, "a JSON object", reason(cause), "Download the file again.", cause);
  }
}

/** The `bos_token` and the like of tokenizer_config.json, which is a string or an object with `content`. */
function namedToken(config: Json, key: string): string | null {
  const value = config[key];
  if (typeof value === "string") return value;
  return isJson(value) && typeof value.content === "string" ? value.content : null;
}

class WrappedTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly #inner: HuggingFaceTokenizer;
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #special = new Set<number>();
  readonly #dropsFirstSpace: boolean;

  constructor(Library: typeof HuggingFaceTokenizer, json: Json, config: Json, about: string) {
    try {
      // absent parts and cleaning of spaces: the defaults of Hugging Face's Rust library, which changes no text
      const parts = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };
      this.#inner = new Library({ ...parts, ...json }, { clean_up_tokenization_spaces: false, ...config });
    } catch (cause) {
      throw complain(
        about,
        "a tokenizer.json that @huggingface/tokenizers reads",
        reason(cause),
        "Save the tokenizer again with the transformers library (a fast tokenizer).",
        cause,
      );
    }
    const bytesOf = byteReader(json);
    const added = this.#inner.get_added_tokens_decoder();
    const encoder = new TextEncoder();
    let size = 0;
    for (const [token, id] of this.#inner.get_vocab()) {
      if (typeof token !== "string") continue; // a hole in the vocabulary
      size = Math.max(size, id + 1);
      this.#bytes[id] = added.has(id) ? encoder.encode(token) : bytesOf(token);
    }
    for (const [id, token] of added) if (token.special) this.#special.add(id);
    this.vocabSize = size;
    const named = (key: string) => {
      const token = namedToken(config, key);
      return token === null ? null : this.idOf(token);
    };
    this.bos = named("bos_token");
    this.eos = named("eos_token");
    this.#dropsFirstSpace = dropsFirstSpace(json);
  }

  encode(text: string, special = true): Int32Array {
    const { ids } = this.#inner.encode(text, { add_special_tokens: special });
    const at = ids.indexOf(undefined as unknown as number);
    if (at >= 0) {
      throw complain(
        "text",
        "only characters that the tokenizer knows",
        `a piece without a token at token ${at}`,
        "Use a tokenizer with byte fallback or an unknown token.",
      );
    }
    return Int32Array.from(ids);
  }

  encodeFile(text: string): EncodedText {
    const ids = this.encode(text);
    const plain = this.encode(text, false);
    const bytes = Int32Array.from(ids, (id) => this.tokenBytes(id).length);
    // post-processors only add tokens: those before and after the plain ids stand for no text
    const added = ids.length - plain.length;
    let before = 0;
    while (before < added && this.#special.has(ids[before]!)) before++;
    while (before > 0 && !plain.every((id, i) => id === ids[before + i])) before--;
    bytes.fill(0, 0, before);
    bytes.fill(0, before + plain.length);
    if (this.#dropsFirstSpace && plain.length > 0 && !text.startsWith(" ") && this.tokenBytes(plain[0]!)[0] === 32) {
      bytes[before]!--;
    }
    return { ids, bytes };
  }

  decode(ids: ArrayLike<number>, special = false): string {
    const decoder = this.#decoder(special);
    let text = "";
    for (let i = 0; i < ids.length; i++) text += decoder.push(ids[i]!);
    return text + decoder.end();
  }

  streamingDecoder(): StreamingDecoder {
    return this.#decoder(false);
  }

  #decoder(special: boolean): StreamingDecoder {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
    let first = this.#dropsFirstSpace;
    return {
      push: (id) => {
        const bytes = this.tokenBytes(id);
        if (this.#special.has(id)) return special ? utf8.decode(bytes, { stream: true }) : "";
        const space = first && bytes[0] === 32 ? 1 : 0;
        first = false;
        return utf8.decode(bytes.subarray(space), { stream: true });
      },
      end: () => utf8.decode(),
    };
  }

  tokenBytes(id: number): Uint8Array {
    const bytes = this.#bytes[id];
    if (!bytes) {
      throw complain(
        "token id",
        `an id of the tokenizer's vocabulary, below ${this.vocabSize}`,
        String(id),
        "Use the tokenizer that belongs to the model.",
      );
    }
    return bytes;
  }

  idOf(token: string): number | null {
    return this.#inner.token_to_id(token) ?? null;
  }

  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }
}

/** The tokenizer of a Hugging Face folder (Node), or of JSON values that are already read. */
export async function loadTokenizer(source: string | TokenizerJson): Promise<Tokenizer> {
  // Loaded with the first tokenizer: whoever runs a model on token ids does without.
  const { Tokenizer: Library } = await import("@huggingface/tokenizers");
  if (typeof source !== "string") {
    const config = isJson(source.config) ? source.config : {};
    return new WrappedTokenizer(Library, source.tokenizer as Json, config, "tokenizer");
  }
  const json = await readJson(source, "tokenizer.json", false);
  const config = (await readJson(source, "tokenizer_config.json", true)) ?? {};
  const special = (await readJson(source, "special_tokens_map.json", true)) ?? {};
  return new WrappedTokenizer(Library, json!, { ...special, ...config }, `${source}/tokenizer.json`);
}

/** Throws unless every id is below `vocabulary`, the model's number of embeddings. */
export function checkTokenIds(ids: ArrayLike<number>, vocabulary: number, about = "tokens"): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (!(id >= 0 && id < vocabulary)) {
      throw complain(
        `${about}: token ${i}`,
        `an id in [0, ${vocabulary}), the model's vocabulary`,
        String(id),
        "Use the tokenizer that belongs to the model.",
      );
    }
  }
}
