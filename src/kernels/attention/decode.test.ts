/** Units may run on different threads at a time: none may write where another does. */
import { expect, test } from "vitest";
import { seededFloats } from "../compare.ts";
import { createSandbox } from "../sandbox.ts";
import { attentionDecode } from "./decode.ts";
import { decodeScratchBytes } from "./tile.ts";

test("each unit of decode has scratch and outputs of its own", () => {
  for (const [K, G, E, length] of [
    [3, 2, 8, 5],
    [2, 1, 4, 16],
    [4, 3, 12, 1],
  ]) {
    const H = K * G;
    const box = createSandbox(attentionDecode, { shared: false, fused: false });
    const values = (count: number, seed: number): number => box.put(seededFloats(seed, count, 1));
    const [q, k, v] = [values(H * E, 1), values(K * length * E, 2), values(K * length * E, 3)];
    const [cells, outputs] = [decodeScratchBytes(length, H) / 4, H * E];
    const [out, scratch] = [box.room(4 * outputs), box.room(4 * cells)];
    const users = new Map<string, number>();
    for (let unit = 0; unit < K; unit++) {
      box.f32(scratch, cells).fill(Number.NaN);
      box.f32(out, outputs).fill(Number.NaN);
      box.call("forward", q, k, v, out, scratch, length, length, H, K, E, 1, unit, unit + 1);
      expect(box.damage()).toBeUndefined();
      for (const [what, at, count] of [
        ["scratch", scratch, cells],
        ["out", out, outputs],
      ] as const) {
        box.f32(at, count).forEach((x, i) => {
          if (Number.isNaN(x)) return;
          expect([what, i, users.get(`${what} ${i}`)]).toEqual([what, i, undefined]);
          users.set(`${what} ${i}`, unit);
        });
      }
    }
    expect([...users.keys()].filter((u) => u.startsWith("out")).length).toBe(outputs);
  }
});
