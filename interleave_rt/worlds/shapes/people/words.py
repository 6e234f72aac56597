"""Sentences as words: how two of them are the same, and whether an answer says what is right."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interleave_rt.worlds.shapes.scene import COLOURS, POSITIONS, SHAPES, SIZES

__all__ = ["NUMBERS", "normalised", "says"]

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_KINDS = (
    COLOURS,
    (*SHAPES, "house", "snowman"),
    NUMBERS,
    ("yes", "no"),
    SIZES,
    tuple(sorted(POSITIONS, key=len, reverse=True)),
)


def normalised(text: str) -> str:
    """The words alone: lower case, numbers as words, no marks and no `<image>`."""
    words = re.findall(r"[^\W_]+", text.lower().replace("<image>", " "))
    return " ".join(NUMBERS[int(word)] if word in map(str, range(len(NUMBERS))) else word for word in words)


def _named(kind: Sequence[str], text: str) -> set[str]:
    """The words of a kind in a text, in the singular."""
    return {match[1] for match in re.finditer(rf"\b({'|'.join(kind)})s?\b", normalised(text))}


def says(answer: Sequence[str], question: str, text: str) -> bool:
    """Whether a text has a word of every `A|B` of `answer`, and no other word of these kinds.

    Others may occur where the question has them, or where the answer ends in "...".
    """
    every = {word for one in answer for word in one.split("|")}
    for one in answer:
        if one == "...":
            continue
        words = set(one.split("|"))
        kind = next((kind for kind in _KINDS if words & set(kind)), None)
        if kind is None:
            raise ValueError(f"[people] {one!r} is not a word that answers have")
        found = _named(kind, text)
        allowed = every | _named(kind, question) | ({"one"} if "one" not in every else set())
        if not words & found or (answer[-1] != "..." and not found <= allowed):
            return False
    return True
