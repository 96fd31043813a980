/**
 * The kernels and a model in Chromium, inside of a Worker, against the same in Node: bit for bit without fused
 * multiply-add. With cross-origin isolation there are threads, without it there is one. Skipped by name where there is
 * no Chromium.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { build } from "tsdown";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildDemo } from "../../demo/serve.ts";
import { loadModel } from "../models/open.node.ts";
import { type SelfCheck, selfCheck } from "./self-check.ts";
import { serve } from "./serve.node.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", process.env.CHROMIUM ?? ""].find(existsSync);
const CASES = 3;
let browser: Browser;
let out: string;
let here: SelfCheck;

beforeAll(async () => {
  if (!executablePath) return;
  mkdirSync(join(root, "out"), { recursive: true });
  out = mkdtempSync(join(root, "out", "browser-"));
  await build({
    config: false,
    cwd: root,
    entry: { worker: "src/entry/self-check.worker.ts" },
    outDir: out,
    format: "esm",
    fixedExtension: false,
    platform: "browser",
    target: "es2022",
    deps: { alwaysBundle: /.*/, neverBundle: /^node:/, onlyBundle: false },
    dts: false,
    clean: false,
    logLevel: "silent",
    report: false,
  });
  writeFileSync(join(out, "page.html"), "<!doctype html><title>check</title>");
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const text = readFileSync(join(root, "models/sotu/text/validation-32k.txt"), "utf8").slice(0, 12_000);
  here = await selfCheck(() => loadModel(join(root, "models/sotu-4x1")), text, { cases: CASES, threadCount: 1 });
}, 120_000);

afterAll(async () => {
  await browser?.close();
  if (out) rmSync(out, { recursive: true, force: true });
});

async function inBrowser(isolated: boolean): Promise<SelfCheck> {
  const server = await serve({ page: out, models: join(root, "models") }, { isolated });
  const page = await browser.newPage();
  try {
    await page.goto(`${server.address}/page/page.html`);
    const said = await page.evaluate(
      ({ cases }) =>
        new Promise<{ report?: unknown; error?: string }>((resolve) => {
          const worker = new Worker("/page/worker.js", { type: "module" });
          worker.onmessage = (e) => resolve(e.data);
          worker.onerror = (e) => resolve({ error: e.message });
          const { origin } = location;
          const text = `${origin}/models/sotu/text/validation-32k.txt`;
          worker.postMessage({ model: `${origin}/models/sotu-4x1`, text, cases, threadCount: 2 });
        }),
      { cases: CASES },
    );
    if (said.error) throw new Error(said.error);
    return said.report as SelfCheck;
  } finally {
    await page.close();
    await server.close();
  }
}

describe.skipIf(!executablePath)("in Chromium", () => {
  for (const isolated of [true, false]) {
    test(`${isolated ? "with" : "without"} cross-origin isolation: kernels, masks and outputs are those of Node`, async () => {
      const there = await inBrowser(isolated);
      expect(there.shared).toBe(isolated);
      expect(there.model.threads).toBe(isolated ? 2 : 1);
      expect(there.kernels.filter((k) => k.wrong !== null)).toEqual([]);
      const key = (k: SelfCheck["kernels"][number]) => `${k.kernel}, ${k.variant}`;
      const node = new Map(here.kernels.map((k) => [key(k), k.hash]));
      const compared = there.kernels.filter((k) => node.has(key(k)) && !k.variant.includes("fused"));
      expect(compared.length).toBeGreaterThan(50);
      expect(compared.filter((k) => k.hash !== node.get(key(k))).map(key)).toEqual([]);
      expect(there.model.pruned).toEqual(here.model.pruned);
      expect(there.model.nll).toBe(here.model.nll);
      expect(there.model.greedy).toEqual(here.model.greedy);
      // The runner may fuse multiply and add where the engine can: 1e-5 of the largest logit.
      const scale = Math.max(...here.model.logits.map(Math.abs));
      const apart = Math.max(...here.model.logits.map((x, i) => Math.abs(x - there.model.logits[i])));
      expect(apart / scale).toBeLessThan(1e-5);
    }, 120_000);
  }
});

describe.skipIf(!executablePath)("the demo", () => {
  test.each([
    [true, /threads/],
    [false, /one thread, since this page is not cross-origin isolated/],
  ])(
    "isolated: %s; the page says what it has",
    async (isolated, words) => {
      const folder = join(out, "demo");
      await buildDemo(folder);
      const server = await serve({ demo: folder, models: join(root, "models") }, { isolated });
      const page = await browser.newPage();
      const wrong: string[] = [];
      page.on("pageerror", (e) => wrong.push(e.message));
      page.on("console", (m) => m.type() === "error" && wrong.push(m.text()));
      try {
        await page.goto(`${server.address}/demo/index.html`);
        await page.waitForFunction("!document.getElementById('run-models').disabled");
        expect(await page.textContent("#status")).toMatch(words);
        if (!isolated) return;
        await page.click("#run-models");
        await page.waitForFunction("!document.getElementById('run-models').disabled", null, { timeout: 60_000 });
        expect(await page.locator("#speeds tr").count()).toBe(3);
        expect((await page.textContent("#text"))?.length).toBeGreaterThan(60);
      } finally {
        await page.close();
        await server.close();
      }
      expect(wrong).toEqual([]);
    },
    120_000,
  );
});

test("in Node every kernel agrees with its twin, too", () => {
  if (!executablePath) return;
  expect(here.kernels.filter((k) => k.wrong !== null)).toEqual([]);
});
