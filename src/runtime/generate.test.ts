import { afterAll, beforeAll, expect, test } from "vitest";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { tinyModel } from "../models/llama/tiny.ts";
import { generate } from "./generate.ts";
import { createRunner } from "./runner.ts";
import { makeSampler } from "./sample.ts";

beforeAll(() => initSync({ threads: 1 }));
afterAll(shutdown);

test("the text is what stepping by hand gives, and the pieces join to it", async () => {
  const model = await tinyModel();
  const runner = await createRunner(model);
  const options = { tokens: 20, temperature: 1.5, seed: 3 };
  const ids: number[] = [];
  const g = generate(runner, "Zeit", { ...options, onToken: (id) => ids.push(id) });
  expect(g.statistics).toBeUndefined();
  const pieces: string[] = [];
  for await (const piece of g) pieces.push(piece);
  expect(pieces.length).toBeGreaterThan(5);
  expect(g.statistics).toMatchObject({ promptTokens: 4, tokens: 20, stopped: "tokens" });
  expect(g.statistics?.tokensPerSecond).toBeGreaterThan(0);

  const sample = makeSampler(options);
  const prompt = model.tokenizer.encode("Zeit");
  runner.reset();
  let logits = runner.prefill(prompt);
  const byHand = ids.map(() => {
    const id = sample(logits, runner.position);
    logits = runner.step(id);
    return id;
  });
  expect(ids).toEqual(byHand);
  expect(pieces.join("")).toBe(model.tokenizer.decode(ids));
  // The prompt's four tokens and all but the last of the text: that one was never fed.
  expect(await generate(runner, "Zeit", options).text()).toBe(pieces.join(""));
  expect(runner.position).toBe(23);
  runner.dispose();
});

test("characters of several bytes are never torn", async () => {
  // A model that repeats what it saw: the head is the embedding and everything else is silent.
  const model = await tinyModel(
    { tied: true, width: 260, heads: 4, headWidth: 64, kvHeads: 2 },
    {
      edit: (name, v, [R]) => {
        if (name.includes("proj")) v.fill(0);
        if (name.includes("embed_tokens")) {
          v.fill(0);
          for (let r = 0; r < R; r++) v[r * 260 + r] = 1;
        }
      },
    },
  );
  const ids: number[] = [];
  const g = generate(model, "é", { tokens: 3, temperature: 0, onToken: (id) => ids.push(id) });
  // The last byte of é again and again: three unfinished characters.
  expect(await g.text()).toBe("\ufffd\ufffd\ufffd");
  expect(ids).toEqual([1 + 0xa9, 1 + 0xa9, 1 + 0xa9]);
});

test("stops at the end of sequence, which is not text", async () => {
  const model = await tinyModel({}, { edit: (name, v) => name === "lm_head.weight" && v.fill(0) });
  // All logits are equal: greedy takes token 0, the end of text.
  const seen: number[] = [];
  const g = generate(model, "abc", { temperature: 0, onToken: (id) => seen.push(id) });
  expect(await g.text()).toBe("");
  expect(seen).toEqual([0]);
  expect(g.statistics).toMatchObject({ tokens: 1, stopped: "end of sequence", tokensPerSecond: 0 });
  const other = { ...model, rawConfig: { ...model.rawConfig, eos_token_id: [5, 0] } };
  expect(await generate(other, "abc", { temperature: 0 }).text()).toBe("");
});

test("stops when the context is full", async () => {
  const runner = await createRunner(await tinyModel(), { contextLength: 8 });
  const ids: number[] = [];
  const g = generate(runner, "12345", { tokens: 50, temperature: 1, seed: 2, onToken: (id) => ids.push(id) });
  await g.text();
  // Three more fit; the fourth needs no place, as nothing follows it.
  expect(g.statistics).toMatchObject({ promptTokens: 5, tokens: 4, stopped: "context" });
  expect(ids).toHaveLength(4);
  await expect(generate(runner, "123456789").text()).rejects.toThrow(/at most 8 tokens.*got 9 tokens/);
  runner.dispose();
});

test("an empty prompt starts from the beginning of sequence", async () => {
  const g = generate(await tinyModel(), "", { tokens: 2, seed: 1 });
  await g.text();
  expect(g.statistics?.promptTokens).toBe(1);
});

test("the event loop gets turns, an abort stops it, and nothing stays allocated", async () => {
  const live = memory.live;
  const model = await tinyModel({ maxPositions: 100_000 });
  const stop = new AbortController();
  let made = 0;
  let fired = false;
  setTimeout(() => {
    fired = true;
    stop.abort(new Error("enough"));
  }, 1);
  // Greedy, this model never comes to an end; sampled, it might before the event loop had its turn.
  const g = generate(model, "a", { tokens: 90_000, temperature: 0, signal: stop.signal, onToken: () => made++ });
  await expect(
    (async () => {
      for await (const _ of g) if (made > 80_000) return;
    })(),
  ).rejects.toThrow("enough");
  expect(fired).toBe(true);
  expect(memory.live).toBe(live);
  await expect(generate(model, "a", { tokens: 0 }).text()).rejects.toThrow(/at least 1/);
  await expect(generate(model, "a", { topP: 7 }).text()).rejects.toThrow(/top-p/);
  // Leaving the loop early frees the model, too.
  for await (const _ of generate(model, "a", { temperature: 1 })) break;
  expect(memory.live).toBe(live);
});
