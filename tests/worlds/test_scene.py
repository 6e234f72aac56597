"""Scenes, where their things sit, their pictures, and the oracle that reads them back."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from draws import draws

from interleave_rt.worlds.shapes import oracle
from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    OPERATIONS,
    PATTERNS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    layout,
    pictures,
    random_transition,
    world,
)

_LARGE, _SMALL = Thing.named("large white circle"), Thing.named("small white circle")


def _scenes(count: int, seed: int = 1) -> list[Scene]:
    rng = random.Random(seed)
    return [world.random_scene(rng, rng.randint(0, CELLS)) for _ in range(count)]


def _layouts(scenes: list[Scene], seed: int = 2) -> list[layout.Layout]:
    rng = random.Random(seed)
    return [layout.random_layout(scene, rng) for scene in scenes]


# ---- things and scenes


def test_what_could_not_be_seen_cannot_exist() -> None:
    with pytest.raises(ValueError, match="cannot be seen"):
        Scene(0).put(0, Thing(0, 0, 0))
    with pytest.raises(ValueError, match="cells"):
        Scene(0, (None,) * 8)
    with pytest.raises(ValueError, match="no spot for the thing in cell 4"):
        pictures.render(Scene(0).put(4, _LARGE), layout.EMPTY)
    with pytest.raises(KeyError):  # small things have no patterns: there is no mask for one
        striped = Scene(0).put(4, Thing(0, 1, 0, 1))
        pictures.render(striped, layout.random_layout(striped, random.Random(1)))


def test_random_things_are_plain_where_small_and_half_of_them_where_large() -> None:
    rng = random.Random(1)
    things = [world.random_thing(rng, 0) for _ in range(6000)]
    assert {thing.pattern for thing in things if not thing.size} == {0}
    large = [thing.pattern for thing in things if thing.size]
    assert 0.45 < large.count(0) / len(large) < 0.55
    assert set(large) == set(range(len(PATTERNS)))


def test_names_are_read_back_and_descriptions_tell_scenes_apart() -> None:
    for shape, colour, size in itertools.product(range(len(SHAPES)), range(len(COLOURS)), range(len(SIZES))):
        for pattern in range(len(PATTERNS) if size else 1):
            thing = Thing(shape, colour, size, pattern)
            assert Thing.named(thing.name) == thing
    assert Thing.named("large striped red heart").name == "large striped red heart"
    scenes = set(_scenes(800))
    assert len({scene.describe() for scene in scenes}) == len(scenes)


# ---- where things sit


def test_spots_are_six_for_small_things_and_four_for_large_ones_and_all_come_up() -> None:
    assert sorted(layout.SMALL) == [(-7, 0), (-4, 4), (0, -7), (0, 7), (4, 4), (7, 0)]
    assert sorted(layout.LARGE) == [(-2, 0), (0, -2), (0, 2), (2, 0)]
    seen: dict[int, set[tuple[int, int]]] = {0: set(), 1: set()}
    scenes = _scenes(1000)
    for scene, spots in zip(scenes, _layouts(scenes), strict=True):
        assert [spot is None for spot in spots] == [thing is None for thing in scene.cells]
        for cell in scene.occupied:
            seen[scene.at(cell).size].add(spots[cell])
    assert seen == {0: set(layout.SMALL), 1: set(layout.LARGE)}
    assert _layouts(scenes[:9]) == _layouts(scenes[:9])


@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_what_does_not_change_but_its_colour_keeps_its_spot(operation: str) -> None:
    rng = random.Random(3)
    for _ in range(300):
        step = random_transition(rng, operation)
        old = layout.random_layout(step.before, rng)
        new = layout.arranged(step.before, old, step.after, rng)
        if operation == "recolour":
            assert new == old
        for cell, thing in enumerate(step.after.cells):
            if thing is None:
                assert new[cell] is None
            elif step.before.cells[cell] == thing:
                assert new[cell] == old[cell]


def _put(neighbours: tuple[int, ...], thing: Thing, rng: random.Random) -> layout.Spot:
    """The spot of a thing that comes to the middle of a scene that has large things in these cells."""
    before = Scene(0)
    for cell in neighbours:
        before = before.put(cell, _LARGE)
    return layout.arranged(before, layout.random_layout(before, rng), before.put(4, thing), rng)[4]


@pytest.mark.parametrize(
    ("neighbours", "direction"),
    [
        ((1,), (0, -1)),
        ((7,), (0, 1)),
        ((3,), (-1, 0)),
        ((5,), (1, 0)),
        ((3, 5), (1, 0)),  # of several: below, above, then beside
        ((3, 5, 1), (0, -1)),
        ((3, 5, 1, 7), (0, 1)),
    ],
)
@pytest.mark.parametrize(("thing", "far"), [(_LARGE, 2), (_SMALL, 7)])
def test_things_lean_on_one_neighbour(
    neighbours: tuple[int, ...], direction: tuple[int, int], thing: Thing, far: int
) -> None:
    rng = random.Random(5)
    assert {_put(neighbours, thing, rng) for _ in range(30)} == {(direction[0] * far, direction[1] * far)}


@pytest.mark.parametrize("corners", [(), (0, 2, 6, 8)])
def test_alone_a_large_thing_has_one_spot_and_a_small_one_sits_left_or_right_as_often(
    corners: tuple[int, ...],
) -> None:
    rng = random.Random(8)
    found = Counter(_put(corners, _SMALL, rng) for _ in range(1000))
    assert set(found) == {(-4, 4), (4, 4)}
    assert found[layout.Spot(4, 4)] == pytest.approx(500, abs=60)
    assert {_put(corners, _LARGE, rng) for _ in range(100)} == {(0, 2)}
    lone = Scene(0)
    for cell in (0, 2, 4, 6, 8):
        lone = lone.put(cell, _SMALL)
    assert len({layout.random_layout(lone, rng) for _ in range(600)}) == 2**5  # one by one


def test_a_drawn_story_repaints_only_what_changes() -> None:
    rng = random.Random(8)
    steps = [random_transition(rng, "draw")]
    for operation in ("add", "add", "recolour", "move", "remove"):
        steps.append(random_transition(rng, operation, scene=steps[-1].after))
    scenes = [step.after for step in steps]
    images = pictures.drawn_story(scenes, rng)
    assert [reading.scene for reading in oracle.read_batch(images)] == scenes
    for before, after, step in zip(images, images[1:], steps[1:], strict=False):
        changed = {(y // 32) * 3 + x // 32 for y, x in np.argwhere((before != after).any(-1))}
        assert changed == set(step.touched)
    assert pictures.drawn_story([], rng).shape == (0, 96, 96, 3)


# ---- pictures and the oracle


def test_the_oracle_reads_every_drawing_back_exactly() -> None:
    scenes = _scenes(draws(200))
    layouts = _layouts(scenes)
    images = pictures.render_batch(scenes, layouts)
    assert images.dtype == np.uint8
    assert images.shape[1:] == (pictures.SIDE, pictures.SIDE, 3) == (96, 96, 3)
    readings = oracle.read_batch(images)
    assert [(reading.scene, reading.layout) for reading in readings] == [*zip(scenes, layouts, strict=True)]
    assert max(reading.worst_rmse for reading in readings) < 0.01
    for scene, spots, image in zip(scenes[:5], layouts, images, strict=False):
        assert np.array_equal(pictures.render(scene, spots), image)
        assert oracle.matches(image, scene)


def test_the_oracle_knows_every_thing_at_every_spot() -> None:
    rng = random.Random(3)
    kinds = list(pictures.mask_index())
    rng.shuffle(kinds)
    scenes, layouts = [], []
    for start in range(0, len(kinds), CELLS):
        ground = rng.randrange(len(COLOURS))
        cells, spots = [None] * CELLS, [None] * CELLS
        for cell, (shape, size, pattern, right, down) in enumerate(kinds[start : start + CELLS]):
            colour = rng.choice([c for c in range(len(COLOURS)) if c != ground])
            cells[cell], spots[cell] = Thing(shape, colour, size, pattern), layout.Spot(right, down)
        scenes.append(Scene(ground, tuple(cells)))
        layouts.append(tuple(spots))
    readings = oracle.read_batch(pictures.render_batch(scenes, layouts))
    assert [(reading.scene, reading.layout) for reading in readings] == [*zip(scenes, layouts, strict=True)]


def test_the_oracle_knows_every_colour_on_every_ground() -> None:
    # large squares cover most of their cells: with nine of them the ground is the rarer colour
    thing = Thing.named("large red square")
    scenes = [
        Scene(ground, tuple(thing._replace(colour=colour) if i < things else None for i in range(CELLS)))
        for ground, colour in itertools.permutations(range(len(COLOURS)), 2)
        for things in (1, 5, 9)
    ]
    readings = oracle.read_batch(pictures.drawn(scenes, random.Random(4)))
    assert [reading.scene for reading in readings] == scenes
    assert all(reading.clean for reading in readings)


@pytest.mark.parametrize("sigma", [4.0, 16.0])
def test_the_oracle_stands_noise(sigma: float) -> None:
    scenes = _scenes(200)
    layouts = _layouts(scenes)
    images = pictures.render_batch(scenes, layouts)
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    readings = oracle.read_batch((images + noise).clip(0, 255).astype(np.uint8))
    assert [(reading.scene, reading.layout) for reading in readings] == [*zip(scenes, layouts, strict=True)]
    assert all(reading.clean for reading in readings)


@pytest.mark.parametrize("share", [0.8, 1.2])
def test_a_cell_is_unclean_from_the_tolerance_on(share: float) -> None:
    scene, error = Scene(0).put(0, Thing.named("large blue circle")), share * oracle.TOLERANCE
    image = pictures.drawn([scene], random.Random(1))[0]
    # a chequered empty cell: this far from its colour, and no nearer to any drawing
    signs = 1 - 2 * (np.indices((32, 32)).sum(0) % 2)
    image[32:64, 32:64] = (image[32:64, 32:64] + 255 * error * signs[..., None]).clip(0, 255).round()
    reading = oracle.read(image)
    assert reading.scene == scene
    assert reading.worst_rmse == pytest.approx(error, abs=0.01)
    assert reading.clean == oracle.matches(image, scene) == (share < 1)


def test_masks_differ_by_more_than_the_tolerance() -> None:
    assert pictures.masks().shape == (1 + len(SHAPES) * (6 + len(PATTERNS) * 4), 32, 32) == (145, 32, 32)
    masks = pictures.masks().reshape(145, -1)
    assert not masks[0].any()
    squares = np.square(masks).sum(1)
    distance = np.sqrt((squares[:, None] + squares - 2 * masks @ masks.T).clip(0) / masks.shape[1])
    np.fill_diagonal(distance, 1)
    assert distance.min() > oracle.TOLERANCE


@pytest.mark.parametrize(
    ("picture", "said"), [(np.zeros((48, 48, 3), np.uint8), "96"), (np.zeros((96, 96, 3)), "uint8")]
)
def test_the_oracle_refuses_other_sizes_and_types(picture: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        oracle.read(picture)
