"""Twenty requests that work, and which three of them are near a request that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def refusal(group: str) -> str:
    """The honest answer: what can be drawn, and the three examples of a group."""
    first, second, third = GROUPS[group]
    return (
        f"{HONEST} I draw shapes in eight colours and things made of them. "
        f"Try: a {first}, a {second}, a {third}."
    ).replace("a ice", "an ice")


def is_honest(plan: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a plan makes no picture, and says so and what can be had."""
    said = [str(step.get("auxiliary_text")) for step in plan]
    return (
        bool(plan)
        and all(step.get("prompt") is None for step in plan)
        and said[0].startswith(HONEST)
        and "Try: " in said[0]
    )
