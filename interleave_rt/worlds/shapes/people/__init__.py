"""Sentences as people write them, with what is right for each, and kept apart from everything that is learnt.

They were written by hand, by imagining different people, before and without a look at the grammar of the training
requests. `validation` is to choose by, `test` is looked at once a release.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interleave_rt.worlds.shapes.scene import Scene

from .wanted import Wanted, pictures_of, wanted_of
from .words import NUMBERS, normalised

__all__ = [
    "Sentence",
    "Wanted",
    "is_kept_out",
    "normalised",
    "offered",
    "outside",
    "phrasings",
    "sentences",
    "wanted_of",
]

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Sentence:
    """What somebody writes, the scenes of the pictures that come with it, and what is right. `kind` is for tables."""

    kind: str
    text: str
    images: tuple[Scene, ...]
    wanted: Wanted


def _rows(name: str) -> list[list[str]]:
    lines = (_DATA / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("# ")]


@functools.cache
def sentences(split: Literal["validation", "test"]) -> tuple[Sentence, ...]:
    """The sentences of one side."""
    return tuple(
        Sentence(kind, text, pictures_of("".join(pictures))[0], wanted_of(wanted, "".join(pictures)))
        for kind, text, wanted, *pictures in _rows(f"{split}.tsv")
    )


def outside() -> list[tuple[str, str]]:
    """(kind, sentence) of what this world cannot show; `near` is what it nearly can."""
    return [(kind, text) for kind, text in _rows("outside.tsv")]


def phrasings() -> dict[str, list[str]]:
    """Sentences that all ask for the same, by drawing ("a snowman")."""
    rows = _rows("phrasings.tsv")
    ways = [words for kind, words in rows if kind == "phrasing"]
    return {words: [way.format(words) for way in ways] for kind, words in rows if kind == "drawing"}


def offered(text: str) -> Wanted | None:
    """What is right for words that a refusal may offer ("a house", "two red circles"); None for any other words."""
    first, _, words = normalised(text).partition(" ")
    try:
        if first in ("a", "an"):
            return wanted_of(words)
        return wanted_of(f"{NUMBERS.index(first)} {words.removesuffix('s')}")
    except ValueError:
        return None


def _digest(text: str) -> bytes:
    return hashlib.sha256(normalised(text).encode()).digest()


@functools.cache
def _digests() -> frozenset[bytes]:
    texts = [row[1] for name in ("validation.tsv", "test.tsv", "outside.tsv") for row in _rows(name)]
    return frozenset(map(_digest, [*texts, *(text for ways in phrasings().values() for text in ways)]))


def is_kept_out(text: str) -> bool:
    """Whether a sentence is one of these, however it is written: nothing that learns may see it."""
    return _digest(text) in _digests()
