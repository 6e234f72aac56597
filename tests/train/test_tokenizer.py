"""The tokenizer: any bytes round-trip, prompts fit, and its chat template is the one that training used."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from interleave_rt.train.shapes import tokenizer  # noqa: E402

from interleave_rt.worlds.shapes import requests  # noqa: E402
from interleave_rt.worlds.shapes.language import STYLES, about_a_picture, asked, grammar, teacher  # noqa: E402
from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, SHAPES, SIZES, random_transition  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory: Path = tmp_path_factory.mktemp("tokenizer")
    assert tokenizer.train_tokenizer(directory, texts=800) <= 1200
    return tokenizer.load_tokenizer(directory)


def test_any_text_round_trips(trained: Any) -> None:
    rng = random.Random(1)
    texts = [
        "",
        "日本語 ünï 🙂",
        "a  b\t\n c\r\n",
        '{"step_number": 12, "prompt": null}',
        "<think>x</think><answer>y</answer>",
    ]
    texts += ["".join(chr(rng.randrange(1, 0x3000)) for _ in range(40)) for _ in range(50)]
    for text in texts:
        normal = unicodedata.normalize("NFC", text)
        assert trained.decode(trained(normal).input_ids) == normal
    assert trained.unk_token is None


def test_names_of_the_tokens(trained: Any) -> None:
    assert trained.eos_token == "<|im_end|>" and trained.pad_token == "<|endoftext|>"
    for token in (*tokenizer.SPECIAL, *tokenizer.ADDED, *tokenizer.JSON):
        assert trained(token).input_ids == [trained.convert_tokens_to_ids(token)]
    assert "<answer>" in trained.decode(trained("<answer>").input_ids, skip_special_tokens=True)


def test_keys_of_answers_are_tokens_of_their_own(trained: Any) -> None:
    rng = random.Random(4)
    joints = {trained.convert_tokens_to_ids(token) for token in (*tokenizer.ADDED, *tokenizer.JSON)}
    for _ in range(100):
        step = random_transition(rng)
        verdict = teacher.judge(step.before, teacher.corrupt(step, rng), True, *[grammar.explicit(step)] * 2)
        assert verdict is not None
        for answer in (teacher.plan_answer(requests.any_request(rng)), verdict.text):
            values = [token for token in trained(answer).input_ids if token not in joints]
            assert not any(sign in trained.decode(values) for sign in ('{"', "_", '"}', ": null"))


def test_generator_prompts_fit(trained: Any) -> None:
    rng = random.Random(2)
    for _ in range(500):
        step = random_transition(rng, every=True)
        full = [grammar.explicit(step, style) for style in range(len(STYLES))]
        for text in (*full, *grammar.grounded_options(step)):
            assert len(trained(teacher.generator_prompt(text)).input_ids) <= 32


def test_names_of_the_world_and_words_of_the_verdict_are_single_tokens(trained: Any) -> None:
    """The critic's loss finds them by their token."""
    names = (*COLOURS, *SHAPES, *SIZES, *PATTERNS[1:], "corner", "edge", "row", "column")
    for text in (" true", " false", ";", *(f" {word}" for word in names)):
        assert len(trained(text).input_ids) == 1, text
    rng = random.Random(3)
    for _ in range(100):
        step = random_transition(rng)
        verdict = teacher.judge(step.before, teacher.corrupt(step, rng), True, *[grammar.explicit(step)] * 2)
        assert verdict is not None
        thought = trained(verdict.text.partition("<answer>")[0]).input_ids
        assert thought.count(trained(";").input_ids[0]) == 2


def test_chat_template_equals_the_teacher(trained: Any) -> None:
    def render(content: object, **options: object) -> str:
        text = trained.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **options
        )
        return str(text).replace("<|image_pad|>", "<|image_pad|>" * teacher.IMAGE_TOKENS)

    assert render("add a star", enable_thinking=False) == teacher.generator_prompt("add a star")
    request = next(r for r in requests.sample("train", 50, 1, "guidance") if r.images)
    rendered = teacher.template("guidance.txt").replace("{text_input}", request.text)
    parts: list[dict[str, str]] = []
    for i, piece in enumerate(rendered.split("<image>")):
        parts += [{"type": "image"}] * (i > 0) + [{"type": "text", "text": piece}] * bool(piece)
    assert render(parts) == teacher.planner_prompt(request.text, request.mode)


def test_what_people_say_about_pictures_fits(trained: Any) -> None:
    rng = random.Random(4)
    for make in (about_a_picture, asked):
        for _ in range(300):
            request = make(rng)
            text = teacher.planner_prompt(request.text, request.mode) + teacher.plan_answer(request)
            assert len(trained(text).input_ids) <= 520
            assert trained.decode(trained(request.text).input_ids) == request.text
