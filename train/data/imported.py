"""Files of other people's: interleaved sets as planner items, and what of benchmarks must not be met.

A set has a line a sequence, which is cut at a random step. A line is `{"id": "...", "text": "...", "steps": [{"text": "...", "image": "a.png", "prompt": "..."}]}`: what was asked for, and
per step its words, its picture (a path beside the file) and, where there is one, a prompt that makes it; else the words are
the prompt.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError
from interleave_rt.files import read_text
from interleave_rt.pack.images import load_image
from interleave_rt.request import IMAGE_MARK
from interleave_rt.roles.prompts import Prompts

from .items import Item, continued
from .journal import Counts, Pictures, key_of
from .taxonomy import normal

__all__ = ["read_excluded", "read_imported"]

_MAX_BYTES = 1 << 30


def read_excluded(path: Path) -> set[str]:
    """Texts and ids of a file, as `normal` writes them: a line is a text, or a JSON object with `text`, `id` or both.

    Raises:
        BadRequestError: It cannot be read, or a line that begins with a brace is no JSON.
    """
    found: set[str] = set()
    for number, line in _lines(path, "exclude"):
        if line.startswith("{"):
            raw = _parsed(path, number, line, "exclude")
            found |= {normal(str(raw[field])) for field in ("text", "id") if raw.get(field)}
        else:
            found.add(normal(line))
    return found


def read_imported(
    path: Path, name: str, barred: Collection[str], pictures: Pictures, prompts: Prompts, seed: int
) -> tuple[list[Item], Counts]:
    """The items of a file, and what became of its lines.

    Args:
        path: JSON lines.
        name: Of the set.
        barred: Ids and texts that must not be met, as `normal` writes them: the test sets of benchmarks.
        pictures: Where its pictures are kept.
        prompts: How a planner is asked.
        seed: Of the cuts.

    Raises:
        BadRequestError: A line lacks a field or its picture; the message names it.
    """
    counts = Counts(
        {"in": 0, "kept": 0, "dropped: benchmark": 0, "dropped: too short": 0, "dropped: marks": 0}
    )
    items = []
    for number, line in _lines(path, "import"):
        raw = _parsed(path, number, line, "import")
        counts["in"] += 1
        try:
            identity, text, steps = str(raw["id"]), str(raw["text"]), list(raw["steps"])
            told = [
                (str(step["text"]), str(step.get("prompt") or step["text"]), str(step["image"]))
                for step in steps
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise BadRequestError(
                f"[import] {path}, line {number}: a field is missing or wrong: {error}",
                hint="a line has id, text and steps, a step text and image",
            ) from None
        if {normal(identity), normal(text)} & set(barred):
            counts["dropped: benchmark"] += 1
            continue
        if len(told) < 2:
            counts["dropped: too short"] += 1
            continue
        key = key_of("import", name, identity)
        cut = random.Random(f"{seed}/import/{key}").randrange(1, len(told))
        shown = [pictures.put(load_image(path.parent / image)) for _, _, image in told[:cut]]
        asked = text + "".join(
            f"\nStep {i}: {words} {IMAGE_MARK}" for i, (words, _, _) in enumerate(told[:cut], 1)
        )
        rest = [
            {
                "step_number": i,
                "step_name": f"step {i}",
                "instruction": words,
                "prompt": prompt,
                "auxiliary_text": None,
            }
            for i, (words, prompt, _) in enumerate(told[cut:], cut + 1)
        ]
        item = continued(key, name, asked, shown, rest, prompts)
        counts["dropped: marks" if item is None else "kept"] += 1
        items += [] if item is None else [item]
    counts.check(name)
    return items, counts


def _lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    # Not splitlines(), which also cuts at U+2028 and the like in a text.
    for number, line in enumerate(read_text(path, _MAX_BYTES, what=what).split("\n"), 1):
        if line.strip():
            yield number, line


def _parsed(path: Path, number: int, line: str, what: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"[{what}] {path}, line {number}, is no JSON: {error}") from None
