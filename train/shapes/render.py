"""Scenes to pictures: 48x48 pixels, one 16-pixel cell per grid place, anti-aliased shapes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .world import CELLS, COLOURS, GRID, RGB, SHAPES, SIZES, Scene

__all__ = ["CELL_PX", "SIDE", "WHITE", "palette", "patches", "render", "render_batch"]

CELL_PX = 16
SIDE = GRID * CELL_PX
_SUPERSAMPLING = 8
_RADIUS = {"small": 4.2, "large": 7.2}

Pixels = npt.NDArray[np.uint8]


def _star(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], radius: float) -> npt.NDArray[np.bool_]:
    """A five-pointed star, one point up."""
    tips = radius * 1.12
    angle = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    inner = 0.42 * tips
    # the edge runs from the tip (angle 0) to the notch (angle pi/5)
    notch_x, notch_y = inner * np.cos(np.pi / 5), inner * np.sin(np.pi / 5)
    distance = np.hypot(x, y)
    along, across = distance * np.cos(angle), distance * np.sin(angle)
    inside: npt.NDArray[np.bool_] = (tips - along) * notch_y >= across * (tips - notch_x)
    return inside


def _mask(shape: str, size: str) -> npt.NDArray[np.float32]:
    """Coverage of a cell by a shape, float32 [16, 16] in 0..1."""
    radius = _RADIUS[size]
    points = CELL_PX * _SUPERSAMPLING
    axis = (np.arange(points) + 0.5) / _SUPERSAMPLING - CELL_PX / 2
    x, y = np.meshgrid(axis, axis)
    distance = np.hypot(x, y)
    if shape == "circle":
        inside = distance <= radius
    elif shape == "square":
        inside = np.maximum(np.abs(x), np.abs(y)) <= 0.98 * radius
    elif shape == "triangle":
        inside = (y <= 0.85 * radius) & (np.abs(x) <= (y + radius) / 1.85)
    elif shape == "diamond":
        inside = np.abs(x) + np.abs(y) <= 1.05 * radius
    elif shape == "star":
        inside = _star(x, y, radius)
    elif shape == "ring":
        inside = (distance <= radius) & (distance >= 0.55 * radius)
    else:
        raise ValueError(f"[render] no drawing rule for the shape {shape!r}")
    blocks = inside.reshape(CELL_PX, _SUPERSAMPLING, CELL_PX, _SUPERSAMPLING)
    cover: npt.NDArray[np.float32] = blocks.mean((1, 3)).astype(np.float32)
    return cover


def palette() -> npt.NDArray[np.float32]:
    """Colours as float32 [8, 3] in 0..255, in the order of `COLOURS`."""
    return np.array([RGB[name] for name in COLOURS], np.float32)


def patches() -> Pixels:
    """Every possible cell, uint8 [8 backgrounds, 1 + 96, 16, 16, 3]; index 0 is the empty cell."""
    colours = palette()
    masks = np.stack([np.stack([_mask(shape, size) for size in SIZES]) for shape in SHAPES])
    weight = masks[None, :, None, :, :, :, None]  # background, shape, colour, size, y, x, channel
    ground = colours[:, None, None, None, None, None, :]
    ink = colours[None, None, :, None, None, None, :]
    things = ground * (1 - weight) + ink * weight
    things = things.reshape(len(COLOURS), -1, CELL_PX, CELL_PX, 3)
    blank = np.broadcast_to(colours[:, None, None, None, :], (len(COLOURS), 1, CELL_PX, CELL_PX, 3))
    return np.concatenate([blank, things], 1).round().astype(np.uint8)


_PATCHES = patches()
WHITE: Pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
"""The picture that a critic is shown as "before" where there was none."""


def render_batch(scenes: list[Scene]) -> Pixels:
    """Pictures of several scenes, uint8 [n, 48, 48, 3]."""
    per_shape = len(COLOURS) * len(SIZES)
    index = np.zeros((len(scenes), CELLS), np.intp)
    for row, scene in enumerate(scenes):
        for cell in scene.occupied:
            shape, colour, size = scene.at(cell)
            index[row, cell] = 1 + shape * per_shape + colour * len(SIZES) + size
    background = np.array([scene.background for scene in scenes], np.intp)
    cells = _PATCHES[background[:, None], index]
    grid = cells.reshape(-1, GRID, GRID, CELL_PX, CELL_PX, 3)
    images: Pixels = np.ascontiguousarray(grid.transpose(0, 1, 3, 2, 4, 5)).reshape(-1, SIDE, SIDE, 3)
    return images


def render(scene: Scene) -> Pixels:
    """The picture of a scene, uint8 [48, 48, 3]."""
    image: Pixels = render_batch([scene])[0]
    return image
