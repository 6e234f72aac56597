"""How people put things: words around what is wanted, and slips of the finger."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterable, Sequence
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


_LONG = 120
"""Letters of a text that is long."""


NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


ORDINALS = ("first", "second", "third", "fourth", "fifth")


ROWS = {"in a row": (3, 4, 5), "in a row at the top": (0, 1, 2), "in a row at the bottom": (6, 7, 8),
         "in a column": (1, 4, 7), "on top of each other": (7, 4, 1)}  # fmt: skip


def glued(joint: str, text: str) -> str:
    """What comes next behind its joint; a new sentence begins with a capital."""
    return joint + (text[0].upper() + text[1:] if joint == ". " else text)


def enumerated(rng: random.Random, words: Sequence[str], joints: Sequence[str]) -> str:
    """One or more in a row, the last one behind one of the joints."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + rng.choice(joints) + words[-1]


def numbered(rng: random.Random, text: str, steps: int) -> str:
    """The text with the number of its steps said, too."""
    said = rng.choice(COUNTED).format(n=rng.choice((NUMBERS[steps], str(steps)))) if steps < 10 else ""
    if steps == 1:
        said = said.replace("steps", "step").replace("pictures", "picture")
    bare = text.rstrip(".!?")
    return rng.choice((f"{said}: {bare}", f"{bare}, {said}", f"{bare} {said}", f"{said}, {bare}"))


_NEAR = {
    letter: near
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for i, letter in enumerate(row)
    for near in [row[max(i - 1, 0) : i] + row[i + 1 : i + 2]]
}
"""The letters beside each one on a keyboard."""


_WANTED = ["red", "blue", "yellow", "green", "orange", "black", "brown", "white", "circle", "square", "triangle", "star", "heart", "diamond", "ring", "bowl", "small", "large", "striped", "dotted", "tree", "house", "boat", "cake", "lamp", "fish", "robot", "rocket", "flower", "candle", "snowman", "balloon"]  # fmt: skip


@functools.cache
def _real_words() -> frozenset[str]:
    """Words that mean something: who slips into one of them asks for something else."""
    texts = [
        words
        for name in ("phrases.tsv", "composites.tsv", "out_of_domain.tsv", "declined.tsv")
        for words in rows(name)
    ]
    found = set(re.findall("[a-z]+", " ".join(" ".join(words) for words in texts).lower()))
    return frozenset(
        {*found, *_WANTED, "bat", "boa", "coat", "tip", "ten", "tow", "on", "or", "not", "ball", "all"}
    )


def slip(rng: random.Random, text: str) -> str:
    """The text with one slip of the finger in a word of three letters or more.

    A letter is missing, doubled, swapped with the next one, or the one beside it on the keyboard; words of three
    letters lose none. What comes out is no other word that means something.
    """
    words = list(re.finditer(r"(?<![\w'<|])[A-Za-z]{3,}(?![\w'>|])", text))
    meant = [word for word in words if word[0].lower().rstrip("s") in _WANTED]
    if not words:
        return text
    found = rng.choice(meant if meant and rng.random() < 0.5 else words)
    word = found[0]
    for _ in range(4):
        at = rng.randrange(1, len(word)) if rng.random() < 0.93 else 0
        ways = [word[:at] + word[at] + word[at:]]
        if len(word) > 3:
            ways.append(word[:at] + word[at + 1 :])
        if at + 1 < len(word):
            ways += [word[:at] + word[at + 1] + word[at] + word[at + 2 :]] * 2
        near = _NEAR[word[at].lower()]
        ways.append(word[:at] + rng.choice(near) + word[at + 1 :])
        slipped = rng.choice(ways)
        if slipped.lower() not in _real_words() and slipped != word:
            return text[: found.start()] + slipped + text[found.end() :]
    return text


def dressed(rng: random.Random, text: str) -> str:
    """As somebody in a hurry may write it."""
    kind = rng.random()
    if kind < 0.12:
        text = text.lower()
    elif kind < 0.15 and len(text) < _LONG:  # capitals are many tokens
        text = text.upper()
    elif kind < 0.2:
        text = re.sub(r",(?= )", "", text).rstrip(".!?")
    if rng.random() < 0.06:
        text = re.sub(r"\b[Aa]n? ", "", text)
    if rng.random() < 0.16:
        text = slip(rng, text)
        if rng.random() < 0.15:
            text = slip(rng, text)
    return text


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
