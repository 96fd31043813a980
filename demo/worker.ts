/** The engine's side of the demo: times layers and models in turns and tells the page as it goes. */
import { canThread, init, threads } from "../src/core/engine.ts";
import { compareSpeed } from "../src/evaluate/speed.ts";
import { hasRelaxedSimd } from "../src/kernels/probe.ts";
import { openModelAt } from "../src/models/open-web.ts";
import { generate } from "../src/runtime/generate.ts";
import type { SparseForm } from "../src/runtime/layer.ts";
import { emptyProfile, measureCell, sparseName } from "../src/runtime/profile.ts";
import { createRunner, type Runner } from "../src/runtime/runner.ts";
import type { News, Order } from "./messages.ts";

const FORMS: readonly SparseForm[] = ["csr", "block2x1", "block4x1"];
const SPARSITIES = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

const tell = (news: News): void => postMessage(news);
let stopper = new AbortController();

/** One sparsity after the other, all forms and the dense ones in the same interleaved run. */
async function layers(size: number, use: "decode" | "prefill"): Promise<void> {
  const { signal } = stopper;
  for (const sparsity of SPARSITIES) {
    const key = { cpu: "", node: "", v8: "", lacuna: "", threads: threads(), fused: hasRelaxedSimd() };
    const density = 1 - sparsity;
    const wants = FORMS.map((form) => ({ form, density }));
    const shape = { out: size, in: size, type: "f32" } as const;
    const cell = await measureCell(emptyProfile(key), shape, use, 4, wants, { signal });
    for (const form of FORMS) {
      const s = cell.sparse[sparseName(form, density)];
      if (s) tell({ kind: "point", point: { form, sparsity, ratio: s.median, low: s.low, high: s.high } });
    }
  }
}

async function models(base: string, prompt: string): Promise<void> {
  const { signal } = stopper;
  const names = ["sotu", "sotu-4x1"];
  const opened = await Promise.all(names.map((n) => openModelAt(`${base}/${n}`)));
  const runners: Runner[] = [];
  try {
    for (const [i, m] of opened.entries()) {
      runners.push(await createRunner(m, { kernels: i === 0 ? "dense" : "auto", signal }));
    }
    const speeds = await compareSpeed(runners, { promptTokens: 96, tokens: 48, rounds: 9, signal });
    const rows = speeds.map(({ decode, prefill }, i) => {
      const row = ({ tokensPerSecond, ratio }: typeof decode) => ({
        tokensPerSecond: tokensPerSecond.median,
        ratio: ratio.median,
        low: ratio.low,
        high: ratio.high,
      });
      return { model: names[i], decode: row(decode), prefill: row(prefill) };
    });
    tell({ kind: "speed", rows });
    const options = { tokens: 60, temperature: 0.8, topK: 40, seed: 1, signal };
    for await (const piece of generate(runners[1], prompt, options)) tell({ kind: "text", piece });
  } finally {
    for (const r of runners) r.dispose();
    for (const m of opened) await m.weights.close();
  }
}

addEventListener("message", async ({ data }: MessageEvent<Order>) => {
  if (data.kind === "stop") return stopper.abort();
  stopper = new AbortController();
  const start = performance.now();
  try {
    if (data.kind === "layers") await layers(data.size, data.use);
    else await models(data.base, data.prompt);
    tell({ kind: "done", seconds: (performance.now() - start) / 1000 });
  } catch (error) {
    if (stopper.signal.aborted) tell({ kind: "done", seconds: (performance.now() - start) / 1000 });
    else tell({ kind: "error", message: error instanceof Error ? error.message : String(error) });
  }
});

await init();
tell({ kind: "engine", threads: threads(), shared: canThread(), relaxed: hasRelaxedSimd() });
