"""Named drawings: every variant can be drawn, wherever it may stand, and alone or in pairs."""

from __future__ import annotations

import random
import re

import pytest
from draws import draws

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import (
    COMPOSITES,
    EXAMPLES,
    GROUPS,
    Request,
    at,
    clauses,
    fits_a_column,
    grammar,
    narratives,
    stories,
    variants,
)
from interleave_rt.worlds.shapes.scene import COLOURS, POSITIONS, Scene, Thing, Transition

_NARROW = [name for name, composite in COMPOSITES.items() if fits_a_column(composite)]


def _follow(steps: list[tuple[str, str, Transition]], scene: Scene | None = None) -> Scene | None:
    """The scene that the prompts lead to, one after the other."""
    for _, prompt, step in steps:
        scene = grammar.apply(scene, prompt)
        assert scene == step.after, prompt
    return scene


def _drawings_of(request: Request) -> tuple[str, str]:
    """The two names in "a house and a tree on a red background"."""
    words = request.text.lower()
    found = [name for name in COMPOSITES if f" {name} and a" in words or f" {name} on a" in words]
    # "tree" is also in "christmas tree"
    found = [name for name in found if not any(name in other and name != other for other in found)]
    assert len(found) == 2, request.text
    return min(found), max(found)


def test_there_are_many_drawings() -> None:
    assert len(COMPOSITES) >= 20
    assert sum(len(variants(name)) for name in COMPOSITES) > 1000
    assert len(_NARROW) >= 10 and "snowman" in _NARROW and "christmas tree" not in _NARROW


@pytest.mark.parametrize("name", COMPOSITES)
def test_every_variant_can_be_drawn_and_is_another_one(name: str) -> None:
    composite, finals = COMPOSITES[name], set()
    assert len(variants(name)) >= 5
    for ground, values in variants(name):
        expected = Scene(COLOURS.index(ground))
        for part in composite.parts:
            expected = expected.put(POSITIONS.index(part.place), Thing.named(part.thing.format(**values)))
        assert _follow(composite.steps(ground, values)) == expected
        finals.add(expected)
    assert len(finals) == len(variants(name))
    defaults = {key: options[0] for key, options in composite.choices.items()}
    assert variants(name)[0] == (composite.grounds[0], defaults)


def test_what_could_not_be_seen_is_no_variant() -> None:
    snowman = COMPOSITES["snowman"]
    assert snowman.steps("white", {"hat": "black"}) is None
    assert snowman.steps("blue", {"hat": "blue"}) is None
    assert ("blue", {"hat": "blue"}) not in variants("snowman")


@pytest.mark.parametrize("column", [0, 2])
@pytest.mark.parametrize("name", _NARROW)
def test_narrow_drawings_move_to_another_column(name: str, column: int) -> None:
    for ground, values in variants(name):
        middle = COMPOSITES[name].steps(ground, values)[-1][2].after
        final = _follow(COMPOSITES[name].steps(ground, values, column=column))
        assert {cell % 3 for cell in final.occupied} == {column}
        assert [final.cells[column::3], final.background] == [middle.cells[1::3], middle.background]


def test_a_drawing_is_put_beside_another() -> None:
    snowman, tree = COMPOSITES["snowman"], COMPOSITES["tree"]
    first = snowman.steps("blue", {"hat": "red"}, column=0)
    second = tree.steps("blue", {"crown": "green"}, column=2, onto=first[-1][2])
    assert [step.operation for _, _, step in second] == ["add", "add"]
    assert _follow(second, first[-1][2].after).occupied == (0, 3, 5, 6, 8)
    assert tree.steps("blue", {"crown": "green"}, column=0, onto=first[-1][2]) is None  # no room


def test_pairs_lead_to_both_drawings_side_by_side() -> None:
    rng = random.Random(1)
    for _ in range(300):
        request = narratives.pair(rng)
        columns = [cell % 3 for cell in request.scenes[-1].occupied]
        one, other = _drawings_of(request)
        parts = {len(COMPOSITES[one].parts), len(COMPOSITES[other].parts)}
        assert {columns.count(0), columns.count(2)} == parts
        assert columns.count(1) == 0


def test_unseen_pairs_never_come_up_in_training(drawn: list[Request]) -> None:
    rng = random.Random(2)
    more = (narratives.narrative(rng) for _ in range(draws(2000)))  # the one of its sources that has pairs
    trained = {_drawings_of(request) for request in (*drawn, *more) if request.kind == "pair"}
    never = {_drawings_of(narratives.pair(rng, unseen=True)) for _ in range(draws(500))}
    assert len(trained) > 50
    assert len(never) >= 10
    assert not trained & never


def test_unseen_compositions_are_pairs_or_longer_series() -> None:
    rng = random.Random(3)
    found = [requests.unseen(rng) for _ in range(150)]
    assert {request.kind for request in found} == {"pair", "wish"}
    assert all(len(request.steps) >= 6 for request in found if request.kind == "wish")


def test_the_request_names_what_differs_from_the_defaults() -> None:
    _, defaults = variants("flower")[0]
    assert narratives.part_words(defaults, defaults) == ""
    assert narratives.part_words({**defaults, "petals": "blue"}, defaults) == " with blue petals"
    both = narratives.part_words({"hat": "orange", "eyes": "blue"}, None)
    assert both == " with an orange hat and blue eyes"


def test_composite_requests_say_what_they_ask_for() -> None:
    rng = random.Random(5)
    for _ in range(draws(500)):
        request = narratives.composite(rng)
        composite, final = COMPOSITES[request.composite], request.scenes[-1]
        assert composite.name in request.text
        ground, values = variants(composite.name)[0]
        if COLOURS[final.background] != ground:
            assert f"{COLOURS[final.background]} background" in request.text
        sides = ("on the left", "at the left", "on the right", "at the right")
        moved = any(words in request.text for words in sides)
        columns = {cell % 3 for cell in final.occupied}
        assert moved == (fits_a_column(composite) and columns != {1})
        if not moved and " with " not in re.sub("(?i) with a short", "", request.text):
            assert final == composite.steps(COLOURS[final.background], values)[-1][2].after


# ---- the twenty examples: each is a request that training can make, word for word


def _requests_for(name: str) -> set[str]:
    """All that training says of a drawing in the middle, short of naming its defaults."""
    ground, defaults = variants(name)[0]
    phrases = set()
    for other, values in variants(name):
        phrase = grammar.article(name) + narratives.part_words(values, defaults)
        phrases.add(phrase + f" on {grammar.article(other)} background" * (other != ground))
    texts = {template.format(x=phrase) for template in narratives.ASK for phrase in phrases}
    return texts | {text.rstrip(".") + "." + more for text in texts for more in narratives.EXPLAIN}


def test_the_examples_are_requests_of_training() -> None:
    assert len(EXAMPLES) == len(set(EXAMPLES)) == 20
    drawings = {text: name for name in COMPOSITES for text in EXAMPLES if text in _requests_for(name)}
    assert len(set(drawings.values())) == 18
    assert {name for names in GROUPS.values() for name in names} <= set(drawings.values())
    told, wished = (text for text in EXAMPLES if text not in drawings)
    rng = random.Random(6)
    assert any(told.split(" on ")[0] in stories.story(rng).text for _ in range(20000))
    added = clauses._ADD[0].format(t="a yellow triangle above the square")
    assert wished == f"{narratives._OPEN[0]} a red square {at(7)} on a blue background, then {added}."
