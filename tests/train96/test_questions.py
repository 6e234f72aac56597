"""Questions: every answer is true of the pictures, told from the scenes on another way than the one that made it."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from interleave_rt.train.shapes96 import questions
from interleave_rt.train.shapes96.places import CELL_OF
from interleave_rt.train.shapes96.plans import Request
from interleave_rt.train.shapes96.world import CELLS, COLOURS, SHAPES, Scene, Thing

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
    assert set(asked) == {"change", "background", "count", "colour", "place"}
    assert min(len(group) for group in asked.values()) > 200


def test_one_or_two_pictures_are_given(asked: dict[str, list[Request]]) -> None:
    for kind, group in asked.items():
        counts = Counter(len(request.images) for request in group)
        assert set(counts) == ({2} if kind == "change" else {1, 2})


def test_the_background_is_that_of_the_last_picture(asked: dict[str, list[Request]]) -> None:
    for request in asked["background"]:
        assert _answer(request).lower() == request.images[-1].describe().partition(":")[0] + "."


def test_the_things_of_the_last_picture_are_counted(asked: dict[str, list[Request]]) -> None:
    for request in asked["count"]:
        assert int(_answer(request).rstrip(".")) == sum(cell is not None for cell in request.images[-1].cells)


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


def _undo(after: Scene, said: str) -> Scene:
    """The picture before, reconstructed from the one after and what is said about the change."""
    if found := re.fullmatch(rf"A (.*) came (?:at|in) the ({_PLACE})\.", said):
        assert after.at(CELL_OF[found[2]]) == Thing.named(found[1])
        return after.put(CELL_OF[found[2]], None)
    if found := re.fullmatch(rf"The (.*) (?:at|in) the ({_PLACE}) went away\.", said):
        return after.put(CELL_OF[found[2]], Thing.named(found[1]))
    if found := re.fullmatch(r"The (.*) became (\w+)\.", said):
        old = Thing.named(found[1])
        now = old._replace(colour=COLOURS.index(found[2]))
        return after.put(_only(after, now), old)
    found = re.fullmatch(rf"The (.*) moved to the ({_PLACE})\.", said)
    assert found is not None, said
    assert after.at(CELL_OF[found[2]]) == Thing.named(found[1])
    return after.put(CELL_OF[found[2]], None)  # it does not say where it came from


def _only(scene: Scene, thing: Thing) -> int:
    return next(cell for cell in scene.occupied if scene.at(cell) == thing)


def test_what_changed_explains_the_difference(asked: dict[str, list[Request]]) -> None:
    verbs = Counter()
    for request in asked["change"]:
        before, after = request.images
        said = _answer(request)
        verb = re.search(r"came|went away|became|moved", said)
        assert verb is not None
        verbs[verb[0]] += 1
        rebuilt = _undo(after, said)
        wrong = [cell for cell in range(CELLS) if rebuilt.cells[cell] != before.cells[cell]]
        if verb[0] == "moved":
            (origin,) = wrong
            assert before.at(origin).name in said
        elif verb[0] == "became" and wrong:  # several look like the new one: either may have changed
            name = re.search("The (.*) became", said)
            assert name is not None
            assert sorted(map(str, rebuilt.cells)) == sorted(map(str, before.cells))
        else:
            assert wrong == []
    assert set(verbs) == {"came", "went away", "became", "moved"}


def test_questions_about_the_program_have_fixed_answers() -> None:
    rng = random.Random(2)
    said = {(request.text, _answer(request)) for request in (questions.about(rng) for _ in range(200))}
    assert len(said) == len({text for text, _ in said}) == 5
    answers = dict(said)
    assert all(shape in answers["What can you draw?"] for shape in SHAPES)
    assert all(colour in answers["Which colours do you know?"] for colour in COLOURS)
