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
    "people": "Sentences as people write them",
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
        rows = "rows are " + ", ".join(ROWS)
        unknown = [name for name in self.rows if name not in ROWS]
        sized = math.isfinite(self.scale) and 0 < self.scale <= _MOST
        for wrong, what, hint in (
            (self.split not in _SPLITS, f"--split is {self.split!r}", "it is " + " or ".join(_SPLITS)),
            (not 0 <= self.seed < 2**31, f"--seed is {self.seed}", f"a whole number from 0 to {2**31 - 1}"),
            (not sized, f"--scale is {self.scale}", f"a number above 0, at most {_MOST:g}"),
            (bool(unknown), f"there is no row {next(iter(unknown), None)!r}", rows),
            (len({*self.rows}) < max(1, len(self.rows)), "--rows names a row twice, or none", rows),
        ):
            if wrong:
                raise BadRequestError(f"[eval] {what}", hint=hint)

    @staticmethod
    def rows_of(text: str) -> tuple[str, ...]:
        """The names in a comma list; all of them for an empty text."""
        return tuple(name.strip() for name in text.split(",") if name.strip()) if text else tuple(ROWS)

    def size(self, count: int) -> int:
        """A sample size after scaling; never nothing."""
        return max(1, round(count * self.scale))
