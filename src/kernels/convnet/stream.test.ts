/** The choice of tiles against trying all of them; what tiles compute is judged by the kernels' trials. */
import { expect, test } from "vitest";
import { MOST_VECTORS, tiling } from "./stream.ts";

test("tiles have the least work for the thread with the most, and a strip of them stays in the cache", () => {
  for (const block of [1, 2, 4] as const) {
    for (const pixels of [1, 4, 30, 49, 196, 784, 3136]) {
      for (const threads of [1, 2, 3]) {
        const vectors = Math.ceil(pixels / 4);
        const work = (width: number): number => {
          const tiles = Math.ceil(Math.ceil(vectors / width) / threads);
          // an entry costs one and a half vectors beside its own
          return Math.min(vectors, tiles * width) + 1.5 * tiles;
        };
        const widths = Array.from({ length: MOST_VECTORS[block] }, (_, i) => i + 1);
        for (const inputs of [0, 1, 32, 1024, 100_000]) {
          const t = tiling(block, inputs, pixels, threads);
          expect(widths).toContain(t.vectors);
          expect(work(t.vectors)).toBe(Math.min(...widths.map(work)));
          expect(Number.isInteger(t.strip)).toBe(true);
          expect(t.strip).toBeGreaterThanOrEqual(1);
          if (t.strip > 1) expect(t.strip * 16 * t.vectors * inputs).toBeLessThanOrEqual(65536);
          expect((t.strip + 1) * 16 * t.vectors * Math.max(1, inputs)).toBeGreaterThan(65536);
        }
      }
    }
  }
});
