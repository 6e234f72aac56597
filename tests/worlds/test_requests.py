"""Seeded requests: their plans are right, the same for the same seed."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import Request, continuations, grammar, stories
from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Scene


def test_plans_lead_to_their_scenes_and_pictures_to_each_other(drawn: list[Request]) -> None:
    for request in drawn:
        assert request.text.count("<image>") == len(request.images)
        assert request.mode == ("guidance" if request.images else "narrative")
        assert request.first_number == len(request.images) + 1
        for before, after in zip(request.images, request.images[1:], strict=False):
            assert before.background == after.background
            assert 1 <= sum(a != b for a, b in zip(before.cells, after.cells, strict=True)) <= 2
        if request.kind in ("question", "about", "outside"):  # answered in words
            (step,) = request.steps
            assert (step.prompt, step.instruction, request.scenes) == (None, None, ())
            assert step.auxiliary_text
            continue
        scene = request.images[-1] if request.images else None
        for step, target in zip(request.steps, request.scenes, strict=True):
            scene = grammar.apply(scene, step.prompt)
            assert scene == target
            assert not re.search(r"\b(corner|edge|row|middle)\b", step.prompt)  # places in the plain style


_KINDS = {
    **dict.fromkeys(("composite", "pair", "story", "wish", "about"), {0}),
    **dict.fromkeys(("continue-wish", "continue-place", "continue-drawing"), {1, 2, 3, 4}),
    "spoken": {0, 1, 2, 3},
    "question": {1, 2},
    "outside": {0, 1, 2, 3, 4},
}
"""How many pictures are given, by kind."""


def test_training_meets_every_kind_with_every_number_of_pictures_and_steps(drawn: list[Request]) -> None:
    kinds = Counter(request.kind for request in drawn)
    assert min(count for kind, count in kinds.items() if kind != "about") > 40
    assert kinds["about"] > 5  # there are five of them, and people ask some of these, too
    counts = {kind: {len(request.images) for request in drawn if request.kind == kind} for kind in kinds}
    # four pictures of a drawing are rare among all requests: it must have five parts, of which four are there
    rng = random.Random(3)
    counts["continue-drawing"] |= {len(continuations.continue_drawing(rng).images) for _ in range(2000)}
    assert counts == _KINDS
    assert {len(request.steps) for request in drawn} == {1, 2, 3, 4, 5, 6}
    assert max(len(request.steps) for request in drawn if request.kind == "wish") == 5
    two = [len(request.images) == 2 for request in drawn if request.kind == "question"]
    assert 0.05 < sum(two) / len(two) < 0.3


def test_words_and_pictures_have_one_right_plan(drawn: list[Request]) -> None:
    plans = defaultdict(set)
    for request in drawn:
        if request.kind != "outside":
            plans[request.text, request.images].add(request.plan_key)
    assert all(len(keys) == 1 for keys in plans.values())


def test_samples_repeat_and_differ_by_seed() -> None:
    assert requests.sample("test", 50, 1) == requests.sample("test", 50, 1)
    assert requests.sample("test", 50, 1) != requests.sample("test", 50, 2)
    assert requests.sample("test", 50, 1) != requests.sample("validation", 50, 1)


def test_grounded_prompts_are_common_but_first_steps_are_explicit() -> None:
    later = grounded = 0
    for request in requests.sample("train", 400, 5):
        scene = None
        for number, (step, target) in enumerate(zip(request.steps, request.scenes, strict=True)):
            assert step.prompt is not None
            transition = grammar.parse(scene, step.prompt)
            assert transition is not None
            if number == 0:
                assert step.prompt == grammar.explicit(transition)
            else:
                later += 1
                grounded += grammar.style_of(transition, step.prompt) is None
            scene = target
    assert 0.7 < grounded / later < 0.95


def test_places_are_asked_for_in_every_style(drawn: list[Request]) -> None:
    texts = [request.text for request in drawn if request.kind == "wish"]
    for words in ("at the top left", "in the upper left corner", "in row 1 column 1"):
        assert any(words in text for text in texts)


def test_explained_steps_have_a_text_each(drawn: list[Request]) -> None:
    for request in drawn:
        if request.kind in ("composite", "wish"):
            asked = any(
                words in request.text for words in ("Explain each", "Say what each", "With a short text")
            )
            assert all((step.auxiliary_text is not None) == asked for step in request.steps)


# ---- stories


@pytest.fixture(scope="module")
def told() -> dict[str, list[Request]]:
    """Stories by the words that tell what happens in them."""
    rng, found = random.Random(2), defaultdict(list)
    for _ in range(300):
        request = stories.story(rng)
        (words,) = [words for words in _HAPPENS if words in request.text]
        found[words].append(request)
    return found


def _rolls(text: str, scenes: tuple[Scene, ...], sentences: list[str]) -> None:
    way = "right" if "to the right" in text else "left"
    assert [scene.occupied[0] % 3 for scene in scenes] == ([0, 1, 2] if way == "right" else [2, 1, 0])
    assert sentences[1] == f"It rolls to the {way}."
    assert ("ball" in text) == (SHAPES[scenes[0].at(scenes[0].occupied[0]).shape] == "circle")


def _changes(text: str, scenes: tuple[Scene, ...], _: list[str]) -> None:
    words = [COLOURS[scene.at(4).colour] for scene in scenes]
    assert f"that is first {words[0]}, then {words[1]} and then {words[2]} on" in text
    assert words[0] != words[1] != words[2]


def _meets(_text: str, scenes: tuple[Scene, ...], _: list[str]) -> None:
    assert [len(scene.occupied) for scene in scenes] == [1, 2, 1]
    assert scenes[0] == scenes[2]


def _flies(_text: str, scenes: tuple[Scene, ...], _: list[str]) -> None:
    assert [scene.occupied[0] // 3 for scene in scenes] == [2, 1, 0]


def _melts(text: str, scenes: tuple[Scene, ...], _: list[str]) -> None:
    assert scenes[3] == scenes[1]
    assert f"{COLOURS[scenes[2].at(1).colour]} hat" in text


def _rises(text: str, scenes: tuple[Scene, ...], _: list[str]) -> None:
    assert scenes[2].at(1) == scenes[1].at(3)
    assert f"{COLOURS[scenes[1].at(3).colour]} sun" in text


def _grows(_text: str, scenes: tuple[Scene, ...], _: list[str]) -> None:
    assert [scene.occupied for scene in scenes] == [(7,), (4, 7), (1, 4, 7)]
    assert scenes[2].at(4).colour == scenes[2].at(7).colour


_HAPPENS = {
    "that rolls": _rolls,
    "that is first": _changes,
    "that meets": _meets,
    "that flies": _flies,
    "snowman that loses": _melts,
    "that rises": _rises,
    "that grows": _grows,
}


@pytest.mark.parametrize("words", _HAPPENS)
def test_a_story_shows_what_it_tells(told: dict[str, list[Request]], words: str) -> None:
    assert len(_HAPPENS) == len(stories._STORIES)
    assert len({request.text for request in told[words]}) > 3
    for request in told[words]:
        sentences = [str(step.auxiliary_text) for step in request.steps]
        assert all(sentence.endswith(".") for sentence in sentences)
        assert len(set(sentences)) == len(sentences) == len(request.scenes)
        assert f"on {grammar.article(COLOURS[request.scenes[0].background])} background" in request.text
        _HAPPENS[words](request.text, request.scenes, sentences)
