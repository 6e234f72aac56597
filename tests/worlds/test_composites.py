"""Named drawings: every variant can be drawn, wherever it may stand, and alone or in pairs."""

from __future__ import annotations

import random

import pytest

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import (
    COMPOSITES,
    Request,
    fits_a_column,
    grammar,
    narratives,
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
    assert len(_NARROW) >= 10


@pytest.mark.parametrize("name", COMPOSITES)
def test_every_variant_can_be_drawn(name: str) -> None:
    composite = COMPOSITES[name]
    assert len(variants(name)) >= 5
    for ground, values in variants(name):
        steps = composite.steps(ground, values)
        assert steps is not None
        final = _follow(steps)
        assert final is not None
        expected = Scene(COLOURS.index(ground))
        for part in composite.parts:
            expected = expected.put(POSITIONS.index(part.place), Thing.named(part.thing.format(**values)))
        assert final == expected


def test_the_first_variant_has_the_defaults() -> None:
    for name, composite in COMPOSITES.items():
        ground, values = variants(name)[0]
        assert ground == composite.grounds[0]
        assert values == {key: options[0] for key, options in composite.choices.items()}


def test_variants_differ() -> None:
    for name, composite in COMPOSITES.items():
        final = set()
        for ground, values in variants(name):
            steps = composite.steps(ground, values)
            assert steps is not None
            final.add(steps[-1][2].after)
        assert len(final) == len(variants(name)), name


def test_what_could_not_be_seen_is_no_variant() -> None:
    snowman = COMPOSITES["snowman"]
    assert snowman.steps("white", {"hat": "black"}) is None
    assert snowman.steps("blue", {"hat": "blue"}) is None
    assert ("blue", {"hat": "blue"}) not in variants("snowman")


@pytest.mark.parametrize("column", [0, 2])
@pytest.mark.parametrize("name", _NARROW)
def test_narrow_drawings_move_to_another_column(name: str, column: int) -> None:
    for ground, values in variants(name):
        steps = COMPOSITES[name].steps(ground, values, column=column)
        middle = COMPOSITES[name].steps(ground, values)
        assert steps is not None
        assert middle is not None
        final = _follow(steps)
        assert final is not None
        for cell in final.occupied:
            assert cell % 3 == column
            assert final.at(cell) == middle[-1][2].after.at(cell - column + 1)
        assert len(final.occupied) == len(COMPOSITES[name].parts)


def test_wide_drawings_do_not_fit_a_column() -> None:
    assert not fits_a_column(COMPOSITES["christmas tree"])
    assert fits_a_column(COMPOSITES["snowman"])


def test_a_drawing_is_put_beside_another() -> None:
    snowman, tree = COMPOSITES["snowman"], COMPOSITES["tree"]
    first = snowman.steps("blue", {"hat": "red"}, column=0)
    assert first is not None
    second = tree.steps("blue", {"crown": "green"}, column=2, onto=first[-1][2])
    assert second is not None
    assert [step.operation for _, _, step in second] == ["add", "add"]
    final = _follow(second, first[-1][2].after)
    assert final is not None
    assert final.occupied == (0, 3, 5, 6, 8)
    assert tree.steps("blue", {"crown": "green"}, column=0, onto=first[-1][2]) is None  # no room


def test_pairs_lead_to_both_drawings_side_by_side() -> None:
    rng = random.Random(1)
    for _ in range(300):
        request = narratives.pair(rng)
        scene: Scene | None = None
        for step, target in zip(request.steps, request.scenes, strict=True):
            scene = grammar.apply(scene, str(step.prompt))
            assert scene == target
        assert scene is not None
        columns = [cell % 3 for cell in scene.occupied]
        one, other = _drawings_of(request)
        parts = {len(COMPOSITES[one].parts), len(COMPOSITES[other].parts)}
        assert {columns.count(0), columns.count(2)} == parts
        assert columns.count(1) == 0


def test_unseen_pairs_never_come_up_in_training() -> None:
    rng = random.Random(2)
    drawn = (requests.any_request(rng) for _ in range(20000))
    trained = {_drawings_of(request) for request in drawn if request.kind == "pair"}
    never = {_drawings_of(narratives.pair(rng, unseen=True)) for _ in range(1500)}
    assert len(trained) > 50
    assert len(never) >= 10
    assert not trained & never


def test_unseen_compositions_are_pairs_or_longer_series() -> None:
    rng = random.Random(3)
    kinds = set()
    for _ in range(150):
        request = requests.unseen(rng)
        kinds.add(request.kind)
        if request.kind == "wish":
            assert len(request.steps) >= 6
    assert kinds == {"pair", "wish"}


def test_training_has_no_series_of_more_than_five_wishes() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        request = requests.narrative(rng)
        assert request.kind != "wish" or len(request.steps) <= 5


def test_the_request_names_what_differs_from_the_defaults() -> None:
    composite = COMPOSITES["flower"]
    ground, defaults = variants("flower")[0]
    assert narratives.part_words(defaults, defaults) == ""
    assert narratives.part_words({**defaults, "petals": "blue"}, defaults) == " with blue petals"
    assert (
        narratives.part_words({"hat": "orange", "eyes": "blue"}, None) == " with an orange hat and blue eyes"
    )
    assert ground == composite.grounds[0]


def test_composite_requests_say_what_they_ask_for() -> None:
    rng = random.Random(5)
    for _ in range(1500):
        request = narratives.composite(rng)
        assert request.composite is not None
        composite = COMPOSITES[request.composite]
        final = request.scenes[-1]
        assert request.composite in request.text
        ground, values = variants(request.composite)[0]
        if COLOURS[final.background] != ground:
            assert f"{COLOURS[final.background]} background" in request.text
        expected = composite.steps(COLOURS[final.background], values)
        columns = {cell % 3 for cell in final.occupied}
        moved = any(
            word in request.text for word in ("on the left", "at the left", "on the right", "at the right")
        )
        assert moved == (fits_a_column(composite) and columns != {1})
        if not moved and " with " not in request.text.replace("With a short text", "").replace(
            " with a short", ""
        ):
            assert expected is not None
            assert final == expected[-1][2].after
