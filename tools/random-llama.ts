/**
 * Makes a Llama folder with random BF16 weights and the shipped tokenizer, to try sizes that do not ship:
 * `npx tsx tools/random-llama.ts --shape qwen2.5-0.5b -o out/random`. Its text is noise; its times and bytes are real.
 */
import { parseArgs } from "node:util";
import { LacunaError } from "../src/core/errors.ts";
import { philox, stream } from "../src/core/random.ts";
import type { JsonObject } from "../src/formats/json.ts";
import { writeModelFolder } from "../src/formats/model-write.node.ts";
import { llamaTensorShapes, parseLlamaConfig } from "../src/models/llama/config.ts";

/** Shapes by the names of the models that have them. */
const SHAPES: Readonly<Record<string, JsonObject>> = {
  "qwen2.5-0.5b": {
    vocab_size: 151936,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    max_position_embeddings: 32768,
    rope_theta: 1000000,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
  },
  tiny: {
    vocab_size: 2048,
    hidden_size: 64,
    intermediate_size: 172,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 256,
    rope_theta: 10000,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  },
};

const STD = 0.02;

/** BF16 bits of 65,536 normal values in random order: one 16-bit draw picks one, which is fast and close enough. */
function normalTable(seed: number): Uint16Array {
  const draws = stream(seed, "random-llama/table");
  const f = new Float32Array(1);
  const u = new Uint32Array(f.buffer);
  return Uint16Array.from({ length: 65536 }, (_, i) => {
    f[0] = STD * draws.normal(i);
    return (u[0] + 0x8000) >>> 16;
  });
}

function randomBytes(count: number, seed: number, tensor: number, table: Uint16Array): Uint8Array {
  const out = new Uint16Array(count);
  for (let i = 0, c = 0; i < count; c++) {
    const words = philox([c >>> 0, 0, tensor, 0], [seed, 0]);
    for (let k = 0; k < 8 && i < count; k++) out[i++] = table[(words[k >> 1] >>> (16 * (k & 1))) & 0xffff];
  }
  return new Uint8Array(out.buffer);
}

export async function makeRandomLlama(shape: string, target: string, seed: number, force: boolean): Promise<number> {
  const sizes = SHAPES[shape];
  if (!sizes) {
    throw new LacunaError({
      about: "--shape",
      expected: Object.keys(SHAPES).join(" or "),
      got: shape,
      hint: "Add a shape to tools/random-llama.ts.",
    });
  }
  const config: JsonObject = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: 0,
    eos_token_id: 0,
    torch_dtype: "bfloat16",
    ...sizes,
  };
  const shapes = [...llamaTensorShapes(parseLlamaConfig(config, `shape ${shape}`))];
  const table = normalTable(seed);
  const ones = (n: number): Uint8Array => new Uint8Array(new Uint16Array(n).fill(0x3f80).buffer);
  return writeModelFolder(
    target,
    {
      config,
      format: "dense",
      plan: shapes.map(([name, s]) => ({ name, dtype: "BF16" as const, shape: s })),
      companions: "models/sotu",
    },
    async (write) => {
      for (const [i, [name, s]] of shapes.entries()) {
        const count = s.reduce((a, b) => a * b, 1);
        await write(name, s.length === 1 ? ones(count) : randomBytes(count, seed, i, table));
      }
    },
    { force },
  );
}

if (process.argv[1]?.endsWith("random-llama.ts")) {
  const { values } = parseArgs({
    options: {
      shape: { type: "string", default: "qwen2.5-0.5b" },
      out: { type: "string", short: "o", default: "out/random-llama" },
      seed: { type: "string", default: "1" },
      force: { type: "boolean", default: false },
    },
  });
  const bytes = await makeRandomLlama(values.shape, values.out, Number(values.seed), values.force);
  console.log(`${values.out}: ${bytes} bytes of weights`);
}
