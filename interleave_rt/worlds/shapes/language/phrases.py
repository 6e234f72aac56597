"""How people put things: words around what is wanted, and slips of the finger."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Any

from interleave_rt.worlds.shapes.scene import CELLS, SIZES

from .files import rows
from .grammar import RELATIONS

_SAID: dict[str, list[str]] = {}


for _kind, _words in rows("phrases.tsv"):
    _SAID.setdefault(_kind, []).append(_words)


def _of(kind: str, keys: Iterable[object]) -> dict[Any, list[str]]:
    return {key: _SAID[f"{kind} {key}"] for key in keys}


ASK_FOR, HOW, FIRST, COUNTED, STORY, ON_A_PICTURE, ON_GROUND, EVERY, WAIT, TOLD = (
    _SAID[kind]
    for kind in ("ask", "how", "first", "counted", "story", "picture", "ground", "every", "wait", "told")
)


LISTED = [words.split(";") for words in _SAID["listed"]]
"""What stands before the first, second, ... fifth wish of a list."""


PATHS = [
    (tuple(int(cell) for cell in kind.split()[1:]), words)
    for kind, every in _SAID.items()
    if kind.startswith("path ")
    for words in every
]
"""The cells that a thing goes through, and how that is told."""


EVENTS = {kind: _SAID[kind] for kind in ("grows", "shrinks", "colours", "sky", "goes", "joins")}
"""What else may become of a thing."""


EDIT_WORDS = _of("edit", ("colour", "move", "remove", "shape", "size", "pattern", "ground"))


RELATION_WORDS, ITS, PLACES = _of("relation", RELATIONS), _of("its", RELATIONS), _of("place", range(CELLS))
"""`ITS`: relations to the thing that was named last, in words that hold it ("to its right")."""


def _other_names(kind: str) -> dict[str, list[str]]:
    return {key.split(" ", 1)[1]: words for key, words in _SAID.items() if key.startswith(f"{kind} ")}


SHAPE_NAMES, DRAWING_NAMES = _other_names("shape"), _other_names("alias")
"""Other names of shapes and of named drawings."""


SIZE_WORDS = _of("size", range(len(SIZES)))


JOINTS = _of("joint", range(sum(kind.startswith("joint ") for kind in _SAID)))
"""Joints of wishes: three for any of them, and one for the last."""


NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


ORDINALS = ("first", "second", "third", "fourth", "fifth")


ROWS = {"in a row": (3, 4, 5), "in a row at the top": (0, 1, 2), "in a row at the bottom": (6, 7, 8),
         "in a column": (1, 4, 7), "on top of each other": (7, 4, 1)}  # fmt: skip


def numbered(rng: random.Random, text: str, steps: int) -> str:
    """The text with the number of its steps said, too."""
    said = rng.choice(COUNTED).format(n=rng.choice((NUMBERS[steps], str(steps)))) if steps < 10 else ""
    if steps == 1:
        said = said.replace("steps", "step").replace("pictures", "picture")
    bare = text.rstrip(".!?")
    return rng.choice((f"{said}: {bare}", f"{bare}, {said}", f"{bare} {said}", f"{said}, {bare}"))


def slip(rng: random.Random, text: str) -> str:
    """The text with one slip of the finger: a letter too many, missing, doubled or swapped with the next one.

    Only in a word of five letters or more: of shorter ones too little is left.
    """
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long:
        return text
    i = rng.choice(long)
    word = words[i]
    at = rng.randrange(1, len(word) - 1)
    words[i] = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
    )
    return " ".join(words)


def dressed(rng: random.Random, text: str) -> str:
    """As somebody in a hurry may write it."""
    kind = rng.random()
    if kind < 0.12:
        text = text.lower()
    elif kind < 0.15:
        text = text.upper()
    elif kind < 0.2:
        text = text.replace(",", "").rstrip(".!?")
    if rng.random() < 0.06:
        text = re.sub(r"\b[Aa]n? ", "", text)
    return slip(rng, text) if rng.random() < 0.12 else text


NAMES = ("the picture", "this picture", "it", "the image")


COMMON_WORDS = frozenset(
    re.findall(
        r"[a-z]+",
        " ".join(
            [*(words for every in _SAID.values() for words in every), *ROWS, *ORDINALS, *NUMBERS, *NAMES]
        ).lower(),
    )
)
"""Words of all of this that say nothing about which thing is wanted."""
