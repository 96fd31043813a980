/** The catalogue is whole, and its fields are what they say. */
import { expect, test } from "vitest";
import { catalogue, paperName, SITES, STAGES } from "./index.ts";

test("it has the 59 papers, each number and each slug once", () => {
  expect(catalogue.map((e) => e.paper)).toEqual(Array.from({ length: 59 }, (_, i) => i + 1));
  expect(new Set(catalogue.map((e) => e.slug)).size).toBe(59);
  expect(paperName(catalogue[6])).toBe("07-sparse-coding-v1");
});

test("arXiv numbers are distinct, and none is from after the year of publication", () => {
  const ids = catalogue.flatMap((e) => e.arxiv ?? []);
  expect(ids.length).toBe(59);
  expect(new Set(ids).size).toBe(ids.length);
  for (const e of catalogue) {
    expect(e.arxiv, e.slug).toMatch(/^\d{2}(0[1-9]|1[0-2])\.\d{5}$/);
    const preprint = 2000 + Number(e.arxiv?.slice(0, 2));
    if (e.year !== null) expect(e.year - preprint, e.slug).toBeOneOf([0, 1, 2]);
  }
});

test.for(catalogue.map((e) => [paperName(e), e] as const))("%s: fields are valid", ([, e]) => {
  expect(e.slug).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
  for (const text of [e.method, e.title, e.authors, e.idea]) expect(text.trim()).toBe(text);
  expect(e.sites.length).toBeGreaterThan(0);
  expect(e.stages.length).toBeGreaterThan(0);
  expect(e.sites.filter((s) => !SITES.includes(s))).toEqual([]);
  expect(e.stages.filter((s) => !STAGES.includes(s))).toEqual([]);
  if (e.code !== null) expect(e.code).toMatch(/^https:\/\//);
  expect(e.idea).toMatch(/\.$/);
  expect(e.idea.length).toBeGreaterThan(80);
  expect(e.idea.length).toBeLessThan(260);
});
