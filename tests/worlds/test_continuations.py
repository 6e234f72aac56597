"""Requests with pictures: what goes on from them, and what other pictures under the same words ask for."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from draws import draws

from interleave_rt.worlds.shapes.language import (
    CELL_OF,
    COMPOSITES,
    Request,
    continuations,
    grammar,
    variants,
)
from interleave_rt.worlds.shapes.scene import COLOURS


def _scenes_after(request: Request) -> list[object]:
    scene = request.images[-1]
    found: list[object] = []
    for step in request.steps:
        after = grammar.apply(scene, str(step.prompt))
        assert after is not None
        found.append(after)
        scene = after
    return found


def test_a_place_says_nothing_about_what_stands_there() -> None:
    rng = random.Random(3)
    for _ in range(300):
        request = continuations.continue_in_place(rng)
        (step,) = request.steps
        words = request.text.replace("<image>", "").lower()
        cell = max((name for name in CELL_OF if f"at the {name}" in words), key=len)
        thing = request.images[-1].at(CELL_OF[cell])
        assert thing.name not in words
        target = request.scenes[0].cells[CELL_OF[cell]]
        if target is None:
            assert "remove" in words
        else:
            assert target == thing._replace(colour=target.colour) != thing
            assert words.rstrip(".").endswith(COLOURS[target.colour])
        assert step.prompt is not None


def test_a_drawing_is_finished_with_what_can_be_seen_and_its_defaults() -> None:
    rng = random.Random(4)
    for _ in range(draws(170)):
        request = continuations.continue_drawing(rng)
        assert request.composite is not None
        composite = COMPOSITES[request.composite]
        assert request.composite in request.text
        shown = len(request.images[-1].occupied)
        assert 1 <= shown < len(composite.parts)
        final = request.scenes[-1]
        assert len(final.occupied) == len(composite.parts)
        fitting = []
        for ground, values in variants(composite.name):
            seen = {
                key for part in composite.parts[:shown] for key in values if "{" + key + "}" in part.thing
            }
            steps = composite.steps(ground, values)
            assert steps is not None
            if steps[shown - 1][2].after == request.images[-1] and all(
                values[key] == options[0] for key, options in composite.choices.items() if key not in seen
            ):
                fitting.append(steps[-1][2].after)
        assert fitting == [final]


@pytest.mark.parametrize("make", [continuations.continue_in_place, continuations.continue_drawing])
def test_swapped_pictures_change_the_plan_under_the_same_words(
    make: Callable[[random.Random], Request],
) -> None:
    rng = random.Random(5)
    found = 0
    for _ in range(200):
        request: Request = make(rng)
        assert request.swapped is not None
        other = request.swapped(rng)
        if other is None:
            continue
        found += 1
        assert other.text == request.text
        assert len(other.images) == len(request.images)
        assert other.images != request.images
        assert [step.prompt for step in other.steps] != [step.prompt for step in request.steps]
        assert _scenes_after(other) == list(other.scenes)
        assert other.kind == request.kind
    assert found > 150  # a few drawings have one way only to go on


def test_the_swapped_plan_is_what_the_words_mean_there() -> None:
    rng = random.Random(6)
    for _ in range(200):
        request = continuations.continue_in_place(rng)
        other = request.swapped(rng)
        mine, theirs = (grammar.parse(one.images[-1], one.steps[0].prompt) for one in (request, other))
        assert (mine.operation, mine.cell) == (theirs.operation, theirs.cell)
        if mine.operation == "recolour":
            assert mine.after.at(mine.cell).colour == theirs.after.at(theirs.cell).colour


def test_swaps_repeat_with_their_seed_and_wishes_in_words_need_none() -> None:
    request = continuations.continue_drawing(random.Random(8))
    assert request.swapped(random.Random(9)) == request.swapped(random.Random(9))
    assert continuations.continue_wishes(random.Random(7)).swapped is None
