"""Wishes one after the other: the background first, places first, looks said afterwards, and changes of any of them.

What is changed is called in every way that leaves one meaning: by its looks, place, size or turn, as "the other one",
or together with its like. Every way makes a `Talk`, so what nobody says is filled in as in `wishes`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, POSITIONS, SHAPES

from .changes import course_of, one_change, place_words, some_things, terse_change, which_then
from .grammar import RELATIONS, article
from .phrases import ITS, NUMBERS, ORDINALS, PLACES, RELATION_WORDS, SIZE_WORDS, dressed, enumerated, glued
from .plans import MOST_STEPS, Request
from .wishes import Item, Talk, clauses_in_full, described, spoken_request, steps_of

_LEADS = (
    "",
    "",
    "",
    "draw ",
    "Draw ",
    "please draw ",
    "I want ",
    "can you draw ",
    "make ",
    "I'd like ",
    "put ",
)
_JOINTS = (", then ", ". Then ", ". ", ". ", " and then ", ". After that ", ", and then ", ". Now ", "; then ", ". Finally ",
           ". Then please ", " then ", ", afterwards ", ". Next, ", ". In the end ", ", finally ",
           ". When that is done, ", ". Once that's done, ", ". When finished, ", ". And ")  # fmt: skip
_ON = ("{a} background", "{v} background", "on {a} background", "{a} background please", "On {a} background", "background {v}",
       "background: {v}", "{v} bg", "the background should be {v}", "make the background {v}", "Make the background {v}",
       "start with {a} background", "the background is {v}", "first {a} background", "background {v} first", "set the background to {v}",
       "before anything else make the background {v}", "fill the background with {v}", "I want {a} background",
       "{a} background with", "{a} page with", "on {a} page", "I want {a} page with")  # fmt: skip
_THEN_DRAW = (", then ", ", then add ", ". Then ", ". Then draw ", ", and on it ", ", on it ", ". On it ", " and then ", ", after that ",
              " and put ", ". Put ", ". Add ")  # fmt: skip


def _joined(rng: random.Random, words: Sequence[str]) -> str:
    return enumerated(rng, words, (" and ", " and ", ", ", ", and "))


def _spread(rng: random.Random, items: Sequence[Item], share: float) -> None:
    """Gives some things places of their own; all of them or none."""
    if rng.random() < share:
        for item, cell in zip(items, rng.sample(range(CELLS), len(items)), strict=True):
            item.cell = cell


def _said(rng: random.Random, item: Item, bare: bool = False) -> str:
    words = described(rng, item) if bare else article(described(rng, item))
    return words if item.cell is None else f"{words} {rng.choice(PLACES[item.cell])}"


def _plain(rng: random.Random, talk: Talk) -> str:
    """One to four things in a row of words or of sentences."""
    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    shape = rng.randrange(len(SHAPES)) if count > 1 and rng.random() < 0.3 else None
    talk.items = some_things(rng, count, shape)
    _spread(rng, talk.items, 0.6)
    bare = rng.random() < 0.35
    words = [_said(rng, item, bare) for item in talk.items]
    if count > 1 and rng.random() < 0.3:
        verb = rng.choice(("draw ", "put ", "add ", "place ", "", "I want ", "I would like ", "there is "))
        return ". ".join((verb + one)[0].upper() + (verb + one)[1:] for one in words)
    if count > 1 and rng.random() < 0.4:
        return rng.choice(_LEADS) + rng.choice((" then ", ", then ", " and then ")).join(words)
    return rng.choice(_LEADS) + _joined(rng, words)


def _opposites(rng: random.Random, talk: Talk) -> str:
    """Two things of one shape that differ in size, or stand apart, or both."""
    one, other = some_things(rng, 2, rng.randrange(len(SHAPES)))
    one.pattern = other.pattern = 0
    one.size = other.size = None
    kind = rng.choice(("size", "place", "both"))
    if kind != "place":
        one.size, other.size = rng.sample((0, 1), 2)
    if kind != "size":
        one.cell, other.cell = rng.choice(
            ((3, 5), (3, 5), (5, 3), (1, 7), (7, 1), (0, 2), (6, 8), (0, 8), (2, 6))
        )
    if kind != "place" or rng.random() < 0.5:
        other.colour = one.colour
    talk.items = [one, other]
    said = [_said(rng, item) for item in talk.items]
    return rng.choice(_LEADS) + rng.choice((" and ", ", ", ", then ", " and then ", ". Then ")).join(said)


def _ground_first(rng: random.Random, talk: Talk) -> str:
    talk.ground = rng.randrange(len(COLOURS))
    talk.items = some_things(rng, rng.choice((1, 1, 2, 2, 3)))
    _spread(rng, talk.items, 0.5)
    ground = rng.choice(_ON).format(v=COLOURS[talk.ground], a=article(COLOURS[talk.ground]))
    bare = rng.random() < 0.3
    things = _joined(rng, [_said(rng, item, bare) for item in talk.items])
    if ground.endswith(" with"):
        return f"{ground} {things}"
    if ground.lower().startswith("on "):
        return ground + rng.choice((": ", ", ", " draw ", " put ", ", draw ")) + things
    if ground.startswith(("first", "before")) or ground.endswith("first"):
        return ground + rng.choice((", then ", ". Then ", " and then ", ", then add ")) + things
    if rng.random() < 0.4:
        return ground + rng.choice((", ", ". ", "; ")) + things
    return ground + rng.choice(_THEN_DRAW) + things


def _places_first(rng: random.Random, talk: Talk) -> str:
    """Where, then what; or what, and then a sentence of where."""
    talk.items = some_things(rng, rng.choice((2, 2, 2, 3)))
    kind = rng.random()
    if kind < 0.4 and len(talk.items) == 2:
        relation = rng.choice(list(RELATIONS))
        first, second = talk.items
        if rng.random() < 0.7:
            first.cell = rng.randrange(CELLS)
        second.beside = relation, 0
        its, name = rng.choice(ITS[relation]), SHAPES[first.shape]
        of = f"{rng.choice(RELATION_WORDS[relation])} the {name}"
        where = "" if first.cell is None else f" {place_words(rng, first.cell)}"
        a, b = article(described(rng, first)), article(described(rng, second))
        ways = [f"{a}{where}, {its} {b}", f"{a}{where} with {b} {its}", f"{a}{where} and {its} {b}", f"draw {a}{where}. {of.capitalize()} goes {b}",
                f"put {a}{where}. {its.capitalize()} put {b}", f"{a}{where}, {of} there is {b}", f"there is {a}{where} and {its} is {b}",
                f"draw {a}{where} and {of} {b}", f"put {a}{where} and {b} {of}", f"draw {a}{where}. {of.capitalize()}, put {b}"]  # fmt: skip
        if where:
            ways += [
                f"{a} should be{where}, and {its} should come {b}",
                f"{a} should be{where} and {b} {of}",
                f"{where.strip()} {a}, {its} {b}",
            ]
        return rng.choice(ways)
    _spread(rng, talk.items, 1)
    places = [place_words(rng, item.cell or 0) for item in talk.items]
    words = [article(described(rng, item)) for item in talk.items]
    if kind < 0.6:
        short = [PLACES[item.cell or 0][3] for item in talk.items]
        short = [one.split(" the ")[-1].removeprefix("in ") for one in short]
        bare = rng.random() < 0.5
        mark = rng.choice((": ", ": ", " = ", " - "))
        named = [one.split(" ", 1)[1] if bare else one for one in words]
        return rng.choice((", ", "; ", "\n", ". ")).join(
            f"{p}{mark}{w}" for p, w in zip(short, named, strict=True)
        )
    if kind < 0.8:
        verb = rng.choice((" should be ", " goes ", " is ", " stands ", " comes "))
        said = [f"{w}{verb}{p}" for w, p in zip(words, places, strict=True)]
        return rng.choice((". ", ", ")).join(said[:-1]) + rng.choice((" and ", ", ", ". ")) + said[-1]
    there = rng.choice((" ", " ", " there is ", " put "))
    said = [f"{p}{there}{w}" for w, p in zip(words, places, strict=True)]
    return rng.choice(("", "", "draw ") if there == " " else ("",)) + rng.choice((", ", " and ", "; ")).join(
        said
    )


def _looks_last(rng: random.Random, talk: Talk) -> str | None:
    """Several things, and how each one looks said after its name."""
    talk.items = some_things(rng, rng.choice((2, 2, 3)))
    if any(item.colour is None for item in talk.items):
        return None
    for item in talk.items:
        item.pattern = 0
    _spread(rng, talk.items, 0.4)
    kind = rng.choice(("clause", "clause", "one", "brackets", "sentence", "turn"))
    if kind == "turn":
        if any(item.size is not None for item in talk.items):
            return None
        noun = rng.choice(("shape", "thing", "one"))
        said = []
        for nth, item in zip(ORDINALS, talk.items, strict=False):
            where = "" if item.cell is None else f" {place_words(rng, item.cell)}"
            colour = COLOURS[item.colour or 0]
            name = SHAPES[item.shape]
            said.append(
                rng.choice((f"the {nth} {noun} is {article(f'{colour} {name}')}{where}", f"the {nth} {noun} is {article(name)}{where}, it is {colour}"))
            )  # fmt: skip
        return ". ".join(said)
    said = []
    rest = rng.choice((" which is ", " that is ")) if kind == "clause" else ", it is "
    for item in talk.items:
        colour, name = COLOURS[item.colour or 0], SHAPES[item.shape]
        size = [] if item.size is None else [rng.choice(SIZE_WORDS[item.size])]
        where = "" if item.cell is None else f" {place_words(rng, item.cell)}"
        early = article(" ".join([*size, name])) + where
        if kind == "brackets":
            looks = [colour, *size]
            rng.shuffle(looks)
            if item.cell is not None:
                looks.append(
                    PLACES[item.cell][3] if " " not in PLACES[item.cell][3] else place_words(rng, item.cell)
                )
            said.append(f"{name} ({', '.join(looks)})")
        elif kind == "one":
            said.append(f"{early}, {article(colour)} one" if rng.random() < 0.5 else f"{early}, {colour} one")
        else:
            said.append(f"{early}{rest}{colour}")
    if kind == "brackets":
        return rng.choice(_LEADS[:6]) + rng.choice((", ", ". ", " and ", "; ")).join(said)
    return rng.choice(_LEADS) + rng.choice((", and ", " and ", ", and then ")).join(said)


_ROWS = (
    ((3, 4, 5), ("a row of three {x}s", "three {x}s in a row", "three {x}s from left to right")),
    ((1, 4, 7), ("a column of three {x}s", "three {x}s in a column", "three {x}s from top to bottom")),
    ((0, 1, 2), ("a row of three {x}s at the top", "three {x}s along the top", "three {x}s in the top row")),
    (
        (6, 7, 8),
        ("a row of three {x}s at the bottom", "three {x}s along the bottom", "three {x}s in the bottom row"),
    ),
    ((4, 5), ("a pair of {x}s side by side", "two {x}s side by side")),
)


def _of_one_shape(rng: random.Random, talk: Talk) -> str:
    """Things of one shape with their colours or sizes in a list, or each one said by what is new."""
    shape = rng.randrange(len(SHAPES))
    name = SHAPES[shape]
    size = rng.choice((None, None, 0, 1))
    before = "" if size is None else f"{rng.choice(SIZE_WORDS[size])} "
    kind = rng.random()
    if kind < 0.55:
        if rng.random() < 0.5:
            cells, ways = rng.choice(_ROWS)
            count, words = len(cells), rng.choice(ways).format(x=before + name)
            stand: Sequence[int | None] = cells
        else:
            count = rng.choice((2, 3, 3, 4, 4, 5))
            words = f"{rng.choice((NUMBERS[count], str(count)))} {before}{name}s"
            stand = [None] * count
        colours = rng.sample(range(len(COLOURS)), count)
        talk.items = [
            Item(shape, colour, size, cell=cell) for colour, cell in zip(colours, stand, strict=True)
        ]
        names = [COLOURS[colour] for colour in colours]
        if list(stand) == [4, 5] and rng.random() < 0.6:
            talk.items[0].cell, talk.items[1].cell = 3, 5  # so they are left and right in every reading
            words = words.removesuffix(" side by side").replace("a pair of", "two")
            sides = rng.choice(("the one on the left {} and the one on the right {}", "the left one {}, the right one {}",
                                "left one {}, right one {}", "the one on the left {}, the other one {}"))  # fmt: skip
            return rng.choice(_LEADS) + words + rng.choice((", ", ": ", " please, ")) + sides.format(*names)
        if count == 2 and _apart(rng, talk):
            up = talk.items[0].cell == 1
            told = rng.choice(
                (
                    ", one at the top and one at the bottom",
                    ". One on top, one at the bottom",
                    ", one at the top, one at the bottom",
                )
                if up
                else (
                    ", one on the left and one on the right",
                    ". One left, one right",
                    ", one on the left, one on the right",
                )
            )
            one, two = ("top", "bottom") if up else ("left", "right")
            each = rng.choice((f"the {one} one {{}} and the {two} one {{}}", f"{one} one {{}}, {two} one {{}}",
                               f"the {one} one is {{}}, the {two} one {{}}"))  # fmt: skip
            return (
                rng.choice(_LEADS)
                + words.removesuffix(" side by side").replace("a pair of", "two")
                + told
                + rng.choice((". ", ", ", "; "))
                + each.format(*names)
            )
        listed = rng.choice((_joined(rng, names), _joined(rng, names), ", ".join(f"one {n}" for n in names),
                             ", ".join(f"{nth} one {n}" for nth, n in zip(("first", "second", "third", "fourth", "fifth"), names, strict=False))))  # fmt: skip
        return rng.choice(_LEADS) + words + rng.choice((": ", ": ", ", ", " - ")) + listed
    colours = rng.sample(range(len(COLOURS)), 2)
    if kind < 0.75:
        talk.items = [Item(shape, colours[0], 1), Item(shape, colours[0], 0)]
        rng.shuffle(talk.items)
        said = [article(f"{rng.choice(SIZE_WORDS[one.size or 0])} {name}") for one in talk.items]
        if rng.random() < 0.4:
            said = [f"two {name}s, {said[0].replace(name, 'one')}", said[1].replace(name, "one")]
        both = rng.choice((", both {v}", ". Both {v}", ", both of them {v}", ", both in {v}"))
        if rng.random() < 0.4 and not said[0].startswith("two"):
            for item, colour in zip(talk.items, colours, strict=True):
                item.colour = colour
            said = [article(described(rng, one)) for one in talk.items]
            both = ""
        return rng.choice(_LEADS) + " and ".join(said) + both.format(v=COLOURS[colours[0]])
    if kind < 0.83:  # of which only the first is named
        colours = rng.sample(range(len(COLOURS)), rng.choice((2, 3, 3)))
        talk.items = [Item(shape, colour, size) for colour in colours]
        ones = [article(f"{COLOURS[colour]} one") for colour in colours[1:]]
        joint = rng.choice((", then ", " and ", ". And ", ", and ", ". Then ", ", "))
        return rng.choice(_LEADS) + joint.join([article(f"{before}{COLOURS[colours[0]]} {name}"), *ones])
    talk.items = [Item(shape, colour, size) for colour in colours]
    first, v = article(f"{before}{COLOURS[colours[0]]} {name}"), COLOURS[colours[1]]
    second = rng.choice((f"another one that is {v}", f"another one in {v}", f"another {name} that is {v}", f"the same {name} but in {v}",
                         f"the same {name} in {v}", f"the same one in {v}", f"a second one in {v}", f"another one, but {v}",
                         f"a {v} copy of it" if v != "orange" else "an orange copy of it"))  # fmt: skip
    where = ""
    if rng.random() < 0.3:
        relation = rng.choice(list(RELATIONS))
        talk.items[1].beside = relation, 0
        where = f" {rng.choice(ITS[relation])}" if not second.endswith(" it") else ""
        if not where:
            talk.items[1].beside = None
    return (
        rng.choice(_LEADS) + first + rng.choice((", then ", " and ", " and then ", ", and ")) + second + where
    )


def _apart(rng: random.Random, talk: Talk) -> bool:
    """Whether two things without a place get places apart, left and right or top and bottom."""
    if any(item.cell is not None for item in talk.items) or rng.random() < 0.5:
        return False
    talk.items[0].cell, talk.items[1].cell = rng.choice(((3, 5), (1, 7)))
    return True


def _by_form(rng: random.Random, talk: Talk) -> str:
    """One or two things, each as a form that is filled in."""
    talk.items = some_things(rng, rng.choice((1, 1, 2)))
    _spread(rng, talk.items, 0.7)
    mark, joint = rng.choice((" ", " ", ": ", ": ", "=")), rng.choice((", ", ", ", "; ", " "))
    names = [rng.choice(("colour", "color")), "size", rng.choice(("position", "place", "location"))]
    named = rng.random() < 0.5
    said = []
    for item in talk.items:
        item.pattern = 0
        fields = []
        if item.colour is not None:
            fields.append(f"{names[0]}{mark}{COLOURS[item.colour]}")
        if item.size is not None:
            fields.append(f"{names[1]}{mark}{rng.choice(SIZE_WORDS[item.size])}")
        if item.cell is not None:
            fields.append(f"{names[2]}{mark}{POSITIONS[item.cell]}")
        name = SHAPES[item.shape]
        first = f"shape{mark}{name}" if named else rng.choice((name, article(name)))
        said.append((joint if fields or named else "").join([first, *fields]) or first)
    return rng.choice((". ", "\n", " and ", ". Then ")).join(said)


def _each_somewhere(rng: random.Random, talk: Talk) -> str:
    """Different things with one word for where they all stand."""
    cells, ways = rng.choice(
        (
            (
                (0, 2, 6, 8),
                ("four shapes, one in each corner: {x}", "in the corners: {x}", "one shape in each corner: {x}"),
            ),
            (
                (3, 4, 5),
                ("three shapes in a row: {x}", "a row with {x}", "from left to right: {x}", "left to right: {x}", "in a row: {x}"),
            ),
            (
                (1, 4, 7),
                ("a column with {x}", "from top to bottom: {x}", "top to bottom: {x}", "three shapes in a column: {x}"),
            ),
            (
                (7, 4, 1),
                ("from bottom to top: {x}", "from the bottom up: {x}"),
            ),
        )
    )  # fmt: skip
    talk.items = some_things(rng, len(cells))
    for item, cell in zip(talk.items, cells, strict=True):
        item.cell = cell
    bare = rng.random() < 0.5
    words = [described(rng, item) if bare else article(described(rng, item)) for item in talk.items]
    text = rng.choice(ways).format(x=_joined(rng, words))
    return rng.choice(_LEADS) + text if text.startswith(("four", "three", "a ", "one")) else text


def _turned_round(rng: random.Random, talk: Talk) -> str:
    """What comes first is said last."""
    talk.items = some_things(rng, 2)
    _spread(rng, talk.items, 0.4)
    a, b = (_said(rng, item) for item in talk.items)
    return rng.choice((f"{b}, but first {a}", f"draw {b}, but before that {a}", f"after drawing {a}, add {b}", f"before you draw {b}, draw {a}",
                       f"{b}, but {a} comes first", f"after {a} comes {b}", f"once {a} is there, add {b}", f"draw {b} after {a}",
                       f"first draw {a} and only then {b}", f"I want {b}, but start with {a}",
                       f"when {a} is done, draw {b}", f"before {b} I want {a}"))  # fmt: skip


def _groups(rng: random.Random, talk: Talk) -> str:
    """Several of one kind and one or two of another, perhaps with where the first ones stand."""
    one, other = some_things(rng, 2)
    count = rng.choice((2, 2, 3))
    if count == 2 and rng.random() < 0.5:
        # all in one line: so both stand above the other thing, however strictly that is meant
        relation, first, second, last = rng.choice(
            (("above", 1, 4, 7), ("below", 7, 4, 1), ("left of", 3, 4, 5), ("right of", 5, 4, 3))
        )
        pair = [replace(one, cell=first), replace(one, cell=second, alike=True)]
        talk.items = [*pair, replace(other, cell=last)]
        where = rng.choice(
            [words for words in RELATION_WORDS[relation] if words not in ("next to", "beside")]
        )
        return f"{rng.choice(_LEADS)}{rng.choice(('two', '2'))} {described(rng, one)}s {where} {article(described(rng, other))}"
    group = [replace(one, alike=i > 0) for i in range(count)]
    number = rng.choice((NUMBERS[count], str(count)))
    said = [f"{number} {described(rng, one)}s", article(described(rng, other))]
    talk.items = [*group, other]
    if rng.random() < 0.4:
        talk.items, said = [other, *group], said[::-1]
    return rng.choice(_LEADS) + rng.choice((" and ", ", ", ", then ", " and then ")).join(said)


_REASONS = ("it's for a birthday card: ", "I'm making a sign for class: ", "this is for my homework: ", "my daughter likes {x}s. ", "we are learning shapes. ",
            "hello! ", "ok so ", "here is what I want: ", "for my kids: ", "I need this for a slide. ", "my son loves {x}s. ", "let's try something. ")  # fmt: skip
_WAYS = {
    _plain: 26, _opposites: 8, _ground_first: 14, _places_first: 14, _looks_last: 10, _of_one_shape: 14, _each_somewhere: 6, _turned_round: 5,
    _groups: 9, _by_form: 3,
}  # fmt: skip


def _succession(rng: random.Random, talk: Talk) -> str | None:
    (make,) = rng.choices(tuple(_WAYS), tuple(_WAYS.values()))
    text = make(rng, talk)
    if text is None:
        return None
    together = make in (_of_one_shape, _groups, _each_somewhere, _turned_round)
    course = course_of(talk, not together, make is not _turned_round)
    count = rng.choice((1, 1, 1, 2, 2, 3) if make is _plain else (0, 0, 1, 1, 1, 2))
    if count and rng.random() < 0.06:
        which = which_then(rng, course)
        if which is None:
            return None
        text, count = text + which, count - 1
    short = rng.random() < 0.08 and "." not in text
    mark = rng.choice(("; ", ", ", "; then ", "\n"))
    for number in range(count):
        change = terse_change(rng, course) if short and course.left else one_change(rng, course)
        if change is None:
            return None
        joint = mark if short else rng.choice(_JOINTS)
        if joint.endswith("please ") and change.split()[0] in (
            "the",
            "it",
            "I",
            "we",
            "they",
            "both",
            "all",
            "also",
            "bg",
        ):
            joint = ". Then "
        kind = talk.edits[-1].kind
        if number == count - 1 and not short and kind not in ("move", "add") and rng.random() < 0.07:
            joint = rng.choice((" and ", ", ", ". "))
            change += rng.choice(
                (" afterwards", " in the end", " at the very end", " after that", " as the last step")
            )
        text += glued(joint, change)
    if course.centred and (steps := steps_of(talk)) is not None and steps[0].cell != 4:
        return None
    if not talk.edits and rng.random() < 0.15:
        free = all(item.cell is None and item.beside is None for item in talk.items)
        text += rng.choice((", nothing else", ", that's all", ", that is it", ". That's all", ". Nothing else")
                           if not free else (", anywhere", ", any place is fine", ", wherever you like", ", it doesn't matter where", ", nothing else", ". That's all"))  # fmt: skip
    if rng.random() < 0.05:
        reason = rng.choice(_REASONS).format(x=SHAPES[talk.items[0].shape])
        text = reason + (
            text if reason[-2] in ".!" or text.startswith(("I ", "I'd")) else text[0].lower() + text[1:]
        )
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("", "", "", ".", ".", " please", ", thanks", "!"))


def succession(rng: random.Random) -> Request:
    """Things, and then changes of them, one wish after the other."""
    while True:
        talk = Talk()
        text = _succession(rng, talk)
        steps = steps_of(talk) if text is not None else None
        if text is not None and steps is not None and len(steps) <= MOST_STEPS:
            return spoken_request(dressed(rng, text), steps, clauses_in_full(steps))
