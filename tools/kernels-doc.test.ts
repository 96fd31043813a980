import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { kernels } from "../src/kernels/table.ts";
import { kernelsPage, type LadderRecord } from "./kernels-doc.ts";

test("docs/kernels.md is what the table says", async () => {
  expect(await readFile(new URL("../docs/kernels.md", import.meta.url), "utf8")).toBe(kernelsPage());
});

test("ladders: figures of the record, and none where its steps are others", () => {
  const kernel = kernels.find((k) => k.name === "spmm-f32-csr-c16")!;
  const steps = ["plain twin", ...kernel.ladder!().rungs.map((r) => r.step)];
  const record = (what: readonly string[]): LadderRecord => ({
    date: "2026-01-02T00:00:00.000Z",
    machine: { cpu: "A" },
    versions: { node: "20.0.0" },
    rates: what.map((w, i) => ({
      id: `ladders/${kernel.name}/${i}`,
      what: w,
      value: 2 ** i,
      low: 2 ** i - 0.5,
      high: 2 ** i + 0.5,
    })),
  });
  const page = kernelsPage(record(steps));
  expect(page).toContain(`| ${steps[1]} | 2.00 (1.50 to 2.50) | 2.00 |`);
  expect(page).toContain("(A, Node 20.0.0, 2026-01-02;");
  expect(kernelsPage(record(["plain twin", "another step"]))).not.toContain("(1.50 to 2.50)");
  expect(kernelsPage(null)).toContain(`; not recorded): ${steps.join("; ")}.`);
});
