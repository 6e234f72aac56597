"""More ways to ask for things: lists and counts, what is said afterwards, free choice, slips of the tongue, references.

Every way makes a `Talk`, so what nobody says is filled in as in `wishes`: the same words have the same plan.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, SHAPES, other_colour

from .files import rows
from .grammar import article
from .phrases import (
    ASK_FOR,
    EDIT_WORDS,
    LISTED,
    NUMBERS,
    PLACES,
    SIZE_WORDS,
    dressed,
    enumerated,
    glued,
    numbered,
)
from .plans import MOST_STEPS, Request
from .wishes import (
    Edit,
    Item,
    Talk,
    clauses_in_full,
    described,
    on_ground,
    random_item,
    spoken_request,
    steps_of,
)

_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_CHANGE = (
    "make {r} {v}",
    "paint {r} {v}",
    "colour {r} {v}",
    "turn {r} {v}",
    "{r} should be {v}",
    "color {r} {v}",
)
_AFTER = (
    ", then ",
    ". Then ",
    " and then ",
    ". After that ",
    ". Now ",
    ", now ",
    "; ",
    ", and finally ",
    ". ",
)


def _names(rng: random.Random, items: Sequence[Item]) -> list[str]:
    """The things in words, all with an article or none with one."""
    bare = rng.random() < 0.5
    return [described(rng, one) if bare else article(described(rng, one)) for one in items]


def _apart(rng: random.Random, count: int, share: float = 0.6) -> list[Item]:
    """Things of different shapes; mostly all with a colour or none with one."""
    coloured = rng.random() < share
    return [
        replace(random_item(rng), shape=shape, colour=rng.randrange(len(COLOURS)) if coloured else None)
        for shape in rng.sample(range(len(SHAPES)), count)
    ]


def _joined(rng: random.Random, words: Sequence[str]) -> str:
    return enumerated(rng, words, (" and ", " and ", ", and ", " & ", ", "))


def _list(rng: random.Random, talk: Talk) -> str:
    """Nothing but names, with whatever stands between the names of a list."""
    talk.items = _apart(rng, rng.choice((2, 3, 3, 4, 5)), 0.5)
    if rng.random() < 0.5:
        for item in talk.items:
            item.size, item.pattern = None, 0
    names = _names(rng, talk.items)
    kind = rng.random()
    if kind < 0.25 and len(names) <= 5:
        end = rng.choice((" ", "\n", ", ", "; ", "  "))
        marks = [mark.lstrip() for mark in rng.choice(LISTED)]
        return end.join(mark + name for mark, name in zip(marks, names, strict=False))
    if kind < 0.45:
        lead = rng.choice(
            ("", "", "Draw: ", "draw these: ", "I want these: ", "Shapes: ", "please: ", "things: ")
        )
        return lead + rng.choice((", ", "; ", " / ", "\n", " + ", "\n- ", ",")).join(names)
    if kind < 0.55:
        lead = rng.choice(("first ", "First ", "First a drawing of ", "")) or "first "
        more = [rng.choice((", then ", ", next ", ", after that ")) for _ in names[1:]]
        more[-1] = rng.choice((", finally ", ", and last ", ", then ", " and finally "))
        return lead + names[0] + "".join(a + b for a, b in zip(more, names[1:], strict=True))
    words = rng.choice((", ".join(names), _joined(rng, names)))
    if kind < 0.65:
        count = NUMBERS[len(names)]
        return rng.choice(
            (f"{count} shapes: {words}", f"{words}, all in one picture", f"{words}, in this order")
        )
    return rng.choice(ASK_FOR).format(x=words)


def _counts(rng: random.Random, talk: Talk) -> str:
    """Groups of things, each with its number."""
    said = []
    digits = rng.random() < 0.4
    sizes = rng.choice(((2, 1), (1, 2), (2, 2), (3, 1), (3, 2), (2, 3), (1, 3), (4, 1), (2, 1, 1), (1, 1, 2), (5,), (4,),
                        (6,), (3,), (2,)))  # fmt: skip
    for count, item in zip(sizes, _apart(rng, len(sizes), 0.8), strict=True):
        talk.items += [replace(item, alike=i > 0) for i in range(count)]
        number = str(count) if digits else rng.choice((NUMBERS[count], "a")) if count == 1 else NUMBERS[count]
        words = f"{described(rng, item)}{'s' if count > 1 else ''}"
        said.append(article(words) if number == "a" else f"{number} {words}")
    return rng.choice(ASK_FOR).format(x=_joined(rng, said))


_ARRANGED: tuple[tuple[tuple[int, ...], tuple[str, ...]], ...] = (
    ((4, 5), ("side by side", "next to each other", "beside each other")),
    ((3, 5), ("one on the left and one on the right", "left and right", "one left, one right")),
    ((1, 7), ("one at the top and one at the bottom", "top and bottom")),
    ((3, 4, 5), ("in a row", "side by side", "in one line", "next to each other", "in a horizontal line")),
    ((0, 1, 2), ("in a row at the top", "along the top", "in the top row")),
    ((6, 7, 8), ("in a row at the bottom", "along the bottom", "in the bottom row")),
    ((1, 4, 7), ("in a column", "one below the other", "in a vertical line", "one under the other")),
    ((7, 4, 1), ("on top of each other", "stacked", "in a stack", "one on top of the other", "as a tower")),
    (
        (0, 4, 8),
        ("on the diagonal", "diagonally from the top left to the bottom right", "in a diagonal line"),
    ),
    ((0, 2, 6, 8), ("in the corners", "in the four corners", "one in each corner", "in a square")),
)


def _arranged(rng: random.Random, talk: Talk) -> str:
    """Things that look alike or are only of one shape, in an arrangement, with what is said of them afterwards."""
    cells, ways = rng.choice(_ARRANGED)
    count, where = len(cells), rng.choice(ways)
    item = replace(random_item(rng), pattern=0)
    kind = rng.random()
    after = ""
    early = item
    items = [replace(item, cell=cell, alike=i > 0) for i, cell in enumerate(cells)]
    if kind < 0.35 and item.colour is not None:  # the colour comes after
        early = replace(item, colour=None)
        colour = COLOURS[item.colour]
        them = ("both", "both of them") if count == 2 else ("all", "all of them", "every one", "each one")
        after = rng.choice(
            (f"{rng.choice(them)} {colour}", f"{rng.choice(them)} in {colour}", f"in {colour}", colour)
        )
    elif kind < 0.45 and item.size is not None:
        early = replace(item, size=None)
        every = "both" if count == 2 else "all"
        after = rng.choice(
            (f"{every} {SIZE_WORDS[item.size][0]}", f"{every} of them {SIZE_WORDS[item.size][0]}")
        )
    elif kind < 0.55 and count < 5:
        early = replace(item, colour=None)
        items = [replace(one, colour=None, alike=False) for one in items]
        after = rng.choice(("each in another colour", "each in a different colour", "all in different colours",
                            "every one another colour", "no two of the same colour"))  # fmt: skip
    elif kind < 0.75 and count < 4:
        colours = rng.sample(range(len(COLOURS)), count)
        early = replace(item, colour=None)
        items = [replace(one, colour=colour, alike=False) for one, colour in zip(items, colours, strict=True)]
        names = [COLOURS[colour] for colour in colours]
        order = [f"the {nth} {name}" for nth, name in zip(_ORDINALS, names, strict=False)]
        after = rng.choice(
            (_joined(rng, order), _joined(rng, names), _joined(rng, [f"one {name}" for name in names]))
        )
    placed = rng.random() < 0.75 or count == 4
    if not placed:
        items = [replace(one, cell=None) for one in items]
    talk.items = items
    number = rng.choice((NUMBERS[count], NUMBERS[count], str(count)))
    words = f"{number} {described(rng, early)}s"
    extra = [where] if placed else []
    if not after:
        words = " ".join([words, *extra])
    elif rng.random() < 0.7 or not extra:
        words = " ".join([words, *extra]) + rng.choice((", ", ", ", " - ")) + after
    else:
        words += f", {after}, {where}"
    words = rng.choice(ASK_FOR[:20]).format(x=words) if after else rng.choice(ASK_FOR).format(x=words)
    return words if rng.random() < 0.6 or not placed else words.rstrip(".!?") + _of_the_row(rng, talk, cells)


def _of_the_row(rng: random.Random, talk: Talk, cells: Sequence[int]) -> str:
    """A change of one of them by its place, or of all."""
    names = {
        (3, 4, 5): ("left", "middle", "right"),
        (0, 1, 2): ("left", "middle", "right"),
        (6, 7, 8): ("left", "middle", "right"),
        (1, 4, 7): ("top", "middle", "bottom"),
        (7, 4, 1): ("bottom", "middle", "top"),
        (4, 5): ("left", "right"),
        (3, 5): ("left", "right"),
        (1, 7): ("top", "bottom"),
    }.get(tuple(cells))
    colour = rng.randrange(len(COLOURS))
    joint = rng.choice(_AFTER)
    if names is None or rng.random() < 0.2:
        talk.edits = [Edit("colour", i, colour) for i in range(len(cells))]
        them = ("both", "both of them") if len(cells) == 2 else ("all of them", "them all")
        return glued(joint, rng.choice(_CHANGE[:4]).format(r=rng.choice(them), v=COLOURS[colour]))
    number = rng.randrange(len(names))
    called = f"the {names[number]} one"
    if rng.random() < 0.35:
        talk.edits = [Edit("remove", number)]
        return glued(joint, rng.choice(EDIT_WORDS["remove"][:6]).format(r=called))
    talk.edits = [Edit("colour", number, colour)]
    text = rng.choice(_CHANGE).format(r=called, v=COLOURS[colour])
    if rng.random() < 0.25:
        other = other_colour(rng, colour)
        others = [i for i in range(len(cells)) if i != number]
        talk.edits += [Edit("colour", i, other) for i in others]
        text += f" and the other {'one' if len(others) == 1 else 'ones'} {COLOURS[other]}"
    return glued(joint, text)


def _around(rng: random.Random, talk: Talk) -> str:
    """One thing in the middle, and small ones around it or in the corners."""
    middle = replace(random_item(rng), size=rng.choice((1, 1, None)), cell=4)
    other = replace(random_item(rng), size=rng.choice((0, 0, None)), pattern=0)
    cells, ways = rng.choice((
        ((0, 2, 6, 8), ("{x} in the middle and {y} in each corner", "{x} in the center and after that {y} in each corner",
                        "{x} in the middle, then {y} in every corner", "{x} in the centre, with {y} in each corner",
                        "first {x} in the middle, then {y} in all four corners")),
        ((0, 2, 6, 8), ("{x} in the middle and {n} in the corners", "{x} in the middle with {n} in the four corners",
                        "{x} in the centre, then {n} in the corners")),
        ((1, 3, 5, 7), ("{x} in the middle with {n} around it: above, left, right and below",
                        "{x} in the center, {y} above it, left of it, right of it and below it")),
        ((3, 5), ("{x} in the middle and {y} on each side", "{x} in the middle with {y} on both sides",
                  "{x} in the middle, {y} to its left and {y} to its right", "{x} in the middle and {y} on either side",
                  "{x} in the middle and {n}, one on either side of it", "{x} in the middle and {n} to the left and right of it")),
        ((1, 7), ("{x} in the middle, {y} above it and {y} below it",
                  "{x} in the middle and {y} both above and below it")),
    ))  # fmt: skip
    talk.items = [middle, *(replace(other, cell=cell, alike=i > 0) for i, cell in enumerate(cells))]
    what = described(rng, other)
    text = rng.choice(ways).format(
        x=article(described(rng, middle)), y=article(what), n=f"{NUMBERS[len(cells)]} {what}s"
    )
    return rng.choice(ASK_FOR[:16]).format(x=text)


def _free(rng: random.Random, talk: Talk) -> str:
    """A thing of which nearly everything is left open: then it is a circle."""
    item = Item(0)
    if rng.random() < 0.75:
        item.colour = rng.randrange(len(COLOURS))
    if item.colour is None or rng.random() < 0.2:
        item.size = rng.choice((0, 1, None))
    talk.items = [item]
    colour = "" if item.colour is None else COLOURS[item.colour]
    size = "" if item.size is None else rng.choice(SIZE_WORDS[item.size])
    look = f"{size} {colour}".strip()
    if not look:
        talk.items[0].shape = shape = rng.choice((0, rng.randrange(len(SHAPES))))
        name = SHAPES[shape]
        open_shape = ("any shape", "a shape of your choice", "any shape you like", "whatever shape you want",
                      "one shape, you choose which", "some shape or other")  # fmt: skip
        ways = (f"{article(name)} in any colour", f"{article(name)}, any colour", f"any {name}", f"some {name}",
                f"{article(name)}, you pick the colour", f"{article(name)} in a colour of your choice",
                f"{article(name)} in whatever colour you like", f"{article(name)}, anywhere")  # fmt: skip
        return rng.choice(ASK_FOR).format(
            x=rng.choice(open_shape if shape == 0 and rng.random() < 0.8 else ways)
        )
    plain = (
        f"something {look}", f"anything {look}", f"any {look} shape", f"any {look} thing", f"some {look} shape",
        article(f"{look} something"), f"something {look}, your choice", f"something {look}, I don't care what",
        f"{article(f'{look} shape')} of your choice", f"any shape, {look}", f"any shape as long as it is {look}",
        f"whatever shape you like in {look}" if not size else f"whatever shape you like, {look}",
        f"one {look} thing, whatever you like", f"any shape but {look}, please",
    )[:-1]  # fmt: skip
    if rng.random() < 0.35:
        lead = rng.choice(("any shape", "any shape you want", "whatever shape", "a shape of your choice", "anything",
                           "whatever you like", "your choice of shape", "pick a shape"))  # fmt: skip
        return lead + rng.choice((", but make it ", ", just make it ", " but it must be ", ", only it should be ",
                                  " but please ", ", ")) + look  # fmt: skip
    text = rng.choice(ASK_FOR).format(x=rng.choice(plain))
    if rng.random() < 0.2:
        return (
            rng.choice(("surprise me with something ", "I don't mind what, but ", "you choose, but ")) + look
        )
    return text


def _afterthought(rng: random.Random, talk: Talk) -> str:
    """One thing, and how it looks said after its name."""
    item = replace(random_item(rng), colour=rng.randrange(len(COLOURS)))
    talk.items = [item]
    attributes = [COLOURS[item.colour or 0]]
    if item.pattern:
        attributes.append(PATTERNS[item.pattern])
    if item.size is not None:
        attributes.append(rng.choice(SIZE_WORDS[item.size]))
    rng.shuffle(attributes)
    name, joined = SHAPES[item.shape], _joined(rng, attributes)
    if item.size is None and not item.pattern and rng.random() < 0.4:
        joined = rng.choice(
            (f"in {joined}", f"the colour is {joined}", f"colour: {joined}", f"coloured {joined}")
        )
    bare = rng.choice((article(name), name, f"one {name}"))
    early = described(rng, replace(item, colour=None))
    late = article(described(rng, item).replace(f" {name}", " one")) if len(attributes) > 1 else ""
    ways = [f"{bare}, {joined}", f"{bare}. {joined[0].upper()}{joined[1:]}.", f"{bare} ({joined})", f"{bare} - {joined}",
            f"{bare}, please. {joined[0].upper()}{joined[1:]}.", f"{article(early)} in {COLOURS[item.colour or 0]}",
            f"{article(early)}, {COLOURS[item.colour or 0]}"]  # fmt: skip
    if not joined.startswith(("in ", "the ", "colour")):
        ways += [f"{bare} that is {joined}", f"{bare} which is {joined}"]
    if late:
        ways.append(f"{article(name)}, {late}")
    text = rng.choice(ways)
    return text if "." in text else rng.choice(ASK_FOR).format(x=text)


_STRANGERS = [
    text
    for kind, text in rows("out_of_domain.tsv")
    if kind in ("animal", "food", "plant", "object", "vehicle")
]
REPAIRS = (
    "no sorry",
    "no, sorry",
    "sorry, I mean",
    "ok just",
    "or rather",
    "no, wait,",
    "actually",
    "no, better",
)
"""What stands between what is taken back and what is wanted."""


_TAKEN_BACK = re.compile(
    rf"(?i)\b({'|'.join(REPAIRS)}|instead of|not an? .* but|no, an?|but now an?|no .*, just|, not an?)(?!\w)"
)


def takes_back(text: str) -> bool:
    """Whether something in a text is perhaps taken back."""
    return _TAKEN_BACK.search(text) is not None


def strange_noun(rng: random.Random) -> str:
    """Something that cannot be drawn, in one word or two."""
    return rng.choice(_STRANGERS)


def repaired(rng: random.Random, wrong: str, right: str) -> str:
    """What is asked for, after something that is taken back at once."""
    mark = rng.choice(REPAIRS)
    way = rng.choice(("{w}... {m} {r}", "{w}, {m} {r}", "{w} - {m} {r}", "{w}. {M} {r}", "not {w} but {r}", "{r} instead of {w}",
                      "{w}? no, {r}", "{w}, no, {r}", "I first wanted {w}, but now {r}", "no {w}, just {r}", "{r}, not {w}"))  # fmt: skip
    if way.startswith("no {w}"):
        wrong = wrong.removeprefix("a ").removeprefix("an ")
    return way.format(w=wrong, r=right, m=mark, M=mark[0].upper() + mark[1:])


def _repair(rng: random.Random, talk: Talk) -> str:
    """A thing instead of another one that is taken back."""
    item = random_item(rng)
    talk.items = [item]
    right = article(described(rng, item))
    kind = rng.random()
    if kind < 0.3:
        wrong = article(strange_noun(rng))
    elif kind < 0.7 and item.colour is not None:
        other = rng.choice([c for c in range(len(COLOURS)) if c != item.colour])
        wrong = article(described(rng, replace(item, colour=other)))
        if rng.random() < 0.5:
            right = article(described(rng, item, "one"))
    else:
        wrong = article(
            described(rng, replace(random_item(rng), shape=(item.shape + rng.randrange(1, 8)) % len(SHAPES)))
        )
    text = repaired(rng, wrong, right)
    if " one" in right and not text.endswith(right):
        return repaired_plainly(rng, wrong, right)
    return (
        rng.choice(("", "", "draw ", "Draw ", "I want ", "please draw ", "can you draw "))
        * (not text.startswith(("I ", "no ", "not ")))
        + text
    )


def repaired_plainly(rng: random.Random, wrong: str, right: str) -> str:
    return f"draw {wrong}, {rng.choice(REPAIRS)} {right}"


def _references(rng: random.Random, talk: Talk) -> str | None:
    """Different things, and changes of them by their place in the list, by name, or of all but one."""
    count = rng.choice((2, 2, 3, 3, 4))
    talk.items = _apart(rng, count)
    for item in talk.items:
        item.pattern = 0
    words = _joined(rng, _names(rng, talk.items))
    if count == 3 and rng.random() < 0.3:
        cells, where = rng.choice(
            (((3, 4, 5), " from left to right"), ((1, 4, 7), " from top to bottom"), ((3, 4, 5), " in a row"))
        )
        for item, cell in zip(talk.items, cells, strict=True):
            item.cell = cell
        words += where
    elif count == 2 and rng.random() < 0.4:
        first, second = rng.sample(range(9), 2)
        talk.items[0].cell, talk.items[1].cell = first, second
        a, b = _names(rng, talk.items)
        words = f"{a} {rng.choice(PLACES[first])} and {b} {rng.choice(PLACES[second])}"
    text = rng.choice(ASK_FOR[:26]).format(x=words).rstrip(".!?")
    names = [SHAPES[item.shape] for item in talk.items]
    positions = [[f"the {nth} one", f"the {nth} shape"] for nth in _ORDINALS[:count]]
    positions[-1] += ["the last one", "the last of them", "the last one in the list", "the last"]
    if count == 2:
        positions[0] += ["the former", "the first"]
        positions[1] += ["the latter", "the second"]
    if count == 3:
        positions[1].append("the one in the middle of the list")  # the first one may stand in the middle
        if talk.items[1].cell is not None:
            positions[1] += ["the middle one", "the one in the middle", "the middle shape"]
    if any(item.cell is not None for item in talk.items) and count == 2:
        positions = [[], []]
    called = [rng.choice([f"the {name}"] * 3 + ways) for name, ways in zip(names, positions, strict=True)]
    colours = rng.sample(range(len(COLOURS)), 2)
    values = [COLOURS[colour] for colour in colours]
    kind = rng.random()
    joint = rng.choice(_AFTER)
    if kind < 0.3:  # two changes with one verb
        one, two = rng.sample(range(count), 2)
        talk.edits = [Edit("colour", one, colours[0]), Edit("colour", two, colours[1])]
        a, b = called[one], called[two]
        if count == 2 and rng.random() < 0.25:
            b = "the other one"
        change = rng.choice((f"make {a} {values[0]} and {b} {values[1]}", f"colour {a} {values[0]} and {b} {values[1]}",
                             f"paint {a} {values[0]}, {b} {values[1]}", f"turn {a} {values[0]} and {b} {values[1]}",
                             f"change {a} to {values[0]} and {b} to {values[1]}", f"{a} becomes {values[0]}, {b} {values[1]}"))  # fmt: skip
    elif kind < 0.5:
        one = rng.randrange(count)
        talk.edits = [Edit("remove", one)]
        change = rng.choice(EDIT_WORDS["remove"]).format(r=called[one])
    elif kind < 0.65:
        one = rng.randrange(count)
        talk.edits = [Edit("colour", one, colours[0])]
        change = rng.choice(_CHANGE).format(r=called[one], v=values[0])
    elif kind < 0.75 and count > 2:
        keep = rng.randrange(count)
        others = [i for i in range(count) if i != keep]
        name = f"the {names[keep]}"
        if rng.random() < 0.5:
            talk.edits = [Edit("remove", i) for i in others]
            change = rng.choice((f"remove all but {name}", f"remove everything except {name}", f"keep only {name}",
                                 f"remove everything but {name}", f"take everything away except {name}"))  # fmt: skip
        else:
            talk.edits = [Edit("colour", i, colours[0]) for i in others]
            change = rng.choice((f"make all but {name} {values[0]}", f"make everything {values[0]} except {name}",
                                 f"colour all of them {values[0]} but not {name}"))  # fmt: skip
    elif kind < 0.85:
        one = rng.randrange(count)
        other = rng.choice([s for s in range(len(SHAPES)) if SHAPES[s] not in names])
        talk.edits = [Edit("thing", one, other * len(COLOURS) + colours[0])]
        what = f"{values[0]} {SHAPES[other]}"
        change = rng.choice((f"swap {called[one]} for {article(what)}", f"replace {called[one]} with {article(what)}",
                             f"put {article(what)} in the place of {called[one]}", f"exchange {called[one]} for {article(what)}",
                             f"remove {called[one]} and put {article(what)} there instead"))  # fmt: skip
    elif kind < 0.93:
        talk.edits = [Edit("colour", i, colours[0]) for i in range(count)]
        them = rng.choice(
            ("both", "both of them", "the two of them")
            if count == 2
            else ("all of them", "them all", "everything")
        )
        change = rng.choice(_CHANGE[:4]).format(r=them, v=values[0])
    else:
        if count < 3:
            return None
        first = rng.random() < 0.5
        pair = (0, 1) if first else (count - 2, count - 1)
        which = "first" if first else "last"
        if rng.random() < 0.5:
            talk.edits = [Edit("remove", i) for i in pair]
            change = rng.choice(EDIT_WORDS["remove"][:6]).format(r=f"the {which} two")
        else:
            talk.edits = [Edit("colour", i, colours[0]) for i in pair]
            change = rng.choice(_CHANGE[:4]).format(r=f"the {which} two", v=values[0])
    return text + glued(joint, change) + rng.choice(("", "", "", ".", " please", " afterwards"))


def _telegram(rng: random.Random, talk: Talk) -> str:
    """One thing and what is to become of it, as short as can be."""
    item = replace(random_item(rng), pattern=0, size=None)
    if rng.random() < 0.5:
        item.colour = None
    talk.items = [item]
    parts = [described(rng, item) if rng.random() < 0.6 else article(described(rng, item))]
    for _ in range(rng.choice((1, 2, 2, 3))):
        kind = rng.choice(("colour", "colour", "pattern", "move", "size", "thing"))
        colour = rng.randrange(len(COLOURS))
        if any(edit.kind == kind != "colour" for edit in talk.edits):
            kind = "colour"
        if kind == "colour":
            talk.edits.append(Edit("colour", 0, colour))
            parts.append(rng.choice((f"make it {COLOURS[colour]}", f"now {COLOURS[colour]}", f"then {COLOURS[colour]}",
                                     f"the same in {COLOURS[colour]}", f"turn it {COLOURS[colour]}")))  # fmt: skip
        elif kind == "pattern":
            value = rng.randrange(1, len(PATTERNS))
            talk.edits.append(Edit("pattern", 0, value))
            parts.append(
                rng.choice(
                    (f"make it {PATTERNS[value]}", f"now {PATTERNS[value]}", f"then {PATTERNS[value]}")
                )
            )
        elif kind == "move":
            cell = rng.randrange(9)
            talk.edits.append(Edit("move", 0, cell))
            parts.append(
                rng.choice(("move it {p}", "put it {p}", "it goes {p}")).format(
                    p=rng.choice(PLACES[cell][:3])
                )
            )
        elif kind == "size":
            if any(edit.kind == "pattern" for edit in talk.edits):
                continue
            talk.edits.append(Edit("size", 0, rng.randrange(2)))
            word = ("small", "big")[talk.edits[-1].value]
            parts.append(
                rng.choice((f"make it {word}", f"make it {word}ger" if word == "big" else "make it smaller"))
            )
        else:
            shape = rng.choice([s for s in range(len(SHAPES)) if s != item.shape])
            talk.edits.append(Edit("shape", 0, shape))
            parts.append(f"turn it into {article(SHAPES[shape])}")
    parts = [part[0].upper() + part[1:] for part in parts] if (dots := rng.random() < 0.25) else parts
    return (". " if dots else rng.choice((", ", ", ", "; ", " -> ", " → ", "\n"))).join(parts)


def _ones(rng: random.Random, talk: Talk) -> str:
    """Things of one shape, of which only the first is named."""
    shape = rng.randrange(len(SHAPES))
    colours = rng.sample(range(len(COLOURS)), rng.choice((2, 2, 3)))
    talk.items = [Item(shape, colour) for colour in colours]
    words = [
        article(f"{COLOURS[colours[0]]} {SHAPES[shape]}"),
        *(article(f"{COLOURS[c]} one") for c in colours[1:]),
    ]
    text = rng.choice((", then ", " and then ", ", ", " and ")).join(words)
    return rng.choice(ASK_FOR[:26]).format(x=text)


_WAYS = {
    _list: 16, _counts: 13, _arranged: 18, _around: 6, _free: 8, _afterthought: 8, _repair: 5, _references: 20,
    _telegram: 10, _ones: 4,
}  # fmt: skip


def composition(rng: random.Random) -> Request:
    """Things in one of many ways of speaking, perhaps with changes of them."""
    (make,) = rng.choices(tuple(_WAYS), tuple(_WAYS.values()))
    while True:
        talk = Talk()
        text = make(rng, talk)
        if text is None:
            continue
        if (
            make in (_list, _counts, _free, _afterthought)
            and rng.random() < 0.12
            and text[-1].isalpha()
            and "?" not in text
        ):
            talk.ground = rng.randrange(len(COLOURS))
            if not text.endswith(("please", "pls", "now", "class", "page")):
                text += on_ground(rng, talk.ground)
            else:
                talk.ground = None
        steps = steps_of(talk)
        if steps is None or len(steps) > MOST_STEPS:
            continue
        if rng.random() < 0.05 and "\n" not in text:
            text = numbered(rng, text, len(steps))
        return spoken_request(dressed(rng, text), steps, clauses_in_full(steps))
