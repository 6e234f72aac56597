"""What people say about given pictures: answers and plans held against the picture on another way than the one that made them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable

from draws import draws

from interleave_rt.worlds.shapes.language import (
    about_a_picture,
    apply,
    asked,
    groups,
    parts,
    pictured,
    series,
)
from interleave_rt.worlds.shapes.language import asking as questions
from interleave_rt.worlds.shapes.language.plans import Groups
from interleave_rt.worlds.shapes.people import normalised
from interleave_rt.worlds.shapes.scene import (
    COLOURS,
    GRID,
    PATTERNS,
    POSITIONS,
    SHAPES,
    Scene,
    Thing,
    random_scene,
)

_SIZES = {"small": 0, "little": 0, "tiny": 0, "large": 1, "big": 1}
_KNOWN = {
    **dict.fromkeys(COLOURS, 1),
    **dict.fromkeys(SHAPES, 0),
    **dict.fromkeys(_SIZES, 2),
    **dict.fromkeys(PATTERNS[1:], 3),
}


def _things(scene: Scene) -> list[Thing]:
    return [scene.at(cell) for cell in scene.occupied]


def _fitting(scene: Scene, words: str) -> list[int]:
    """The cells of the things that have everything that the words say."""

    def fits(thing: Thing) -> bool:
        has = {SHAPES[thing.shape], COLOURS[thing.colour], PATTERNS[thing.pattern]}
        has |= {word for word, size in _SIZES.items() if size == thing.size}
        return all(word in has for word in _looks(words))

    return [cell for cell in scene.occupied if fits(scene.at(cell))]


def _looks(words: str) -> list[str]:
    singular = [
        word if word in _KNOWN else word.removesuffix("s") for word in re.findall(r"[a-z]+", words.lower())
    ]
    return [word for word in singular if word in _KNOWN]


def _some(
    ask: Callable[[random.Random, Scene], tuple[str, str, Groups] | None], seed: int
) -> list[tuple[Scene, str, str, Groups]]:
    """Scenes with a question, its answer and the cells that it is found by."""
    rng, found = random.Random(seed), []
    while len(found) < 400:
        scene = random_scene(rng, rng.randint(1, 5))
        said = ask(rng, scene)
        if said is not None:
            found.append((scene, *said))
    return found


def test_numbers_are_those_of_the_picture() -> None:
    for scene, text, reply, (cells,) in _some(questions._how_many, 1):
        words = text.lower()
        if re.search(r"different shapes|(kinds|sorts) of shapes", words):
            right = len({thing.shape for thing in _things(scene)})
        elif "colours" in words:
            right = len({thing.colour for thing in _things(scene)})
        elif re.search(r"places", words):
            right = 9 - len(scene.occupied)
        else:
            right = len(_fitting(scene, words))
        assert reply == f"{right}.", text
        assert len(set(cells)) == len(cells) == right, text


def test_what_is_said_to_be_there_is_there() -> None:
    replies = Counter()
    for scene, text, reply, (cells,) in _some(questions._is_there, 2):
        assert reply == ("Yes." if _fitting(scene, text) else "No."), text
        assert list(cells) == _fitting(scene, text), text
        replies[reply] += 1
    assert min(replies.values()) > 80


def test_places_are_those_of_the_one_that_is_asked_for() -> None:
    for scene, text, reply, found in _some(questions._where_is, 3):
        (cell,) = _fitting(scene, text)
        assert found == ((cell,),)
        assert reply == f"At the {POSITIONS[cell]}.", text


def test_colours_and_names_are_those_of_the_one_that_is_asked_for() -> None:
    checked = 0
    for scene, text, reply, _ in _some(questions._which_colour, 4):
        looks = _looks(text)
        if (
            "And" in text
            or " and " in text
            or "about" in text
            or re.search(r"above|below|over|under| of the |is [a-z]+, what|middle|cent| with ", text)
        ):
            continue
        if looks and not re.search(r"\b(left|right|upper|lower|top|bottom)\b", text):
            assert {COLOURS[scene.at(cell).colour].capitalize() + "." for cell in _fitting(scene, text)} == {
                reply
            }
            assert not set(looks) & set(COLOURS)
            checked += 1
    assert checked > 100
    for scene, text, reply, _ in _some(questions._what_is_so, 5):
        if not re.search(
            r"above|below|over|under|left|right|top|bottom|middle|upper|lower|center|centre| it\b| with |est\b",
            text,
        ):
            names = {scene.at(cell).name for cell in _fitting(scene, text)}
            assert set(re.sub(r"^A ", "a ", reply).rstrip(".").lower().replace("a ", "").split(", ")) == (
                names or {"nothing"}
            ), text


def test_sizes_and_numbers_are_compared_as_they_are() -> None:
    for scene, text, reply, _ in _some(questions._sizes_compared, 6):
        found = re.search(
            r"the ([a-z ]+?)(?:,? or|,? and|, is| is| (?:smaller|bigger|larger) than| as (?:big|large) as) the ([a-z ]+)",
            text.lower(),
        )
        if found is None or "." not in reply:
            continue
        first, second = (_fitting(scene, words) for words in found.groups())
        assert len(first) == 1, text
        if reply not in ("Yes.", "No."):
            named = Thing.named(reply.removeprefix("The ").rstrip("."))
            assert named.size == (0 if "smaller" in text else 1), text
            assert {named} <= {scene.at(cell) for cell in (*first, *second)}, text
    for scene, text, reply, _ in _some(questions._numbers_compared, 7):
        pair = [one for one in _looks(text) if one in _KNOWN]
        counts = [len(_fitting(scene, one)) for one in pair]
        if reply in ("Yes.", "No."):
            so = (
                counts[0] == counts[1]
                if "as many" in text
                else counts[0] < counts[1]
                if "fewer" in text
                else counts[0] > counts[1]
            )
            assert (reply == "Yes.") == so, text
        else:
            assert reply == "As many." if counts[0] == counts[1] else pair[counts[1] > counts[0]] in reply, (
                text
            )


def test_where_two_things_stand_to_each_other() -> None:
    checked = 0
    for scene, text, reply, _ in _some(questions._beside, 8):
        found = re.search(
            r"(?:the ([a-z ]+) |is )?(?:is )?(above|over|below|under|to the left of|left of|to the right of|right of) the ([a-z ]+)",
            text,
        )
        assert found is not None, text
        way = found[2].removeprefix("to the ").split()[0]
        (other,) = _fitting(scene, found[3])
        if reply in ("Yes.", "No.") and found[1] is not None:
            (cell,) = _fitting(scene, found[1])
            (row, column), (row2, column2) = divmod(cell, GRID), divmod(other, GRID)
            assert row == row2 or column == column2
            so = {"above": row < row2, "over": row < row2, "below": row > row2, "under": row > row2,
                  "left": column < column2, "right": column > column2}[way]  # fmt: skip
            assert (reply == "Yes.") == so, text
            checked += 1
        elif reply.startswith("A "):
            cell = other + {"above": -3, "over": -3, "below": 3, "under": 3, "left": -1, "right": 1}[way]
            assert scene.at(cell).name in reply
            checked += 1
    assert checked > 150


# ---- wishes


def test_every_step_of_a_wish_changes_the_picture_and_none_of_them_is_for_nothing() -> None:
    rng = random.Random(9)
    for _ in range(draws(1000)):
        request = about_a_picture(rng)
        scene = request.images[-1]
        assert 1 <= len(request.steps) == len(request.scenes) <= 6
        for step, after in zip(request.steps, request.scenes, strict=True):
            assert after != scene, request.text
            assert apply(scene, str(step.prompt)) == after
            scene = after
        assert scene != request.images[-1], request.text
        assert request.text.count("<image>") == len(request.images)


def test_a_wish_is_no_question() -> None:
    rng = random.Random(10)
    wanted = {normalised(about_a_picture(rng).text) for _ in range(draws(1300))}
    asked_for = {normalised(asked(rng).text) for _ in range(draws(1300))}
    assert not wanted & asked_for
    begin = r"^(is(?! it p)|are|which|where|count|how many|do you(?! think| mind)|does|tell me|describe) "
    assert not [words for words in wanted if re.match(begin, words) and not words.startswith("where is ")]


def test_all_of_a_group_are_meant_and_no_other_one() -> None:
    rng, checked = random.Random(11), 0
    while checked < draws(30):
        scene = random_scene(rng, rng.randint(2, 5))
        try:
            wish = groups._all_alike(rng, scene, None)
        except ValueError:
            continue
        found = wish and re.search(r"(all|both|each|every)( the)? ((?:[a-z]+ )?[a-z]+)", wish.words)
        if not found or not _looks(found[3]) or "remove" not in wish.words:
            continue
        meant = _fitting(scene, found[3])
        assert wish.steps[-1].after.occupied == tuple(cell for cell in scene.occupied if cell not in meant), (
            wish.words
        )
        checked += 1


def test_all_but_one_go() -> None:
    rng, checked = random.Random(12), 0
    while checked < 300:
        scene = random_scene(rng, rng.randint(2, 5))
        wish = groups._all_but(rng, scene, None)
        if wish is None:
            continue
        after = wish.steps[-1].after
        assert 1 <= len(after.occupied) < len(scene.occupied)
        assert all(after.at(cell) == scene.at(cell) for cell in after.occupied)
        words = wish.words
        if _looks(words) and not re.search(
            r"above|over|below|under|left|right|top|bottom|upper|lower|row|column|edge|middle|cent", words
        ):
            assert _fitting(scene, words) == list(after.occupied), words
        checked += 1


def test_two_things_swap_what_they_have() -> None:
    rng, checked = random.Random(13), 0
    while checked < 200:
        scene = random_scene(rng, 2)
        try:
            wish = groups._swapped(rng, scene, None)
        except ValueError:
            continue
        if wish is None:
            continue
        (a, b), after = scene.occupied, wish.steps[-1].after
        if (
            "colour" in wish.words
            or "one" in wish.words.split(" ")[-1]
            or "becomes" in wish.words
            or " one " in wish.words
            and "places" not in wish.words
        ):
            if after.at(a).shape == scene.at(a).shape != scene.at(b).shape:
                assert (after.at(a).colour, after.at(b).colour) == (scene.at(b).colour, scene.at(a).colour)
                checked += 1
        elif "place" in wish.words:
            assert (after.at(a), after.at(b)) == (scene.at(b), scene.at(a)), wish.words
            checked += 1


def test_one_more_in_every_corner_and_a_copy_is_one() -> None:
    rng, corners, copies = random.Random(14), 0, 0
    while corners < 50 or copies < 100:
        scene = random_scene(rng, rng.randint(1, 3))
        try:
            wish, copy = groups._everywhere(rng, scene, None), pictured._copied(rng, scene, None)
        except ValueError:
            continue
        if wish is not None and "corner" in wish.words:
            after = wish.steps[-1].after
            assert all(after.cells[cell] is not None for cell in (0, 2, 6, 8))
            assert len({after.at(step.cell) for step in wish.steps}) == 1
            corners += 1
        if copy is not None:
            (step,) = copy.steps
            assert step.after.at(step.cell) in _things(scene), copy.words
            copies += 1


def test_parts_of_a_drawing_are_where_they_belong() -> None:
    rng, kinds = random.Random(15), Counter()
    for _ in range(600):
        scene, wish = parts.about_a_drawing(rng)
        step = wish.steps[0]
        kinds[step.operation] += 1
        assert step.before == scene
        thing = step.after.cells[step.cell]
        if step.operation == "recolour":
            assert thing is not None and COLOURS[thing.colour] in wish.words
    assert min(kinds[operation] for operation in ("add", "recolour", "remove", "replace")) > 20


def test_a_series_goes_on_by_its_rule() -> None:
    rng = random.Random(16)
    for _ in range(300):
        scenes, step, _ = series._walk(rng)
        path = [
            next(i for i in s.occupied if s.cells[i] != step.after.cells[i] or i == step.to) for s in scenes
        ]
        path = [*path, step.to]
        ways = [(b // GRID - a // GRID, b % GRID - a % GRID) for a, b in zip(path, path[1:], strict=False)]
        assert len(set(path)) == len(path)
        if len(scenes) == 2:
            assert ways[0] == ways[1]
        else:
            assert set(path) == {0, 2, 6, 8} and all(0 in way for way in ways)
        scenes, step, _ = series._alternate(rng)
        assert scenes[0] == scenes[2] and step.after == scenes[1]
        scenes, step, _ = series._spread(rng)
        assert len({step.after.at(i) for i in step.after.occupied}) <= 2


_WORDS = ("colour", "color", "what's", "whats", "tell me", "right?", "count", "bigger", "everything but", "the other",
                                  "one more like", "enlarge", "snowman", "comes next", "swap", "how about",
                                  "both", "please", "then it")  # fmt: skip


def test_these_words_come_up() -> None:
    rng, missing = random.Random(17), set(_WORDS)
    for _ in range(40):
        texts = " | ".join(make(rng).text.lower() for _ in range(200) for make in (asked, about_a_picture))
        missing = {word for word in missing if word not in texts}
        if not missing:
            break
    assert not missing
