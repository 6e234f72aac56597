"""One small byte-level BPE for all three roles, in the format of the Qwen tokenizers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import Qwen2TokenizerFast

from interleave_rt.worlds.shapes.language import (
    STYLES,
    bare,
    corrupt,
    explicit,
    grounded,
    judge,
    plan_answer,
    template,
)
from interleave_rt.worlds.shapes.requests import any_request
from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, PATTERNS, SHAPES, SIZES, random_transition

__all__ = ["ADDED", "JSON", "SPECIAL", "load_tokenizer", "train_tokenizer"]

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
ADDED = ("<think>", "</think>", "<answer>", "</answer>")
"""Tokens of their own that are ordinary text: they stay when an answer is decoded."""
JSON = (
    '{"execution_plan": [{"step_number": ',
    ', {"step_number": ',
    ', "step_name": "',
    '", "instruction": "',
    '", "instruction": null, "prompt": null, "auxiliary_text": "',
    '", "prompt": "',
    '", "auxiliary_text": null}',
    '", "auxiliary_text": "',
    '{"previous_step_success":',
    ', "refine_prompt": "',
    '"}',
    "]}",
)
"""What stands between the values of an answer, as one token each: half of a plan in small pieces would be its keys."""

_PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENGLISH = (
    "The quick brown fox jumps over the lazy dog. You are a helpful assistant; please give me an example of this, "
    "and tell me what you would do next. I think that it is not possible to say which one of them was there first. "
    "How many of these are on the table, and who has put them where they are now? There will be time for that later. "
    "A house, a tree, some people, two cars, three birds in the sky, the sun, the moon and a lot of water. "
)


def _corpus(seed: int, texts: int) -> Iterator[str]:
    rng = random.Random(seed)
    places = [bare(cell, style) for style in range(len(STYLES)) for cell in range(CELLS)]
    words = " ".join(
        [*COLOURS, *SHAPES, *SIZES, *PATTERNS, *places, "nothing", "user", "assistant", "system"]
    )
    for _ in range(200):
        yield words + " " + words.replace(" ", "s ") + " " + words.title()
        yield (
            template("narrative.txt") + "\n" + template("critic.txt") + "\n" + template("guidance.txt") + "\n"
        )
        yield "user\n\nassistant\n\nsystem\n"
    for _ in range(40):
        yield _ENGLISH
    for _ in range(texts):
        request = any_request(rng)
        yield request.text
        yield plan_answer(request)
        step = random_transition(rng, every=True)
        original = grounded(step, rng) or explicit(step)
        seen = step.after if rng.random() < 0.5 else corrupt(step, rng)
        used = explicit(step, rng.randrange(len(STYLES))) if rng.random() < 0.5 else original
        verdict = judge(step.before, seen, True, original, used)
        assert verdict is not None
        yield original
        yield used
        yield verdict.text


def train_tokenizer(out: Path, *, size: int = 1200, texts: int = 8000, seed: int = 0) -> int:
    """Train on `texts` requests with their answers and save under `out`; returns the number of tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL) - len(ADDED) - len(JSON),
        min_frequency=3,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # added tokens never reach the model, so they must not shape its merges

    tokenizer.train_from_iterator((_without_added(text) for text in _corpus(seed, texts)), trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in (*ADDED, *JSON)])
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(template("chat.jinja"), encoding="utf-8")
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "additional_special_tokens": [t for t in SPECIAL if t not in ("<|endoftext|>", "<|im_end|>")],
        "model_max_length": 4096,
        "split_special_tokens": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return tokenizer.get_vocab_size()


def _without_added(text: str) -> str:
    for word in (*ADDED, *sorted(JSON, key=len, reverse=True), "<image>"):
        text = text.replace(word, "\n")
    return text


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer that `train_tokenizer` saved."""
    return Qwen2TokenizerFast.from_pretrained(directory)
