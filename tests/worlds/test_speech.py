"""Requests in many ways of speaking: what is told is drawn and nothing else, and the same words have the same plan."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from draws import draws
from tokenizers import Tokenizer

import interleave_rt
from interleave_rt.worlds.shapes.language import (
    COMPOSITES,
    Request,
    apply,
    outside_request,
    plan_answer,
    planner_prompt,
    spoken,
    versions,
)
from interleave_rt.worlds.shapes.language import compositions as ways
from interleave_rt.worlds.shapes.language.compositions import composition, repaired, takes_back
from interleave_rt.worlds.shapes.language.episodes import episode
from interleave_rt.worlds.shapes.language.out_of_domain import _one_strange_word
from interleave_rt.worlds.shapes.language.phrases import SIZE_WORDS
from interleave_rt.worlds.shapes.language.redrawn import redrawn, together
from interleave_rt.worlds.shapes.language.speech import _KINDS
from interleave_rt.worlds.shapes.language.successions import succession
from interleave_rt.worlds.shapes.language.tales import _TALES, tale
from interleave_rt.worlds.shapes.language.versions import version
from interleave_rt.worlds.shapes.language.wishes import Edit, Item, Talk, steps_of
from interleave_rt.worlds.shapes.people import wanted_of
from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, SHAPES, Scene

_MAKERS = {
    composition: 1200,
    tale: 1200,
    redrawn: 1200,
    together: 1200,
    succession: 300,
    episode: 300,
    version: 300,
}
"""How many requests of each are looked at: more where a rare word must come up."""
_LIMIT = 520  # tokens of a request with its answer, as the planner is trained
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "a": 1, "an": 1}


@pytest.fixture(scope="module")
def made() -> dict[Callable[[random.Random], Request], list[Request]]:
    rng = random.Random(1)
    return {make: [make(rng) for _ in range(count)] for make, count in _MAKERS.items()}


def _talks(way: Callable[[random.Random, Talk], str | None], count: int) -> list[tuple[str, list[Scene]]]:
    """Texts of one way of speaking, without slips, and the scene after every step."""
    rng, found = random.Random(2), []
    while len(found) < count:
        talk = Talk()
        text = way(rng, talk)
        steps = steps_of(talk) if text else None
        if text and steps:
            found.append((text, [step.after for step in steps]))
    return found


def _colours(scene: Scene) -> list[str]:
    return [COLOURS[scene.at(cell).colour] for cell in scene.occupied]


def test_plans_lead_to_their_scenes_and_change_something_in_every_step(
    made: dict[Callable[[random.Random], Request], list[Request]],
) -> None:
    for request in (request for every in made.values() for request in every):
        scene = None
        for step, after in zip(request.steps, request.scenes, strict=True):
            seen = apply(scene, step.prompt)
            assert seen == after != scene, request.text
            scene = seen
        assert 1 <= len(request.steps) <= 6


def test_words_have_one_plan_across_all_ways_of_speaking(
    made: dict[Callable[[random.Random], Request], list[Request]],
) -> None:
    rng = random.Random(3)
    every = [request for requests in made.values() for request in requests]
    plans: dict[str, str] = {}
    for request in (*every, *(make(rng) for make in _KINDS for _ in range(draws(270)))):
        assert plans.setdefault(request.text, request.plan_key) == request.plan_key, request.text


def test_a_request_and_its_answer_are_short_enough_for_the_planner(
    made: dict[Callable[[random.Random], Request], list[Request]],
) -> None:
    package = Path(interleave_rt.__file__).parent
    tokenizer = Tokenizer.from_file(str(package / "packs/shapes/tokenizer/tokenizer.json"))
    for requests in made.values():
        for request in requests[:300]:
            text = planner_prompt(request.text, request.mode) + plan_answer(request)
            ids = tokenizer.encode(text).ids
            assert len(ids) < _LIMIT, request.text
            assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_every_way_of_speaking_comes_up(
    made: dict[Callable[[random.Random], Request], list[Request]],
) -> None:
    texts = " | ".join(request.text.lower() for requests in made.values() for request in requests)
    for words in ("would you mind", "1) ", "a) ", "->", "\n", "all ", "both ", "each in ", "in each corner", "on top of each other",
                  "any shape", "something ", "no sorry", "instead of", "the last one", "the latter", "of the list", "all but",
                  "the first two", "melts", "without", "the rest", "from the bottom up", "two trees", "side by side", "to its left",
                  "once there was", "the end", "traffic light", "the sky turns", "grows", "wants to be", "pictures:",
                  " became ", "afterwards", "its "):  # fmt: skip
        assert words in texts, words


@pytest.mark.parametrize("way", [ways._list, ways._ones])
def test_a_list_is_drawn_in_its_order(way: Callable[[random.Random, Talk], str]) -> None:
    for text, scenes in _talks(way, 300):
        shapes = re.findall("|".join(SHAPES), text.split("Shapes:")[-1].replace("shapes", ""))
        last = scenes[-1]
        assert len(last.occupied) == len(scenes)
        seen = []
        for before, after in zip([None, *scenes], scenes, strict=False):
            (cell,) = (c for c in after.occupied if before is None or before.cells[c] is None)
            seen.append(after.at(cell))
        if way is ways._list:
            assert [SHAPES[thing.shape] for thing in seen] == shapes, text
        else:
            assert {SHAPES[thing.shape] for thing in seen} == set(shapes), text
            assert [COLOURS[thing.colour] for thing in seen] == re.findall("|".join(COLOURS), text), text


def test_counts_and_colours_of_several_kinds_stay_together() -> None:
    looks = "|".join([*PATTERNS[1:], *(word for words in SIZE_WORDS.values() for word in words)])
    groups = re.compile(
        rf"\b(\d|{'|'.join(_NUMBERS)}) (?:(?:{looks}) )*(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})s?\b"
    )
    for text, scenes in _talks(ways._counts, 400):
        found = Counter(
            (COLOURS[t.colour], SHAPES[t.shape]) for c in scenes[-1].occupied for t in [scenes[-1].at(c)]
        )
        told = [
            (int(n) if n.isdigit() else _NUMBERS[n], colour, shape)
            for n, colour, shape in groups.findall(text)
        ]
        assert sum(count for count, _, _ in told) == len(scenes[-1].occupied), text
        for count, colour, shape in told:
            assert (
                found[colour, shape] if colour else sum(n for (_, s), n in found.items() if s == shape)
            ) == count, text


def test_what_is_said_afterwards_holds_for_all() -> None:
    for text, scenes in _talks(ways._arranged, 600):
        said = re.search(
            rf"\b(?:all|both|every one|each one)(?: of them)?(?: in)? ({'|'.join(COLOURS)})\b", text
        )
        changes = re.search(r"(?i)\b(make|paint|colour (?!i)|color|turn|should be)\b", text)
        if said and not changes:
            assert set(_colours(scenes[-1])) <= {said[1]}, text
        if re.search("another colour|different colour|same colour", text) and not changes:
            assert len(set(_colours(scenes[-1]))) == len(scenes[-1].occupied), text
        if "on top of each other" in text or "stack" in text:
            assert {1, 4, 7} == set(scenes[2].occupied), text
        if "in each corner" in text:
            assert {0, 2, 6, 8} == set(scenes[3].occupied), text


def test_a_thing_said_bit_by_bit_looks_so_and_of_free_ones_only_what_is_said() -> None:
    for way in (ways._afterthought, ways._free):
        for text, scenes in _talks(way, 300):
            (cell,) = scenes[-1].occupied
            thing = scenes[-1].at(cell)
            for words, value in ((COLOURS, thing.colour), (PATTERNS[1:], thing.pattern - 1)):
                said = re.findall(rf"\b({'|'.join(words)})\b", text)
                assert all(word == words[value] for word in said), text
            assert len(scenes) == 1


def test_what_is_taken_back_is_not_drawn() -> None:
    rng = random.Random(4)
    for text, scenes in _talks(ways._repair, 300):
        assert takes_back(text) or "? no" in text or "wanted" in text or text.startswith("not "), text
        (cell,) = scenes[-1].occupied
        colour = COLOURS[scenes[-1].at(cell).colour]
        if text.endswith(" one"):
            assert re.findall("|".join(COLOURS), text)[-1] == colour, text
    request = Request(repaired(rng, "a red star", "a blue star"), "narrative", "spoken", (), (), (), "train")
    assert takes_back(request.text)
    assert _one_strange_word(rng, request) is None
    assert not takes_back("a red circle, then make it blue. Not too bad: a snowman without a hat")


def test_references_mean_what_they_say() -> None:
    for text, scenes in _talks(ways._references, 600):
        change = re.split(r"[,;.]| and ", text.rstrip("."))[-1]
        before = (
            len([s for s, t in zip(scenes, scenes[1:], strict=False) if len(s.occupied) < len(t.occupied)])
            + 1
        )
        if (
            re.search(r"(keep only|all but|everything (except|but)|away except) the (\w+)", text)
            and "make" not in text
            and "colour" not in text
        ):
            (cell,) = scenes[-1].occupied
            assert SHAPES[scenes[-1].at(cell).shape] in change, text
        if "the last two" in text or "the first two" in text:
            assert len(scenes) == before + 2, text
        if re.search(r"\b(both|all of them|them all)\b", change) and "but" not in change:
            assert len(set(_colours(scenes[-1]))) == 1, text


def test_a_late_thing_comes_when_it_is_told() -> None:
    star = Item(SHAPES.index("star"), COLOURS.index("blue"), late=True)
    steps = steps_of(
        Talk([Item(0, 0, size=0), star], [Edit("size", 0, 1), Edit("add", 1), Edit("remove", 0)])
    )
    assert steps is not None
    assert [step.operation for step in steps] == ["draw", "replace", "add", "remove"]


@pytest.mark.parametrize(
    "sentence",
    [
        ("a small red heart grows", "a=small red heart; a:large"),
        ("snowman melts", "snowman; -hat; -head"),
        ("traffic light", "a=red circle@top; -a; b=yellow circle@center; -b; green circle@bottom"),
    ],
)
def test_tales_are_right_by_the_notation_of_what_people_wrote(sentence: tuple[str, str]) -> None:
    rng, (words, notation) = random.Random(6), sentence
    if words.startswith("snowman"):
        found = [
            r
            for r in (redrawn(rng) for _ in range(4000))
            if re.fullmatch(r"(?:an? |the )?snowman melts\.?", r.text)
        ]
    else:
        way = next(way for way in _TALES if way.__name__ == ("_lights" if "light" in words else "_grows"))
        pattern = (
            r"a small red heart (?:that grows|and then it grows|, then it grows|\. It grows)$"
            if "heart" in words
            else r"traffic light: first only red"
        )
        found = []
        for text, scenes in _talks(way, 6000):
            if re.match(pattern, text):
                found.append(Request(text, "narrative", "spoken", (), (), tuple(scenes), "train"))
    assert found
    assert all(wanted_of(notation).follows(request.scenes) for request in found)


def test_colours_of_a_tale_come_in_their_order() -> None:
    way = next(way for way in _TALES if way.__name__ == "_colours")
    for text, scenes in _talks(way, 300):
        assert [_colours(scene)[0] for scene in scenes] == re.findall(
            rf"\b(?:{'|'.join(COLOURS)})\b", text
        ), text


def test_a_drawing_without_a_part_lacks_it_and_all_others_are_there(
    made: dict[Callable[[random.Random], Request], list[Request]],
) -> None:
    checked = 0
    for request in made[redrawn]:
        found = re.fullmatch(r"a (\w+) without (\w+)", request.text)
        if (
            found
            and found[1] in COMPOSITES
            and found[2] in (part.name for part in COMPOSITES[found[1]].parts)
        ):
            assert wanted_of(f"{found[1]}(no {found[2]})").follows(request.scenes), request.text
            checked += 1
    assert checked


def test_two_drawings_are_both_there(made: dict[Callable[[random.Random], Request], list[Request]]) -> None:
    checked = 0
    for request in made[together]:
        found = re.fullmatch(r"an? ([a-z ]+?)(?: and | & | \+ |, )an? ([a-z ]+)", request.text)
        if found and {found[1], found[2]} <= set(COMPOSITES):
            assert wanted_of(f"{{{found[1]}(@left), {found[2]}(@right)}}").follows(request.scenes), (
                request.text
            )
            checked += 1
    assert checked


def test_what_comes_back_is_as_it_was_but_for_its_colour() -> None:
    red, blue = COLOURS.index("red"), COLOURS.index("blue")
    talk = Talk([Item(2, red, size=0, cell=4)], [Edit("size", 0, 1), Edit("move", 0, 0), Edit("remove"), Edit("back", 0, blue)])  # fmt: skip
    steps = steps_of(talk)
    assert steps is not None
    before, gone, back = steps[2].after, steps[3].after, steps[4].after
    assert gone.occupied == () and back.at(0) == before.at(0)._replace(colour=blue)
    assert back.at(0).size == 1


def test_a_drawing_by_day_and_by_night_changes_its_background_alone() -> None:
    rng, seen = random.Random(4), 0
    while seen < 20:
        made = versions._day(rng, COMPOSITES[rng.choice(list(COMPOSITES))])
        if made is None:
            continue
        seen += 1
        last, before = made.scenes[-1], made.scenes[-2]
        assert last.cells == before.cells and {COLOURS[last.background], COLOURS[before.background]} == {
            "blue",
            "black",
        }


def test_nothing_that_is_declined_could_have_been_drawn() -> None:
    rng = random.Random(7)
    inside = {spoken(rng).text.casefold() for _ in range(draws(2000))}
    assert not inside & {outside_request(rng).text.casefold() for _ in range(draws(2000))}
