"""What is measured: which rows, on which side of the split, how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from interleave_rt.errors import BadRequestError
from interleave_rt.worlds.shapes.language import Split

__all__ = ["ROWS", "Settings"]

ROWS = {
    "plans": "Plans",
    "swapped": "The same words, other pictures",
    "calls": "One call of the generator, on its own pictures",
    "refined": "The critic's prompts after a true refusal",
    "critic": "Verdicts on the generator's pictures",
    "loop": "The whole loop",
    "honesty": "Requests from outside",
    "cost": "Size and time",
}
"""Rows by name, in their order, with their titles."""

_SPLITS = tuple(split for split in get_args(Split) if split != "train")
_MOST = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked when they are made.

    Args:
        split: Whose requests: `validation`, or `test`, which is for releases.
        seed: Of requests, pictures and calls.
        scale: Factor of all sample sizes; 1.0 gives the sizes that the targets are meant for.
        rows: Names of `ROWS`.
    """

    split: Split = "validation"
    seed: int = 1
    scale: float = 1.0
    rows: tuple[str, ...] = tuple(ROWS)

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise BadRequestError(f"[eval] --split is {self.split!r}", hint="it is " + " or ".join(_SPLITS))
        if not 0 <= self.seed < 2**31:
            raise BadRequestError(
                f"[eval] --seed is {self.seed}", hint=f"a whole number from 0 to {2**31 - 1}"
            )
        if not (math.isfinite(self.scale) and 0 < self.scale <= _MOST):
            raise BadRequestError(
                f"[eval] --scale is {self.scale}", hint=f"a number above 0, at most {_MOST:g}"
            )
        for name in self.rows:
            if name not in ROWS:
                raise BadRequestError(f"[eval] there is no row {name!r}", hint="rows are " + ", ".join(ROWS))
        if not self.rows or len(set(self.rows)) < len(self.rows):
            raise BadRequestError(
                "[eval] --rows names a row twice, or none", hint="rows are " + ", ".join(ROWS)
            )

    @staticmethod
    def rows_of(text: str) -> tuple[str, ...]:
        """The names in a comma list; all of them for an empty one."""
        return tuple(name.strip() for name in text.split(",") if name.strip()) or tuple(ROWS)

    def size(self, count: int) -> int:
        """A sample size after scaling; never nothing."""
        return max(1, round(count * self.scale))
