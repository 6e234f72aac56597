"""Requests from outside the world: what training makes of them, and the hand-written test that it never sees."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from draws import draws

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import (
    COMPOSITES,
    EXAMPLES,
    GROUPS,
    OUTSIDE,
    REASONS,
    Request,
    apply,
    narratives,
    offer_request,
    offers,
    outside_test,
    refusal,
    spoken,
    vocabulary,
)
from interleave_rt.worlds.shapes.oracle import matches
from interleave_rt.worlds.shapes.people import offered
from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, SHAPES, SIZES, drawn_story

_ANSWER = re.compile(
    rf"I cannot draw that\. ({'|'.join(map(re.escape, REASONS.values()))}) Try: (.+), (.+), (.+)\."
)


def _plain(text: str) -> str:
    """The words of a text, however they are written; the text itself where it has none."""
    return re.sub(r"\W+", " ", text.casefold()).strip() or text.strip()


@pytest.fixture(scope="module")
def outside() -> list[Request]:
    rng = random.Random(1)
    return [requests.outside_request(rng) for _ in range(3000)]


def test_the_answer_says_so_and_why_and_offers_three_things(outside: list[Request]) -> None:
    reasons = Counter()
    for request in outside:
        assert request.kind == OUTSIDE
        found = _ANSWER.fullmatch(str(request.steps[0].auxiliary_text))
        assert found is not None
        why, *offered = found.groups()
        reasons[why] += 1
        assert len(set(offered)) == 3
    assert set(reasons) == set(REASONS.values())
    assert min(reasons.values()) > 10


@pytest.mark.parametrize("why", REASONS)
@pytest.mark.parametrize("group", GROUPS)
def test_what_is_offered_can_be_asked_for_in_the_same_words(group: str, why: str) -> None:
    rng = random.Random(3)
    for words in offers(group, why):
        request = offer_request(words)
        wanted = offered(words)
        assert request.text == words
        assert wanted is not None and wanted.follows(request.scenes)
        scene = None
        for step, after in zip(request.steps, request.scenes, strict=True):
            scene = apply(scene, step.prompt)
            assert scene == after
        assert matches(drawn_story(request.scenes, rng)[-1], request.scenes[-1])
        name = words.split(" ", 1)[1]
        assert name not in COMPOSITES or f" {name}" in " ".join(EXAMPLES)


def test_every_group_of_examples_comes_up(outside: list[Request]) -> None:
    said = {step.auxiliary_text for request in outside for step in request.steps}
    assert {refusal(group) for group in GROUPS} <= said
    assert {len(set(GROUPS[composite.group])) for composite in COMPOSITES.values()} == {3}


def test_some_come_with_pictures(outside: list[Request]) -> None:
    pictured = [bool(request.images) for request in outside]
    assert 0.03 < sum(pictured) / len(outside) < 0.2


def test_none_of_them_could_have_been_drawn(outside: list[Request]) -> None:
    rng = random.Random(2)
    inside = {
        make(rng).text.casefold() for make in (narratives.narrative, spoken) for _ in range(draws(3300))
    }
    assert not inside & {request.text.casefold() for request in outside}


def test_the_vocabulary_knows_nothing_that_can_be_drawn() -> None:
    inside = {*COMPOSITES, *COLOURS, *SHAPES, *SIZES, *PATTERNS}
    for kind, texts in vocabulary().items():
        assert not inside & {text.casefold() for text in texts}, kind
    assert sum(len(texts) for texts in vocabulary().values()) > 1500


def test_the_hand_written_test_is_whole() -> None:
    kinds = Counter(kind for kind, _ in outside_test())
    assert kinds == {"other": 100, "near": 70, "script": 40, "task": 40, "injection": 30, "noise": 20}
    assert len({text for _, text in outside_test()}) == 300


def test_training_knows_nothing_of_the_hand_written_test(outside: list[Request]) -> None:
    known = {_plain(text) for texts in vocabulary().values() for text in texts}
    assert sorted(text for _, text in outside_test() if _plain(text) in known) == []
    made = {request.text.casefold() for request in outside}
    assert not made & {text.casefold() for _, text in outside_test()}
