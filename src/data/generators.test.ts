import { describe, expect, it } from "vitest";
import { characterTokens, parallelStreams, toAscii } from "./characters.ts";
import { interactions, itemsOf, pairsOf, popularity, splitByUser, took, tripleStream } from "./interactions.ts";
import { encodeNumbers, NUMBER_WORDS, numberWordSplits, numberWords } from "./number-words.ts";
import { plantedFeatures } from "./planted.ts";

describe("number words", () => {
  it("says numbers in English", () => {
    const say = (n: number): string => numberWords(n).join(" ");
    expect(say(0)).toBe("zero");
    expect(say(13)).toBe("thirteen");
    expect(say(40)).toBe("forty");
    expect(say(21_007)).toBe("twenty one thousand seven");
    expect(say(100_000)).toBe("one hundred thousand");
    expect(say(900_115)).toBe("nine hundred thousand one hundred fifteen");
    expect(say(777_777)).toBe("seven hundred seventy seven thousand seven hundred seventy seven");
    expect(() => numberWords(1_000_000)).toThrow(/whole number from 0 to 999,999/);
    expect(() => numberWords(1.5)).toThrow(/got 1.5/);
  });

  it("can be read back: every number has words of its own", () => {
    const value = (words: readonly string[]): number => {
      let [total, part] = [0, 0];
      for (const w of words) {
        const i = NUMBER_WORDS.indexOf(w) - 3;
        if (w === "thousand") [total, part] = [part * 1000, 0];
        else if (w === "hundred") part *= 100;
        else part += i < 20 ? i : 10 * (i - 18);
      }
      return total + part;
    };
    for (let n = 0; n < 1_000_000; n += n < 2000 ? 1 : 997) expect(value(numberWords(n))).toBe(n);
    expect(NUMBER_WORDS).toHaveLength(33);
  });

  it("makes sequences for encoder and decoder", () => {
    const p = encodeNumbers([305, 999_999]);
    const words = (ids: Int32Array): string => Array.from(ids, (i) => (i < 0 ? "." : NUMBER_WORDS[i])).join(" ");
    expect([...p.source.subarray(0, 6)]).toEqual([4, 1, 6, 0, 0, 0]);
    expect([...p.sourceLengths]).toEqual([3, 6]);
    expect(words(p.inputs.subarray(0, 10))).toBe("<begin> three hundred five <pad> <pad> <pad> <pad> <pad> <pad>");
    expect(words(p.targets.subarray(0, 10))).toBe("three hundred five <end> . . . . . .");
    expect(words(p.targets.subarray(10))).toBe("nine hundred ninety nine thousand nine hundred ninety nine <end>");
  });

  it("shares no number between the sets", () => {
    const s = numberWordSplits({ train: 300, validation: 50, test: 60, seed: 4 });
    expect([s.train.count, s.validation.count, s.test.count]).toEqual([300, 50, 60]);
    expect(new Set([...s.train.numbers, ...s.validation.numbers, ...s.test.numbers]).size).toBe(410);
    expect([...numberWordSplits({ train: 300, validation: 50, test: 60, seed: 4 }).test.numbers]).toEqual([
      ...s.test.numbers,
    ]);
    expect(() => numberWordSplits({ train: 600_000, validation: 0, test: 0, seed: 0 })).toThrow(/at most 500,000/);
  });
});

