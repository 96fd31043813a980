/**
 * A process of its own that loads one model, reads a prompt and decodes, and prints what that cost in resident memory:
 * `{"before": bytes, "peak": bytes | null}`. Arguments: model folder, threads, prompt tokens, tokens to make.
 *
 * On Linux the peak is counted from just before the model is opened, so that compiling TypeScript is not in it.
 * Elsewhere it is null.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { initSync } from "../../../src/core/engine.ts";
import { loadModel } from "../../../src/models/open.node.ts";
import { createRunner } from "../../../src/runtime/runner.ts";

const [folder, threads, prompt, tokens] = process.argv.slice(2);

/** Largest resident size since `forgetPeak`, in bytes. */
function peak(): number | null {
  if (process.platform !== "linux") return null;
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return kib === undefined ? null : 1024 * Number(kib);
}

function forgetPeak(): boolean {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
    return true;
  } catch {
    return false;
  }
}

initSync({ threads: Number(threads) });
const counted = forgetPeak();
const before = process.memoryUsage.rss();
const model = await loadModel(folder);
const runner = await createRunner(model);
const ids = Int32Array.from({ length: Number(prompt) }, (_, i) => i % model.config.vocabSize);
runner.prefill(ids);
for (let i = 0; i < Number(tokens); i++) runner.step(i % model.config.vocabSize);
console.log(JSON.stringify({ before, peak: counted ? peak() : null }));
