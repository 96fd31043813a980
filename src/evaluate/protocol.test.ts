import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defaultLength, scoredTokens, summarise, windowsOf } from "./protocol.ts";

describe("perplexity protocol", () => {
  it("cuts windows that do not overlap and drops the ragged tail", () => {
    expect(windowsOf(11, { length: 4 })).toEqual([
      { start: 0, length: 4 },
      { start: 4, length: 4 },
    ]);
    expect(scoredTokens(windowsOf(11, { length: 4 }))).toBe(6);
    expect(windowsOf(8, { length: 4, windows: 1 })).toEqual([{ start: 0, length: 4 }]);
    expect(windowsOf(8, { length: 4, windows: 9 }).length).toBe(2);
  });

  it("keeps the tail when it is the only window", () => {
    expect(windowsOf(3, { length: 4 })).toEqual([{ start: 0, length: 3 }]);
    expect(windowsOf(2, { length: 256 })).toEqual([{ start: 0, length: 2 }]);
  });

  it("covers the whole text but less than a window, for any sizes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 500 }), fc.integer({ min: 2, max: 90 }), (tokens, length) => {
        const windows = windowsOf(tokens, { length });
        let at = 0;
        for (const window of windows) {
          expect(window.start).toBe(at);
          at += window.length;
        }
        expect(at).toBeLessThanOrEqual(tokens);
        expect(tokens - at).toBeLessThan(length);
        expect(scoredTokens(windows)).toBe(at - windows.length);
      }),
      { seed: 4 },
    );
  });

  it("computes perplexity and bits per byte of the scored tokens only", () => {
    const windows = windowsOf(5, { length: 2 });
    const bytes = Int32Array.of(100, 3, 100, 5, 100);
    const result = summarise(windows, [[Math.log(2)], [Math.log(8)]], { length: 2, textTokens: 5, bytes });
    // mean of ln 2 and ln 8 is ln 4; 1 + 3 bits over 3 + 5 bytes
    expect(result.perplexity).toBeCloseTo(4, 12);
    expect(result.bitsPerByte).toBeCloseTo(0.5, 12);
    expect(result).toMatchObject({ tokens: 2, windows: 2, length: 2 });
    expect(result.protocol).toEqual({
      name: "non-overlapping windows",
      length: 2,
      textTokens: 5,
      windows: 2,
      tokens: 2,
    });
    const uniform = summarise(windows, [[Math.log(50)], [Math.log(50)]], { length: 2, textTokens: 5 });
    expect(uniform.perplexity).toBeCloseTo(50, 10);
    expect(uniform.bitsPerByte).toBeNull();
  });

  it("refuses empty or too short text and useless lengths", () => {
    expect(() => windowsOf(0, { length: 4 }, "a.txt")).toThrow(/a.txt: expected at least 2 tokens.*an empty text/);
    expect(() => windowsOf(1, { length: 4 })).toThrow(/got 1 token/);
    expect(() => windowsOf(9, { length: 1 })).toThrow(/length: expected an integer of at least 2/);
    expect(() => windowsOf(9, { length: 2.5 })).toThrow(/length/);
    expect(() => windowsOf(9, { length: 4, windows: 0 })).toThrow(/windows: expected a positive integer/);
    expect(() => summarise(windowsOf(4, { length: 4 }), [[1]], { length: 4, textTokens: 4 })).toThrow(/3 losses/);
  });

  it("has the decided default length", () => {
    expect([defaultLength(256), defaultLength(32768)]).toEqual([256, 2048]);
  });
});
