"""The language: every wording means what it was made from, and nothing else is understood."""

from __future__ import annotations

import random

import pytest

from interleave_rt.worlds.shapes.language import CELL_OF, STYLES, at, bare, grammar
from interleave_rt.worlds.shapes.scene import CELLS, OPERATIONS, Scene, Thing, Transition, random_transition


def test_every_place_has_a_name_of_its_own_in_every_style() -> None:
    names = [bare(cell, style).removeprefix("the ") for style in range(len(STYLES)) for cell in range(CELLS)]
    assert len(set(names)) == len(names) == len(CELL_OF)
    assert [CELL_OF[name] for name in names] == [*range(CELLS)] * len(STYLES)
    said = [at(0, style) for style in range(len(STYLES))]
    assert said == ["at the top left", "in the upper left corner", "in row 1 column 1"]


@pytest.mark.parametrize("operation", [*OPERATIONS, "replace"])
def test_every_wording_means_the_step_that_it_was_made_of(operation: str) -> None:
    rng = random.Random(2)
    grounded = 0
    for _ in range(500):
        step = random_transition(rng, operation)
        for style in range(len(STYLES)):
            text = grammar.explicit(step, style)
            assert grammar.parse(step.before, text) == step, text
            assert grammar.style_of(step, text) == style
        options = grammar.grounded_options(step)
        for text in options:
            assert grammar.parse(step.before, text) == step, text
            assert grammar.parse(None, text) is None  # it needs the picture
            assert grammar.style_of(step, text) is None
            anchor = grammar.anchor(step.before, text)
            if anchor is not None:
                aim = step.cell if step.to is None else step.to
                assert abs(anchor // 3 - aim // 3) + abs(anchor % 3 - aim % 3) == 1
        assert grammar.grounded(step, rng) in (options or [None])
        assert grammar.apply(step.before, grammar.natural(step)) == step.after
        grounded += len(options)
    assert (grounded > 400) == (operation != "draw")


def test_natural_prefers_what_was_added_last() -> None:
    scene = Scene(2).put(1, Thing.named("large white circle")).put(3, Thing.named("large dotted red square"))
    step = Transition.add(scene, Thing.named("small black star"), 4)
    assert grammar.natural(step, 1) == "add a small black star below the large white circle"
    assert grammar.natural(step, 3) == "add a small black star right of the large dotted red square"


_SCENE = (
    Scene(2)
    .put(4, Thing.named("large white circle"))
    .put(0, Thing.named("small white circle"))
    .put(5, Thing.named("small red star"))
    .put(8, Thing.named("large striped red heart"))
    .put(6, Thing.named("large dotted red heart"))
)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "paint something nice",
        "add a small red star at the center",  # occupied
        "add a small blue star at the top",  # invisible on blue
        "add a small striped red star at the top",  # small things have no pattern
        "draw a small dotted red star at the top on a white background",
        "add a large plain red star at the top",  # plain goes without saying
        "add a large red star in the upper left",  # no such place
        "remove the square",  # none
        "make the star red",  # already is
        "make the star blue",  # invisible
        "move the star left of the star",
        "add a small red ring right of the star",  # outside the grid
        "draw a small blue star at the top on a blue background",
        "make the small red star at the center green",  # not there
        "move the small red star from the top to the bottom",
        "remove the small striped circle",
        "add a large red star in row 4 column 1",
    ],
)
def test_what_cannot_be_resolved_is_none(prompt: str) -> None:
    assert grammar.apply(_SCENE, prompt) is None


@pytest.mark.parametrize(
    ("ambiguous", "clear"),
    [
        ("remove the circle", "remove the small circle"),
        ("make the white circle red", "make the large white circle red"),
        ("remove the red heart", "remove the striped heart"),
        ("make the large red heart white", "make the large dotted red heart white"),
        ("move the heart to the top", "move the heart at the bottom left to the top"),
        ("add a large red bowl below the circle", "add a large red bowl below the small circle"),
        ("move the star above the heart", "move the star left of the striped heart"),
    ],
)
def test_ambiguous_references_are_none(ambiguous: str, clear: str) -> None:
    assert grammar.apply(_SCENE, ambiguous) is None
    assert grammar.apply(_SCENE, clear) is not None


def test_relations_and_places() -> None:
    star = Thing.named("large red star")
    assert grammar.apply(_SCENE, "add a large red star above the large circle") == _SCENE.put(1, star)
    assert grammar.apply(_SCENE, "Add a large red star at the  bottom.") == _SCENE.put(7, star)
    assert grammar.apply(_SCENE, "add a large red star at the lower edge") == _SCENE.put(7, star)
    assert grammar.apply(_SCENE, "add a large red star in row 3 column 2") == _SCENE.put(7, star)
    moved = _SCENE.put(5, None).put(7, Thing.named("small red star"))
    assert grammar.apply(_SCENE, "move the star below the large white circle") == moved
    assert grammar.apply(_SCENE, "move the small red star from the right to the bottom") == moved
    assert grammar.apply(_SCENE, "move the small red star from the right edge to the lower edge") == moved
    assert grammar.apply(None, "add a large red star at the top") is None
    drawn = "draw a large striped red star in the middle on an orange background"
    assert grammar.apply(None, drawn) == Scene(4).put(4, star._replace(pattern=1))


def test_the_anchor_is_the_thing_that_a_place_is_named_by() -> None:
    scene = Scene(0).put(4, Thing.named("large white circle")).put(8, Thing.named("small blue star"))
    assert grammar.anchor(scene, "add a small red heart above the circle") == 4
    assert grammar.anchor(scene, "move the circle left of the small blue star") == 8
    assert grammar.anchor(scene, "Add a small red heart  left of the star in the lower right corner.") == 8
    for text in ("add a small red heart at the top", "remove the star", "make the star red", "hello"):
        assert grammar.anchor(scene, text) is None
    assert grammar.anchor(scene, "add a small red heart above the ring") is None
