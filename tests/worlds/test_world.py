"""Scenes, their pictures, and the oracle that reads them back."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from interleave_rt.worlds.shapes import oracle
from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    PATTERNS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    layout,
    pictures,
    world,
)


def _scenes(count: int, seed: int = 1) -> list[Scene]:
    rng = random.Random(seed)
    return [world.random_scene(rng, rng.randint(0, CELLS)) for _ in range(count)]


def _layouts(scenes: list[Scene], seed: int = 2) -> list[layout.Layout]:
    rng = random.Random(seed)
    return [layout.random_layout(scene, rng) for scene in scenes]


def test_oracle_reads_every_drawing_back_exactly() -> None:
    scenes = _scenes(600)
    layouts = _layouts(scenes)
    readings = oracle.read_batch(pictures.render_batch(scenes, layouts))
    assert [reading.scene for reading in readings] == scenes
    assert [reading.layout for reading in readings] == layouts
    assert max(reading.worst_rmse for reading in readings) < 0.01


def test_oracle_knows_every_thing_at_every_spot() -> None:
    rng = random.Random(3)
    kinds = list(pictures.mask_index())
    rng.shuffle(kinds)
    scenes, layouts = [], []
    for start in range(0, len(kinds), CELLS):
        ground = rng.randrange(len(COLOURS))
        cells: list[Thing | None] = [None] * CELLS
        spots: list[layout.Spot | None] = [None] * CELLS
        for cell, (shape, size, pattern, right, down) in enumerate(kinds[start : start + CELLS]):
            colour = rng.choice([c for c in range(len(COLOURS)) if c != ground])
            cells[cell], spots[cell] = Thing(shape, colour, size, pattern), layout.Spot(right, down)
        scenes.append(Scene(ground, tuple(cells)))
        layouts.append(tuple(spots))
    readings = oracle.read_batch(pictures.render_batch(scenes, layouts))
    assert [(reading.scene, reading.layout) for reading in readings] == list(
        zip(scenes, layouts, strict=True)
    )


def test_oracle_knows_every_colour_on_every_ground() -> None:
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
def test_oracle_stands_noise(sigma: float) -> None:
    scenes = _scenes(200)
    layouts = _layouts(scenes)
    images = pictures.render_batch(scenes, layouts)
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    readings = oracle.read_batch((images + noise).clip(0, 255).astype(np.uint8))
    assert [(reading.scene, reading.layout) for reading in readings] == list(
        zip(scenes, layouts, strict=True)
    )
    assert all(reading.clean for reading in readings)


def test_a_cell_is_unclean_from_the_tolerance_on() -> None:
    scene = Scene(0).put(0, Thing.named("large blue circle"))
    picture = pictures.drawn([scene], random.Random(1))[0]
    for error in (0.8 * oracle.TOLERANCE, 1.2 * oracle.TOLERANCE):
        # a chequered empty cell: this far from its colour, and no nearer to any drawing
        image = picture.copy()
        cell = image[32:64, 32:64].astype(np.float64)
        signs = 1 - 2 * (np.indices((32, 32)).sum(0) % 2)
        image[32:64, 32:64] = (cell + 255 * error * signs[..., None]).clip(0, 255).round()
        reading = oracle.read(image)
        assert reading.scene == scene
        assert reading.worst_rmse == pytest.approx(error, abs=0.01)
        assert reading.clean == oracle.matches(image, scene) == (error < oracle.TOLERANCE)


def test_a_smeared_cell_is_not_clean() -> None:
    scene = Scene(0).put(4, Thing.named("large white circle"))
    image = pictures.drawn([scene], random.Random(1))[0]
    image[40:60, 40:60, 1] = 60
    assert not oracle.read(image).clean
    assert not oracle.matches(image, scene)


def test_one_picture_equals_its_row_in_a_batch() -> None:
    scenes = _scenes(5)
    layouts = _layouts(scenes)
    images = pictures.render_batch(scenes, layouts)
    for scene, spots, image in zip(scenes, layouts, images, strict=True):
        assert image.dtype == np.uint8
        assert image.shape == (pictures.SIDE, pictures.SIDE, 3) == (96, 96, 3)
        assert np.array_equal(pictures.render(scene, spots), image)
        assert oracle.matches(image, scene)


def test_there_is_a_mask_for_every_thing_at_every_spot() -> None:
    small, large = len(SHAPES) * 6, len(SHAPES) * len(PATTERNS) * 4
    assert pictures.masks().shape == (1 + small + large, pictures.CELL_PX, pictures.CELL_PX) == (145, 32, 32)
    assert sorted(pictures.mask_index().values()) == list(range(1, 145))
    assert not pictures.masks()[0].any()


def test_masks_differ_by_more_than_the_tolerance() -> None:
    masks = pictures.masks().reshape(len(pictures.masks()), -1)
    squares = np.square(masks).sum(1)
    distance = np.sqrt((squares[:, None] + squares - 2 * masks @ masks.T).clip(0) / masks.shape[1])
    np.fill_diagonal(distance, 1)
    assert distance.min() > oracle.TOLERANCE


def test_oracle_refuses_other_sizes_and_types() -> None:
    with pytest.raises(ValueError, match="96"):
        oracle.read(np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        oracle.read(np.zeros((96, 96, 3), np.float32))  # type: ignore[arg-type]


def test_a_thing_without_a_spot_is_not_drawn_anywhere() -> None:
    with pytest.raises(ValueError, match="no spot for the thing in cell 4"):
        pictures.render(Scene(0).put(4, Thing.named("large white circle")), layout.EMPTY)


def test_invisible_things_cannot_exist() -> None:
    with pytest.raises(ValueError, match="cannot be seen"):
        Scene(0).put(0, Thing(0, 0, 0))
    with pytest.raises(ValueError, match="cells"):
        Scene(0, (None,) * 8)


def test_small_things_have_no_patterns() -> None:
    small = [thing for scene in _scenes(400) for thing in scene.cells if thing is not None and not thing.size]
    assert len(small) > 500
    assert all(thing.pattern == 0 for thing in small)
    with pytest.raises(KeyError):  # there is no mask for one
        striped = Scene(0).put(4, Thing(0, 1, 0, 1))
        pictures.render(striped, layout.random_layout(striped, random.Random(1)))


def test_half_of_the_large_things_are_plain() -> None:
    rng = random.Random(1)
    large = [thing.pattern for _ in range(3000) if (thing := world.random_thing(rng, 0)).size]
    assert 0.45 < large.count(0) / len(large) < 0.55
    assert set(large) == set(range(len(PATTERNS)))


def test_names_are_read_back() -> None:
    for shape, colour, size in itertools.product(range(len(SHAPES)), range(len(COLOURS)), range(len(SIZES))):
        for pattern in range(len(PATTERNS) if size else 1):
            thing = Thing(shape, colour, size, pattern)
            assert Thing.named(thing.name) == thing
    assert Thing.named("large striped red heart").name == "large striped red heart"


def test_description_tells_scenes_apart() -> None:
    scenes = set(_scenes(800))
    assert len({scene.describe() for scene in scenes}) == len(scenes)
