import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadMobyDick } from "./moby-dick.ts";
import { loadSotu, sotuSplit } from "./sotu.ts";
import { readTextPackage } from "./text-package.ts";
import { loadTokenizer } from "./tokenizer.ts";

describe("State of the Union addresses", () => {
  it("splits by sorted file name: 9 of ten test, 8 validation", async () => {
    const folder = await mkdtemp(join(tmpdir(), "lacuna-sotu-"));
    try {
      for (let i = 22; i >= 0; i--) {
        await writeFile(join(folder, `${String(i).padStart(2, "0")}_x.txt`), `text ${i}`);
      }
      await writeFile(join(folder, "00_x.json"), "{}");
      const { train, validation, test } = await loadSotu({ folder });
      expect(validation).toEqual([8, 18].map((i) => ({ name: `${String(i).padStart(2, "0")}_x`, text: `text ${i}` })));
      expect(test.map(({ text }) => text)).toEqual(["text 9", "text 19"]);
      expect(train.length).toBe(19);
      expect(train.map(({ name }) => name)).toEqual(train.map(({ name }) => name).sort());
    } finally {
      await rm(folder, { recursive: true });
    }
    expect([7, 8, 9, 10].map(sotuSplit)).toEqual(["train", "validation", "test", "train"]);
  });

  it("is read whole, each year once, and the shipped tokenizer keeps it byte for byte", async () => {
    const splits = await loadSotu();
    expect([splits.train.length, splits.validation.length, splits.test.length]).toEqual([187, 23, 23]);
    expect(splits.test[0]!.name).toBe("1799_john_adams_f");
    expect(splits.train[0]!.text).toContain("In meeting you again I feel much satisfaction");
    const tokenizer = await loadTokenizer("models/sotu");
    for (const { text } of [splits.test[0]!, splits.test.at(-1)!, splits.validation.at(-1)!, splits.train.at(-1)!]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  it("says what to install", async () => {
    await expect(readTextPackage({ package: "@stdlib/no-such-data", local: "none" })).rejects.toThrow(
      /expected the npm package.*npm install --save-dev @stdlib\/no-such-data/,
    );
    await expect(loadSotu({ folder: "no/such/folder" })).rejects.toThrow(/no\/such\/folder: expected a folder of .txt/);
    const empty = await mkdtemp(join(tmpdir(), "lacuna-sotu-"));
    await expect(loadSotu({ folder: empty })).rejects.toThrow(/at least ten .txt files/);
    await expect(loadMobyDick({ folder: empty })).rejects.toThrow(/install --save-dev @stdlib\/datasets-moby-dick/);
    await rm(empty, { recursive: true });
  });
});