describe("planted features", () => {
  const p = plantedFeatures({ seed: 2 });

  it("has the sizes asked for, and the planted columns anywhere", () => {
    expect([p.rows, p.columns, p.planted.length]).toEqual([2000, 200, 50]);
    const counts = new Int32Array(10);
    for (const s of p.signalOf) if (s >= 0) counts[s]++;
    expect([...counts]).toEqual(new Array(10).fill(5));
    expect([...p.planted]).not.toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it("correlates copies of one signal and nothing else", () => {
    const correlation = (a: number, b: number): number => {
      let [ab, aa, bb] = [0, 0, 0];
      for (let i = 0; i < p.rows; i++) {
        const [u, v] = [p.x[i * 200 + a], p.x[i * 200 + b]];
        ab += u * v;
        aa += u * u;
        bb += v * v;
      }
      return ab / Math.sqrt(aa * bb);
    };
    const of = (s: number): number[] => Array.from(p.planted).filter((j) => p.signalOf[j] === s);
    const noise = Array.from(p.signalOf, (s, j) => (s < 0 ? j : -1)).filter((j) => j >= 0);
    // 1 / (1 + 0.3^2), with a standard error below (1 - rho^2) / sqrt(n) = 0.004; others 1 / sqrt(n) = 0.022
    expect(correlation(of(0)[0], of(0)[1])).toBeCloseTo(1 / 1.09, 1);
    expect(Math.abs(correlation(of(0)[0], of(0)[4]) - 1 / 1.09)).toBeLessThan(0.016);
    expect(Math.abs(correlation(of(0)[0], of(1)[0]))).toBeLessThan(0.09);
    expect(Math.abs(correlation(of(0)[0], noise[0]))).toBeLessThan(0.09);
    expect(Math.abs(correlation(noise[3], noise[4]))).toBeLessThan(0.09);
  });
});

describe("characters", () => {
  it("are ASCII: plain marks, no accents, one line end", () => {
    expect(toAscii("“Don’t” – naïve café — 5 £…\r\nnext\u00a0line 😀\r.")).toBe(
      '"Don\'t" - naive cafe -- 5 ?...\nnext line ?\n.',
    );
    const tokens = characterTokens([
      { name: "a", text: "ab" },
      { name: "b", text: "é" },
    ]);
    expect(String.fromCharCode(...tokens)).toBe("ab\n\ne\n\n");
    expect(String.fromCharCode(...characterTokens([{ name: "a", text: "abcdef" }], 3))).toBe("abc");
  });

  it("flow side by side: row b of a step goes on where it stopped", () => {
    const tokens = Int32Array.from({ length: 32 }, (_, i) => i);
    const s = parallelStreams(tokens, 3, 4); // pieces of 10, two steps of 4
    expect(s.steps).toBe(2);
    expect([...s.at(0).inputs]).toEqual([0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]);
    expect([...s.at(0).targets]).toEqual([1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]);
    expect([...s.at(1).inputs.subarray(0, 4)]).toEqual([4, 5, 6, 7]);
    expect(() => s.at(2)).toThrow(/0 to 1, got 2/);
    expect(() => parallelStreams(tokens, 8, 4)).toThrow(/more than 32 tokens/);
  });
});

describe("interactions", () => {
  const r = interactions(3, 4, [0, 2, 0, 2, 2], [3, 1, 0, 1, 2]);

  it("are sorted, and each counts once", () => {
    expect([...r.starts]).toEqual([0, 2, 2, 4]);
    expect([...r.columns]).toEqual([0, 3, 1, 2]);
    expect([...itemsOf(r, 2)]).toEqual([1, 2]);
    expect([took(r, 0, 3), took(r, 0, 1), took(r, 1, 0), took(r, 2, 3)]).toEqual([true, false, false, false]);
    expect([...popularity(r)]).toEqual([1, 1, 1, 1]);
    expect([[...pairsOf(r).from], [...pairsOf(r).to]]).toEqual([
      [0, 0, 2, 2],
      [0, 3, 1, 2],
    ]);
    expect(() => interactions(1, 1, [0, 1], [0, 0])).toThrow(
      /interaction 1: expected a user below 1.*got user 1, item 0/,
    );
    expect(() => interactions(1, 1, [0], [])).toThrow(/1 items, one for each user/);
  });

  it("are split within each user, each interaction once", () => {
    const users = Array.from({ length: 200 }, (_, i) => i % 4);
    const all = interactions(
      4,
      50,
      users,
      users.map((_, i) => Math.floor(i / 4)),
    );
    const s = splitByUser(all, { seed: 1 });
    for (let u = 0; u < 4; u++) {
      // 50 items: 10 test, then a tenth of 40
      expect([itemsOf(s.train, u).length, itemsOf(s.validation, u).length, itemsOf(s.test, u).length]).toEqual([
        36, 4, 10,
      ]);
      const every = [...itemsOf(s.train, u), ...itemsOf(s.validation, u), ...itemsOf(s.test, u)];
      expect(every.sort((a, b) => a - b)).toEqual([...itemsOf(all, u)]);
    }
    expect([...itemsOf(s.test, 0)]).not.toEqual([...itemsOf(s.test, 1)]);
    expect(splitByUser(r, { seed: 1 }).train.columns.length).toBe(4);
    expect(() => splitByUser(r, { seed: 1, test: 1 })).toThrow(/shares from 0 to below 1/);
  });

  it("give triples of a user, one of its items, and one of the others, evenly", () => {
    const s = tripleStream(r, { batch: 400, seed: 8 });
    const t = s.at(0);
    const [users, positives, negatives] = [new Int32Array(3), new Int32Array(4), new Int32Array(4)];
    for (let b = 0; b < 400; b++) {
      expect(took(r, t.users[b], t.positives[b])).toBe(true);
      expect(took(r, t.users[b], t.negatives[b])).toBe(false);
      users[t.users[b]]++;
      positives[t.positives[b]]++;
      negatives[t.negatives[b]]++;
    }
    expect(users[1]).toBe(0);
    // 4 standard deviations
    expect(Math.abs(users[0] - 200)).toBeLessThan(40);
    for (const n of [...positives, ...negatives]) expect(Math.abs(n - 100)).toBeLessThan(4 * Math.sqrt(75));
    expect(s.at(0)).toEqual(t);
    expect(s.at(1)).not.toEqual(t);
    expect(() => tripleStream(interactions(1, 2, [0, 0], [0, 1]), { batch: 1, seed: 0 })).toThrow(/user 0 with all 2/);
    expect(() => tripleStream(interactions(2, 2, [], []), { batch: 1, seed: 0 })).toThrow(/no interactions/);
  });

  it("find a negative even where only one item is left", () => {
    const nearly = interactions(
      1,
      300,
      new Array(299).fill(0),
      Array.from({ length: 299 }, (_, i) => i),
    );
    const t = tripleStream(nearly, { batch: 20, seed: 0 }).at(0);
    expect([...t.negatives]).toEqual(new Array(20).fill(299));
  });
});
