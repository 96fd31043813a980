import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { papersPage } from "./papers-doc.ts";

test("docs/papers.md is what catalogue and records say", async () => {
  expect(await readFile(new URL("../docs/papers.md", import.meta.url), "utf8")).toBe(await papersPage());
});
