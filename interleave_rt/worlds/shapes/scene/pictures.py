"""Scenes to pictures: 96x96 pixels, one 32-pixel cell per grid place, anti-aliased shapes."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .layout import LARGE, SMALL, Layout, arranged, random_layout
from .world import CELLS, COLOURS, GRID, PATTERNS, RGB, SHAPES, SIZES, Scene

CELL_PX = 32
SIDE = GRID * CELL_PX
_SUPERSAMPLING = 4
_RADIUS = {"small": 8.0, "large": 14.0}
_PERIOD = 9.0

Pixels = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float64]
_Inside = npt.NDArray[np.bool_]


def _star(x: _Floats, y: _Floats, radius: float) -> _Inside:
    """A five-pointed star, one point up."""
    tips = radius * 1.1
    angle = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    inner = 0.42 * tips
    # the edge runs from the tip (angle 0) to the notch (angle pi/5)
    notch_x, notch_y = inner * np.cos(np.pi / 5), inner * np.sin(np.pi / 5)
    distance = np.hypot(x, y)
    along, across = distance * np.cos(angle), distance * np.sin(angle)
    inside: _Inside = (tips - along) * notch_y >= across * (tips - notch_x)
    return inside


def _heart(x: _Floats, y: _Floats, radius: float) -> _Inside:
    """Two lobes above a point."""
    lobe = 0.52 * radius
    lobes = np.hypot(np.abs(x) - 0.46 * radius, y + 0.4 * radius) <= lobe
    point = (y >= -0.4 * radius) & (np.abs(x) <= 0.72 * (0.93 * radius - y))
    inside: _Inside = lobes | point & (np.abs(x) <= 0.98 * radius)
    return inside


def _inside(shape: str, x: _Floats, y: _Floats, radius: float) -> _Inside:
    """Which points belong to a shape around the origin."""
    distance = np.hypot(x, y)
    rules = {
        "circle": lambda: distance <= radius,
        "square": lambda: np.maximum(np.abs(x), np.abs(y)) <= 0.95 * radius,
        "triangle": lambda: (y <= 0.95 * radius) & (np.abs(x) <= (y + radius) / 1.95),
        "diamond": lambda: np.abs(x) + np.abs(y) <= 1.02 * radius,
        "star": lambda: _star(x, y, radius),
        "ring": lambda: (distance <= radius) & (distance >= 0.55 * radius),
        "heart": lambda: _heart(x, y, radius),
        "bowl": lambda: (y >= -0.7 * radius) & (np.hypot(x, (y + 0.7 * radius) / 1.6) <= radius),
    }
    if shape not in rules:
        raise ValueError(f"[render] no drawing rule for the shape {shape!r}")
    inside: _Inside = rules[shape]()
    return inside


def _holes(pattern: str, x: _Floats, y: _Floats) -> _Inside:
    """Where a pattern lets the background through; x and y count from the middle of the thing."""
    if pattern == "striped":
        holes: _Inside = (x + y) % 12.0 < 4.5
        return holes
    u, v = ((axis + _PERIOD / 2) % _PERIOD - _PERIOD / 2 for axis in (x, y))
    dots: _Inside = np.hypot(u, v) <= 2.6
    return dots


@functools.cache
def _variants() -> list[tuple[int, int, int, int, int]]:
    """(shape, size, pattern, right, down) of every mask."""
    return [
        (shape, size, pattern, right, down)
        for shape in range(len(SHAPES))
        for size in range(len(SIZES))
        for pattern in range(len(PATTERNS) if size else 1)
        for right, down in (LARGE if size else SMALL)
    ]


@functools.cache
def mask_index() -> dict[tuple[int, int, int, int, int], int]:
    """Row of `masks` by (shape, size, pattern, right, down); row 0 is the empty cell."""
    return {variant: row + 1 for row, variant in enumerate(_variants())}


@functools.cache
def masks() -> npt.NDArray[np.float32]:
    """Coverage of a cell by every possible thing, float32 [145, 32, 32] in 0..1; row 0 is empty."""
    points = CELL_PX * _SUPERSAMPLING
    axis = (np.arange(points) + 0.5) / _SUPERSAMPLING - CELL_PX / 2
    x, y = np.meshgrid(axis, axis)
    found = np.zeros((1 + len(_variants()), CELL_PX, CELL_PX), np.float32)
    for row, (shape, size, pattern, right, down) in enumerate(_variants()):
        inside = _inside(SHAPES[shape], x - right, y - down, _RADIUS[SIZES[size]])
        if pattern:
            inside &= ~_holes(PATTERNS[pattern], x - right, y - down)
        blocks = inside.reshape(CELL_PX, _SUPERSAMPLING, CELL_PX, _SUPERSAMPLING)
        found[row + 1] = blocks.mean((1, 3))
    return found


def palette() -> npt.NDArray[np.float32]:
    """Colours as float32 [8, 3] in 0..255, in the order of `COLOURS`."""
    return np.array([RGB[name] for name in COLOURS], np.float32)


WHITE: Pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
"""The picture that a critic is shown as "before" where there was none."""


def render_batch(scenes: Sequence[Scene], layouts: Sequence[Layout]) -> Pixels:
    """Pictures of several scenes with their layouts, uint8 [n, 96, 96, 3]."""
    index = np.zeros((len(scenes), CELLS), np.intp)
    ink = np.zeros((len(scenes), CELLS), np.intp)
    rows = mask_index()
    for number, (scene, layout) in enumerate(zip(scenes, layouts, strict=True)):
        for cell in scene.occupied:
            thing, spot = scene.at(cell), layout[cell]
            if spot is None:
                raise ValueError(f"[render] the layout has no spot for the thing in cell {cell}")
            index[number, cell] = rows[(thing.shape, thing.size, thing.pattern, *spot)]
            ink[number, cell] = thing.colour
    colours = palette()
    ground = colours[[scene.background for scene in scenes]][:, None, None, None, :]
    cover = masks()[index][..., None]
    cells = ground + cover * (colours[ink][:, :, None, None, :] - ground)
    grid = cells.reshape(-1, GRID, GRID, CELL_PX, CELL_PX, 3).transpose(0, 1, 3, 2, 4, 5)
    images: Pixels = np.ascontiguousarray(grid).reshape(-1, SIDE, SIDE, 3).round().astype(np.uint8)
    return images


def render(scene: Scene, layout: Layout) -> Pixels:
    """The picture of a scene, uint8 [96, 96, 3]."""
    image: Pixels = render_batch([scene], [layout])[0]
    return image


def drawn(scenes: Sequence[Scene], rng: random.Random) -> Pixels:
    """Pictures of scenes whose layouts nobody cares about, uint8 [n, 96, 96, 3]."""
    return render_batch(scenes, [random_layout(scene, rng) for scene in scenes])


def drawn_story(scenes: Sequence[Scene], rng: random.Random) -> Pixels:
    """Pictures of scenes that follow each other: what does not change stays in its place; uint8 [n, 96, 96, 3]."""
    if not scenes:
        return np.zeros((0, SIDE, SIDE, 3), np.uint8)
    layouts: list[Layout] = []
    for i, scene in enumerate(scenes):
        layouts.append(arranged(scenes[i - 1], layouts[-1], scene, rng) if i else random_layout(scene, rng))
    return render_batch(scenes, layouts)
