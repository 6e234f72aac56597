"""Wishes about several things on a picture at once: all of a kind, all but one, one and the other, a place each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, GRID, PATTERNS, SHAPES, Scene, Transition

from .phrases import NUMBERS, PLACES
from .places import CORNERS
from .seeing import GONE, GROUND, both_named, called, called_in_line, fitting, look_words
from .wishes import each, random_item, recoloured, thing_words

_MOST = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What is said, and the steps that it asks for.

    `whole`: it is a sentence of its own. `about`: the cell that it was about last, where the last step does not tell.
    """

    words: str
    steps: Sequence[Transition]
    whole: bool = False
    about: int | None = None


LINES = ("top row", "middle row", "bottom row", "left column", "middle column", "right column")
"""The rows and columns, as people call them."""


def line_cells(name: str) -> list[int]:
    """The cells of a row or a column of `LINES`."""
    number = LINES.index(name) % GRID
    return [i for i in range(CELLS) if (i // GRID if name.endswith("row") else i % GRID) == number]


def _group(rng: random.Random, scene: Scene) -> tuple[str, list[int]] | None:
    """Several things, in words that stand for all of them."""
    thing = scene.at(rng.choice(scene.occupied))
    by = rng.choice(("all", "shape", "shape", "colour", "colour", "size", "pattern", "line"))
    cells = list(scene.occupied)
    if by == "line":
        along, number = rng.choice(("row", "column")), rng.randrange(GRID)
        cells = [i for i in cells if (i // GRID if along == "row" else i % GRID) == number]
        name = (("top", "middle", "bottom") if along == "row" else ("left", "middle", "right"))[number]
        every = [
            f"everything in the {name} {along}",
            f"all things in the {name} {along}",
            f"the whole {name} {along}",
        ]
    elif by == "all":
        every = [
            "everything",
            "everything",
            "all of them",
            "all things",
            "all the things",
            "each thing",
            "them all",
            "all shapes",
        ]
        if len(cells) == 2:
            every += ["both", "both of them", "both things", "the two", "both shapes", "the two of them"]
    else:
        look = (
            thing.shape if by == "shape" else None,
            thing.colour if by == "colour" else None,
            thing.size if by == "size" else None,
            thing.pattern or None if by == "pattern" else None,
        )
        if not any(said is not None for said in look):
            return None
        cells = fitting(scene, look)
        one = look_words(rng, look, rng.choice(("thing", "thing", "shape", "one")))
        many = f"{one}s"
        every = [f"all {many}", f"all the {many}", f"the {many}", f"each {one}", f"every {one}"]
        if len(cells) < 10:
            every += [f"the {NUMBERS[len(cells)]} {many}", f"all {NUMBERS[len(cells)]} {many}"]
        if len(cells) == 2:
            every = [f"both {many}", f"both {many}", f"the two {many}", every[0], every[1], every[2]]
        if by != "shape":
            every.append(f"everything {look_words(rng, look, '').strip()}")
    return None if not 1 < len(cells) <= _MOST else (rng.choice(every), cells)


def _all_alike(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """Something becomes of every thing of a group."""
    kind = rng.choice(("colour", "colour", "colour", "remove", "remove", "size", "pattern", "shape"))
    found = _group(rng, scene)
    if found is None:
        return None
    every, cells = found
    things = [scene.at(cell) for cell in cells]
    forms: tuple[str, ...]
    if kind == "remove":
        if len(cells) == len(scene.occupied):
            return None
        forms = ("remove {e}", "delete {e}", "take away {e}", "take {e} away", "get rid of {e}", "erase {e}", "clear {e}", "I don't want {e}",
                 "{e} should go", "without {e} please", "drop {e}", "throw out {e}", "{e} must go", "let {e} disappear")  # fmt: skip
        return Wish(rng.choice(forms).format(e=every), each(scene, cells, Transition.remove), about=GONE)
    if kind == "colour":
        colour = rng.randrange(len(COLOURS))
        cells = [cell for cell in cells if scene.at(cell).colour != colour]
        forms = ("make {e} {v}", "paint {e} {v}", "turn {e} {v}", "colour {e} {v}", "{e} {v}", "{e} should be {v}", "{e} in {v}", "I want {e} {v}",
                 "change {e} to {v}", "{e} should become {v}", "let {e} be {v}", "{v} for {e}", "make {e} {v}", "{e} must be {v}",
                 "I'd like {e} in {v}", "change the colour of {e} to {v}")  # fmt: skip
        steps = recoloured(scene, cells, colour)
        return Wish(rng.choice(forms).format(e=every, v=COLOURS[colour]), steps, about=GROUND)
    if kind == "size":
        size = 1 - things[0].size
        if any(thing.size == size or thing.pattern for thing in things):
            return None
        v = rng.choice(("bigger", "larger") if size else ("smaller", "smaller"))
        forms = ("make {e} {v}", "{e} {v}", "{e} should be {v}", "I want {e} {v}", "let {e} be {v}",
                 "enlarge {e}" if size else "shrink {e}", "{e} must get {v}")  # fmt: skip
        steps = each(
            scene, cells, lambda now, cell: Transition.replace(now, cell, now.at(cell)._replace(size=size))
        )
        return Wish(rng.choice(forms).format(e=every, v=v), steps, about=GROUND)
    if kind == "pattern":
        pattern = rng.randrange(1, len(PATTERNS))
        if any(not thing.size or thing.pattern == pattern for thing in things):
            return None
        s = ("stripes", "dots")[pattern - 1]
        forms = (
            "make {e} {v}",
            "{e} should be {v}",
            "give {e} {s}",
            "put {s} on {e}",
            "{s} on {e}",
            "turn {e} {v}",
        )
        steps = each(
            scene,
            cells,
            lambda now, cell: Transition.replace(now, cell, now.at(cell)._replace(pattern=pattern)),
        )
        return Wish(rng.choice(forms).format(e=every, v=PATTERNS[pattern], s=s), steps, about=GROUND)
    shape = rng.randrange(len(SHAPES))
    if any(thing.shape == shape for thing in things):
        return None
    v = f"{SHAPES[shape]}s"
    forms = (
        "turn {e} into {v}",
        "replace {e} with {v}",
        "make {e} {v}",
        "{e} should become {v}",
        "{v} instead of {e}",
        "change {e} into {v}",
    )
    if every.startswith(("each", "every", "the whole")):
        return None
    steps = each(
        scene, cells, lambda now, cell: Transition.replace(now, cell, now.at(cell)._replace(shape=shape))
    )
    return Wish(rng.choice(forms).format(e=every, v=v), steps, about=GROUND)


def _all_but(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """Everything goes but one thing or a group, in reading order."""
    if len(scene.occupied) < 2:
        return None
    kept = [rng.choice(scene.occupied)]
    x = called(rng, scene, kept[0])
    if rng.random() < 0.3:
        found = _group(rng, scene)
        if found is None or not found[0].startswith(("the ", "both ", "all ")):
            return None
        x, kept = found
    gone = [cell for cell in scene.occupied if cell not in kept]
    if x is None or not 1 <= len(gone) <= _MOST or x.startswith("all "):
        return None
    forms = ["remove everything but {x}", "delete all but {x}", "only {x} should stay", "keep only {x}", "nothing but {x} should stay",
             "take everything away except {x}", "remove all other things than {x}", "leave only {x}", "just keep {x}", "only keep {x}",
             "clear everything except {x}", "get rid of everything but {x}", "remove all except {x}", "delete the rest, keep {x}",
             "keep {x} and remove the rest", "I only want {x}", "I just want {x} to stay", "erase everything except {x}", "only {x}",
             "take all things away, except {x}", "remove whatever is not {x}", "keep {x}, remove everything else", "all but {x} must go",
             "everything but {x} goes away", "take away all that is there except {x}", "drop everything apart from {x}",
             "leave {x} and take away the others", "throw away everything but {x}", "{x} stays, everything else goes"]  # fmt: skip
    if len(gone) == 1:
        forms = [f for f in forms if "rest" not in f and "others" not in f] + [
            "keep {x}, remove the other one",
            "{x} stays, the other one goes",
        ]
        if rng.random() < 0.3:
            forms = forms[-2:]
    form = rng.choice(forms)
    if "is not" in form and (len(kept) > 1 or not x.startswith("the ") or x.split()[-1] not in SHAPES):
        return None
    return Wish(
        form.format(x=x), each(scene, gone, Transition.remove), about=kept[0] if len(kept) == 1 else GROUND
    )


def _this_and_that(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """The same kind of wish for two things in one breath, the second one in few words."""
    if len(scene.occupied) < 2:
        return None
    first, second = rng.sample(scene.occupied, 2)
    a = called_in_line(rng, scene, first)
    b = called_in_line(rng, scene, second)
    if a is None or b is None:
        return None
    if len(scene.occupied) == 2 and rng.random() < 0.5:
        b = rng.choice(("the other one", "the other one", "the other"))
    kind = rng.choice(("colour", "colour", "colour", "remove", "move", "mixed", "mixed"))
    if kind == "remove":
        if b.startswith("the other"):
            return None
        form = rng.choice(("remove {a} and {b}", "delete {a} and {b}", "take {a} and {b} away", "remove both {a} and {b}", "no {a} and no {b}",
                           "get rid of {a} and {b}", "{a} and {b} should go"))  # fmt: skip
        if form.startswith("no "):
            form = "I want neither {a} nor {b}"
        return Wish(form.format(a=a, b=b), each(scene, (first, second), Transition.remove), about=GONE)
    if kind == "colour":
        one, other = rng.sample(range(len(COLOURS)), 2)
        form = rng.choice(("make {a} {v} and {b} {w}", "paint {a} {v} and {b} {w}", "{a} {v}, {b} {w}", "turn {a} {v} and {b} {w}",
                           "{a} should be {v} and {b} {w}", "{a} {v} and {b} {w}", "colour {a} {v}, {b} {w}", "make {a} {v}, and {b} {w}",
                           "change {a} to {v} and {b} to {w}", "I want {a} {v} and {b} {w}", "{v} for {a}, {w} for {b}",
                           "{a} becomes {v} and {b} {w}"))  # fmt: skip
        if rng.random() < 0.15:  # one colour for the two
            other = one
            form = rng.choice(
                (
                    "make {a} and {b} {v}",
                    "paint both {a} and {b} {v}",
                    "{a} and {b} should be {v}",
                    "{v} for {a} and {b}",
                )
            )
            if b.startswith("the other"):
                return None
        step = Transition.recolour(scene, first, one)
        words = form.format(a=a, b=b, v=COLOURS[one], w=COLOURS[other])
        return Wish(words, [step, Transition.recolour(step.after, second, other)])
    if kind == "move":
        goal, goal2 = rng.sample(scene.empty, 2)
        form = rng.choice(("move {a} {p} and {b} {q}", "put {a} {p} and {b} {q}", "{a} goes {p} and {b} {q}", "{a} {p}, {b} {q}",
                           "I want {a} {p} and {b} {q}", "place {a} {p} and {b} {q}"))  # fmt: skip
        words = form.format(a=a, b=b, p=rng.choice(PLACES[goal][:1]), q=rng.choice(PLACES[goal2][:1]))
        step = Transition.move(scene, first, goal)
        return Wish(words, [step, Transition.move(step.after, second, goal2)])
    colour = rng.randrange(len(COLOURS))
    v = COLOURS[colour]
    # the first one goes or stays; the second one takes a colour
    form = rng.choice(("remove {a} and make {b} {v}", "delete {a} and paint {b} {v}", "take {a} away and turn {b} {v}", "remove {a}, {b} should be {v}",
                       "{a} goes away and {b} becomes {v}", "without {a}, and {b} in {v}", "get rid of {a} and make {b} {v}",
                       "erase {a} and colour {b} {v}", "drop {a} and give {b} the colour {v}"))  # fmt: skip
    step = Transition.remove(scene, first)
    return Wish(form.format(a=a, b=b, v=v), [step, Transition.recolour(step.after, second, colour)])


def _swapped(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """Two things change their colours or their places."""
    if len(scene.occupied) < 2:
        return None
    first, second = sorted(rng.sample(scene.occupied, 2))
    one, other = scene.at(first), scene.at(second)
    names = both_named(rng, scene, (first, second))
    if names is None:
        return None
    a, b = names
    two = len(scene.occupied) == 2
    if rng.random() < 0.6:
        if one.colour == other.colour:
            return None
        v, w = COLOURS[one.colour], COLOURS[other.colour]
        forms = ["swap the colours of {a} and {b}", "exchange the colours of {a} and {b}", "{a} and {b} swap colours",
                 "switch the colours of {a} and {b}", "give {a} the colour of {b} and the other way round"]  # fmt: skip
        if two:
            forms += ["swap the colours", "exchange their colours", "swap the two colours", "switch the colours", "swap their colours",
                      "swap colours: the {v} one gets {w} and the {w} one {v}", "the {v} one becomes {w} and the {w} one becomes {v}",
                      "make the {v} one {w} and the {w} one {v}", "let them swap colours", "the colours should be swapped",
                      "turn the colours around: {v} to {w}, {w} to {v}"]  # fmt: skip
        step = Transition.recolour(scene, first, other.colour)
        words = rng.choice(forms).format(a=a, b=b, v=v, w=w)
        return Wish(words, [step, Transition.recolour(step.after, second, one.colour)], about=GROUND)
    if one._replace(colour=0) == other._replace(colour=0):
        return None  # that would be a swap of colours
    forms = ["swap {a} and {b}", "{a} and {b} change places", "exchange {a} and {b}", "swap the places of {a} and {b}", "let {a} and {b} swap places",
             "switch {a} and {b}", "{a} and {b} should trade places", "put {a} where {b} is and the other way round"]  # fmt: skip
    if two:
        forms += [
            "swap the two things",
            "swap them",
            "let them change places",
            "swap their places",
            "swap both",
            "exchange the two",
        ]
    step = Transition.replace(scene, first, other)
    return Wish(
        rng.choice(forms).format(a=a, b=b), [step, Transition.replace(step.after, second, one)], about=GROUND
    )


def _everywhere(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """One more thing in every corner, in a row that is empty, or on two sides of one that is there."""
    item = replace(random_item(rng), colour=rng.randrange(len(COLOURS)))
    new = item.seen()
    x = thing_words(rng, item)
    if not x.startswith(("a ", "an ")):
        return None
    if len(scene.occupied) == 1 and before is None and rng.random() < 0.5:
        new = scene.at(scene.occupied[0])
        x = rng.choice(("one more like this", "one more like it", "another one like this", "another one", "the same", "one more of these",
                        f"another {SHAPES[new.shape]} like that", "a copy of it", "one like that", "the same thing", "one of these"))  # fmt: skip
    kind = rng.choice(("corners", "corners", "line", "sides"))
    if kind == "corners":
        cells = [cell for cell in CORNERS if scene.cells[cell] is None]
        where = [
            "in every corner",
            "in each corner",
            "in all four corners",
            "in all corners",
            "into every corner",
            "in the four corners",
        ]
        if len(cells) < len(CORNERS):
            where = ["in every free corner", "in each empty corner", "in all corners that are free", "in the other corners",
                     "in the remaining corners"]  # fmt: skip
    elif kind == "line":
        cells, name = rng.choice((([0, 1, 2], "top row"), ([3, 4, 5], "middle row"), ([6, 7, 8], "bottom row"),
                                  ([0, 3, 6], "left column"), ([2, 5, 8], "right column")))  # fmt: skip
        where = [
            f"in every place of the {name}",
            f"three times in the {name}",
            f"in all three places of the {name}",
        ]
        if any(scene.cells[cell] is not None for cell in cells):
            return None
        if (
            item.colour == new.colour
            and x.startswith(("a ", "an "))
            and "one" not in x
            and rng.random() < 0.5
            and "copy" not in x
        ):
            many = f"{x.split(' ', 1)[1]}s"
            if " in " in many:
                return None
            form = rng.choice(
                (
                    "fill the {n} with {m}",
                    "put three {m} in the {n}",
                    "the {n} full of {m}",
                    "fill up the {n} with {m}",
                )
            )
            return Wish(
                form.format(n=name, m=many),
                each(scene, cells, lambda now, cell: Transition.add(now, new, cell)),
                about=GROUND,
            )
    else:
        cell = rng.choice(scene.occupied)
        r = called_in_line(rng, scene, cell, before)
        across = rng.random() < 0.6
        if r is None or (cell % GRID if across else cell // GRID) != 1:
            return None
        cells = [cell - 1, cell + 1] if across else [cell - GRID, cell + GRID]
        where = [f"on both sides of {r}", f"left and right of {r}", f"on either side of {r}", f"on each side of {r}",
                 f"to the left and to the right of {r}"] if across else [f"above and below {r}", f"both above and below {r}"]  # fmt: skip
    if len(cells) < 2 or any(scene.cells[cell] is not None for cell in cells):
        return None
    form = rng.choice(("add {x} {w}", "put {x} {w}", "{x} {w}", "draw {x} {w}", "I want {x} {w}", "place {x} {w}", "{x} {w}", "there should be {x} {w}",
                       "have {x} {w}", "{w} {x}"))  # fmt: skip
    return Wish(
        form.format(x=x, w=rng.choice(where)),
        each(scene, cells, lambda now, cell: Transition.add(now, new, cell)),
        about=GROUND,
    )


_KINDS: dict[Callable[[random.Random, Scene, int | None], Wish | None], int] = {
    _all_alike: 12, _all_but: 10, _this_and_that: 12, _swapped: 5, _everywhere: 8,
}  # fmt: skip


def of_several(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A wish about several things; None where this picture has none such.

    Raises:
        ValueError: It means nothing here, for instance because of the colour of the background.
    """
    make = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    for _ in range(4):
        wish = make(rng, scene, before)
        if wish is not None and wish.steps:
            return wish
    return None
