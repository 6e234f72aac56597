"""Pictures back to scenes, by template matching: the judge that no model can fool.

A cell is background b, ink c and coverage m; its squared error against a picture x is
``|x - b|^2 - 2 (c - b) . <m, x - b> + |c - b|^2 <m, m>``, so one product with all masks serves every colour.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .scene import CELL_PX, CELLS, COLOURS, GRID, SIDE, Layout, Scene, Spot, Thing, mask_index, masks, palette

__all__ = ["TOLERANCE", "Reading", "matches", "read", "read_batch"]

TOLERANCE = 0.125
"""Largest root mean square error of a cell (colours in 0..1) in a picture that counts as clean.

Chosen by eye on pictures of a half-trained generator: up to here edges waver, above it there are ghosts and holes.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the oracle sees: the nearest scene, where its things sit, and the worst cell's error in 0..1."""

    scene: Scene
    layout: Layout
    worst_rmse: float

    @property
    def clean(self) -> bool:
        """Whether every cell is close enough to a real drawing."""
        return self.worst_rmse < TOLERANCE


_Floats = npt.NDArray[np.float32]


@functools.cache
def _tables() -> tuple[_Floats, _Floats, list[tuple[int, int, int, int, int]]]:
    """Masks as rows [144, 1024], their squared lengths, and (shape, size, pattern, right, down) of each."""
    flat: _Floats = masks()[1:].reshape(len(masks()) - 1, -1)
    kinds = list(mask_index())
    squares: _Floats = np.square(flat).sum(-1)
    return flat, squares, kinds


def _read_one(x: _Floats) -> Reading:
    """The reading of cells float32 [9, 1024, 3] in 0..1."""
    flat, squares, kinds = _tables()
    colours = palette() / np.float32(255)
    cross = np.stack([x[..., channel] @ flat.T for channel in range(3)], -1)  # [9, masks, 3]
    covered = flat.sum(-1)  # <m, 1>
    empty = np.square(x[:, :, None, :] - colours).sum((1, 3))  # [9, backgrounds]
    best: tuple[float, _Floats, npt.NDArray[np.intp], int] | None = None
    for ground in range(len(COLOURS)):
        shift = colours - colours[ground]
        moved = cross - covered[:, None] * colours[ground]
        errors = (
            empty[:, ground, None, None]
            - 2 * np.einsum("cmk,ik->cmi", moved, shift)
            + squares[:, None] * np.square(shift).sum(-1)
        )
        errors[:, :, ground] = np.inf
        every = np.concatenate([empty[:, ground, None], errors.reshape(CELLS, -1)], 1)
        choice = every.argmin(1)
        least = every[np.arange(CELLS), choice]
        if best is None or least.sum() < best[0]:
            best = (float(least.sum()), least, choice, ground)
    assert best is not None
    _, least, choice, ground = best
    cells: list[Thing | None] = [None] * CELLS
    spots: list[Spot | None] = [None] * CELLS
    for cell, code in enumerate(choice):
        if code:
            mask, colour = divmod(int(code) - 1, len(COLOURS))
            shape, size, pattern, right, down = kinds[mask]
            cells[cell], spots[cell] = Thing(shape, colour, size, pattern), Spot(right, down)
    worst = float(np.sqrt(max(0.0, float(least.max())) / (CELL_PX * CELL_PX * 3)))
    return Reading(Scene(ground, tuple(cells)), tuple(spots), worst)


def read_batch(images: npt.NDArray[np.uint8]) -> list[Reading]:
    """Readings of several pictures, uint8 [n, 96, 96, 3]."""
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(
            f"[oracle.read] needs uint8 [n, {SIDE}, {SIDE}, 3], got {images.dtype} {list(images.shape)}"
        )
    x: _Floats = images.astype(np.float32).reshape(-1, GRID, CELL_PX, GRID, CELL_PX, 3) / np.float32(255)
    x = np.ascontiguousarray(x.transpose(0, 1, 3, 2, 4, 5)).reshape(len(images), CELLS, -1, 3)
    return [_read_one(cells) for cells in x]


def read(image: npt.NDArray[np.uint8]) -> Reading:
    """The scene in one picture, uint8 [96, 96, 3]."""
    return read_batch(image[None])[0]


def matches(image: npt.NDArray[np.uint8], scene: Scene) -> bool:
    """Whether a picture shows exactly this scene, cleanly."""
    reading = read(image)
    return reading.clean and reading.scene == scene
