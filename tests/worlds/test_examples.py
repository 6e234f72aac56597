"""The twenty examples: each is a request that training can make, word for word."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from interleave_rt.worlds.shapes.language import (
    COMPOSITES,
    EXAMPLES,
    GROUPS,
    Request,
    narratives,
    stories,
)
from interleave_rt.worlds.shapes.language import clauses as clause_maker
from interleave_rt.worlds.shapes.scene import COLOURS


class _Steered(random.Random):
    """Chooses what is wanted wherever it is among the choices, and is random elsewhere."""

    def __init__(self, *wanted: object) -> None:
        super().__init__(1)
        self._wanted = wanted
        self.numbers: list[int] = []
        """The next results of `randrange`."""

    def choice(self, seq: Sequence[Any]) -> Any:
        return super().choice([one for one in seq if one in self._wanted] or seq)

    def randrange(self, *limits: Any) -> int:
        return self.numbers.pop(0) if self.numbers else super().randrange(*limits)


def _template(text: str, templates: Sequence[str]) -> str:
    """The template with the most words of its own that a text can come from."""
    fitting = [
        template
        for template in templates
        if text.startswith(template.partition("{x}")[0]) and text.endswith(template.partition("{x}")[2])
    ]
    return max(fitting, key=len)


def _search(make: Callable[[], str], wanted: str, tries: int) -> None:
    assert any(make() == wanted for _ in range(tries)), f"{wanted!r} does not come up"


def test_there_are_twenty() -> None:
    assert len(EXAMPLES) == len(set(EXAMPLES)) == 20


_NAMES = {
    text: max((name for name in COMPOSITES if f" {name}" in text), key=len)
    for text in EXAMPLES
    if any(f" {name}" in text for name in COMPOSITES)
}
"""The drawing that an example is about."""


def test_eighteen_examples_are_drawings() -> None:
    assert len(_NAMES) == len(set(_NAMES.values())) == 18
    assert {name for names in GROUPS.values() for name in names} <= set(_NAMES.values())


@pytest.mark.parametrize("text", _NAMES)
def test_the_generator_of_drawings_makes_the_example(text: str) -> None:
    plain, explain = text, [words for words in narratives.EXPLAIN if text.endswith(words)]
    for words in explain:
        plain = plain.removesuffix(words)
    rng = _Steered(_NAMES[text], _template(plain, narratives.ASK), *explain)
    made: list[Request] = []

    def make() -> str:
        made.append(narratives.composite(rng))
        return made[-1].text

    _search(make, text, 5000)
    assert made[-1].composite == _NAMES[text]


def test_the_generator_of_stories_makes_the_example() -> None:
    (text,) = [text for text in EXAMPLES if "story" in text]
    rng = _Steered(stories._rolls, "Tell the story of {x}.")
    _search(lambda: stories.story(rng).text, text, 5000)


def test_the_generator_of_wishes_makes_the_example() -> None:
    (text,) = [text for text in EXAMPLES if text not in _NAMES and "story" not in text]
    _, thing, ground, second = re.split("Start with | on a | background, then ", text.rstrip("."))
    assert "Start with" in narratives._OPEN
    drawn = _Steered()
    clauses: list[clause_maker.Clause] = []

    def draw() -> str:
        drawn.numbers = [COLOURS.index(ground)]
        clauses[:] = [clause_maker._draw(drawn)]
        return clauses[0].text

    _search(draw, thing, 100000)
    assert clauses[0].transition.after.background == COLOURS.index(ground)
    added = _Steered("add {t}", "above")

    def add() -> str:
        clauses[1:] = [clause_maker.add_clause(added, clauses[0].transition.after, verb=True)]
        return clauses[1].text

    _search(add, second, 20000)
    said = _Steered()
    opened = f"Start with {thing} on a {ground} background"
    _search(lambda: opened + clause_maker.continuation(said, clauses[1:]), text, 200)
