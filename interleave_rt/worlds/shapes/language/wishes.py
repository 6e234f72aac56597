"""Requests as people speak: few words or many, things left open, several wishes in a row, slips of the finger.

What nobody says is filled in the same way every time, so that a request has one right plan: a white background where
nothing is white, large plain things, the first colour that nobody has named, and the first free place of `ORDER` that
nobody has named. Prompts are explicit: who says little wants the picture, not a puzzle.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, PATTERNS, SHAPES, Scene, Thing, Transition

from .clauses import Clause
from .grammar import RELATIONS, article, explicit, neighbour
from .phrases import (
    ASK_FOR,
    EDIT_WORDS,
    EVERY,
    FIRST,
    ITS,
    JOINTS,
    LISTED,
    NUMBERS,
    ON_GROUND,
    ORDINALS,
    PLACES,
    RELATION_WORDS,
    ROWS,
    SHAPE_NAMES,
    SIZE_WORDS,
    WAIT,
    dressed,
    enumerated,
    glued,
    numbered,
)
from .plans import MOST_STEPS, Request, operations, plan_steps, split_of

ORDER = (4, 3, 5, 1, 7, 0, 2, 6, 8)
"""The cells in the order in which they fill up where nobody says where something is to stand."""


INKS = ("red", "blue", "yellow", "green", "orange", "black", "brown", "white")


_LAST = (" and ", ", and ", " & ", ", ", " plus ")
"""What stands before the last one of several."""


GROUNDS = ("white", "blue", "black", "green", "yellow", "orange", "brown", "red")


@dataclass(slots=True)
class Item:
    """A thing that comes up: what is said of it, and where it is to stand. None: nobody says."""

    shape: int
    colour: int | None = None
    size: int | None = None
    pattern: int = 0
    cell: int | None = None
    beside: tuple[str, int] | None = None  # a relation to an earlier thing
    alike: bool = False  # of the same colour as the one before, whatever that is
    late: bool = False  # comes with an edit "add" of its own, not with the first ones

    def seen(self) -> Thing:
        """The thing whose colour is said; large, where nobody says of which size it is."""
        return Thing(self.shape, self.colour or 0, 1 if self.size is None else self.size, self.pattern)


@dataclass(frozen=True, slots=True)
class Edit:
    """What is done to the thing `item`: `kind` is colour, size, shape, pattern, move, remove, ground, thing, add or back.

    `value` is what it becomes; of "thing" another shape in another colour: shape * 8 + colour; of "back", which brings
    something back to where it was removed, its colour then.
    """

    kind: str
    item: int = 0
    value: int = 0


@dataclass(slots=True)
class Talk:
    """Things and what is done to them, in order."""

    items: list[Item] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    ground: int | None = None


def _settle(talk: Talk) -> tuple[int, list[tuple[Thing, int]]] | None:
    """The background, and every thing with its cell; None where they do not fit."""
    said = {item.colour for item in talk.items} | {
        e.value % len(COLOURS) for e in talk.edits if e.kind in ("colour", "ground", "thing", "back")
    }
    grounds = [COLOURS.index(name) for name in GROUNDS]
    ground = talk.ground if talk.ground is not None else next((g for g in grounds if g not in said), None)
    if ground is None:
        return None
    taken = {item.cell for item in talk.items if item.cell is not None}
    taken |= {edit.value for edit in talk.edits if edit.kind == "move"}
    inks = iter([COLOURS.index(name) for name in INKS])
    found: list[tuple[Thing, int]] = []
    used: set[int] = set()
    for number, item in enumerate(talk.items):
        colour, size, cell = item.colour, item.size, item.cell
        if item.alike:
            colour = found[-1][0].colour
        while colour is None or colour == ground:
            if item.colour is not None:
                return None
            colour = next((ink for ink in inks if ink not in said), None)
            if colour is None:
                return None
        if size is None:
            grows = [e.value for e in talk.edits if e.kind == "size" and e.item == number]
            size = 1 - grows[0] if grows else 1
        if item.beside is not None:
            cell = neighbour(found[item.beside[1]][1], item.beside[0])
        elif cell is None:
            cell = next((one for one in ORDER if one not in taken), None)
        if cell is None or cell in used or (item.pattern and not size):
            return None
        used.add(cell)
        taken.add(cell)
        found.append((Thing(item.shape, colour, size, item.pattern), cell))
    return ground, found


def steps_of(talk: Talk) -> list[Transition] | None:
    """The step of every thing and of every change; None where one is none."""
    settled = _settle(talk)
    if settled is None:
        return None
    ground, things = settled
    steps: list[Transition] = []
    gone: dict[int, Thing] = {}
    try:
        for (thing, cell), item in zip(things, talk.items, strict=True):
            if item.late:
                continue
            step = (
                Transition.add(steps[-1].after, thing, cell)
                if steps
                else Transition.draw(ground, thing, cell)
            )
            steps.append(step)
        cells = [cell for _, cell in things]
        for edit in talk.edits:
            now, cell = steps[-1].after, cells[edit.item]
            if edit.kind == "add":
                steps.append(Transition.add(now, things[edit.item][0], cell))
            elif edit.kind == "back":
                steps.append(Transition.add(now, gone[edit.item]._replace(colour=edit.value), cell))
            else:
                if edit.kind == "remove":
                    gone[edit.item] = now.at(cell)
                steps.append(changed(now, edit, cells))
                if edit.kind == "move":
                    cells[edit.item] = edit.value
    except ValueError:
        return None
    return None if any(step.before == step.after for step in steps) else steps


def each(scene: Scene, cells: Iterable[int], do: Callable[[Scene, int], Transition]) -> list[Transition]:
    """The same done to one cell after the other."""
    steps: list[Transition] = []
    for cell in cells:
        steps.append(do(steps[-1].after if steps else scene, cell))
    return steps


def recoloured(scene: Scene, cells: Iterable[int], colour: int) -> list[Transition]:
    """One cell after the other gets the colour."""
    return each(scene, cells, lambda now, cell: Transition.recolour(now, cell, colour))


def changed(now: Scene, edit: Edit, cells: Sequence[int]) -> Transition:
    """One change as a step.

    Raises:
        ValueError: It means nothing here.
    """
    if edit.kind == "ground":
        return Transition.ground(now, edit.value)
    cell = cells[edit.item]
    thing = now.at(cell)
    if edit.kind == "remove":
        return Transition.remove(now, cell)
    if edit.kind == "colour":
        return Transition.recolour(now, cell, edit.value)
    if edit.kind == "move":
        if now.cells[edit.value] is not None:
            raise ValueError("[spoken] something stands there")
        return Transition.move(now, cell, edit.value)
    if edit.kind == "size":
        return Transition.replace(now, cell, thing._replace(size=edit.value, pattern=0))
    if edit.kind == "pattern":
        if not thing.size:
            raise ValueError("[spoken] small things have no pattern")
        return Transition.replace(now, cell, thing._replace(pattern=edit.value))
    if edit.kind == "thing":
        shape, colour = divmod(edit.value, len(COLOURS))
        return Transition.replace(now, cell, thing._replace(shape=shape, colour=colour))
    return Transition.replace(now, cell, thing._replace(shape=edit.value))


def described(rng: random.Random, item: Item, noun: str | None = None) -> str:
    """What is said of it before its name, or before `noun`: "tiny striped red heart"."""
    size = [] if item.size is None else [rng.choice(SIZE_WORDS[item.size])]
    pattern = [PATTERNS[item.pattern]] if item.pattern else []
    colour = [] if item.colour is None else [COLOURS[item.colour]]
    return " ".join([*size, *pattern, *colour, noun or SHAPES[item.shape]])


def thing_words(rng: random.Random, item: Item, count: int = 1) -> str:
    """One thing or `count` alike as somebody asks for them, with an article or a number or without."""
    size = [] if item.size is None else [rng.choice(SIZE_WORDS[item.size])]
    rest = [PATTERNS[item.pattern]] if item.pattern else []
    rest += [] if item.colour is None else [COLOURS[item.colour]]
    words = [*size, *rest] if rng.random() < 0.9 else [*rest, *size]
    shape = SHAPES[item.shape]
    if shape in SHAPE_NAMES and rng.random() < 0.04:
        shape = rng.choice(SHAPE_NAMES[shape])
    name = " ".join([*words, shape])
    if item.colour is not None and rng.random() < 0.03:  # said afterwards
        early = " ".join([*size, *([PATTERNS[item.pattern]] if item.pattern else []), shape])
        late = f" in {COLOURS[item.colour]}"
        return article(early) + late if count == 1 else f"{NUMBERS[count]} {early}s{late}"
    if count == 1:
        return rng.choice((article(name), article(name), article(name), name, f"one {name}"))
    return f"{rng.choice((NUMBERS[count], str(count)))} {name}s"


def random_item(rng: random.Random, like: Item | None = None) -> Item:
    """A thing of which somebody says this and that, but no place; now and then one more that looks as `like` does."""
    if like is not None and rng.random() < 0.3:
        return replace(like, cell=None, beside=None, alike=False)
    size = rng.choice((None, None, 0, 1))
    pattern = rng.choice((1, 2)) if size != 0 and rng.random() < 0.12 else 0
    colour = rng.randrange(len(COLOURS)) if rng.random() < 0.8 else None
    return Item(rng.randrange(len(SHAPES)), colour, size, pattern)


def _new(rng: random.Random, talk: Talk) -> str:
    """One more wish for things, in words."""
    first = len(talk.items)
    item = random_item(rng, talk.items[-1] if talk.items else None)
    if (
        talk.items and talk.items[-1].colour is None and rng.random() < 0.6
    ):  # who names no colour mostly names none
        item.colour = None
    free = [c for c in range(CELLS) if all(c != one.cell for one in talk.items)]
    kind = rng.random()
    if kind < 0.16 and (first == 0 or rng.random() < 0.3):
        return _several(rng, talk, item)
    if kind < 0.24 and first == 0:
        return rng.choice((_contrasted, _related))(rng, talk, item)
    talk.items.append(item)
    if kind < 0.3 and first and not talk.items[first - 1].alike:  # one more of the same
        before = talk.items[first - 1]
        talk.items[first] = item = replace(before, cell=None, beside=None)
        words = rng.choice(
            ("another one", "a second one", "one more", "the same again", "the same", "a copy of it")
        )
        if rng.random() < 0.4:
            words = f"{rng.choice(('another', 'a second', 'one more'))} {SHAPES[item.shape]}"
        if before.colour is None:
            item.alike = True
    else:
        words = thing_words(rng, item)
        if rng.random() < 0.06 and item.pattern == 0 and item.size is None and item.colour is not None:
            item.shape = 0
            colour = COLOURS[item.colour]
            words = rng.choice(
                (
                    f"something {colour}",
                    article(f"{colour} thing"),
                    f"anything {colour}",
                    article(f"{colour} shape"),
                )
            )
    if kind < 0.5:
        item.cell = rng.choice(free)
        return f"{words} {rng.choice(PLACES[item.cell])}"
    if kind < 0.75 and first:
        anchor = talk.items[first - 1]
        relation = rng.choice(list(RELATIONS))
        item.beside = relation, first - 1
        if rng.random() < 0.5:
            return f"{words} {rng.choice(ITS[relation])}"
        if sum(_name(one) == _name(anchor) for one in talk.items) == 1:
            return f"{words} {rng.choice(RELATION_WORDS[relation])} the {_name(anchor)}"
        item.beside = None
    return words


def _several(rng: random.Random, talk: Talk, item: Item) -> str:
    """Things that look alike, perhaps in a row or in the corners."""
    count = rng.choice((2, 2, 2, 3, 3, 4, 5, 6))
    where = ""
    cells: list[int | None] = [None] * count
    if count == 2 and rng.random() < 0.3:
        where, cells = rng.choice(("side by side", "next to each other")), [4, 5]
    elif count == 3 and rng.random() < 0.6:
        where = rng.choice(list(ROWS))
        cells = [*ROWS[where]]
    elif count == 4 and rng.random() < 0.6:
        where, cells = (
            rng.choice(("in the corners", "in the four corners", "one in each corner")),
            [0, 2, 6, 8],
        )
    talk.items += [replace(item, cell=cell, alike=i > 0) for i, cell in enumerate(cells)]
    if len(cells) == 4 and where and rng.random() < 0.4:
        return f"{thing_words(rng, item)} {rng.choice(('in each corner', 'in every corner'))}"
    return f"{thing_words(rng, item, count)} {where}".strip()


def _contrasted(rng: random.Random, talk: Talk, item: Item) -> str:
    """Things of one shape that differ in colour or size."""
    shape = SHAPES[item.shape]
    if rng.random() < 0.2:
        sizes = rng.sample((0, 1), 2)
        talk.items += [replace(item, size=size, pattern=0, alike=i > 0) for i, size in enumerate(sizes)]
        big, other = (rng.choice(SIZE_WORDS[size]) for size in sizes)
        colour = "" if item.colour is None else f"{COLOURS[item.colour]} "
        return rng.choice(
            (f"two {colour}{shape}s, a {big} one and a {other} one", f"a {big} and a {other} {colour}{shape}")
        )
    count = rng.choice((2, 2, 2, 3))
    colours = rng.sample(range(len(COLOURS)), count)
    names = [COLOURS[colour] for colour in colours]
    plain = Item(item.shape, size=item.size)
    size = "" if item.size is None else f"{rng.choice(SIZE_WORDS[item.size])} "
    if rng.random() < 0.2:
        talk.items += [replace(plain) for _ in range(count)]
        return (
            f"{NUMBERS[count]} {size}{shape}s {rng.choice(('of different colours', 'in different colours'))}"
        )
    talk.items += [replace(plain, colour=colour) for colour in colours]
    if count == 2 and rng.random() < 0.3:
        for new, cell in zip(talk.items[-2:], (4, 5), strict=True):
            new.cell = cell
        return f"two {size}{shape}s side by side, " + rng.choice(
            (f"the left one {names[0]} and the right one {names[1]}", f"left {names[0]}, right {names[1]}")
        )
    ones = " and ".join((", ".join(f"one {name}" for name in names[:-1]), f"one {names[-1]}"))
    plural = " and ".join((", ".join(names[:-1]), names[-1]))
    ways = [f"{NUMBERS[count]} {size}{shape}s, {ones}", f"{NUMBERS[count]} {size}{shape}s in {plural}"]
    if count == 2:
        ways.append(f"{article(f'{size}{names[0]}')} and {article(names[1])} {shape}")
    return rng.choice(ways)


_OTHER_SIDE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}


def _related(rng: random.Random, talk: Talk, item: Item) -> str:
    """Two things in one breath: where the first one stands, seen from the second."""
    other = random_item(rng, item)
    relation = rng.choice(list(RELATIONS))
    talk.items += [item, other]
    other.beside = _OTHER_SIDE[relation], len(talk.items) - 2
    return f"{thing_words(rng, item)} {rng.choice(RELATION_WORDS[relation])} {thing_words(rng, other)}"


def _name(item: Item) -> str:
    return " ".join(([COLOURS[item.colour]] if item.colour is not None else []) + [SHAPES[item.shape]])


def _called(rng: random.Random, talk: Talk, number: int, last: int) -> str | None:
    """How a thing is spoken of: "it" where it came up last, by its looks, or by its place in the order."""
    items = list(talk.items)  # as the changes so far have made them
    for edit in talk.edits:
        if edit.kind == "colour":
            items[edit.item] = replace(items[edit.item], colour=edit.value)
        elif edit.kind == "shape":
            items[edit.item] = replace(items[edit.item], shape=edit.value)
        elif edit.kind == "thing":
            shape, colour = divmod(edit.value, len(COLOURS))
            items[edit.item] = replace(items[edit.item], shape=shape, colour=colour)
    item = items[number]
    shapes = [one.shape for one in items]
    ways = []
    if number == last:
        ways += ["it", "it"]
    if len(items) > 1 and number < len(ORDINALS):
        alike = {_name(one) for one in items} == {_name(item)}
        ways += [f"the {ORDINALS[number]} one"] * (4 if alike else 1)
        if number == len(items) - 1:
            ways.append("the last one")
        if alike and number < len(ORDINALS):
            ways.append(f"the {ORDINALS[number]} {SHAPES[item.shape]}")
    if shapes.count(item.shape) == 1:
        ways += [f"the {SHAPES[item.shape]}"] * 2
    if item.colour is not None and sum(one.colour == item.colour for one in items) == 1:
        ways += [f"the {COLOURS[item.colour]} one", f"the {COLOURS[item.colour]} {SHAPES[item.shape]}"]
    return rng.choice(ways) if ways else None


def _change(rng: random.Random, talk: Talk, gone: set[int], last: int) -> tuple[str, int] | None:
    """One more wish for a change, in words, and the thing that was spoken of; None where it found none."""
    left = [i for i in range(len(talk.items)) if i not in gone]
    if not left:
        return None
    number = rng.choice(left)
    if len(left) > 1 and rng.random() < 0.08:
        return _all_of_them(rng, talk, left), last
    kind = rng.choices([*EDIT_WORDS], (6, 4, 3, 4, 3, 1, 3))[0]
    item, value, words = talk.items[number], 0, ""
    called = _called(rng, talk, number, last)
    if kind != "ground" and called is None:
        return None
    spoken_of = EDIT_WORDS[kind]
    if kind in ("colour", "ground"):
        value = rng.randrange(len(COLOURS))
        words = COLOURS[value]
    elif kind == "move":
        value = rng.randrange(CELLS)
        words = rng.choice(PLACES[value][:3])
        to = words.replace("at ", "to ").replace("in ", "to ").replace("on ", "to ", 1)
        words = to if to.startswith("to ") and rng.random() < 0.7 else words
    elif kind == "shape":
        value = rng.choice([s for s in range(len(SHAPES)) if s != item.shape])
        words = article(SHAPES[value])
        if rng.random() < 0.4:
            kind, colour = "thing", rng.randrange(len(COLOURS))
            if rng.random() < 0.4:  # a green one: of the same shape
                kind, value, words = "colour", colour, f"{article(COLOURS[colour])} one"
            else:
                words = f"{article(COLOURS[colour])} {SHAPES[value]}"
                value = value * len(COLOURS) + colour
        spoken_of = EDIT_WORDS["shape"]
    elif kind == "size":
        value = rng.randrange(2)
        words = rng.choice(
            ("smaller", "small", "tiny") if not value else ("bigger", "larger", "big", "large")
        )
        if (
            item.size == value
            or item.pattern
            or any(e.kind == "size" and e.item == number for e in talk.edits)
        ):
            return None
    elif kind == "pattern":
        value = rng.randrange(1, len(PATTERNS))
        words = PATTERNS[value]
        if item.size == 0:
            return None
    talk.edits.append(Edit(kind, number, value))
    if kind == "remove":
        gone.add(number)
    text = rng.choice(spoken_of).format(r=called, v=words, p=words, a=article(words or "it"))
    return text, number if kind != "ground" else last


def _all_of_them(rng: random.Random, talk: Talk, left: Sequence[int]) -> str:
    """All things that are left get one colour."""
    colour = rng.randrange(len(COLOURS))
    talk.edits += [Edit("colour", number, colour) for number in left]
    them = ["all of them", "them all", "everything", "all"]
    if len(left) == 2:
        them = ["both", "both of them", "both", "the two"]
    return rng.choice(EVERY).format(b=rng.choice(them), v=COLOURS[colour])


def _series(rng: random.Random, talk: Talk) -> str | None:
    """Things and then changes of them, as one text."""
    parts = [_new(rng, talk) for _ in range(rng.choices((1, 2, 3, 4), (4, 3, 2, 1))[0])]
    if rng.random() < 0.25 or (rng.random() < 0.3 and len(parts) == 1):
        talk.ground = rng.randrange(len(COLOURS))
        parts[0] += on_ground(rng, talk.ground)
    fresh = len(parts)
    gone: set[int] = set()
    last = len(talk.items) - 1
    for _ in range(rng.choices((0, 1, 2, 3), (4, 4, 2, 1))[0]):
        changed = _change(rng, talk, gone, last)
        if changed is None:
            return None
        parts.append(changed[0])
        last = changed[1]
    joints = rng.choice(JOINTS)
    if len(talk.items) == fresh in (2, 3) and all(
        one.cell is None and one.beside is None for one in talk.items
    ):
        along = _along(rng, talk) if rng.random() < 0.15 else None
        if along is not None:
            parts[:fresh] = [enumerated(rng, parts[:fresh], _LAST) + along]
            fresh = 1
    if 1 < len(parts) <= 5 and rng.random() < 0.12:
        return _as_a_list(rng, parts)
    if fresh == len(parts) and rng.random() < 0.6:  # nothing but things: a list, asked for in any way
        listed = enumerated(rng, parts, _LAST)
        if 1 < len(parts) == len(talk.items) and rng.random() < 0.03:
            listed = f"one of each: {listed}"
        return rng.choice(ASK_FOR).format(x=listed)
    lead = rng.choice(FIRST)
    verb = rng.choice(("", "", "", "add ", "put "))
    text = lead + parts[0]
    for i, part in enumerate(parts[1:], start=1):
        joint = joints[3] if i == len(parts) - 1 and i > 1 else joints[rng.randrange(3)]
        word = verb + part if i < fresh else part
        if i == len(parts) - 1 >= fresh and rng.random() < 0.04:
            joint, word = rng.choice((". ", ", ", "... ", " ")), rng.choice(WAIT) + part
        text += glued(joint, word)
    if rng.random() < 0.3:
        text = (
            rng.choice(("Please draw ", "please draw ", "Could you draw ", "I want you to draw ", "hey, "))
            + text
            if not lead.strip()
            else text
        )
    return text + rng.choice(("", "", ".", ".", " please", "!"))


def on_ground(rng: random.Random, ground: int) -> str:
    """How a background is asked for, to stand behind what is asked for."""
    words = rng.choice(ON_GROUND).format(v=COLOURS[ground], a=article(COLOURS[ground]))
    return words if words.startswith(",") else f" {words}"


def _along(rng: random.Random, talk: Talk) -> str | None:
    """Two or three things side by side or one below the other, in the order in which they are named."""
    cells, words = rng.choice(
        (
            (
                (3, 4, 5),
                (" from left to right", ", left to right", " in a row", ", from the left to the right"),
            ),
            ((1, 4, 7), (" from top to bottom", ", top to bottom", ", one below the other")),
        )
        if len(talk.items) == 3
        else (((4, 5), (" side by side", " next to each other")), ((1, 4), (", one below the other",)))
    )
    for item, cell in zip(talk.items, cells, strict=True):
        item.cell = cell
    return rng.choice(words)


def _as_a_list(rng: random.Random, parts: Sequence[str]) -> str:
    """Wishes with their numbers."""
    marks = rng.choice(LISTED)
    verb = rng.choice(("", "", "draw ", "add "))
    end = rng.choice((" ", ", ", ". ", "; ", "\n"))
    marked = [
        mark.lstrip() + (verb if i == 0 else "") + part
        for i, (mark, part) in enumerate(zip(marks, parts, strict=False))
    ]
    return end.join(marked) + rng.choice(("", "", "."))


def clauses_in_full(steps: Sequence[Transition]) -> list[Clause]:
    """Steps as clauses without words of their own, with explicit prompts."""
    found = []
    for step in steps:
        thing = (
            None
            if step.operation == "ground"
            else step.after.cells[step.cell] or (step.before or step.after).cells[step.cell]
        )
        name = "background" if thing is None else SHAPES[thing.shape]
        verb = {"draw": "Draw", "add": "Add", "remove": "Remove", "move": "Move"}.get(
            step.operation, "Change"
        )
        found.append(Clause("", explicit(step), f"{verb} the {name}.", name, step))
    return found


def wishes(rng: random.Random) -> Request:
    """Things and changes of them, in few words."""
    while True:
        talk = Talk()
        text = _series(rng, talk)
        steps = steps_of(talk) if text is not None else None
        if text is None or steps is None or len(steps) > MOST_STEPS:
            continue
        if rng.random() < 0.12:
            text = numbered(rng, text, len(steps))
        return spoken_request(dressed(rng, text), steps, clauses_in_full(steps))


def spoken_request(
    text: str, steps: Sequence[Transition], clauses: list[Clause], name: str | None = None
) -> Request:
    """The text as a request without pictures; `name`: the drawing that it asks for."""
    scenes = tuple(step.after for step in steps)
    split = split_of(operations(steps))
    return Request(text, "narrative", "spoken", (), plan_steps(clauses, False), scenes, split, name)
