/**
 * Sequence to sequence with LSTMs (Sutskever et al. 2014) and dot-product attention (Luong et al. 2015): the encoder's
 * last states start the decoder; at each step the decoder's output h looks at the encoder's outputs, and
 * tanh(W_c context + W_h h) goes to a linear head. No input feeding, no bidirectional layer.
 *
 * Trained with teacher forcing; decoded greedily. Sources of different lengths are padded at the end: the encoder reads
 * the padding as a token of its own, attention does not look at it.
 */
import { scope } from "../core/scope.ts";
import { noGrad } from "../core/tape.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import { embeddingLayer } from "../nn/layers/embedding.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { lstmStack } from "../nn/layers/recurrent.ts";
import { EVALUATE, type Mode, type Net } from "../nn/net.ts";
import { tanh } from "../nn/ops/activation.ts";
import { dotAttention } from "../nn/ops/dot-attention.ts";
import { dropout } from "../nn/ops/dropout.ts";
import { add } from "../nn/ops/elementwise.ts";
import type { CellState } from "../nn/ops/recurrent.ts";
import { swapRows } from "../nn/ops/rows.ts";
import type { Off } from "../nn/param.ts";
import { timeMajor } from "./lstm.ts";

export interface Seq2SeqOptions {
  /** tokens of each side */
  readonly sourceVocabulary: number;
  readonly targetVocabulary: number;
  readonly embedding: number;
  readonly units: number;
  /** layers of encoder and of decoder; default 1 */
  readonly layers?: number;
  /** source tokens in front of the decoder's inputs in the ids that `forward` takes */
  readonly sourceLength: number;
  readonly seed: number;
  /** rate on what goes from layer to layer, never from step to step; default 0 */
  readonly dropout?: number;
  /** what a masked weight is; default "zero" */
  readonly off?: Off;
}

export interface GreedyOptions {
  /** token that a sequence begins and ends with */
  readonly begin: number;
  readonly end: number;
  /** most tokens to decode */
  readonly steps: number;
}

/**
 * Parameters: `source.weight`, `encoder.<l>.*`, `target.weight`, `decoder.<l>.*`, `combine.{context,output}.weight`,
 * `head.{weight,bias}`.
 */
export interface Seq2Seq extends Net {
  /** ids i32 [B, S + T], source and then the decoder's inputs -> logits [B * T, V] */
  forward(ids: Tensor, mode: Mode): Tensor;
  /** source i32 [B, S], decoder's inputs i32 [B, T] -> logits [B * T, V]; `lengths` of the sources, default S each */
  teach(source: Tensor, inputs: Tensor, mode: Mode, lengths?: ArrayLike<number>): Tensor;
  /** The likeliest token step by step: [B, steps], the end's token included, -1 behind it. */
  greedy(source: Tensor, options: GreedyOptions, lengths?: ArrayLike<number>): Int32Array;
}

interface Encoded {
  /** [S * B, H], time-major */
  readonly memory: Tensor;
  readonly last: readonly CellState[];
}

export function seq2seq(options: Seq2SeqOptions): Seq2Seq {
  const { embedding, units, layers = 1, sourceLength, seed, dropout: rate = 0, off = "zero" } = options;
  const vocabulary = options.targetVocabulary;
  const shared = { seed, off };
  const source = embeddingLayer("source", options.sourceVocabulary, embedding, shared);
  const between =
    (side: string) =>
    (y: Tensor, layer: number, mode: Mode): Tensor =>
      dropout(y, rate, `${side}.${layer}`, mode);
  const encoder = lstmStack("encoder", embedding, units, layers, {
    ...shared,
    uses: sourceLength,
    between: between("encoder"),
  });
  const target = embeddingLayer("target", vocabulary, embedding, shared);
  const decoder = lstmStack("decoder", embedding, units, layers, { ...shared, between: between("decoder") });
  const ofContext = linearLayer("combine.context", units, units, { ...shared, bias: false });
  const ofOutput = linearLayer("combine.output", units, units, { ...shared, bias: false });
  const head = linearLayer("head", units, vocabulary, { ...shared, role: "head" });

  const encode = (ids: Tensor, mode: Mode): Encoded => {
    const { output, last } = encoder.run(
      dropout(source.forward(timeMajor(ids), mode), rate, "source", mode),
      ids.shape[0],
      mode,
    );
    return { memory: output, last };
  };
  /** ids time-major [T * B] -> [T * B, H] and the state afterwards */
  const decode = (ids: Tensor, batch: number, seen: Encoded, mode: Mode, lengths?: ArrayLike<number>): Encoded => {
    const { output, last } = decoder.run(
      dropout(target.forward(ids, mode), rate, "target", mode),
      batch,
      mode,
      seen.last,
    );
    const context = dotAttention(output, seen.memory, batch, lengths);
    return { memory: tanh(add(ofContext.forward(context, mode), ofOutput.forward(output, mode))), last };
  };
  const teach: Seq2Seq["teach"] = (ids, inputs, mode, lengths) => {
    const [batch, steps] = inputs.shape;
    const { memory } = decode(timeMajor(inputs), batch, encode(ids, mode), mode, lengths);
    return head.forward(swapRows(memory, steps, batch), mode);
  };
  const columns = (ids: Tensor, from: number, to: number): Tensor => {
    const [batch, width] = ids.shape;
    const all = ids.i32;
    const out = Int32Array.from({ length: batch * (to - from) }, (_, i) => {
      const row = Math.floor(i / (to - from));
      return all[row * width + from + (i % (to - from))];
    });
    return tensor(out, [batch, to - from]);
  };
  return {
    params: [source, encoder, target, decoder, ofContext, ofOutput, head].flatMap((part) => part.params),
    forward: (ids, mode) => teach(columns(ids, 0, sourceLength), columns(ids, sourceLength, ids.shape[1]), mode),
    teach,
    greedy: (ids, { begin, end, steps }, lengths) =>
      noGrad(() =>
        scope(() => {
          const [batch] = ids.shape;
          const out = new Int32Array(batch * steps).fill(-1);
          const done = new Uint8Array(batch);
          const { memory, last } = encode(ids, EVALUATE);
          let state = last;
          let tokens: Int32Array = new Int32Array(batch).fill(begin);
          for (let t = 0; t < steps && done.includes(0); t++) {
            const next = scope(() => {
              const step = decode(tensor(tokens), batch, { memory, last: state }, EVALUATE, lengths);
              return { best: likeliest(head.forward(step.memory, EVALUATE)), last: step.last };
            });
            state = next.last;
            tokens = next.best;
            for (let b = 0; b < batch; b++) {
              if (done[b] === 1) continue;
              out[b * steps + t] = tokens[b];
              if (tokens[b] === end) done[b] = 1;
            }
          }
          return out;
        }),
      ),
  };
}

/** The column of each row's largest value, the first of equals. */
function likeliest(logits: Tensor): Int32Array {
  const [rows, cols] = logits.shape;
  const all = logits.f32;
  return Int32Array.from({ length: rows }, (_, r) => {
    let best = 0;
    for (let c = 1; c < cols; c++) if (all[r * cols + c] > all[r * cols + best]) best = c;
    return best;
  });
}
