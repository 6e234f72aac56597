"""More ways to ask and to wish about given pictures, held against the picture on another way than the one that made them."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable

import pytest
from draws import draws

from interleave_rt.worlds.shapes.language import (
    COMPOSITES,
    apply,
    arranged,
    companions,
    enquiries,
    explicit,
    frames,
    further_wishes,
    variants,
)
from interleave_rt.worlds.shapes.language import groups as several
from interleave_rt.worlds.shapes.language.groups import Wish
from interleave_rt.worlds.shapes.language.plans import Groups
from interleave_rt.worlds.shapes.language.seeing import called
from interleave_rt.worlds.shapes.scene import COLOURS, GRID, SHAPES, Scene, random_scene

_Ask = Callable[[random.Random, Scene], tuple[str, str, Groups] | None]
_Make = Callable[[random.Random, Scene, int | None], Wish | None]


def _asked(ask: _Ask, count: int = 300) -> list[tuple[Scene, str, str]]:
    rng, found = random.Random(1), []
    while len(found) < draws(count):
        scene = random_scene(rng, rng.randint(1, 5))
        said = ask(rng, scene)
        if said is not None:
            found.append((scene, said[0].lower(), said[1]))
    return found


def _wished(make: _Make, count: int = 200) -> list[tuple[Scene, Wish]]:
    rng, found = random.Random(2), []
    while len(found) < draws(count):
        scene = random_scene(rng, rng.randint(1, 5))
        try:
            wish = make(rng, scene, None)
        except ValueError:  # of the colour of the background
            continue
        if wish is not None and wish.steps:
            found.append((scene, wish))
    return found


def test_what_is_not_so_is_the_rest() -> None:
    for scene, text, reply in _asked(enquiries._not_so):
        (word,) = (one for one in re.findall(r"[a-z]+", text) if one.removesuffix("s") in (*SHAPES, *COLOURS))
        word = word.removesuffix("s")
        things = [scene.at(cell) for cell in scene.occupied]
        rest = [thing for thing in things if word not in (SHAPES[thing.shape], COLOURS[thing.colour])]
        if "how many" in text:
            assert reply == f"{len(rest)}.", text
        else:
            named = [] if reply == "Nothing." else reply.split(", ")
            assert len(named) == len(rest), text
            assert word not in reply.lower(), text


@pytest.mark.parametrize("ask", [enquiries._outermost, enquiries._further], ids=lambda ask: ask.__name__)
def test_higher_and_further_left_are_what_they_say(ask: _Ask) -> None:
    checked = 0
    for scene, text, reply in _asked(ask):
        if ask is enquiries._further and (len(scene.occupied) > 2 or not reply.startswith("The ")):
            continue
        there = [i for i in scene.occupied if f"The {scene.at(i).name}." == reply]
        assert [i for i in there if _is_outermost(scene, i, text)], (text, reply)
        checked += 1
    assert checked > 30


def _is_outermost(scene: Scene, cell: int, text: str) -> bool:
    others = [i for i in scene.occupied if i != cell]
    if re.search("left", text):
        return all(i % GRID > cell % GRID for i in others)
    if "right" in text:
        return all(i % GRID < cell % GRID for i in others)
    if re.search("topmost|highe|further up|closer to the top", text):
        return all(i // GRID > cell // GRID for i in others)
    return all(i // GRID < cell // GRID for i in others)


def test_a_row_or_a_column_is_counted() -> None:
    for scene, text, reply in _asked(enquiries._in_a_line):
        name = next(name for name in several.LINES if name in text)
        number = {"top": 0, "left": 0, "middle": 1, "bottom": 2, "right": 2}[name.split()[0]]
        there = [i for i in scene.occupied if (i // GRID if "row" in name else i % GRID) == number]
        if "how many" in text or "count" in text:
            assert reply == f"{len(there)}.", text
        elif re.search("empty|anything|something", text):
            assert reply == ("Yes." if ("empty" in text) == (not there) else "No."), text
        else:
            assert len([] if reply == "Nothing." else reply.split(", ")) == len(there), text


@functools.cache
def _pictures(name: str) -> frozenset[Scene]:
    """Every picture of a drawing."""
    drawn = [COMPOSITES[name].steps(ground, values) for ground, values in variants(name)]
    return frozenset(steps[-1][2].after for steps in drawn if steps is not None)


def test_a_drawing_is_told_from_the_others() -> None:
    rng, replies = random.Random(3), set[str]()
    for _ in range(draws(100)):
        request = companions.which_drawing(rng)
        reply = request.steps[0].auxiliary_text or ""
        named = [re.sub(r"^(?:No, it is )?an? ", "", reply.rstrip("."), flags=re.IGNORECASE)]
        if reply == "Yes.":  # the longest name: "christmas tree", not "tree"; none where a slip is in it
            named = [name for name in COMPOSITES if re.search(rf"\b{name}\b", request.text.lower())]
        assert not named or request.images[0] in _pictures(max(named, key=len)), request.text
        replies.add(reply.split(" ", 1)[0])
    assert replies == {"Yes.", "No,", "A", "An"}


@pytest.mark.parametrize("make", list(further_wishes._KINDS), ids=lambda make: make.__name__)
def test_every_step_changes_the_picture_and_can_be_read(make: _Make) -> None:
    for scene, wish in _wished(make, 60):
        now = scene
        for step in wish.steps:
            assert step.before == now
            assert step.after != now, wish.words
            assert apply(now, explicit(step)) == step.after, wish.words
            now = step.after
        assert "None" not in wish.words
        assert "{" not in wish.words


def test_the_one_that_is_left_out_stays_as_it_is() -> None:
    checked = 0
    for scene, wish in _wished(further_wishes._the_rest):
        left = re.search(
            r"(?:but|except(?: for)?|apart from|leave|keep|touch|not) the (\w+ )?(\w+)\b", wish.words
        )
        shapes = [SHAPES[scene.at(cell).shape] for cell in scene.occupied]
        if left and left[2] in shapes and shapes.count(left[2]) == 1:
            (cell,) = (i for i in scene.occupied if SHAPES[scene.at(i).shape] == left[2])
            if not re.search(r"of the|above|below|over|under", wish.words):
                assert wish.steps[-1].after.at(cell) == scene.at(cell), wish.words
                checked += 1
    assert checked > 10


def test_what_is_taken_back_is_not_done() -> None:
    checked = 0
    for _, wish in _wished(further_wishes._taken_back):
        colours = [word for word in re.findall(r"[a-z]+", wish.words) if word in COLOURS]
        if len(colours) > 1 and wish.steps[0].operation == "recolour" and wish.words.endswith(colours[-1]):
            cell = wish.steps[0].cell
            assert COLOURS[wish.steps[0].after.at(cell).colour] == colours[-1]
            checked += 1
    assert checked > 20


def test_a_thing_that_is_the_biggest_or_the_leftmost_is_the_only_one() -> None:
    rng, checked = random.Random(4), 0
    for _ in range(draws(1000)):
        scene = random_scene(rng, rng.randint(2, 5))
        cell = rng.choice(scene.occupied)
        name = called(rng, scene, cell) or ""
        if re.search(r"biggest|largest|smallest|tiniest", name):
            assert [i for i in scene.occupied if scene.at(i).size == scene.at(cell).size] == [cell], name
            checked += 1
        elif re.search(r"leftmost|rightmost|topmost|highest|lowest", name):
            assert _is_outermost(scene, cell, name), name
            checked += 1
    assert checked > 15


def test_a_drawing_comes_to_stand_beside_one() -> None:
    rng, found = random.Random(5), 0
    while found < 40:
        made = companions.beside_a_drawing(rng)
        if made is None:
            continue
        scene, wish = made
        columns = {step.cell % GRID for step in wish.steps}
        assert len(columns) == 1
        assert not any(scene.cells[step.cell] for step in wish.steps)
        if "left" in wish.words:
            assert columns == {0}, wish.words
        found += 1


def test_gerunds_are_spelt() -> None:
    assert [frames.gerund(f"{verb} it") for verb in ("make", "paint", "put", "get", "swap", "rub", "blow")] == [
        "making it", "painting it", "putting it", "getting it", "swapping it", "rubbing it", "blowing it"]  # fmt: skip


def test_everything_moves_by_one_and_nothing_is_left() -> None:
    for scene, wish in _wished(arranged.one_place_on, 60):
        after, things = wish.steps[-1].after, [scene.at(cell) for cell in scene.occupied]
        (by,) = {to - cell for cell, to in zip(scene.occupied, after.occupied, strict=True)}
        assert (
            by
            == {"left": -1, "right": 1, "up": -GRID, "down": GRID}[
                re.findall("left|right|up|down", wish.words)[0]
            ]
        )
        assert [after.at(cell) for cell in after.occupied] == things
    for _, wish in _wished(arranged.nothing_left, 20):
        assert wish.steps[-1].after.occupied == ()
