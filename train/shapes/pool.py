"""Attempts of the generator with the oracle's reading: the critic's material."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from interleave_rt.worlds.shapes.scene import Scene, Transition

__all__ = ["Attempt", "load_pool", "save_pool"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One picture of the generator: what was asked, from what, and what the oracle sees."""

    step: Transition
    original: str
    rewritten: str
    before_image: npt.NDArray[np.uint8] | None
    image: npt.NDArray[np.uint8]
    seen: Scene
    clean: bool

    @property
    def right(self) -> bool:
        """Whether the picture is exactly what was asked for."""
        return self.clean and self.seen == self.step.after


def save_pool(path: Path, attempts: list[Attempt]) -> None:
    """Write attempts, complete or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(pickle.dumps(attempts))
    fresh.replace(path)


def load_pool(path: Path) -> list[Attempt]:
    """Read attempts that this repository's own `pool` command wrote (pickle: trusted files only)."""
    attempts: list[Attempt] = pickle.loads(path.read_bytes())  # noqa: S301
    return attempts
