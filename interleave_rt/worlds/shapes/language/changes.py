"""One change after the other of things that were asked for, with names that leave one meaning.

What is changed is called by its looks, place, size or turn, as "it" or "the other one", or together with its like.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, GRID, PATTERNS, SHAPES

from .grammar import RELATIONS, article, neighbour
from .phrases import EDIT_WORDS, EVERY, ITS, NUMBERS, ORDINALS, PLACES, RELATION_WORDS, SIZE_WORDS
from .wishes import Edit, Item, Talk, described

_COLOUR = (*EDIT_WORDS["colour"], "make {r} {v}", "make {r} {v}", "{r} is painted {v}", "{r} gets painted {v}", "I want {r} to be {v}",
           "colour {r} in {v}", "recolor {r} {v}", "set {r} to {v}", "{r} goes {v}", "have {r} turn {v}", "{r} has to be {v}")  # fmt: skip
_MOVE = (
    *EDIT_WORDS["move"],
    "move {r} {p}",
    "move {r} {p}",
    "{r} is moved {p}",
    "I want {r} {p}",
    "relocate {r} {p}",
)
_REMOVE = (*EDIT_WORDS["remove"], "{r} is removed", "{r} can go", "I don't want {r} any more", "scrap {r}", "{r} has to go",
           "{r} is deleted", "make {r} disappear", "I want {r} gone", "we don't need {r} anymore", "{r} gets erased")  # fmt: skip
_SIZE = (
    ("shrink {r}", "make {r} smaller", "make {r} a bit smaller", "scale {r} down", "{r} shrinks", "make {r} small",
     "{r} should be smaller", "{r} gets smaller", "I want {r} smaller"),
    ("enlarge {r}", "make {r} bigger", "make {r} a bit bigger", "scale {r} up", "{r} grows", "make {r} big",
     "{r} should be bigger", "{r} gets bigger", "make {r} larger", "I want {r} bigger"),
)  # fmt: skip
_PATTERN = (
    ("make {r} plain", "make {r} plain again", "take the {n} off {r}", "{r} should have no {n}", "{r} loses the {n}"),
    ("put {n} on {r}", "give {r} {n}", "{r} gets {n}", "add {n} to {r}", "make {r} {v}"),
)  # fmt: skip
_SHAPE = (*EDIT_WORDS["shape"], "{r} is replaced by {v}", "remove {r} and draw {v} in its place", "delete {r} and put {v} instead",
          "put {v} instead of {r}")  # fmt: skip
_GROUND = (*EDIT_WORDS["ground"][:8], "the background turns {v}", "switch the background to {v}", "bg {v}", "make the bg {v}",
           "the background is changed to {v}", "I want the background {v}")  # fmt: skip
_ALIKE = ("make {r} the same colour as {o}", "give {r} the same colour as {o}", "paint {r} in the colour of {o}",
          "colour {r} like {o}", "{r} should have the same color as {o}")  # fmt: skip
_TRADED = ("swap their colours", "swap the colours", "let them swap colours", "switch the colors of the two", "they swap their colours",
           "exchange their colours")  # fmt: skip


@dataclass(slots=True)
class Course:
    """A talk, and what can be said of its things by now; `cells` are those that somebody has named."""

    talk: Talk
    looks: list[Item] = field(default_factory=list)
    cells: list[int | None] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    last: int | None = None  # the thing that was spoken of last
    changed: bool = False  # whether that was by a change
    in_order: bool = True  # whether things were named in the order in which they are drawn
    centred: bool = False  # counts on the only thing standing in the middle, as nobody says where it is


def some_things(rng: random.Random, count: int, shape: int | None = None) -> list[Item]:
    """Things of one shape or of different ones; mostly all with a colour or none with one."""
    shapes = [shape] * count if shape is not None else rng.sample(range(len(SHAPES)), count)
    colours: Sequence[int | None] = rng.sample(range(len(COLOURS)), count)
    if shape is None and rng.random() < 0.3:
        colours = [None] * count
    found = [
        Item(one, colour, rng.choice((None, None, None, 0, 1)))
        for one, colour in zip(shapes, colours, strict=True)
    ]
    for item in found:
        if item.size != 0 and rng.random() < 0.06:
            item.pattern = rng.choice((1, 2))
    return found


def place_words(rng: random.Random, cell: int) -> str:
    """A place with its preposition."""
    return rng.choice([words for words in PLACES[cell] if words.startswith(("at ", "in ", "on "))])


def _bare(place: str) -> str:
    """A place without its preposition: "the top"."""
    return place.replace("on top", "on the top").split(" ", 1)[1]


def course_of(talk: Talk, one_by_one: bool, in_order: bool) -> Course:
    """What can be said of the things; "it" is the last of them where they were named one by one."""
    cells: list[int | None] = []
    for item in talk.items:
        cell = item.cell
        if item.beside is not None and cells[item.beside[1]] is not None:
            cell = neighbour(cells[item.beside[1]] or 0, item.beside[0])
        cells.append(cell)
    looks = [replace(item) for item in talk.items]
    return Course(
        talk,
        looks,
        cells,
        list(range(len(looks))),
        len(looks) - 1 if one_by_one or len(looks) == 1 else None,
        in_order=in_order,
    )


def called_so(rng: random.Random, course: Course, number: int, by_place: bool = True) -> str | None:
    """One thing in words that mean no other one; without `by_place`, words of places are the shortest ones or none."""
    looks, left, cells = course.looks, course.left, course.cells
    item, others = looks[number], [looks[i] for i in left if i != number]
    name = SHAPES[item.shape]
    ways: list[str] = []
    if course.last == number:
        ways += ["it"] * (3 if course.changed or not others else 1)
    if all(one.shape != item.shape for one in others):
        ways += [f"the {name}"] * 4
    # colours that a thing has had count, too: "the red one" may still be meant by what it was
    had = {i: {course.talk.items[i].colour, looks[i].colour} for i in left}
    if item.colour is not None and all(
        item.colour not in had[i] and None not in had[i] for i in left if i != number
    ):
        ways += [f"the {COLOURS[item.colour]} {name}"] + [f"the {COLOURS[item.colour]} one"] * (
            len(others) > 0
        )
    if others and item.size is not None and all(one.size == 1 - item.size for one in others):
        word = rng.choice(SIZE_WORDS[item.size][:5])
        alike = all(one.shape == item.shape for one in others)
        ways += [f"the {word} one", f"the {word} {name}" if alike else f"the {word} one"] * 2
    whole = course.in_order and len(left) == len(looks)
    if others and whole and number < len(ORDINALS):
        ways += [f"the {ORDINALS[number]} one"]
        if number == len(looks) - 1:
            ways += ["the last one", "the last"]
        elif number == 0:
            ways.append("the first")
    if len(left) == 2 and course.changed and course.last != number and course.last in left:
        ways += ["the other one", "the other one", "the other one", "the other"]
    if others and all(cells[i] is not None for i in left):
        names = by_place_names(rng, course, number)
        ways += [words for words in names if by_place or len(words.split()) == 3] * (1 + (len(left) == 2))
    return rng.choice(ways) if ways else None


def by_place_names(rng: random.Random, course: Course, number: int) -> list[str]:
    """The names of a thing by where it is, as all places were told."""
    cells = [course.cells[i] or 0 for i in course.left]
    cell = course.cells[number] or 0
    shapes = {course.looks[i].shape for i in course.left}
    noun = SHAPES[course.looks[number].shape] if len(shapes) == 1 else "one"
    place = place_words(rng, cell)
    ways = [] if "middle of" in place else [f"the {rng.choice(('one', 'one', 'shape', 'thing'))} {place}"]
    columns, rows = sorted(c % GRID for c in cells), sorted(c // GRID for c in cells)
    if len(cells) == 2:
        if columns[0] != columns[1]:
            side = "left" if cell % GRID == columns[0] else "right"
            ways += [f"the {side} {noun}", f"the one on the {side}"]
        if rows[0] != rows[1]:
            upper = cell // GRID == rows[0]
            ways += [f"the {rng.choice(('upper', 'top') if upper else ('lower', 'bottom'))} {noun}"]
    elif len(cells) == 3 and len({*rows}) == 1:
        ways += [f"the {('left', 'middle', 'right')[cell % GRID]} {noun}"] * 2
    elif len(cells) == 3 and len({*columns}) == 1:
        ways += [f"the {('top', 'middle', 'bottom')[cell // GRID]} {noun}"] * 2
    return ways


def _several(rng: random.Random, course: Course) -> tuple[list[int], str] | None:
    """Some of the things that are left, with their one name."""
    looks, left = course.looks, course.left
    if len(left) < 2:
        return None
    ways: list[tuple[list[int], str]] = [
        (left, rng.choice(("both", "both of them", "the two of them")))
        if len(left) == 2
        else (left, rng.choice(("all of them", "them all", "everything", f"all {NUMBERS[len(left)]}")))
    ]
    for shape in {looks[i].shape for i in left}:
        some = [i for i in left if looks[i].shape == shape]
        if 1 < len(some) < len(left):
            name = f"the {SHAPES[shape]}s"
            ways += [(some, name), (some, f"the {NUMBERS[len(some)]} {SHAPES[shape]}s"), (some, name)]
    if course.changed and course.last in left and len(left) > 2:
        rest = [i for i in left if i != course.last]
        ways += [(rest, "the others"), (rest, f"the other {NUMBERS[len(rest)]}"), (rest, "the rest")]
    return rng.choice(ways)


def _of_several(rng: random.Random, course: Course) -> str | None:
    """One change of several things."""
    found = _several(rng, course)
    if found is None:
        return None
    some, name = found
    edits = course.talk.edits
    kind = rng.choice(("colour", "colour", "colour", "size", "remove"))
    if kind == "remove":
        if len(some) == len(course.left):
            return None
        edits += [Edit("remove", i) for i in some]
        course.left = [i for i in course.left if i not in some]
        course.last = None
        return rng.choice(EDIT_WORDS["remove"][:6]).format(r=name)
    if kind == "size":
        value = rng.randrange(2)
        if any(e.kind == "size" and e.item in some for e in edits) or any(
            course.looks[i].size == value or course.looks[i].pattern for i in some
        ):
            return None
        edits += [Edit("size", i, value) for i in some]
        for i in some:
            course.looks[i].size = value
        words = ("smaller", "small") if not value else ("bigger", "big", "larger")
        return f"make {name} {rng.choice(words)}"
    value = rng.randrange(len(COLOURS))
    edits += [Edit("colour", i, value) for i in some]
    for i in some:
        course.looks[i].colour = value
    return rng.choice((*EVERY[:4], "{b} should be {v}")).format(b=name, v=COLOURS[value])


def _pair_of_them(rng: random.Random, course: Course) -> str | None:
    """A change of one thing by another one: its colour, or where it stands."""
    if len(course.left) < 2:
        return None
    one, other = rng.sample(course.left, 2)
    looks = course.looks
    a, b = looks[one].colour, looks[other].colour
    kind = rng.choice(("trade", "like", "beside", "beside"))
    if kind == "trade":
        if len(course.left) != 2 or a is None or b is None:
            return None
        one, other = course.left
        a, b = looks[one].colour or 0, looks[other].colour or 0
        course.talk.edits += [Edit("colour", one, b), Edit("colour", other, a)]
        looks[one].colour, looks[other].colour = b, a
        course.last = None
        return rng.choice(_TRADED)
    called = called_so(rng, course, one, by_place=False)
    anchors = [f"the {SHAPES[looks[other].shape]}"]
    if any(looks[i].shape == looks[other].shape for i in course.left if i != other) or called is None:
        return None
    course.last, course.changed = one, True
    if kind == "like":
        if b is None:
            return None
        course.talk.edits.append(Edit("colour", one, b))
        looks[one].colour = b
        return rng.choice(_ALIKE).format(r=called, o=anchors[0])
    cell = course.cells[other]
    relation = rng.choice(list(RELATIONS))
    to = None if cell is None else neighbour(cell, relation)
    if to is None or to == course.cells[one] or course.cells[one] is None:
        return None
    course.talk.edits.append(Edit("move", one, to))
    course.cells[one] = to
    return rng.choice(
        ("move {r} {p}", "put {r} {p}", "{r} should go {p}", "place {r} {p}", "{r} is moved {p}")
    ).format(r=called, p=f"{rng.choice(RELATION_WORDS[relation])} {anchors[0]}")


def _more(rng: random.Random, course: Course) -> str | None:
    """One more thing, after what was changed."""
    copied = _copied(rng, course) if rng.random() < 0.3 else None
    if copied is not None:
        return copied
    (item,) = some_things(rng, 1)
    item.late = True
    free = [c for c in range(CELLS) if c not in course.cells]
    words = article(described(rng, item))
    last, cell = course.last, None
    moved = any(edit.kind == "move" and edit.item == last for edit in course.talk.edits)
    if last in course.left and last is not None and not moved and rng.random() < 0.4:
        relation = rng.choice(list(RELATIONS))
        item.beside = relation, last
        at = course.cells[last]
        cell = None if at is None else neighbour(at, relation)
        words += f" {rng.choice(ITS[relation])}"
    elif rng.random() < 0.7:
        cell = item.cell = rng.choice(free)
        words += f" {rng.choice(PLACES[item.cell])}"
    _comes(course, item, cell)
    return rng.choice(("add ", "also ", "put ", "draw ", "also add ", "add ")) + words


def _comes(course: Course, item: Item, cell: int | None) -> None:
    """A thing joins the others; `cell` is where it is known to stand."""
    number = len(course.talk.items)
    course.talk.items.append(item)
    course.talk.edits.append(Edit("add", number))
    course.looks.append(replace(item))
    course.cells.append(cell)
    course.left.append(number)
    course.last, course.changed = number, False


def _copied(rng: random.Random, course: Course) -> str | None:
    """One more thing that looks as another one looks by now."""
    number = rng.choice(course.left)
    called = called_so(rng, course, number, by_place=False)
    now, first = course.looks[number], course.talk.items[number]
    if called is None or now.colour is None:
        return None
    if now.size is None:  # both are large then, whatever becomes of either
        now.size = first.size = 1
    cell = rng.choice([c for c in range(CELLS) if c not in course.cells])
    _comes(course, replace(now, cell=cell, beside=None, alike=False, late=True), cell)
    place = place_words(rng, cell)
    to = _bare(place)
    return rng.choice((f"copy {called} to {to}", f"add a copy of {called} {place}", f"duplicate {called} {place}",
                       f"put a copy of {called} {place}", f"repeat {called} {place}"))  # fmt: skip


def one_change(rng: random.Random, course: Course) -> str | None:
    """One more change, in words; None where it found none."""
    kinds = {"colour": 7, "move": 5, "remove": 4, "shape": 4, "size": 4, "pattern": 1, "ground": 3, "several": 4, "pair": 3,
             "more": 4, "step": 1, "two": 1}  # fmt: skip
    (kind,) = rng.choices(tuple(kinds), tuple(kinds.values()))
    if not course.left:
        return None
    if kind in ("several", "pair", "more"):
        return {"several": _of_several, "pair": _pair_of_them, "more": _more}[kind](rng, course)
    if kind == "ground":
        value = rng.randrange(len(COLOURS))
        course.talk.edits.append(Edit("ground", 0, value))
        course.last = None
        return rng.choice(_GROUND).format(v=COLOURS[value])
    number = rng.choice(course.left)
    called = called_so(rng, course, number, by_place=kind not in ("move", "step"))
    if called is None:
        return None
    course.last, course.changed = number, True
    return _single(rng, course, kind, number, called)


def _single(rng: random.Random, course: Course, kind: str, number: int, called: str) -> str | None:
    item, edits = course.looks[number], course.talk.edits
    # a size that nobody tells is the opposite of what it becomes first: so it is changed once at most
    resized = any(e.kind in ("size", "pattern") and e.item == number for e in edits)
    if kind == "colour":
        item.colour = rng.randrange(len(COLOURS))
        edits.append(Edit("colour", number, item.colour))
        return rng.choice(_COLOUR).format(r=called, v=COLOURS[item.colour])
    if kind == "remove":
        if len(course.left) == 1 and rng.random() < 0.7:
            return None
        edits.append(Edit("remove", number))
        course.left.remove(number)
        return rng.choice(_REMOVE).format(r=called)
    if kind == "shape":
        item.shape = rng.choice([s for s in range(len(SHAPES)) if s != item.shape])
        if rng.random() < 0.5:
            edits.append(Edit("shape", number, item.shape))
            words = SHAPES[item.shape]
        else:
            item.colour = rng.randrange(len(COLOURS))
            edits.append(Edit("thing", number, item.shape * len(COLOURS) + item.colour))
            words = f"{COLOURS[item.colour]} {SHAPES[item.shape]}"
        return rng.choice(_SHAPE).format(r=called, v=article(words))
    if kind == "size":
        value = rng.randrange(2)
        if item.size == value or item.pattern or resized:
            return None
        edits.append(Edit("size", number, value))
        item.size = value
        return rng.choice(_SIZE[value]).format(r=called)
    if kind == "two":
        value, item.colour = rng.randrange(2), rng.randrange(len(COLOURS))
        if item.size == value or item.pattern or resized:
            return None
        item.size = value
        size, colour = ("smaller", "bigger")[value], COLOURS[item.colour]
        both = [Edit("colour", number, item.colour), Edit("size", number, value)]
        if rng.random() < 0.5:
            edits += both
            return rng.choice((f"make {called} {colour} and {size}", f"make {called} {colour} and {('small', 'big')[value]}",
                               f"paint {called} {colour} and make it {size}"))  # fmt: skip
        edits += both[::-1]
        return rng.choice((f"make {called} {size} and {colour}", f"make {called} {('small', 'big')[value]} and {colour}",
                           f"{('shrink', 'enlarge')[value]} {called} and paint it {colour}"))  # fmt: skip
    if kind == "pattern":
        value = 0 if item.pattern else rng.randrange(1, len(PATTERNS))
        if item.size == 0 or resized:
            return None
        noun = {"striped": "stripes", "dotted": "dots"}[PATTERNS[value or item.pattern]]
        edits.append(Edit("pattern", number, value))
        item.pattern = value
        return rng.choice(_PATTERN[value > 0]).format(r=called, n=noun, v=PATTERNS[value])
    return _moved(rng, course, kind, number, called)


def _moved(rng: random.Random, course: Course, kind: str, number: int, called: str) -> str | None:
    """To a place, or one step up, down or aside."""
    edits = course.talk.edits
    if kind == "move":
        target = rng.randrange(CELLS)
        words = rng.choice(PLACES[target][:3])
        way = rng.choice(_MOVE)
        goes = not way.startswith(("put", "place", "I want")) and " be " not in way
        if goes and rng.random() < 0.8 and words.startswith(("at ", "in ", "on the")):
            words = "to " + words.split(" ", 1)[1]
        edits.append(Edit("move", number, target))
        course.cells[number] = target
        return way.format(r=called, p=words)
    cell = course.cells[number]
    if cell is None and len(course.talk.items) == 1 and not any(e.kind == "move" for e in edits):
        cell, course.centred = 4, True
    if cell is None:
        return None
    ways = {"above": "up", "below": "down"} | (
        {"left of": "to the left", "right of": "to the right"} if cell == 4 else {}
    )
    relation = rng.choice(list(ways))
    to = neighbour(cell, relation)
    if to is None:
        return None
    edits.append(Edit("move", number, to))
    course.cells[number] = to
    return rng.choice(
        ("move {r} {p}", "move {r} {p}", "shift {r} {p}", "{r} moves {p}", "push {r} {p}")
    ).format(r=called, p=ways[relation])


_WHICH = ("turns {v}", "becomes {v}", "is painted {v}")


def which_then(rng: random.Random, course: Course) -> str | None:
    """What becomes of the last thing, as a part of its sentence."""
    number = course.last
    if number is None or number != len(course.talk.items) - 1:
        return None
    lead = rng.choice((", which then ", " that then ", ", which later ", " which then "))
    kind = rng.choice(("colour", "move", "remove", "grow"))
    item = course.looks[number]
    if kind == "colour":
        item.colour = rng.randrange(len(COLOURS))
        course.talk.edits.append(Edit("colour", number, item.colour))
        return lead + rng.choice(_WHICH).format(v=COLOURS[item.colour])
    if kind == "move":
        cell = rng.randrange(CELLS)
        course.talk.edits.append(Edit("move", number, cell))
        course.cells[number] = cell
        words = _bare(place_words(rng, cell))
        return f"{lead}{rng.choice(('moves', 'is moved', 'goes'))} to {words}"
    if kind == "remove":
        course.talk.edits.append(Edit("remove", number))
        course.left.remove(number)
        return lead + rng.choice(("disappears", "is removed", "goes away", "vanishes"))
    value = rng.randrange(2)
    if item.size == value or item.pattern:
        return None
    course.talk.edits.append(Edit("size", number, value))
    item.size = value
    return lead + ("gets smaller", "shrinks", "gets bigger", "grows")[2 * value + rng.randrange(2)]


def terse_change(rng: random.Random, course: Course) -> str | None:
    """A change as short as can be: the name of a thing, and what it becomes."""
    mark = rng.choice((" -> ", " -> ", ": ", " => "))
    if rng.random() < 0.25:
        value = rng.randrange(len(COLOURS))
        course.talk.edits.append(Edit("ground", 0, value))
        course.last = None
        return f"{rng.choice(('bg', 'background'))}{mark}{COLOURS[value]}"
    number = rng.choice(course.left)
    item = course.looks[number]
    if any(course.looks[i].shape == item.shape for i in course.left if i != number):
        return None
    name, course.last = SHAPES[item.shape], number
    if rng.random() < 0.2 and len(course.left) > 1:
        course.talk.edits.append(Edit("remove", number))
        course.left.remove(number)
        return rng.choice((f"delete {name}", f"remove {name}", f"no {name}", f"{name} gone"))
    item.colour = rng.randrange(len(COLOURS))
    course.talk.edits.append(Edit("colour", number, item.colour))
    return f"{name}{mark}{COLOURS[item.colour]}"
