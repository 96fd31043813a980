/**
 * One model folder on one number of threads, loaded to generate: decoding and prefill as calls of a seat.
 *
 * Each layer runs in the form that the machine profile rates best, for a dense folder too, so that a dense folder here is
 * the best dense of this engine. Decoding starts behind a prompt and is rewound there; decode and prefill take another
 * stretch of the text each time. Tokens are fed, not sampled: what is timed is the model, as in `lacuna bench`.
 */
import { initSync } from "../../../src/core/engine.ts";
import type { Model } from "../../../src/models/model.ts";
import { loadModel } from "../../../src/models/open.node.ts";
import { measuredSpeeds } from "../../../src/runtime/profile-cache.node.ts";
import { createRunner } from "../../../src/runtime/runner.ts";

export interface GenerateSetup {
  readonly folder: string;
  readonly threads: number;
  /** text to take tokens from; longer than the prompt */
  readonly text: string;
  /** tokens of a prefill */
  readonly prefill: number;
  /** tokens in the context before decoding starts */
  readonly prompt: number;
  /** tokens of one decode call */
  readonly decode: number;
  /** folder for the machine profile; null: forms by the default rules, for tests, which measure nothing */
  readonly profile: string | null;
}

export interface GenerateFacts {
  /** zeros / elements over the blocks' linears */
  readonly sparsity: number;
  readonly shape: string;
  /** bytes of the weights in their file, in engine memory with cache and buffers, and read for one token */
  readonly bytes: { readonly file: number; readonly resident: number; readonly perToken: number };
  /** "csr x 35": forms of the blocks' linears in decoding and in prefill */
  readonly forms: { readonly decode: string; readonly prefill: string };
}

export interface Generator {
  decode(): void;
  prefill(): void;
  facts(): GenerateFacts;
  /** logits after the first `tokens` tokens of the text, by prefill or one by one, for tests */
  logits(how: { readonly tokens: number; readonly stepwise: boolean }): Float32Array;
}

const weightBytes = (model: Model): number =>
  model.weights.names.reduce((sum, name) => {
    const { shape } = model.weights.info(name);
    return shape.length === 2 ? sum + 2 * shape[0] * shape[1] : sum;
  }, 0);

function formsOf(forms: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const f of forms) counts.set(f, (counts.get(f) ?? 0) + 1);
  return [...counts].map(([form, n]) => `${form} x ${n}`).join(", ");
}

export async function open(setup: GenerateSetup): Promise<Generator> {
  initSync({ threads: setup.threads });
  const model = await loadModel(setup.folder);
  const folder = setup.profile;
  const speeds = folder === null ? undefined : measuredSpeeds({ modelBytes: weightBytes(model), folder });
  const runner = await createRunner(model, speeds && { speeds });
  const ids = model.tokenizer.encode(setup.text);
  const context = runner.contextLength;
  const prefill = Math.min(setup.prefill, context);
  const prompt = Math.min(setup.prompt, context - setup.decode);
  if (prompt < 1 || ids.length < 2 * (prefill + prompt)) {
    throw new Error(`bench: a context of ${context} or a text of ${ids.length} tokens is too short`);
  }
  let at = 0;
  /** where the next stretch of `n` tokens begins */
  const turn = (n: number): number => {
    if (at + n > ids.length) at = 0;
    at += n;
    return at - n;
  };
  let behind = false;
  return {
    decode() {
      if (!behind) {
        const from = turn(prompt);
        runner.reset();
        runner.prefill(ids.subarray(from, from + prompt));
        behind = true;
      }
      runner.rewind(prompt);
      const from = turn(setup.decode);
      for (let i = 0; i < setup.decode; i++) runner.step(ids[from + i]);
    },
    prefill() {
      behind = false;
      const from = turn(prefill);
      runner.reset();
      runner.prefill(ids.subarray(from, from + prefill));
    },
    facts() {
      const linears = runner.layers.slice(0, -1); // the head comes last
      const elements = linears.reduce((n, l) => n + l.out * l.in, 0);
      const zeros = linears.reduce((n, l) => n + l.sparsity * l.out * l.in, 0);
      const c = model.config;
      return {
        sparsity: zeros / elements,
        shape: `L${c.layers} D${c.width} F${c.feedForward} H${c.heads} K${c.kvHeads} V${c.vocabSize}`,
        bytes: runner.bytes,
        forms: {
          decode: formsOf(linears.map((l) => l.choice.decode.form)),
          prefill: formsOf(linears.map((l) => l.choice.prefill.form)),
        },
      };
    },
    logits({ tokens, stepwise }) {
      behind = false;
      runner.reset();
      if (!stepwise) return runner.prefill(ids.subarray(0, tokens));
      let last = new Float32Array();
      for (let i = 0; i < tokens; i++) last = runner.step(ids[i]);
      return last;
    },
  };
}
