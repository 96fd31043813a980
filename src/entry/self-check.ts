/**
 * What must come out the same in Node and in a browser: every kernel of the table against its twin on drawn shapes, and
 * a model that is pruned and run. The report holds hashes of bits, so two machines compare by comparing reports.
 *
 * Without fused multiply-add all bits agree; logits of the runner, which may fuse, are reported as values.
 */
import { canThread, init, shutdown, threads } from "../core/engine.ts";
import { stream } from "../core/random.ts";
import { perplexity } from "../evaluate/perplexity.ts";
import { disagreement, seededFloats } from "../kernels/compare.ts";
import type { Draw, EmitOptions } from "../kernels/kernel.ts";
import { hasRelaxedSimd } from "../kernels/probe.ts";
import { createSandbox } from "../kernels/sandbox.ts";
import { kernels } from "../kernels/table.ts";
import { prune } from "../methods/prune.ts";
import type { Model } from "../models/model.ts";
import { createRunner } from "../runtime/runner.ts";

export interface KernelCheck {
  readonly kernel: string;
  readonly variant: string;
  readonly cases: number;
  /** the first disagreement with the twin, or damage, in words */
  readonly wrong: string | null;
  /** of the bits of every result, in order */
  readonly hash: string;
}

export interface ModelCheck {
  readonly threads: number;
  /** pruned weights, all of them, by "method pattern" */
  readonly pruned: Readonly<Record<string, string>>;
  /** sum of negative log-likelihoods of a text, its bits */
  readonly nll: string;
  /** the runner's logits after a prompt */
  readonly logits: readonly number[];
  /** ids that follow when the likeliest is taken each time */
  readonly greedy: readonly number[];
}

export interface SelfCheck {
  readonly shared: boolean;
  readonly relaxed: boolean;
  readonly kernels: readonly KernelCheck[];
  readonly model: ModelCheck;
}

/** 32-bit FNV-1a over bytes, fed piece by piece. */
class Hash {
  #h = 0x811c9dc5;
  add(bytes: Uint8Array): void {
    let h = this.#h;
    for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i], 0x01000193);
    this.#h = h >>> 0;
  }
  addNumbers(values: ArrayLike<number>): void {
    const f64 = Float64Array.from(values);
    // The bits of a NaN are not a result.
    for (let i = 0; i < f64.length; i++) if (Number.isNaN(f64[i])) f64[i] = 12345.678;
    this.add(new Uint8Array(f64.buffer));
  }
  get text(): string {
    return this.#h.toString(16).padStart(8, "0");
  }
}

function drawer(seed: number, name: string): Draw {
  const draws = stream(seed, name);
  let at = 0;
  return {
    int: (low, high) => low + draws.below(at++, high - low + 1),
    floats: (count, scale = 1) => seededFloats(draws.u32(at++) | 0, count, scale),
  };
}

function checkKernels(cases: number): KernelCheck[] {
  const shared = canThread();
  const variants: EmitOptions[] = [{ shared: false, fused: false }];
  if (shared) variants.push({ shared, fused: false });
  if (hasRelaxedSimd()) variants.push({ shared, fused: true });
  const checks: KernelCheck[] = [];
  for (const variant of variants) {
    const name = `${variant.shared ? "shared" : "unshared"}${variant.fused ? ", fused" : ""}`;
    for (const kernel of kernels) {
      const box = createSandbox(kernel, { ...variant, pages: 16 });
      const hash = new Hash();
      let wrong: string | null = null;
      let done = 0;
      for (const trial of kernel.trials) {
        for (let i = 0; i < cases; i++) {
          box.reset();
          for (const comparison of trial.run(drawer(i, `${kernel.name}/${trial.name}`), box)) {
            wrong ??= disagreement(comparison);
            hash.addNumbers(comparison.got);
          }
          if (box.damage()) wrong ??= `${trial.name}: wrote behind the end of a block`;
          done++;
        }
      }
      checks.push({ kernel: kernel.name, variant: name, cases: done, wrong, hash: hash.text });
    }
  }
  return checks;
}

async function checkModel(model: Model, text: string): Promise<ModelCheck> {
  const calibrate = text.slice(0, 6000);
  const pruned: Record<string, string> = {};
  const recipes = [
    { method: "magnitude", pattern: "unstructured", sparsity: 0.5 },
    { method: "wanda", pattern: "2:4" },
    { method: "sparsegpt", pattern: "4x1", sparsity: 0.6 },
  ];
  for (const recipe of recipes) {
    const sparse = await prune(model, { ...recipe, calibrate, samples: 4, length: 64, seed: 7 });
    const hash = new Hash();
    for (const name of [...sparse.weights.names].sort()) hash.add(await sparse.weights.read(name));
    pruned[`${recipe.method} ${recipe.pattern}`] = hash.text;
  }
  const { nll } = await perplexity(model, text, { windows: 2 });
  const nllHash = new Hash();
  nllHash.addNumbers([nll]);
  const runner = await createRunner(model, { kernels: "sparse" });
  try {
    const logits = runner.prefill(model.tokenizer.encode("The state of our Union is"));
    const greedy: number[] = [];
    let last = logits;
    for (let i = 0; i < 8; i++) {
      const next = last.reduce((best, x, id) => (x > last[best] ? id : best), 0);
      greedy.push(next);
      last = runner.step(next);
    }
    return { threads: threads(), pruned, nll: nllHash.text, logits: [...logits], greedy };
  } finally {
    runner.dispose();
  }
}

/** Runs everything; `cases` draws a trial. Starts the engine anew, with `threadCount` threads where it may have them. */
export async function selfCheck(
  open: () => Promise<Model>,
  text: string,
  { cases = 4, threadCount = 2 }: { readonly cases?: number; readonly threadCount?: number } = {},
): Promise<SelfCheck> {
  const checked = checkKernels(cases);
  await init({ threads: threadCount });
  const model = await open();
  try {
    return { shared: canThread(), relaxed: hasRelaxedSimd(), kernels: checked, model: await checkModel(model, text) };
  } finally {
    await model.weights.close();
    shutdown();
  }
}
