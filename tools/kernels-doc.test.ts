import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { kernelsPage } from "./kernels-doc.ts";

test("docs/kernels.md is what the table says", async () => {
  expect(await readFile(new URL("../docs/kernels.md", import.meta.url), "utf8")).toBe(kernelsPage());
});
