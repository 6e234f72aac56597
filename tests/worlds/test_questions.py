"""Questions: every answer is true of the pictures, told from the scenes on another way than the one that made it."""

from __future__ import annotations

import random
import re

import pytest

from interleave_rt.worlds.shapes.language import CELL_OF, Request, questions
from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Thing

_PLACE = "|".join(sorted(CELL_OF, key=len, reverse=True))


def _kind(request: Request) -> str:
    words = request.text.replace("<image>", "").strip().lower()
    if re.search(r"changed|different", words):
        return "change"
    if "background" in words:
        return "background"
    if words.startswith("how many"):
        return "count"
    return "colour" if re.search(r"(what|which) colour", words) else "place"


@pytest.fixture(scope="module")
def asked() -> dict[str, list[Request]]:
    rng = random.Random(1)
    found: dict[str, list[Request]] = {}
    for _ in range(4000):
        request = questions.question(rng)
        found.setdefault(_kind(request), []).append(request)
    return found


def _answer(request: Request) -> str:
    return str(request.steps[0].auxiliary_text)


def test_every_kind_comes_up(asked: dict[str, list[Request]]) -> None:
    assert set(asked) == {"background", "count", "colour", "place"}  # none about what has changed
    assert min(len(group) for group in asked.values()) > 200


def test_the_background_is_that_of_the_last_picture(asked: dict[str, list[Request]]) -> None:
    for request in asked["background"]:
        assert _answer(request).lower() == request.images[-1].describe().partition(":")[0] + "."


def test_the_things_of_the_last_picture_are_counted(asked: dict[str, list[Request]]) -> None:
    for request in asked["count"]:
        assert int(_answer(request).rstrip(".")) == sum(cell is not None for cell in request.images[-1].cells)
    first = [sum(cell is not None for cell in request.images[0].cells) for request in asked["count"]]
    assert sum(f"{count}." != _answer(r) for count, r in zip(first, asked["count"], strict=True)) > 50


def test_the_colour_is_that_of_the_only_such_shape(asked: dict[str, list[Request]]) -> None:
    for request in asked["colour"]:
        (shape,) = [name for name in SHAPES if re.search(rf"\b{name}\b", request.text)]
        (thing,) = [cell for cell in request.images[-1].cells if cell and SHAPES[cell.shape] == shape]
        assert _answer(request) == COLOURS[thing.colour].capitalize() + "."


def test_the_thing_at_a_place_is_named_in_full(asked: dict[str, list[Request]]) -> None:
    answers = set()
    for request in asked["place"]:
        found = re.search(rf"(?:at|in) the ({_PLACE})\??$", request.text)
        assert found is not None, request.text
        thing = request.images[-1].cells[CELL_OF[found[1]]]
        answers.add(thing is None)
        if thing is None:
            assert _answer(request) == "Nothing."
        else:
            assert Thing.named(_answer(request).removeprefix("A ").rstrip(".")) == thing
    assert answers == {True, False}


def test_questions_about_the_program_have_fixed_answers() -> None:
    rng = random.Random(2)
    said = {(request.text, _answer(request)) for request in (questions.about(rng) for _ in range(200))}
    assert len(said) == len({text for text, _ in said}) > 20
    answers = dict(said)
    assert all(shape in answers["What can you draw?"] for shape in SHAPES)
    assert all(colour in answers["Which colours do you know?"] for colour in COLOURS)
