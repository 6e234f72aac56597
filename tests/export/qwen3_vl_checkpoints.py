"""Small Qwen3-VL checkpoints in the shape of the published ones: 151,936 tokens, three levels of deepstack, bfloat16
in shards, and every file that says something of the model."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tiny import scramble
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

TOKENS = 151_643
ROWS = 151_936
"""Of the embedding: more than there are tokens."""
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CONTROL = {name: TOKENS + number for number, name in enumerate(SPECIAL)}
TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message.role }}\n"
    "{%- if message.content is string -%}{{ message.content }}{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>{%- else -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
).replace("message.role }}\n", "message.role }}{{ '\\n' }}")
PREPROCESSOR = {
    "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "processor_class": "Qwen3VLProcessor",
}
GENERATION = {
    "do_sample": True,
    "temperature": 0.7,
    "top_k": 20,
    "top_p": 0.8,
    "repetition_penalty": 1.0,
    "eos_token_id": [CONTROL["<|im_end|>"], CONTROL["<|endoftext|>"]],
    "pad_token_id": CONTROL["<|endoftext|>"],
}


def tokenizer() -> Tokenizer:
    """A byte-level BPE of as many tokens as Qwen's: bytes, `true` and `false` in both spellings, words of letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = dict.fromkeys(alphabet)
    merges: list[tuple[str, str]] = []

    def merge(left: str, right: str) -> None:
        if len(words) < TOKENS and left + right not in words:
            words[left + right] = None
            merges.append((left, right))

    for word in ("true", "false", "True", "False"):
        for end in range(2, len(word) + 1):
            merge(word[: end - 1], word[end - 1])
        merge("Ġ", word)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    for size in (2, 3, 4):
        for parts in product(letters, repeat=size):
            merge("".join(parts[:-1]), parts[-1])
    assert len(words) == TOKENS
    made = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return made


def configuration(*, tied: bool, rows: int = ROWS, layers: int = 4, **text: Any) -> Qwen3VLConfig:
    """Widths a tenth of the smallest published model's, proportions kept: heads of 128, m-rope of 24, 20 and 20."""
    return Qwen3VLConfig(
        text_config={
            "vocab_size": rows,
            "hidden_size": 128,
            "intermediate_size": 224,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
            **text,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 144,
            "num_heads": 2,
            "out_hidden_size": 128,
            "patch_size": 16,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        tie_word_embeddings=tied,
        image_token_id=CONTROL["<|image_pad|>"] if rows == ROWS else 0,
        video_token_id=CONTROL["<|video_pad|>"] if rows == ROWS else 1,
        vision_start_token_id=CONTROL["<|vision_start|>"] if rows == ROWS else 2,
        vision_end_token_id=CONTROL["<|vision_end|>"] if rows == ROWS else 3,
    )


def save(folder: Path, config: Qwen3VLConfig, *, seed: int = 1, shard: str = "8MB") -> Path:
    """Random weights of unit gain as bfloat16, in shards; norms and biases keep away from their neutral values."""
    model = Qwen3VLForConditionalGeneration(config)
    scramble(model, seed)
    model.tie_weights()
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=shard)
    return folder


def save_texts(folder: Path) -> Path:
    """Tokenizer, template, preprocessor and sampling, as published checkpoints have them."""
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    words = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    return folder


def load(folder: Path) -> Any:
    """The checkpoint in float32, by the library."""
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
