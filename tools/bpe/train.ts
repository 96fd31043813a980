/**
 * Byte-level byte-pair encoding: learns the merges (Sennrich et al. 2016; bytes and word pattern as in GPT-2).
 *
 * Words are the matches of GPT-2's pattern, written in its 256 printable byte symbols. Every step joins the most
 * frequent neighbouring pair; ties go to the pair with the lower ids, left first, so the result depends on the text
 * alone. No minimum frequency, no limit of the alphabet.
 */

export const WORD_PATTERN = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable symbol of each byte: itself where printable, else 256, 257, ... in order of the byte. */
export function byteSymbols(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    return String.fromCharCode(printable ? byte : next++);
  });
}

export interface BytePairVocabulary {
  /** symbol of each id; the special tokens come first, then the 256 bytes, then one symbol per merge */
  readonly symbols: readonly string[];
  /** the pairs of symbols in the order they were joined */
  readonly merges: readonly (readonly [string, string])[];
}

interface Word {
  ids: number[];
  readonly count: number;
}

function countWords(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(WORD_PATTERN)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

/** Learns a vocabulary of exactly `size` symbols, `special` ones included. */
export function trainBytePairs(texts: Iterable<string>, size: number, special: readonly string[]): BytePairVocabulary {
  const bytes = byteSymbols();
  // ids of bytes follow the order of their symbols, as Hugging Face's trainer has it
  const symbols = [...special, ...bytes.slice().sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0))];
  const idOfSymbol = new Map(symbols.map((symbol, id) => [symbol, id]));
  const idOfByte = bytes.map((symbol) => idOfSymbol.get(symbol)!);
  const encoder = new TextEncoder();
  const words: Word[] = Array.from(countWords(texts), ([word, count]) => ({
    ids: Array.from(encoder.encode(word), (byte) => idOfByte[byte]!),
    count,
  }));

  const counts = new Map<number, number>();
  const places = new Map<number, Set<number>>();
  const add = (left: number, right: number, count: number, place: number) => {
    const pair = left * size + right;
    counts.set(pair, (counts.get(pair) ?? 0) + count);
    if (count <= 0) return;
    const known = places.get(pair);
    if (known) known.add(place);
    else places.set(pair, new Set([place]));
  };
  const addWord = (word: Word, place: number, sign: number) => {
    for (let i = 1; i < word.ids.length; i++) add(word.ids[i - 1]!, word.ids[i]!, sign * word.count, place);
  };
  words.forEach((word, place) => {
    addWord(word, place, 1);
  });

  const merges: [string, string][] = [];
  while (symbols.length < size) {
    let best = -1;
    let most = 0;
    for (const [pair, count] of counts) {
      if (count > most || (count === most && count > 0 && pair < best)) [best, most] = [pair, count];
    }
    if (best < 0) throw new Error(`the text has pairs for ${symbols.length} symbols only, not for ${size}`);
    const left = Math.floor(best / size);
    const right = best % size;
    const joined = symbols[left]! + symbols[right]!;
    // two different pairs can spell the same symbol; the vocabulary then already has it and only the merge is new
    const id = idOfSymbol.get(joined) ?? symbols.push(joined) - 1;
    idOfSymbol.set(joined, id);
    merges.push([symbols[left]!, symbols[right]!]);
    for (const place of places.get(best)!) {
      const word = words[place]!;
      addWord(word, place, -1);
      const ids: number[] = [];
      for (let i = 0; i < word.ids.length; i++) {
        if (word.ids[i] === left && word.ids[i + 1] === right) {
          ids.push(id);
          i++;
        } else ids.push(word.ids[i]!);
      }
      word.ids = ids;
      addWord(word, place, 1);
    }
    counts.delete(best);
    places.delete(best);
  }
  return { symbols, merges };
}
