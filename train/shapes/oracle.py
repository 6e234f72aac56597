"""Pictures back to scenes, by template matching: the judge that no model can fool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .render import CELL_PX, SIDE, patches
from .world import CELLS, COLOURS, GRID, SHAPES, SIZES, Scene, Thing

__all__ = ["TOLERANCE", "Reading", "matches", "read", "read_batch"]

TOLERANCE = 0.12
"""Largest root mean square error of a cell (colours in 0..1) in a picture that counts as clean."""

_THINGS = [
    Thing(shape, colour, size)
    for shape in range(len(SHAPES))
    for colour in range(len(COLOURS))
    for size in range(len(SIZES))
]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the oracle sees: the nearest scene and the worst cell's error in 0..1."""

    scene: Scene
    worst_rmse: float

    @property
    def clean(self) -> bool:
        """Whether every cell is close enough to a real drawing."""
        return self.worst_rmse < TOLERANCE


_Floats = npt.NDArray[np.float32]


def _templates() -> tuple[_Floats, _Floats, _Floats]:
    """Every possible cell as a row, its squared length, and infinity where a thing cannot be seen."""
    flat: _Floats = patches().reshape(len(COLOURS), 1 + len(_THINGS), -1).astype(np.float32) / np.float32(255)
    hidden: _Floats = np.zeros(flat.shape[:2], np.float32)
    for background in range(len(COLOURS)):
        for index, thing in enumerate(_THINGS):
            if thing.colour == background:
                hidden[background, 1 + index] = np.inf
    squares: _Floats = np.square(flat).sum(-1, dtype=np.float32)
    return flat.reshape(-1, flat.shape[-1]), squares, hidden


_FLAT, _SQUARES, _HIDDEN = _templates()


def read_batch(images: npt.NDArray[np.uint8]) -> list[Reading]:
    """Readings of several pictures, uint8 [n, 48, 48, 3]."""
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(
            f"[oracle.read] needs uint8 [n, {SIDE}, {SIDE}, 3], got {images.dtype} {list(images.shape)}"
        )
    x = images.astype(np.float32).reshape(-1, GRID, CELL_PX, GRID, CELL_PX, 3) / 255
    x = np.ascontiguousarray(x.transpose(0, 1, 3, 2, 4, 5)).reshape(len(images) * CELLS, -1)
    cross = (x @ _FLAT.T).reshape(len(images), CELLS, *_SQUARES.shape)
    errors = (x**2).sum(-1).reshape(len(images), CELLS, 1, 1) - 2 * cross + _SQUARES + _HIDDEN
    backgrounds = errors.min(-1).sum(1).argmin(-1)
    readings = []
    for row, background in enumerate(backgrounds):
        of_background = errors[row, :, background]
        best = of_background.argmin(-1)
        worst = float(np.sqrt(max(0.0, of_background.min(-1).max()) / x.shape[-1]))
        cells = tuple(_THINGS[code - 1] if code else None for code in best)
        readings.append(Reading(Scene(int(background), cells), worst))
    return readings


def read(image: npt.NDArray[np.uint8]) -> Reading:
    """The scene in one picture, uint8 [48, 48, 3]."""
    return read_batch(image[None])[0]


def matches(image: npt.NDArray[np.uint8], scene: Scene) -> bool:
    """Whether a picture shows exactly this scene, cleanly."""
    reading = read(image)
    return reading.clean and reading.scene == scene
