import { describe, expect, it } from "vitest";
import { type BatchCursor, batchStream, joinDocuments, START } from "./batches.ts";
import type { Tokenizer } from "./tokenizer.ts";

const tokens = Int32Array.from({ length: 1003 }, (_, i) => i);

describe("batch stream", () => {
  it("visits every window of an epoch at most once, and its targets are the next tokens", () => {
    for (const seed of [0, 1, 2]) {
      const batches = batchStream(tokens, { batch: 3, length: 16, seed });
      for (const epoch of [0, 1, 5]) {
        const seen = new Set<number>();
        let cursor: BatchCursor = { epoch, index: 0 };
        while (cursor.epoch === epoch) {
          const { inputs, targets, next } = batches.at(cursor);
          expect(inputs.length).toBe(48);
          inputs.forEach((id, i) => {
            expect(targets[i]).toBe(id + 1);
            if (i % 16 > 0) expect(id).toBe(inputs[i - 1]! + 1);
            expect(seen.has(id)).toBe(false);
            seen.add(id);
          });
          cursor = next;
        }
        expect(cursor).toEqual({ epoch: epoch + 1, index: 0 });
        // at most the phase (15), the tail (16) and two windows without a batch are left out
        expect(seen.size).toBeGreaterThanOrEqual(1003 - 15 - 16 - 32);
      }
    }
  });

  it("uses every phase and reaches the last token", () => {
    const phases = new Set<number>();
    let last = 0;
    const batches = batchStream(tokens, { batch: 1, length: 8, seed: 7 });
    for (let epoch = 0; epoch < 60; epoch++) {
      let low = Number.POSITIVE_INFINITY;
      for (let index = 0; index < batches.batchesIn(epoch); index++) {
        const { inputs, targets } = batches.at({ epoch, index });
        low = Math.min(low, inputs[0]!);
        last = Math.max(last, targets[7]!);
      }
      phases.add(low);
    }
    expect([...phases].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(last).toBe(1002);
  });

  it("resumes from a cursor that went through JSON with the same batches", () => {
    const options = { batch: 4, length: 10, seed: 3 };
    const straight: Int32Array[] = [];
    let cursor = START;
    let saved = "";
    const first = batchStream(tokens, options);
    for (let step = 0; step < 60; step++) {
      if (step === 37) saved = JSON.stringify(cursor);
      const batch = first.at(cursor);
      straight.push(batch.inputs);
      cursor = batch.next;
    }
    const again = batchStream(tokens, options);
    cursor = JSON.parse(saved) as BatchCursor;
    for (let step = 37; step < 60; step++) {
      const batch = again.at(cursor);
      expect(batch.inputs).toEqual(straight[step]);
      cursor = batch.next;
    }
  });

  it("depends on the seed and the epoch", () => {
    const at = (seed: number, epoch: number) =>
      batchStream(tokens, { batch: 4, length: 10, seed }).at({ epoch, index: 0 }).inputs.join();
    expect(new Set([at(0, 0), at(1, 0), at(0, 1)]).size).toBe(3);
    expect(at(5, 2)).toBe(at(5, 2));
  });

  it("refuses too short text, bad sizes and foreign cursors", () => {
    expect(() => batchStream(tokens.subarray(0, 40), { batch: 4, length: 10, seed: 0 })).toThrow(/at least 50 tokens/);
    expect(() => batchStream(tokens, { batch: 0, length: 10, seed: 0 })).toThrow(/positive integer/);
    const batches = batchStream(tokens, { batch: 4, length: 10, seed: 0 });
    expect(() => batches.at({ epoch: 0, index: 99 })).toThrow(/data cursor/);
  });

  it("joins documents with the separator before each", () => {
    const tokenizer = { eos: 9, bos: null, encode: (text: string) => Int32Array.from(text, Number) } as Tokenizer;
    const documents = [
      { name: "a", text: "12" },
      { name: "b", text: "" },
      { name: "c", text: "3" },
    ];
    expect([...joinDocuments(documents, tokenizer)]).toEqual([9, 1, 2, 9, 9, 3]);
    expect(() => joinDocuments(documents, { ...tokenizer, eos: null })).toThrow(/end-of-text/);
  });
});
