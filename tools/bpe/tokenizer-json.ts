/** Writes a learned byte-pair vocabulary as the files of a Hugging Face tokenizer. */
import type { BytePairVocabulary } from "./train.ts";

/** The contents of tokenizer.json, tokenizer_config.json, special_tokens_map.json; `end` begins and ends a text. */
export function tokenizerFiles(vocabulary: BytePairVocabulary, end: string, longest: number): Record<string, object> {
  const id = vocabulary.symbols.indexOf(end);
  const added = { content: end, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    "tokenizer.json": {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: [{ id, ...added }],
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: end, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        pair: [
          { SpecialToken: { id: end, type_id: 0 } },
          { Sequence: { id: "A", type_id: 0 } },
          { SpecialToken: { id: end, type_id: 1 } },
          { Sequence: { id: "B", type_id: 1 } },
        ],
        special_tokens: { [end]: { id: end, ids: [id], tokens: [end] } },
      },
      decoder: byteLevel,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(vocabulary.symbols.map((symbol, index) => [symbol, index])),
        merges: vocabulary.merges.map(([left, right]) => `${left} ${right}`),
      },
    },
    "tokenizer_config.json": {
      add_bos_token: true,
      add_prefix_space: false,
      added_tokens_decoder: { [id]: added },
      bos_token: end,
      clean_up_tokenization_spaces: false,
      eos_token: end,
      model_max_length: longest,
      tokenizer_class: "PreTrainedTokenizerFast",
    },
    "special_tokens_map.json": { bos_token: end, eos_token: end },
  };
}
