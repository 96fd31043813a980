import { expect, test } from "vitest";
import { createJudge } from "./mutants/judge.ts";
import type { Line } from "./mutants/kept.ts";
import { leftOut } from "./mutants/left-out.ts";
import { page, recordOf } from "./mutants/record.ts";
import { drawSample, shares } from "./mutants/run.ts";
import { applySite, findSites, type Site } from "./mutants/sites.ts";

const methods = {
  i32: new Set(["add", "sub", "lt", "le", "load", "store", "const"]),
  v128: new Set(["load", "store"]),
};

test("finds each kind of place, and leaves types, texts and descriptions alone", () => {
  const text = `
import { add } from "./panels.ts";
type Four = 4;
export const limit = (n: number): number => { if (n < 0) throw new Error("x" + 1); return n % 8; };
export const kernel = { name: "a" + 3, emit: () => [
  p.set(add(p, i32.load(q, 4))),
  when(i32.lt(p, q), v128.store(p, madd(fused, a, b, c))),
] };`;
  const sites = findSites("kernels/x.ts", text, methods);
  const shown = sites.map((s) => `${s.kind}: ${s.after}`);
  const has = (kind: string, part: string): boolean => shown.some((s) => s.startsWith(`${kind}: `) && s.includes(part));
  expect(has("operator", "n <= 0")).toBe(true);
  expect(has("operator", "n * 8")).toBe(true);
  expect(has("condition", "!(n < 0)")).toBe(true);
  expect(has("opcode", "sub(p, i32.load(q, 4))")).toBe(true);
  expect(has("opcode", "i32.le(p, q)")).toBe(true);
  expect(has("offset", "i32.load(q, 4 + 4)")).toBe(true);
  expect(has("offset", "madd(fused, a, b, c), 16)")).toBe(true);
  expect(has("argument", "madd(fused, a, c, b)")).toBe(true);
  expect(has("guard", "v128.store(p, madd(fused, a, b, c)),")).toBe(true);
  expect(has("statement", "nop")).toBe(true);
  expect(sites.every((s) => !/Four|"x"|"a"/.test(text.slice(s.start, s.end)))).toBe(true);
  for (const s of sites) expect(applySite(text, s)).not.toBe(text);
});

test("draws in proportion, the same for a seed, and the same when lines move", () => {
  expect(shares([10, 30, 61], 10)).toEqual([1, 3, 6]);
  const body = Array.from({ length: 40 }, (_, i) => `export const a${i} = b + ${i};`).join("\n");
  const sites = (text: string): Site[] => findSites("kernels/x.ts", text, methods);
  const keys = (s: readonly Site[]): string[] => s.map((x) => x.after).sort();
  const drawn = drawSample([sites(body)], 12, 5);
  expect(new Set(drawn).size).toBe(12);
  expect(keys(drawSample([sites(`/** more */\n\n${body}`)], 12, 5))).toEqual(keys(drawn));
  expect(keys(drawSample([sites(body)], 12, 6))).not.toEqual(keys(drawn));
});

test("judges are no defendants", () => {
  expect(["kernels/table.test.ts", "kernels/conv/pool.plain.ts", "kernels/sparse/twin.ts"].every(leftOut)).toBe(true);
  expect(["kernels/sparse/spmm.ts", "kernels/wasm/asm.ts", "kernels/dense/gemm.ts"].some(leftOut)).toBe(false);
});

test("a wrong sum is killed, a module that does not validate is invalid, the same bytes are equivalent", async () => {
  const judge = createJudge(new URL("../out/mutants/compiled", import.meta.url).pathname);
  const file = "kernels/recurrent/lstm.ts";
  const text = judge.sources.text(new URL(`../src/${file}`, import.meta.url).pathname);
  const sites = findSites(file, text, judge.methods);
  const sum = sites.find((s) => s.kind === "opcode" && /\bo\.(add|sub|mul)\(/.test(s.after))!;
  expect(await judge.judge(file, applySite(text, sum))).toMatchObject({ status: "killed", reached: true });
  const hit = (code: string): string =>
    text.replace("const four = ", `const four = (__hit(), ${code}); const other = `);
  expect(hit("i32.shl(H, i32.const(4))")).not.toBe(text);
  const noUnused = hit("i32.shl(H, i32.const(4))");
  expect(await judge.judge(file, noUnused)).toEqual({ status: "equivalent", reached: true });
  const invalid = await judge.judge(file, hit("__asm.f32.const(4)"));
  expect(invalid).toMatchObject({ status: "killed", by: "invalid: does not validate" });
});

test("the record counts, scores and keeps what an analysis says", () => {
  const line = (status: Line["verdict"]["status"], after: string): Line => ({
    ...{ hash: after, file: "kernels/a/b.ts", line: 3, kind: "opcode", before: "a", after, occurrence: 0 },
    verdict: { status, reached: true },
  });
  const lines = [line("killed", "1"), line("timeout", "2"), line("equivalent", "3"), line("survived", "4")];
  lines.push(line("survived", "5"));
  const why = "an alignment hint changes no result";
  const analyses = [{ file: "kernels/a/b.ts", before: "a", after: "4", verdict: "equivalent", why }] as const;
  const machine = { cpu: "A", cores: 2, memoryBytes: 1, platform: "linux x64" };
  const where = { lacuna: "0.1.0", date: "2026-01-02T00:00:00.000Z", machine, node: "20.0.0", seed: 1, sample: 5 };
  const record = recordOf(lines, { ...where, sites: 9, files: 1, fused: true }, analyses);
  expect(record.counts).toEqual({ mutants: 5, killed: 1, timeout: 1, sameBytes: 1, equivalent: 1, survived: 1 });
  expect(record.score).toBe(0.6667);
  expect(record.scoreWithoutAnalysis).toBe(0.5);
  expect(record.byFolder).toEqual({ a: record.counts });
  expect(page(record)).toContain(why);
  expect(page(record)).toContain("Not analysed.");
});
