"""The language: every wording means what it was made from, and nothing else is understood."""

from __future__ import annotations

import random

import pytest
from interleave_rt.train.shapes import grammar
from interleave_rt.train.shapes.transitions import OPERATIONS, random_transition
from interleave_rt.train.shapes.world import Scene, Thing


def test_explicit_means_the_transition() -> None:
    rng = random.Random(2)
    for _ in range(4000):
        step = random_transition(rng)
        assert grammar.apply(step.before, grammar.explicit(step)) == step.after


def test_every_grounded_wording_means_the_transition() -> None:
    rng = random.Random(3)
    wordings = 0
    for _ in range(1500):
        step = random_transition(rng)
        for text in grammar.grounded_options(step):
            assert grammar.parse(step.before, text) == step, text
            wordings += 1
        assert grammar.apply(step.before, grammar.natural(step)) == step.after
    assert wordings > 3000


def test_grounded_is_never_explicit_and_absent_for_drawings() -> None:
    rng = random.Random(4)
    for _ in range(500):
        step = random_transition(rng)
        text = grammar.grounded(step, rng)
        assert text != grammar.explicit(step)
        assert text is None or step.operation != "draw"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_natural_is_deterministic(operation: str) -> None:
    step = random_transition(random.Random(5), operation)
    assert grammar.natural(step) == grammar.natural(step)


_SCENE = (
    Scene(2)
    .put(4, Thing.named("large", "white", "circle"))
    .put(0, Thing.named("small", "white", "circle"))
    .put(5, Thing.named("small", "red", "star"))
)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "paint something nice",
        "add a small red star at the center",  # occupied
        "add a small blue star at the top",  # invisible on blue
        "remove the circle",  # two of them
        "remove the square",  # none
        "make the white circle red",  # ambiguous
        "make the star red",  # already is
        "make the star blue",  # invisible
        "move the star left of the star",
        "add a small red ring right of the star",  # outside the grid
        "draw a small blue star at the top on a blue background",
        "make the small red star at the center green",  # not there
    ],
)
def test_what_cannot_be_resolved_is_none(prompt: str) -> None:
    assert grammar.apply(_SCENE, prompt) is None


def test_relations_and_places() -> None:
    star = Thing.named("large", "red", "star")
    assert grammar.apply(_SCENE, "add a large red star above the large circle") == _SCENE.put(1, star)
    assert grammar.apply(_SCENE, "Add a large red star at the  bottom left.") == _SCENE.put(6, star)
    moved = _SCENE.put(5, None).put(7, Thing.named("small", "red", "star"))
    assert grammar.apply(_SCENE, "move the star below the large white circle") == moved
    assert grammar.apply(_SCENE, "move the small red star from the right to the bottom") == moved
    assert grammar.apply(None, "add a large red star at the top") is None
    assert grammar.apply(None, "draw a large red star at the top on an orange background") == Scene(4).put(
        1, star
    )
