"""Wishes one after the other: every name means one thing, and what is told first or last comes first or last."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

import pytest
from draws import draws

from interleave_rt.worlds.shapes.language import changes
from interleave_rt.worlds.shapes.language import successions as ways
from interleave_rt.worlds.shapes.language.wishes import Item, Talk, steps_of
from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Scene


def _drawn(way: Callable[[random.Random, Talk], str | None], count: int) -> list[tuple[str, list[Scene]]]:
    """Texts of one way of speaking, and the scene after every step."""
    rng, found = random.Random(4), []
    while len(found) < draws(count):
        talk = Talk()
        text = way(rng, talk)
        steps = steps_of(talk) if text else None
        if text and steps:
            found.append((text, [step.after for step in steps]))
    return found


@pytest.mark.parametrize("way", list(ways._WAYS))
def test_no_name_means_two_things(way: Callable[[random.Random, Talk], str | None]) -> None:
    rng, checked = random.Random(5), 0
    while checked < draws(60):
        talk = Talk()
        if way(rng, talk) is None:
            continue
        course = changes.course_of(talk, True, True)
        for _ in range(rng.randrange(3)):
            changes.one_change(rng, course)
        if steps_of(talk) is None:
            continue
        names = {i: {changes.called_so(rng, course, i) for _ in range(60)} - {None} for i in course.left}
        for (i, some), (j, others) in itertools.combinations(names.items(), 2):
            assert not some & others, (some & others, i, j, talk)
        checked += 1


def test_sides_are_where_they_are_said_to_be() -> None:
    talk = Talk([Item(0, 0, cell=3), Item(0, 1, cell=2)])
    course = changes.course_of(talk, True, True)
    rng = random.Random(6)
    names = [{name for _ in range(99) for name in changes.by_place_names(rng, course, i)} for i in (0, 1)]
    assert {"the left circle", "the lower circle", "the one on the left"} <= names[0]
    assert {"the right circle", "the upper circle", "the one on the right"} <= names[1]


def test_a_background_that_is_told_first_is_there_from_the_first_step() -> None:
    for text, scenes in _drawn(ways._ground_first, 300):
        first = re.search("|".join(COLOURS), text)
        assert first is not None
        assert COLOURS[scenes[0].background] == first[0], text


def test_what_comes_first_is_drawn_first_though_it_is_said_last() -> None:
    seen = 0
    for text, scenes in _drawn(ways._turned_round, 300):
        if found := re.search(
            r"(?:but first|but before that|start with|after drawing|before you draw .*,) (.*)", text
        ):
            shape = re.search("|".join(SHAPES), found[1].rsplit(" draw ", maxsplit=1)[-1])
            assert shape is not None
            (cell,) = scenes[0].occupied
            assert SHAPES[scenes[0].at(cell).shape] == shape[0], text
            seen += 1
    assert seen > 60


def test_two_things_beside_another_one_are_both_there_in_one_line() -> None:
    seen = 0
    for text, scenes in _drawn(ways._groups, 300):
        if re.search(r"\b(above|over|on top of) ", text):
            other = re.findall("|".join(SHAPES), text)[1]
            last = scenes[-1]
            cells = sorted(last.occupied)
            assert cells == [1, 4, 7]
            assert SHAPES[last.at(7).shape] == other
            seen += 1
    assert seen > 10


def test_one_step_up_or_down_is_one_place() -> None:
    rng, seen = random.Random(7), 0
    while seen < draws(100):
        talk = Talk([Item(0, 0, cell=rng.randrange(9))])
        course = changes.course_of(talk, True, True)
        words = changes._moved(rng, course, "step", 0, "it")
        if words is None:
            continue
        (edit,) = talk.edits
        by = {"up": -3, "down": 3, "left": -1, "right": 1}[words.split()[-1]]
        assert edit.value == (talk.items[0].cell or 0) + by
        seen += 1


def test_a_copy_looks_as_the_thing_looks_by_then() -> None:
    rng, seen = random.Random(8), 0
    while seen < draws(50):
        talk = Talk([Item(4, 0, cell=3), Item(6, 1, cell=5)])
        course = changes.course_of(talk, True, True)
        if changes.one_change(rng, course) is None or changes._copied(rng, course) is None:
            continue
        steps = steps_of(talk)
        if steps is None:
            continue
        added = steps[-1]
        assert added.before is not None
        before = [added.before.at(cell) for cell in added.before.occupied]
        assert added.after.at(added.cell) in before, talk
        seen += 1
