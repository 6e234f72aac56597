"""How people speak of the things that a given picture shows."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Collection, Iterable

from interleave_rt.worlds.shapes.scene import COLOURS, GRID, PATTERNS, SHAPES, Scene, Thing

from .grammar import RELATIONS, neighbour
from .phrases import PLACES, dressed

GONE, GROUND = -1, -2
"""What was spoken of last, where it is no thing on the picture: one that is not there any more, or the background."""
_SIZE_SAID = (("small", "small", "little", "tiny"), ("large", "big", "big"))
_SIDES = {"above": ("above", "over"), "below": ("below", "under", "underneath"),
          "left of": ("left of", "to the left of"), "right of": ("right of", "to the right of")}  # fmt: skip
Look = tuple[int | None, int | None, int | None, int | None]
"""Shape, colour, size and pattern as of `Thing`; None: not said."""


def fitting(scene: Scene, look: Look) -> list[int]:
    """The cells of the things that look so."""
    return [
        cell
        for cell in scene.occupied
        if all(said in (None, is_so) for said, is_so in zip(look, scene.at(cell), strict=True))
    ]


def look_words(rng: random.Random, look: Look, noun: str = "one") -> str:
    """The words for a look: "small red one", "striped heart"."""
    shape, colour, size, pattern = look
    words = [] if size is None else [rng.choice(_SIZE_SAID[size])]
    words += [] if not pattern else [PATTERNS[pattern]]
    words += [] if colour is None else [COLOURS[colour]]
    return " ".join([*words, noun if shape is None else SHAPES[shape]])


def looks(thing: Thing, without: Collection[str] = ()) -> list[Look]:
    """Every way to say something of a thing, the shortest first; what it looks like in the ways of `without` is not said.

    That something is plain goes without saying.
    """
    kinds = ("shape", "colour", "size", "pattern")
    said = [i for i, kind in enumerate(kinds) if kind not in without and (kind != "pattern" or thing.pattern)]
    ways = [way for count in range(1, len(said) + 1) for way in itertools.combinations(said, count)]
    return [
        (
            thing.shape if 0 in way else None,
            thing.colour if 1 in way else None,
            thing.size if 2 in way else None,
            thing.pattern if 3 in way else None,
        )
        for way in ways
    ]


def named(
    rng: random.Random, scene: Scene, cell: int, without: Collection[str] = (), *, noun: str = "one"
) -> str | None:
    """The looks of a thing in words that fit no other one, mostly as few as will do; None where there are none."""
    ways = [look for look in looks(scene.at(cell), without) if len(fitting(scene, look)) == 1]
    if not ways:
        return None
    fewest = min(sum(said is not None for said in look) for look in ways)
    short = [look for look in ways if sum(said is not None for said in look) == fewest]
    by_shape = [look for look in short if look[0] is not None]
    kind = rng.random()
    return look_words(
        rng, rng.choice(by_shape if by_shape and kind < 0.6 else short if kind < 0.88 else ways), noun
    )


def placed(rng: random.Random, cell: int) -> str:
    """A thing by its place."""
    if rng.random() < 0.15:
        return f"what is {rng.choice(PLACES[cell][:2])}"
    return f"the {rng.choice(('one', 'thing', 'thing', 'shape', 'object'))} {rng.choice(PLACES[cell][:3])}"


def _side(scene: Scene, cell: int) -> list[str]:
    """What one of two things is called by the side where it stands."""
    if len(scene.occupied) != 2:
        return []
    (other,) = (i for i in scene.occupied if i != cell)
    (row, column), (row2, column2) = divmod(cell, GRID), divmod(other, GRID)
    words = [] if column == column2 else ["left" if column < column2 else "right"]
    if row != row2:
        words += ["upper", "top"] if row < row2 else ["lower", "bottom"]
    shape = SHAPES[scene.at(cell).shape]
    alike = scene.at(other).shape == scene.at(cell).shape
    return [f"the {word} {noun}" for word in words for noun in (("one", shape) if alike else ("one",))]


def _pointed_at(rng: random.Random, scene: Scene, cell: int, without: Collection[str]) -> list[str]:
    """What else a thing may be called: by what it alone is, by where it is more than the others, or with a finger on it."""
    thing, noun = scene.at(cell), rng.choice(("one", "one", "thing", "shape"))
    others = [i for i in scene.occupied if i != cell]
    ways: list[str] = []
    if "shape" not in without:
        shape = SHAPES[thing.shape]
        place = place_of(rng, cell)
        ways += [f"the {shape} that is {place}", f"the {shape} {place}", f"the {shape} {place}"]
        name = named(rng, scene, cell, without)
        ways += [] if name is None else [f"that {name}", f"this {name}", f"my {name}", f"that {name} there"]
        if others and all(scene.at(i).shape != thing.shape for i in others):
            ways += [f"the only {shape}"]
    if (
        thing.pattern
        and "pattern" not in without
        and all(scene.at(i).pattern != thing.pattern for i in others)
    ):
        marks = "stripes" if PATTERNS[thing.pattern] == "striped" else "dots"
        ways += [f"the one with {marks}", f"the {noun} with the {marks}"] * 2
    if not others:
        return ways
    if "size" not in without and all(scene.at(i).size != thing.size for i in others):
        most = rng.choice(("biggest", "largest", "biggest") if thing.size else ("smallest", "tiniest"))
        ways += [f"the {most} {noun}", f"the {most} {noun}", f"the {most}"]
    column, row = cell % GRID, cell // GRID
    if all(i % GRID > column for i in others):
        ways += [f"the leftmost {noun}", f"the {noun} furthest left", f"the left {noun}"]
    if all(i % GRID < column for i in others):
        ways += [f"the rightmost {noun}", f"the {noun} furthest right", f"the right {noun}"]
    if all(i // GRID > row for i in others):
        ways += [f"the topmost {noun}", f"the top {noun}", f"the highest {noun}", f"the upper {noun}"]
    if all(i // GRID < row for i in others):
        ways += [f"the lowest {noun}", f"the bottom {noun}", f"the lower {noun}"]
    return ways


def called(
    rng: random.Random, scene: Scene, cell: int, before: int | None = None, without: Collection[str] = ()
) -> str | None:
    """How a thing on a picture may be called; `before` is the cell (or what else) that was spoken of last."""
    pointed = _pointed_at(rng, scene, cell, without) if cell != before and rng.random() < 0.2 else []
    if pointed:
        return rng.choice(pointed)
    ways = [placed(rng, cell), *_side(scene, cell)[:1]]
    if "shape" not in without:
        name = named(rng, scene, cell, without)
        ways += [f"the {name}"] * 4 if name is not None else []
    elif (name := named(rng, scene, cell, without, noun=rng.choice(("one", "thing")))) is not None:
        ways += [f"the {name}"] * 4
    if cell == before or (len(scene.occupied) == 1 and before is None):
        ways += ["it"] * 4
    elif (before is not None and before >= 0 and {before, cell} == set(scene.occupied)) or (
        before == GONE and len(scene.occupied) == 1
    ):
        ways += ["the other one", "the other one", "the other one", "the other", "the other thing"]
    side = beside(rng, scene, cell)
    if side is not None and rng.random() < 0.2:
        ways += [side]
    return rng.choice(ways)


def called_in_line(
    rng: random.Random,
    scene: Scene,
    cell: int,
    before: int | None = None,
    without: Collection[str] = (),
    *,
    it: bool = True,
) -> str | None:
    """As `called`, in words that can stand anywhere in a sentence, which "what is at the top" cannot; "it" only where `it` is true.

    None where there are none, or where these came up.
    """
    name = called(rng, scene, cell, before, without)
    return None if name is None or name.startswith("what") or (name == "it" and not it) else name


def both_named(
    rng: random.Random,
    scene: Scene,
    cells: Iterable[int],
    without: Collection[str] = (),
    *,
    noun: str = "one",
) -> tuple[str, str] | None:
    """The names of two things, as of `named`, with their articles; None where one has none."""
    first, second = (named(rng, scene, cell, without, noun=noun) for cell in cells)
    return None if first is None or second is None else (f"the {first}", f"the {second}")


def beside(rng: random.Random, scene: Scene, cell: int) -> str | None:
    """A thing by the one that it stands next to."""
    found = [(how, i) for how in RELATIONS for i in scene.occupied if neighbour(i, how) == cell]
    if not found:
        return None
    how, other = rng.choice(found)
    name = named(rng, scene, other)
    return name and f"the {rng.choice(('thing', 'one', 'shape'))} {rng.choice(_SIDES[how])} the {name}"


def hurried(rng: random.Random, text: str) -> str:
    """As people write: spelt as in America, without articles, in lower case, with a slip of the finger."""
    if rng.random() < 0.35:
        text = text.replace("olour", "olor")
    if rng.random() < 0.06:
        text = re.sub(r"\b[Tt]he ", "", text)
    return dressed(rng, text).replace("<IMAGE>", "<image>")


def place_of(rng: random.Random, cell: int) -> str:
    """Where something is or is to be, in the words that are clear anywhere."""
    return rng.choice(PLACES[cell][:2]).replace("on top", "at the top")


def towards(place: str) -> str:
    """A place as where something goes."""
    return re.sub(r"^(?:at|in|on) the ", "to the ", place)


def sizes(size: int) -> tuple[str, ...]:
    """What is said of a thing that becomes small or large."""
    return ("bigger", "larger", "big", "large") if size else ("smaller", "small", "tiny", "little")
