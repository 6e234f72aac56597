"""Where things sit inside their cells: what stays keeps its spot, and neighbours lean on each other."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from interleave_rt.worlds.shapes import oracle
from interleave_rt.worlds.shapes.scene import (
    OPERATIONS,
    Scene,
    Thing,
    Transition,
    layout,
    pictures,
    random_scene,
    random_transition,
)

_LARGE, _SMALL = Thing.named("large white circle"), Thing.named("small white circle")


def test_every_spot_is_one_that_the_oracle_knows() -> None:
    rng = random.Random(1)
    for _ in range(500):
        scene = random_scene(rng, rng.randint(0, 9))
        for thing, spot in zip(scene.cells, layout.random_layout(scene, rng), strict=True):
            if thing is None:
                assert spot is None
            else:
                assert spot in (layout.LARGE if thing.size else layout.SMALL)


def test_small_things_have_six_spots_and_large_ones_four() -> None:
    assert set(layout.SMALL) == {(-4, 4), (4, 4), (-7, 0), (7, 0), (0, -7), (0, 7)}
    assert set(layout.LARGE) == {(-2, 0), (2, 0), (0, -2), (0, 2)}
    assert (len(layout.SMALL), len(layout.LARGE)) == (6, 4)  # none of them twice


def test_every_spot_comes_up() -> None:
    rng = random.Random(2)
    seen: dict[int, set[tuple[int, int]]] = {0: set(), 1: set()}
    for _ in range(600):
        scene = random_scene(rng, 3)
        for thing, spot in zip(scene.cells, layout.random_layout(scene, rng), strict=True):
            if thing is not None and spot is not None:
                seen[thing.size].add(spot)
    assert seen == {0: set(layout.SMALL), 1: set(layout.LARGE)}


@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_what_does_not_change_keeps_its_spot(operation: str) -> None:
    rng = random.Random(3)
    for _ in range(300):
        step = random_transition(rng, operation)
        assert step.before is not None
        old = layout.random_layout(step.before, rng)
        new = layout.arranged(step.before, old, step.after, rng)
        for cell, thing in enumerate(step.after.cells):
            if thing is None:
                assert new[cell] is None
            elif step.before.cells[cell] == thing:
                assert new[cell] == old[cell]


def test_a_recoloured_thing_keeps_its_spot() -> None:
    rng = random.Random(4)
    for _ in range(200):
        step = random_transition(rng, "recolour")
        assert step.before is not None
        old = layout.random_layout(step.before, rng)
        assert layout.arranged(step.before, old, step.after, rng) == old


def _put(neighbours: tuple[int, ...], thing: Thing, rng: random.Random) -> layout.Spot:
    """The spot of a thing that comes to the middle of a scene that has large things in these cells."""
    before = Scene(0)
    for cell in neighbours:
        before = before.put(cell, _LARGE)
    spot = layout.arranged(before, layout.random_layout(before, rng), before.put(4, thing), rng)[4]
    assert spot is not None
    return spot


@pytest.mark.parametrize(("neighbour", "direction"), [(1, (0, -1)), (7, (0, 1)), (3, (-1, 0)), (5, (1, 0))])
@pytest.mark.parametrize("thing", [_LARGE, _SMALL])
def test_things_lean_on_their_neighbour(neighbour: int, direction: tuple[int, int], thing: Thing) -> None:
    rng = random.Random(5)
    far = 2 if thing.size else 7
    right, down = direction
    assert {_put((neighbour,), thing, rng) for _ in range(30)} == {(right * far, down * far)}


def test_a_small_thing_leans_further_than_it_strays_alone() -> None:
    rng = random.Random(6)
    alone = max(max(map(abs, _put((), _SMALL, rng))) for _ in range(100))
    assert min(_put((5,), _SMALL, rng).right for _ in range(30)) > alone


@pytest.mark.parametrize(
    ("neighbours", "leans_on"), [((3, 5), 5), ((3, 5, 1), 1), ((3, 5, 1, 7), 7), ((0, 2, 6, 8), None)]
)
def test_a_thing_leans_on_one_neighbour_below_above_or_beside(
    neighbours: tuple[int, ...], leans_on: int | None
) -> None:
    rng = random.Random(7)
    single = () if leans_on is None else (leans_on,)
    found = {_put(neighbours, _SMALL, rng) for _ in range(100)}
    assert found == {_put(single, _SMALL, rng) for _ in range(100)}


@pytest.mark.parametrize("corners", [(), (0, 2, 6, 8)])
def test_alone_a_small_thing_sits_left_or_right_as_often(corners: tuple[int, ...]) -> None:
    rng = random.Random(8)
    found = Counter(_put(corners, _SMALL, rng) for _ in range(1000))
    assert set(found) == {(-4, 4), (4, 4)}
    assert found[layout.Spot(4, 4)] == pytest.approx(500, abs=60)


@pytest.mark.parametrize("corners", [(), (0, 2, 6, 8)])
def test_alone_a_large_thing_has_one_spot_that_of_leaning_down(corners: tuple[int, ...]) -> None:
    rng = random.Random(8)
    alone = {_put(corners, _LARGE, rng) for _ in range(100)}
    assert alone == {(0, 2)} == {_put((7,), _LARGE, rng) for _ in range(100)}


def test_the_sides_of_lone_things_are_chosen_one_by_one() -> None:
    rng = random.Random(10)
    scene = Scene(0)
    for cell in (0, 2, 4, 6, 8):
        scene = scene.put(cell, _SMALL)
    layouts = {layout.random_layout(scene, rng) for _ in range(600)}
    assert len(layouts) == 2**5


def test_a_drawn_story_repaints_only_what_changes() -> None:
    rng = random.Random(8)
    first = random_transition(rng, "draw")
    steps = [first]
    for operation in ("add", "add", "recolour", "move", "remove"):
        steps.append(random_transition(rng, operation, scene=steps[-1].after))
    scenes = [step.after for step in steps]
    images = pictures.drawn_story(scenes, rng)
    assert [reading.scene for reading in oracle.read_batch(images)] == scenes
    for before, after, step in zip(images, images[1:], steps[1:], strict=False):
        changed = {(y // 32) * 3 + x // 32 for y, x in np.argwhere((before != after).any(-1))}
        assert changed == set(step.touched)


def test_no_pictures_make_an_empty_story() -> None:
    assert pictures.drawn_story([], random.Random(1)).shape == (0, 96, 96, 3)


def test_layouts_are_seeded() -> None:
    scene = Transition.draw(2, _LARGE, 4).after
    assert layout.random_layout(scene, random.Random(9)) == layout.random_layout(scene, random.Random(9))
