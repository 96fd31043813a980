/** The room that prepared inputs are given, to the byte. */
import { expect, test } from "vitest";
import { seededFloats } from "../compare.ts";
import { createSandbox } from "../sandbox.ts";
import { gemvInt4, gemvInt8, preparedBytes } from "./gemv.ts";

test.each([gemvInt8, gemvInt4])("$name fills preparedBytes for each token and not a byte more", (kernel) => {
  for (const [width, group] of [
    [1, 8],
    [40, 8],
    [41, 40],
    [300, 128],
  ]) {
    const tokens = 3;
    const box = createSandbox(kernel, { shared: false, fused: false });
    const bytes = tokens * preparedBytes(width, group);
    const x = box.put(seededFloats(5, tokens * width, 1));
    const prepared = box.room(bytes);
    box.u8(prepared, bytes).fill(0xee);
    box.call("prepare", x, width, width, group, tokens, prepared);
    expect(box.damage()).toBeUndefined();
    // The codes of the last group end with zeros, or with those of the last input.
    expect([...box.u8(prepared + bytes - 2, 2)]).not.toEqual([0xee, 0xee]);
  }
});
