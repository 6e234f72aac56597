"""Requests in the words of people: one right plan each, what is left open is filled in alike, and slips of the finger."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import (
    Request,
    about_a_picture,
    apply,
    asked,
    corrupt,
    explicit,
    judge,
    misread,
    misunderstood,
    parse,
    spoken,
    step_between,
)
from interleave_rt.worlds.shapes.language.happenings import happening
from interleave_rt.worlds.shapes.language.phrases import slip
from interleave_rt.worlds.shapes.language.wishes import (
    Edit,
    Item,
    Talk,
    _all_of_them,
    _called,
    _related,
    random_item,
    steps_of,
)
from interleave_rt.worlds.shapes.people import is_kept_out
from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    SHAPES,
    Scene,
    Thing,
    random_transition,
)

_CIRCLE, _STAR = SHAPES.index("circle"), SHAPES.index("star")


@pytest.fixture(scope="module")
def said() -> list[Request]:
    rng = random.Random(1)
    return [make(rng) for make in (spoken, spoken, about_a_picture, asked) for _ in range(1500)]


def test_plans_lead_to_their_scenes(said: list[Request]) -> None:
    for request in said:
        scene = request.images[-1] if request.images else None
        for step, after in zip(request.steps, request.scenes, strict=False):
            assert step.prompt is not None
            scene = apply(scene, step.prompt)
            assert scene == after, request.text
        assert len(request.steps) <= 8


def test_words_and_pictures_have_one_right_plan(said: list[Request]) -> None:
    plans: dict[object, str] = {}
    for request in said:
        assert plans.setdefault((request.text, request.images), request.plan_key) == request.plan_key


def test_every_way_of_speaking_comes_up(said: list[Request]) -> None:
    texts = " | ".join(request.text.lower() for request in said)
    for words in ("please", "could you", "in three steps", "2 ", "and finally", "the second one", " it ", "without",
                  "step by step", "background", "replace", "bigger", "story", "in a row", "?", "!", "1)", "step 2",
                  "side by side", "from left to right", "to its right", "another one", "falls",
                  "both", "in each corner", "something ", "and one ", "instead", "ball", "xmas tree", "falls",
                  "turns from", "the other one", "everything but", "swap", "has changed",
                  "more circles"):  # fmt: skip
        assert words in texts, words
    prompts = Counter((step.prompt or "").split(" ", 1)[0] for request in said for step in request.steps)
    assert min(prompts[verb] for verb in ("draw", "add", "remove", "make", "move", "replace")) > 100
    assert sum(len(r.images) == 0 and len(r.steps) == 1 for r in said) > 150
    assert {request.split for request in said} == {"train", "validation", "test"}


def test_what_becomes_of_a_thing_is_told_in_its_order() -> None:
    rng = random.Random(11)
    for _ in range(400):
        request = happening(rng)
        text = request.text.lower()
        if "from the top to the bottom" in text and "over" not in text:
            first, second = request.scenes[:2]
            assert (
                first.cells[1] is not None and first.cells[1] == second.cells[7] and second.cells[1] is None
            )
        if re.search(r" (grows|gets bigger)", text):
            first, second = (scene.at(scene.occupied[0]) for scene in request.scenes[:2])
            assert (first.size, second.size) == (0, 1) and first[:2] == second[:2]


def test_two_things_in_one_breath_stand_as_they_are_told() -> None:
    rng = random.Random(12)
    for _ in range(200):
        talk = Talk()
        words = _related(rng, talk, random_item(rng))
        steps = steps_of(talk)
        if steps is None:
            continue
        first, second = steps[0].cell, steps[1].cell
        if re.search(r" (above|over|on top of) ", words):
            assert first + 3 == second, words
        if " left of " in words:
            assert first + 1 == second, words


def test_all_are_changed_that_are_left() -> None:
    rng = random.Random(13)
    red = COLOURS.index("red")
    talk = Talk([Item(_CIRCLE), Item(_STAR), Item(_STAR, cell=8)], [Edit("remove", 1)])
    words = _all_of_them(rng, talk, [0, 2])
    assert {edit.item for edit in talk.edits[1:]} == {0, 2}
    assert any(colour in words for colour in COLOURS)
    assert (
        _scenes(Talk([Item(_CIRCLE, red)], [Edit("thing", 0, _STAR * len(COLOURS) + COLOURS.index("blue"))]))[
            -1
        ]
        == "white: large blue star at the center"
    )


def _scenes(talk: Talk) -> list[str]:
    steps = steps_of(talk)
    assert steps is not None
    return [step.after.describe() for step in steps]


def test_what_nobody_says_is_filled_in_alike() -> None:
    assert _scenes(Talk([Item(_CIRCLE)])) == ["white: large red circle at the center"]
    assert _scenes(Talk([Item(_CIRCLE, COLOURS.index("white"))])) == [
        "blue: large white circle at the center"
    ]
    two = _scenes(Talk([Item(_CIRCLE), Item(_STAR, COLOURS.index("red"))]))
    assert two[-1] == "white: large red star at the left, large blue circle at the center"
    grown = _scenes(Talk([Item(_CIRCLE)], [Edit("size", 0, 1)]))
    assert grown == ["white: small red circle at the center", "white: large red circle at the center"]
    aside = _scenes(Talk([Item(_CIRCLE), Item(_STAR)], [Edit("move", 0, 3)]))  # the left is wanted later
    assert aside[1] == "white: large red circle at the center, large blue star at the right"
    above = _scenes(Talk([Item(_CIRCLE), Item(_STAR, beside=("above", 0))]))
    assert above[1] == "white: large blue star at the top, large red circle at the center"
    assert _scenes(Talk([Item(_STAR), Item(_STAR, alike=True)]))[1].count("red star") == 2


def test_what_cannot_be_is_no_request() -> None:
    red = COLOURS.index("red")
    assert steps_of(Talk([Item(_CIRCLE, red)], ground=red)) is None
    assert steps_of(Talk([Item(_CIRCLE, cell=0), Item(_STAR, beside=("above", 0))])) is None
    assert steps_of(Talk([Item(_CIRCLE, red)], [Edit("colour", 0, red)])) is None
    assert steps_of(Talk([Item(_CIRCLE), Item(_STAR, cell=1)], [Edit("move", 0, 1)])) is None
    assert steps_of(Talk([Item(_CIRCLE), Item(_STAR)], [Edit("remove", 0), Edit("colour", 0, 5)])) is None


def test_a_thing_is_called_by_the_looks_that_it_has_by_then() -> None:
    rng = random.Random(7)
    red, blue = COLOURS.index("red"), COLOURS.index("blue")
    talk = Talk([Item(_CIRCLE, red), Item(_STAR, blue)], [Edit("colour", 1, red), Edit("shape", 0, _STAR)])
    assert {_called(rng, talk, 0, last=1) for _ in range(200)} == {"the first one", "the first star"}
    talk.edits.append(Edit("colour", 1, blue))
    assert {"the red one", "the red star"} <= {_called(rng, talk, 0, last=1) for _ in range(200)}


def test_a_slip_is_one_letter_in_a_word_and_makes_no_other_word() -> None:
    rng = random.Random(2)
    text = "draw a cat, a red car and a boat <image>"
    words = re.findall(r"\w+", text)
    slipped = Counter()
    for _ in range(2000):
        found = re.findall(r"\w+", slip(rng, text))
        changed = [i for i, (a, b) in enumerate(zip(words, found, strict=True)) if a != b]
        assert len(changed) <= 1
        for i in changed:
            assert abs(len(found[i]) - len(words[i])) <= 1
            assert found[i] not in ("car", "cat", "bat", "boa", "coat", "image")
            slipped[words[i]] += 1
    assert set(slipped) == {"draw", "cat", "red", "car", "and", "boat"}
    assert slip(rng, "a 3 of it") == "a 3 of it"


def test_training_sees_people_speak_but_none_of_their_sentences() -> None:
    rng = random.Random(3)
    kinds = Counter()
    for _ in range(4000):
        request = requests.any_request(rng)
        kinds[request.kind] += 1
        assert not is_kept_out(request.text)
    assert kinds["spoken"] > 1000


# ---- the steps that only people ask for


@pytest.mark.parametrize("operation", ["replace", "ground"])
def test_such_a_step_is_understood_judged_and_mistaken(operation: str) -> None:
    rng = random.Random(4)
    for _ in range(300):
        step = random_transition(rng, operation)
        words = explicit(step)
        assert step.before is not None
        assert parse(step.before, words) == step
        assert step_between(step.before, step.after) == step
        right = judge(step.before, step.after, True, words, words)
        assert right is not None and right.accepted
        for wrong in (corrupt(step, rng), misunderstood(step), misread(step, rng).after):
            assert wrong != step.after
            verdict = judge(step.before, wrong, True, words, words)
            assert verdict is not None and not verdict.accepted
            assert parse(step.before, verdict.refined) == step


def test_a_background_that_hides_a_thing_means_nothing() -> None:
    scene = Scene(COLOURS.index("white")).put(4, Thing.named("large red circle"))
    assert parse(scene, "make the background red") is None
    assert parse(scene, "make the background white") is None
    assert parse(scene, "replace the circle with a large red circle") is None
    assert parse(None, "make the background blue") is None


def test_every_operation_comes_up_where_asked_for() -> None:
    rng = random.Random(5)
    some = {random_transition(rng).operation for _ in range(500)}
    every = Counter(random_transition(rng, every=True).operation for _ in range(2000))
    assert every.keys() - some == {"replace", "ground"}
    assert min(every.values()) > 50
    assert all(0 <= random_transition(rng, every=True).cell < CELLS for _ in range(100))
