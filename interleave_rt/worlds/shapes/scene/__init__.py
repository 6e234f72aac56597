"""Things on a 3x3 grid, where they sit in their cells, their pictures, and single edits."""

from __future__ import annotations

from .layout import EMPTY, Layout, Spot, arranged, random_layout
from .pictures import (
    CELL_PX,
    SIDE,
    WHITE,
    Pixels,
    drawn,
    drawn_story,
    mask_index,
    masks,
    palette,
    render,
    render_batch,
)
from .transitions import EVERY_OPERATION, OPERATIONS, Transition, other_colour, random_transition
from .world import (
    CELLS,
    COLOURS,
    GRID,
    PATTERNS,
    POSITIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    random_scene,
    random_thing,
)

__all__ = [
    "CELLS",
    "CELL_PX",
    "COLOURS",
    "EMPTY",
    "EVERY_OPERATION",
    "GRID",
    "OPERATIONS",
    "PATTERNS",
    "POSITIONS",
    "SHAPES",
    "SIDE",
    "SIZES",
    "WHITE",
    "Layout",
    "Pixels",
    "Scene",
    "Spot",
    "Thing",
    "Transition",
    "arranged",
    "drawn",
    "drawn_story",
    "mask_index",
    "masks",
    "other_colour",
    "palette",
    "random_layout",
    "random_scene",
    "random_thing",
    "random_transition",
    "render",
    "render_batch",
]
