import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { PAGES, withFigures } from "./figures.ts";

test.each(PAGES)("the figures in %s are those of the records", async (page) => {
  const text = await readFile(new URL(`../${page}`, import.meta.url), "utf8");
  expect(await withFigures(text)).toBe(text);
});
