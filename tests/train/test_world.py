"""Scenes, their pictures, and the oracle that reads them back."""

from __future__ import annotations

import random

import numpy as np
import pytest
from interleave_rt.train.shapes import oracle, render, world


def _scenes(count: int) -> list[world.Scene]:
    rng = random.Random(1)
    return [world.random_scene(rng, rng.randint(0, 9)) for _ in range(count)]


def test_oracle_reads_every_drawing_back() -> None:
    scenes = _scenes(1500)
    images = render.render_batch(scenes)
    readings = oracle.read_batch(images)
    assert [reading.scene for reading in readings] == scenes
    assert max(reading.worst_rmse for reading in readings) < 0.01


def test_one_picture_equals_its_row_in_a_batch() -> None:
    scenes = _scenes(5)
    images = render.render_batch(scenes)
    for scene, image in zip(scenes, images, strict=True):
        assert image.dtype == np.uint8 and image.shape == (48, 48, 3)
        assert np.array_equal(render.render(scene), image)
        assert oracle.matches(image, scene)


@pytest.mark.parametrize("sigma", [4.0, 12.0])
def test_oracle_stands_noise(sigma: float) -> None:
    scenes = _scenes(60)
    noise = np.random.default_rng(0).normal(0, sigma, (60, 48, 48, 3))
    images = (render.render_batch(scenes) + noise).clip(0, 255).astype(np.uint8)
    assert [reading.scene for reading in oracle.read_batch(images)] == scenes


def test_a_smeared_cell_is_not_clean() -> None:
    scene = world.Scene(0).put(4, world.Thing.named("large", "white", "circle"))
    image = render.render(scene)
    image[20:30, 20:30, 1] = 60
    assert not oracle.read(image).clean
    assert not oracle.matches(image, scene)


def test_oracle_refuses_other_sizes_and_types() -> None:
    with pytest.raises(ValueError, match="48"):
        oracle.read(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        oracle.read(np.zeros((48, 48, 3), np.float32))  # type: ignore[arg-type]


def test_invisible_things_cannot_exist() -> None:
    with pytest.raises(ValueError, match="cannot be seen"):
        world.Scene(0).put(0, world.Thing(0, 0, 0))
    with pytest.raises(ValueError, match="cells"):
        world.Scene(0, (None,) * 8)


def test_description_tells_scenes_apart() -> None:
    scenes = set(_scenes(800))
    assert len({scene.describe() for scene in scenes}) == len(scenes)
