"""Logits of tiny models by Hugging Face's transformers, the fixture of src/models/llama/twin.test.ts.

python tools/reference/llama.py > src/models/llama/fixtures/transformers.json
Needs torch and transformers. Weights come from integers, so that the test makes the same ones (see `fill`).
"""

import json

import torch
import transformers

COMMON = dict(vocab_size=11, num_hidden_layers=2, max_position_embeddings=256)
MODELS = {
    "llama: one key per head, untied": dict(
        kind="Llama", hidden_size=16, intermediate_size=20, num_attention_heads=4, num_key_value_heads=4,
        rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False,
    ),
    "llama: grouped queries, wide heads, llama3 scaling, tied": dict(
        kind="Llama", hidden_size=12, intermediate_size=20, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        rms_norm_eps=1e-6, rope_theta=100.0, tie_word_embeddings=True,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=64),
    ),
    "llama: one key for all heads, linear scaling, biases": dict(
        kind="Llama", hidden_size=12, intermediate_size=14, num_attention_heads=3, num_key_value_heads=1,
        rms_norm_eps=1e-5, rope_theta=1000.0, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_scaling=dict(rope_type="linear", factor=4.0),
    ),
    "qwen2: grouped queries, tied": dict(
        kind="Qwen2", hidden_size=16, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2,
        rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
    ),
}
IDS = [0, 3, 10, 3, 7, 1, 1, 9, 4, 2, 8, 5, 6, 0, 3, 10]


def fill(model):
    """Element i of tensor n in the sorted order of names, from integers; gains of norms are near 1."""
    for n, (name, tensor) in enumerate(sorted(model.named_parameters())):
        i = torch.arange(tensor.numel(), dtype=torch.int64)
        value = ((n * 7919 + i * 10473 + i * i * 31) % 1009).to(torch.float64) / 1009 - 0.5
        value = 1 + 0.5 * value if name.endswith("norm.weight") else value
        tensor.data = value.reshape(tensor.shape)


models = []
for title, fields in MODELS.items():
    fields = dict(fields)
    kind = fields.pop("kind")
    config = getattr(transformers, f"{kind}Config")(**COMMON, **fields, attn_implementation="eager")
    with torch.no_grad():
        model = getattr(transformers, f"{kind}ForCausalLM")(config).double().eval()
        fill(model)
        if config.tie_word_embeddings:
            assert model.lm_head.weight is model.model.embed_tokens.weight
        out = model(torch.tensor([IDS]), labels=torch.tensor([IDS]))
    models.append(dict(
        title=title, kind=kind, config={**COMMON, **fields},
        names=sorted(name for name, _ in model.named_parameters()),
        loss=out.loss.item(), logits=[round(x, 7) for x in out.logits[0].flatten().tolist()],
    ))
print(json.dumps(dict(transformers=transformers.__version__, torch=torch.__version__, ids=IDS, models=models)))
