"""Names of the nine places in three styles of speech."""

from __future__ import annotations

from interleave_rt.worlds.shapes.scene import POSITIONS

CORNERS = (0, 2, 6, 8)
"""Their cells."""
STYLES = ("plain", "corner", "row")
"""Ways to name a place: "at the top left", "in the upper left corner", "in row 1 column 1"."""

_CORNER = (
    "upper left corner",
    "upper edge",
    "upper right corner",
    "left edge",
    "middle",
    "right edge",
    "lower left corner",
    "lower edge",
    "lower right corner",
)
_ROW = tuple(f"row {row} column {column}" for row in (1, 2, 3) for column in (1, 2, 3))
_NAMES = (POSITIONS, _CORNER, _ROW)

CELL_OF = {name: cell for names in _NAMES for cell, name in enumerate(names)}
"""The cell that a place name of any style means."""


def bare(cell: int, style: int = 0) -> str:
    """The name without a preposition, with its article where it has one."""
    name = _NAMES[style][cell]
    return name if style == 2 else f"the {name}"


def at(cell: int, style: int = 0) -> str:
    """Where something is: "at the top left", "in the upper left corner", "in row 1 column 1"."""
    name = bare(cell, style)
    return f"at {name}" if style == 0 or name.endswith("edge") else f"in {name}"


def come_from(cell: int, style: int = 0) -> str:
    """Where something comes from."""
    return f"from {bare(cell, style)}"


def go_to(cell: int, style: int = 0) -> str:
    """Where something goes."""
    return f"to {bare(cell, style)}"
