"""Twenty requests that work, and which three of them are near a request that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES

from .composites import COMPOSITES
from .grammar import article

HONEST = "I cannot draw that."
"""How an answer begins that declines."""

EXAMPLES = (
    "Draw a snowman step by step.",
    "Draw a house.",
    "Draw a flower with blue petals.",
    "How do I draw a boat?",
    "Draw a traffic light.",
    "Draw a robot with red arms.",
    "Show me how to draw a rocket.",
    "Draw a christmas tree on a blue background.",
    "Draw a face with blue eyes.",
    "Draw a landscape.",
    "Draw a butterfly.",
    "Draw a cat step by step. Explain each step.",
    "Draw a car.",
    "Draw an ice cream.",
    "Teach me to draw a cake.",
    "Draw a tree with an orange crown.",
    "Draw a fish.",
    "Draw a night sky.",
    "Tell the story of a small red ball that rolls to the right on a white background.",
    "Start with a red square at the bottom on a blue background, then add a yellow triangle above the square.",
)
GROUPS = {
    "animal": ("cat", "butterfly", "fish"),
    "vehicle": ("car", "boat", "rocket"),
    "building": ("house", "landscape", "traffic light"),
    "food": ("ice cream", "cake", "fish"),
    "plant": ("flower", "tree", "christmas tree"),
    "person": ("face", "snowman", "robot"),
    "sky": ("night sky", "rocket", "landscape"),
    "object": ("traffic light", "robot", "house"),
    "place": ("landscape", "house", "night sky"),
    "any": ("snowman", "house", "flower"),
}
"""Three drawings for somebody who wanted something of this group that cannot be drawn."""


REASONS = {
    "thing": f"I know {len(COMPOSITES)} things, and it is none of them.",
    "colour": f"My colours are {', '.join(COLOURS[:-1])} and {COLOURS[-1]}.",
    "shape": f"My shapes are {', '.join(shape + 's' for shape in SHAPES[:-1])} and {SHAPES[-1]}s.",
    "place": "Things stand side by side, each in one of nine places.",
    "number": "A picture holds nine things at most.",
    "words": "I do not know some of these words.",
    "task": "I only make pictures of shapes.",
}
"""Why something cannot be drawn."""
_NEAREST = {
    "colour": ("a red circle", "a yellow star", "a blue heart"),
    "shape": ("a blue square", "a green triangle", "an orange ring"),
    "place": ("a small red circle", "a large blue square", "a white diamond"),
    "number": ("two red circles", "three yellow stars", "four blue hearts"),
}
"""What to offer where only a word of the request is strange."""


def offers(group: str, why: str = "thing") -> tuple[str, ...]:
    """The three nearest things, in words that can be asked for as they stand."""
    return _NEAREST.get(why) or tuple(article(name) for name in GROUPS[group])


def refusal(group: str, why: str = "thing") -> str:
    """The honest answer: that it cannot be drawn, why (one of `REASONS`), and what to try."""
    return f"{HONEST} {REASONS[why]} Try: {', '.join(offers(group, why))}."


def is_honest(plan: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a plan makes no picture, and says so and what can be had."""
    said = [str(step.get("auxiliary_text")) for step in plan]
    return (
        bool(plan)
        and all(step.get("prompt") is None for step in plan)
        and said[0].startswith(HONEST)
        and "Try: " in said[0]
    )
