"""Kinds of requests that are declined: every kind is drawn, nothing that can be drawn is among them, slips stay requests."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from draws import draws
from tokenizers import Tokenizer

import interleave_rt
from interleave_rt.worlds.shapes.language import (
    COMPOSITES,
    Request,
    about,
    apply,
    outside_request,
    plan_answer,
    planner_prompt,
    spoken,
)
from interleave_rt.worlds.shapes.language import declined as kinds
from interleave_rt.worlds.shapes.language.declined import KINDS, own_words, words_of
from interleave_rt.worlds.shapes.language.speech import mistyped
from interleave_rt.worlds.shapes.people import is_kept_out, offered
from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, SHAPES, SIZES

_LIMIT = 520  # tokens of a request with its answer, as the planner is trained


@pytest.fixture(scope="module")
def made() -> dict[str, list[kinds.Declined]]:
    rng = random.Random(1)
    return {make.__name__: [make(rng) for _ in range(400)] for make in KINDS}


def _words(text: str) -> str:
    """The words of a text, however they are written; the text itself where it has none."""
    return re.sub(r"\W+", " ", text.casefold()).strip() or text.strip()


def test_every_kind_is_drawn_and_varies(made: dict[str, list[kinds.Declined]]) -> None:
    for name, every in made.items():
        texts = [text for _, _, text in every]
        assert len(set(texts)) > 120, name
        assert all(text.strip() and not re.search(r"\{[abpnlwxst]\}", text) for text in texts), name
    rng = random.Random(2)
    drawn = Counter(kinds.declined(rng)[1] for _ in range(2000))
    assert set(drawn) == {"thing", "colour", "shape", "place", "number", "words", "task"}
    assert min(drawn.values()) > 30
    reached = {outside_request(rng).text for _ in range(3000)}
    for words in ("flag of ", " logo", "as a", "in the style of", "translate", "spell",
                  " background", "corners", "overlap", "light", "please"):  # fmt: skip
        assert any(words in text for text in reached), words


def test_nothing_that_can_be_drawn_is_declined(made: dict[str, list[kinds.Declined]]) -> None:
    rng = random.Random(3)
    inside = {_words(make(rng).text) for make in (spoken, spoken, mistyped, about) for _ in range(draws(830))}
    texts = [text for every in made.values() for _, _, text in every]
    assert sorted(inside & {_words(text) for text in texts}) == []
    possible = [text for name, every in made.items() if name != "_impossible" for _, _, text in every]
    assert [
        text for text in possible if offered(text) is not None
    ] == []  # "a square circle" has all its words


def test_the_vocabulary_has_nothing_of_the_world() -> None:
    inside = {*COMPOSITES, *COLOURS, *SHAPES, *SIZES, *PATTERNS}
    for kind in set(words_of()) - {"ground"}:  # a background can be neither striped nor dotted
        assert not inside & {word.casefold() for word in words_of()[kind]}, kind
        assert len(words_of()[kind]) == len(set(words_of()[kind])) >= 15, kind
        assert not any(map(is_kept_out, words_of()[kind])), kind


def test_a_part_that_a_drawing_has_is_not_declined() -> None:
    rng = random.Random(4)
    called = "|".join(COMPOSITES)
    checked = 0
    for _ in range(3000):
        text = kinds._part(rng)[2]
        found = re.search(rf"\b({called}) (?:with|that has|and) (.+)", text)
        if found and found[2].rstrip("?. ").removesuffix(" please") not in " ".join(words_of()["scene"]):
            given = {word.rstrip("s") for word in found[2].split()} - {"a", "on", "it", *COLOURS}
            assert not given & own_words(found[1]), text
            checked += 1
    assert checked > 500


def test_what_contradicts_itself_does() -> None:
    rng = random.Random(5)
    right = {"triangle": ("three", "3"), "square": ("four", "4"), "diamond": ("four", "4"), "circle": ("no",), "ring": ("no",)}  # fmt: skip
    for _ in range(2000):
        text = kinds._impossible(rng)[2]
        found = re.search(r"(\w+) (?:with|that has) (\w+) (?:corners|sides|edges)", text)
        assert not (found and found[2] in right.get(found[1], ())), text
        assert not re.search("a round (circle|ring)", text)


def test_a_request_and_its_answer_are_short_enough_for_the_planner() -> None:
    package = Path(interleave_rt.__file__).parent
    tokenizer = Tokenizer.from_file(str(package / "packs/shapes/tokenizer/tokenizer.json"))
    rng = random.Random(6)
    requests: list[Request] = [
        *(outside_request(rng) for _ in range(500)),
        *(mistyped(rng) for _ in range(100)),
    ]
    for request in requests:
        text = planner_prompt(request.text, request.mode) + plan_answer(request)
        ids = tokenizer.encode(text).ids
        assert len(ids) < _LIMIT, request.text


def test_a_name_with_a_slip_is_drawn() -> None:
    rng = random.Random(7)
    plans: dict[str, str] = {}
    known = "|".join((*COMPOSITES, *SHAPES))
    for _ in range(500):
        request = mistyped(rng)
        scene = None
        for step, after in zip(request.steps, request.scenes, strict=True):
            scene = apply(scene, step.prompt)
            assert scene == after
        assert len(request.text.split()) < 9
        assert plans.setdefault(request.text, request.plan_key) == request.plan_key
        assert not re.fullmatch(rf"an? (?:(?:{'|'.join(COLOURS)}) )?(?:{known})", request.text)
