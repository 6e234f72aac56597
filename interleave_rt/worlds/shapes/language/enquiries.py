"""More questions about pictures: rows and corners, plurals, what is not so, in a word or two, about a named drawing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from interleave_rt.worlds.shapes.scene import COLOURS, GRID, POSITIONS, SHAPES, Scene

from . import asking
from .arranged import NOUNS, POINTS, a_middle
from .companions import which_drawing
from .grammar import RELATIONS, article, neighbour
from .groups import LINES, line_cells
from .phrases import NUMBERS, PLACES
from .places import CORNERS
from .plans import Request
from .question_words import (
    SHORT_MARKS,
    SIDE_WORDS,
    Asked,
    beyond,
    perhaps_capital,
    short_question,
    some_look,
    sure,
    things_in,
    wh_question,
    yes_no,
)
from .seeing import both_named, called_in_line, fitting, look_words, named


def _colours(scene: Scene, cells: Sequence[int]) -> str | None:
    """The colours of these things, each once, as an answer; None where there are too many."""
    words = list(dict.fromkeys(COLOURS[scene.at(cell).colour] for cell in cells))
    if not words or len(words) > 3:
        return None
    *first, last = words
    before = f"{', '.join(first)} and " if first else ""
    return f"{before}{last}.".capitalize()


def _any_of(rng: random.Random, scene: Scene) -> Asked:
    look, cells = some_look(rng, scene)
    if look[0] is not None and look[1:] == (None, None, None):
        s = f"{SHAPES[look[0]]}s"
        ask = short_question(rng, f"any {s}", f"got any {s}", f"are any of them {s}", f"are any of the things {s}", f"any {s} in there",
                   f"is any of them a {SHAPES[look[0]]}", f"have you got any {s}", f"does it have any {s}", f"are {s} in it")  # fmt: skip
    elif look[0] is None:
        a = look_words(rng, look, "").strip()
        ask = short_question(rng, f"is anything {a}", f"anything {a}", f"is any of them {a}", f"are any of them {a}", f"any {a} ones",
                   f"are any of the shapes {a}", f"is one of them {a}", f"are there any {a} ones", f"is something {a}",
                   f"do you see any {a} ones", f"are some of them {a}", f"anything {a} in it", f"is there a {a} one".replace("a o", "an o"))  # fmt: skip
    else:
        name = look_words(rng, look)
        ask = short_question(
            rng,
            f"any {name}s",
            f"any {name}s in there",
            f"does it have any {name}s",
            f"have we got any {name}s",
        )
    return ask, sure(bool(cells)), (cells,)


def _alike(rng: random.Random, scene: Scene) -> Asked:
    """Whether all things have one colour, shape or size."""
    things = [scene.at(cell) for cell in scene.occupied]
    if len(things) < 2:
        return None
    kind = rng.choice(("colour", "colour", "shape", "size"))
    values = {
        (thing.shape, thing.colour, thing.size)[("shape", "colour", "size").index(kind)] for thing in things
    }
    forms = [f"do all things have the same {kind}", f"do they all have the same {kind}", f"are they all the same {kind}",
             f"is everything the same {kind}", f"are all of them the same {kind}", f"is the {kind} of all things the same",
             f"do all of them have one {kind}", f"are all the shapes the same {kind}"]  # fmt: skip
    if kind == "shape":
        forms = [form.replace("all the shapes", "all the things") for form in forms]
    if len(things) == 2:
        forms += [f"are they the same {kind}", f"do they have the same {kind}", f"do the two have the same {kind}",
                  f"are both the same {kind}", f"do both have the same {kind}", f"same {kind}"]  # fmt: skip
        if kind == "size":
            forms += ["are they equally big", "are both as big as each other", "are the two the same size"]
    return short_question(rng, *forms), sure(len(values) == 1), (scene.occupied,)


def _all_so(rng: random.Random, scene: Scene) -> Asked:
    """Whether there is nothing else than things of a look."""
    if len(scene.occupied) < 2:
        return None
    look, cells = some_look(rng, scene)
    if len(cells) < 2 and rng.random() < 0.6:
        return None
    so = len(cells) == len(scene.occupied)
    if look[0] is not None and look[1:] == (None, None, None):
        s = f"{SHAPES[look[0]]}s"
        forms = [
            f"are they all {s}",
            f"are all of them {s}",
            f"are there only {s}",
            f"is everything a {SHAPES[look[0]]}",
            f"do you see only {s}",
        ]
        forms += [f"are both {s}", f"are they both {s}"] if len(scene.occupied) == 2 else []
    elif look[0] is None:
        a = look_words(rng, look, "").strip()
        forms = [f"are they all {a}", f"are all things {a}", f"is everything {a}", f"are all the shapes {a}",
                 f"are there only {a} things", f"all {a}"]  # fmt: skip
        forms += (
            [f"are both {a}", f"are they both {a}", f"are the two {a}"] if len(scene.occupied) == 2 else []
        )
    else:
        return None
    return short_question(rng, *forms), sure(so), (scene.occupied,)


def _further(rng: random.Random, scene: Scene) -> Asked:
    """Which of two things is higher, or more to one side."""
    if len(scene.occupied) < 2:
        return None
    first, second = rng.sample(scene.occupied, 2)
    names = both_named(rng, scene, (first, second))
    if names is None:
        return None
    upright = rng.random() < 0.5
    places = [cell // GRID if upright else cell % GRID for cell in (first, second)]
    if places[0] == places[1]:
        return None
    low = rng.random() < 0.5
    how = rng.choice((("lower", "further down", "closer to the bottom") if low else ("higher", "further up", "closer to the top"))
                     if upright else (("further right", "more to the right", "further to the right") if low else
                                      ("further left", "more to the left", "further to the left")))  # fmt: skip
    asked_for = (first, second)[(places[0] < places[1]) == low]
    a, b = names
    if rng.random() < 0.35:
        rest = f"{how} than {b}"
        return yes_no(rng, "is", a, rest), sure(asked_for == first), ((first,), (second,))
    forms = [f"which is {how}, {a} or {b}", f"what is {how}, {a} or {b}", f"which one is {how}, {a} or {b}", f"{a} or {b}: which is {how}",
             f"is {a} or {b} {how}"]  # fmt: skip
    if len(scene.occupied) == 2:
        forms += [f"which one is {how}", f"which of the two is {how}", f"which thing is {how}"]
    return wh_question(rng, forms), f"The {scene.at(asked_for).name}.", ((first,), (second,))


def _outermost(rng: random.Random, scene: Scene) -> Asked:
    """The only thing that is as far to one side as this."""
    if len(scene.occupied) < 2:
        return None
    side, words = rng.choice(
        (
            ("left", ("leftmost", "furthest left", "furthest to the left")),
            ("right", ("rightmost", "furthest right", "furthest to the right")),
            ("top", ("topmost", "highest", "highest up")),
            ("bottom", ("lowest", "furthest down", "lowest down")),
        )
    )
    line = {i: i % GRID if side in ("left", "right") else i // GRID for i in scene.occupied}
    most = (min if side in ("left", "top") else max)(line.values())
    cells = [cell for cell, value in line.items() if value == most]
    if len(cells) != 1:
        return None
    w = rng.choice(words)
    forms = [f"which thing is {w}", f"what is {w}", f"which shape is {w}", f"which one is {w}"]
    if " " not in w:
        forms += [
            f"what is the {w} thing",
            f"what is the {w} shape",
            f"which is the {w} one",
            f"the {w} thing is what",
        ]
    return (
        wh_question(rng, forms, [f"which thing is {w}", f"what is {w}"]),
        f"The {scene.at(cells[0]).name}.",
        (cells,),
    )


def _in_a_line(rng: random.Random, scene: Scene) -> Asked:
    """What stands in a row or a column, and how much."""
    name = rng.choice(LINES)
    cells = [cell for cell in line_cells(name) if scene.cells[cell] is not None]
    x = f"in the {name}"
    kind = rng.random()
    if kind < 0.4:
        noun = rng.choice(("things", "shapes", "objects"))
        forms = [
            f"how many {noun} are {x}",
            f"how many {noun} {x}",
            f"how many are {x}",
            f"count the {noun} {x}",
        ]
        return (
            wh_question(rng, forms[:3], [f"how many {noun} are {x}"]) if rng.random() < 0.8 else forms[3],
            f"{len(cells)}.",
            (cells,),
        )
    if kind < 0.6:
        if rng.random() < 0.5:
            return yes_no(rng, "is", f"the {name}", "empty"), sure(not cells), (cells,)
        return (
            yes_no(rng, "is", "there", f"{rng.choice(('anything', 'something'))} {x}"),
            sure(bool(cells)),
            (cells,),
        )
    forms = [
        f"what is {x}",
        f"which things are {x}",
        f"what do you see {x}",
        f"what things are {x}",
        f"which shapes are {x}",
    ]
    return (
        wh_question(rng, forms, [f"what is {x}", f"which things are {x}"]),
        things_in(scene, cells),
        (cells,),
    )


def _corners(rng: random.Random, scene: Scene) -> Asked:
    cells = [cell for cell in CORNERS if scene.cells[cell] is not None]
    kind = rng.random()
    if kind < 0.35 and cells:
        cell = rng.choice(cells)
        name = named(rng, scene, cell)
        if name is None:
            return None
        forms = [
            f"in which corner is the {name}",
            f"which corner is the {name} in",
            f"what corner is the {name} in",
        ]
        return (
            wh_question(rng, forms, [f"in which corner the {name} is"]),
            f"At the {POSITIONS[cell]}.",
            ((cell,),),
        )
    if kind < 0.6 and scene.occupied:
        cell = rng.choice(scene.occupied)
        name = named(rng, scene, cell)
        if name is None:
            return None
        return yes_no(rng, "is", f"the {name}", "in a corner"), sure(cell in CORNERS), ((cell,),)
    if kind < 0.8:
        forms = [
            "how many things are in the corners",
            "how many corners have something in them",
            "how many shapes stand in corners",
        ]
        return wh_question(rng, forms, ["how many things are in the corners"]), f"{len(cells)}.", (cells,)
    forms = ["what is in the corners", "which things are in the corners", "what do you see in the corners"]
    return wh_question(rng, forms, ["what is in the corners"]), things_in(scene, cells), (cells,)


def _in_between(rng: random.Random, scene: Scene) -> Asked:
    middle = a_middle(rng, scene)
    if middle is None:
        return None
    _, cell, x = middle
    if rng.random() < 0.3:
        return yes_no(rng, "is", "there", f"anything {x}"), sure(scene.cells[cell] is not None), ((cell,),)
    forms = [f"what is {x}", f"which shape is {x}", f"what stands {x}", f"what do you see {x}"]
    return wh_question(rng, forms, [f"what is {x}"]), things_in(scene, (cell,)), ((cell,),)


def _not_so(rng: random.Random, scene: Scene) -> Asked:
    """What has not got a colour or is of another shape, and how many there are."""
    look, cells = some_look(rng, scene)
    others = [cell for cell in scene.occupied if cell not in cells]
    if look[0] is not None and look[1:] == (None, None, None):
        one, many = article(SHAPES[look[0]]), f"{SHAPES[look[0]]}s"
    elif look[0] is None and look[2:] == (None, None):
        one = many = look_words(rng, look, "").strip()
    else:
        return None
    if not cells or len(scene.occupied) < 2:
        return None
    if rng.random() < 0.6 or len(others) > 2:
        forms = [f"how many are not {many}", f"how many things are not {many}", f"how many of them are not {many}", f"how many aren't {many}",
                 f"how many things aren't {many}"]  # fmt: skip
        return wh_question(rng, forms, [f"how many are not {many}"]), f"{len(others)}.", (others,)
    forms = [
        f"what is not {one}",
        f"which thing is not {one}",
        f"which one isn't {one}",
        f"which shape is not {one}",
    ]
    return wh_question(rng, forms, [f"what is not {one}"]), things_in(scene, others), (others,)


def _where_both(rng: random.Random, scene: Scene) -> Asked:
    """Where the two of a kind are."""
    look, cells = some_look(rng, scene)
    if len(cells) != 2:
        return None
    s = f"{look_words(rng, look, 'thing')}s"
    forms = [
        f"where are the {s}",
        f"where are the two {s}",
        f"where do you see {s}",
        f"where can I find the {s}",
        f"where are both {s}",
    ]
    one, other = (POSITIONS[cell] for cell in cells)
    return wh_question(rng, forms, [f"where the {s} are"]), f"At the {one} and at the {other}.", (cells,)


def _at_least(rng: random.Random, scene: Scene) -> Asked:
    look, cells = some_look(rng, scene)
    if not cells and rng.random() < 0.7:
        return None
    one = look_words(rng, look, "thing")
    kind, count = rng.random(), rng.choice((2, 2, 3))
    if kind < 0.4:
        forms = [
            f"is there more than one {one}",
            f"do you see more than one {one}",
            f"more than one {one}",
            f"are there several {one}s",
        ]
        return short_question(rng, *forms), sure(len(cells) > 1), (cells,)
    if kind < 0.7:
        forms = [
            f"is there only one {one}",
            f"is there just one {one}",
            f"do you see only one {one}",
            f"only one {one}",
        ]
        return short_question(rng, *forms), sure(len(cells) == 1), (cells,)
    n = rng.choice((NUMBERS[count], str(count)))
    return (
        short_question(rng, f"are there at least {n} {one}s", f"do you see at least {n} {one}s"),
        sure(len(cells) >= count),
        (cells,),
    )


def _both_there(rng: random.Random, scene: Scene) -> Asked:
    (one, cells), (other, cells2) = some_look(rng, scene), some_look(rng, scene)
    if one == other or one[0] is None or other[0] is None or one[0] == other[0]:
        return None
    a, b = (article(look_words(rng, look)) for look in (one, other))
    forms = [f"is there {a} and {b}", f"do you see {a} and {b}", f"is there both {a} and {b}", f"does it have {a} and {b}",
             f"are there {a} and {b}", f"can you see {a} and {b}"]  # fmt: skip
    return short_question(rng, *forms), sure(bool(cells and cells2)), (cells, cells2)


def _looks_like(rng: random.Random, scene: Scene) -> Asked:
    if not scene.occupied:
        return None
    cell = rng.choice(scene.occupied)
    t = called_in_line(rng, scene, cell, it=False)
    if t is None:
        return None
    forms = [f"what does {t} look like", f"what is {t} like", f"how does {t} look"]
    if rng.random() < 0.3:
        return (
            short_question(
                rng, f"describe {t}", f"please describe {t}", f"tell me about {t}", f"can you describe {t}"
            ),
            things_in(scene, (cell,)),
            ((cell,),),
        )
    return (
        wh_question(rng, forms, [f"what {t} looks like", f"how {t} looks"]),
        things_in(scene, (cell,)),
        ((cell,),),
    )


def _has_pattern(rng: random.Random, scene: Scene) -> Asked:
    large = [cell for cell in scene.occupied if scene.at(cell).size]
    if not large:
        return None
    cell = rng.choice(large)
    t = called_in_line(rng, scene, cell, without=("pattern",))
    if t is None:
        return None
    pattern = scene.at(cell).pattern
    if not pattern and rng.random() < 0.4:
        return None
    asked_for = rng.choice((1, 2))
    s = ("stripes", "dots")[asked_for - 1]
    forms = [f"does {t} have {s}", f"has {t} got {s}", f"are there {s} on {t}", f"do you see {s} on {t}", f"is there any pattern on {t}",
             f"does {t} have a pattern", f"{s} on {t}"]  # fmt: skip
    form = rng.choice(forms)
    so = bool(pattern) if "pattern" in form else pattern == asked_for
    return perhaps_capital(rng, form + rng.choice(SHORT_MARKS[:3])), sure(so), ((cell,),)


def _plural_colours(rng: random.Random, scene: Scene) -> Asked:
    """Which colours all things have, or those of a kind."""
    if len(scene.occupied) < 2:
        return None
    cells, s = list(scene.occupied), rng.choice(("the things", "the shapes", "the objects", "they"))
    if rng.random() < 0.5:
        look, cells = some_look(rng, scene)
        if look[0] is None or look[1] is not None or len(cells) < 2:
            return None
        s = f"the {look_words(rng, look)}s"
    reply = _colours(scene, cells)
    if reply is None:
        return None
    forms = [
        f"what colour are {s}",
        f"what colours are {s}",
        f"which colours are {s}",
        f"which colours do {s} have",
        f"what colours do {s} have",
    ]
    if s != "they":
        forms += [f"what are the colours of {s}", f"name the colours of {s}"]
    return wh_question(rng, forms, [f"what colours {s} have", f"which colours {s} are"]), reply, (cells,)


def _besides(rng: random.Random, scene: Scene) -> Asked:
    """What there is apart from one thing."""
    if len(scene.occupied) < 2:
        return None
    cell = rng.choice(scene.occupied)
    name = named(rng, scene, cell)
    others = [i for i in scene.occupied if i != cell]
    if name is None:
        return None
    w = rng.choice(("apart from", "besides", "other than", "except"))
    if rng.random() < 0.35:
        return wh_question(rng, [f"how many things are there {w} the {name}"]), f"{len(others)}.", (others,)
    if len(others) == 1 and rng.random() < 0.6:
        forms = [f"one is the {name}, what is the other one", f"there is the {name}, and what else", f"what is the other one, not the {name}",
                 f"I see the {name}. What is the other thing"]  # fmt: skip
        return short_question(rng, *forms), things_in(scene, others), (others,)
    if len(others) > 3:
        return None
    forms = [
        f"what is there {w} the {name}",
        f"what else is there {w} the {name}",
        f"what do you see {w} the {name}",
    ]
    return wh_question(rng, forms), things_in(scene, others), (others,)


def _room(rng: random.Random, scene: Scene) -> Asked:
    """Whether something stands at a place."""
    cell = (
        rng.randrange(len(POSITIONS))
        if rng.random() < 0.5 or not scene.occupied
        else rng.choice(scene.occupied)
    )
    p, there = rng.choice(PLACES[cell][:3]), scene.cells[cell] is not None
    if cell in POINTS and rng.random() < 0.3:
        word = rng.choice(("empty", "free", "taken"))
        forms = [f"is {NOUNS[cell]} {word}", f"is {NOUNS[cell]} still {word}"]
        return (
            short_question(rng, *forms[: 2 if word != "taken" else 1]),
            sure(there == (word == "taken")),
            ((cell,),),
        )
    if rng.random() < 0.5:
        forms = [
            f"anything {p}",
            f"is anything {p}",
            f"do you see anything {p}",
            f"does anything stand {p}",
            f"have we got anything {p}",
        ]
        return short_question(rng, *forms), sure(there), ((cell,),)
    forms = [
        f"is there room {p}",
        f"is there space {p}",
        f"is it empty {p}",
        f"is it free {p}",
        f"is there still room {p}",
    ]
    return short_question(rng, *forms), sure(not there), ((cell,),)


def _isnt_it(rng: random.Random, scene: Scene) -> Asked:
    """Asked by somebody who thinks that it is so."""
    if not scene.occupied:
        return None
    cell = rng.choice(scene.occupied)
    thing, t = scene.at(cell), called_in_line(rng, scene, cell, without=("colour",))
    if t is None:
        return None
    colour = thing.colour if rng.random() < 0.5 else rng.randrange(len(COLOURS))
    c = COLOURS[colour]
    forms = [f"isn't {t} {c}", f"{t} is {c}, no", f"{t} is {c}, isn't it", f"{t} is {c}, right", f"I think {t} is {c}, is that right",
             f"my friend says {t} is {c}, is that true", f"is it true that {t} is {c}", f"{t} is {c}, true or false"]  # fmt: skip
    reply = sure(colour == thing.colour, COLOURS[thing.colour])
    return perhaps_capital(rng, f"{rng.choice(forms)}?"), reply, ((cell,),)


def _which_is(rng: random.Random, scene: Scene) -> Asked:
    """Which one has a look."""
    look, cells = some_look(rng, scene)
    if look[0] is not None or len(cells) != 1:
        return None
    a = look_words(rng, look, "").strip()
    forms = [f"which one is {a}", f"which is the {a} one", f"what is the {a} one", f"who is {a}", f"which of these is {a}", f"which one's {a}",
             f"which of the shapes is {a}", f"{a} is which one"]  # fmt: skip
    return wh_question(rng, forms, [f"which one is {a}"]), things_in(scene, cells), (cells,)


def _in_a_word(rng: random.Random, scene: Scene) -> Asked:
    """Hardly a question: a thing and what is to be said of it, a place, "count"."""
    forms: Sequence[str]
    kind = rng.random()
    if kind < 0.15:
        forms = ("count", "count please", "how many", "how many in total", "count them", "count everything", "number of things", "how many are there",
                 "how many are they", "total number", "how much things are there", "how many items", "count all of them")  # fmt: skip
        return short_question(rng, *forms), f"{len(scene.occupied)}.", (scene.occupied,)
    if kind < 0.25:
        forms = ("background", "bg colour", "colour background", "background colour", "and the background", "the background", "what background",
                 "background is which colour", "which colour background", "colour at the back", "colour of bg")  # fmt: skip
        return short_question(rng, *forms), f"{COLOURS[scene.background].capitalize()}.", ()
    if not scene.occupied:
        return None
    if kind < 0.4:
        cell = rng.choice(scene.occupied) if rng.random() < 0.8 else rng.randrange(len(POSITIONS))
        p = rng.choice(PLACES[cell])
        forms = (p, f"and {p}", f"shape {p}", f"thing {p}")
        return perhaps_capital(rng, f"{rng.choice(forms)}?"), things_in(scene, (cell,)), ((cell,),)
    cell = rng.choice(scene.occupied)
    thing = scene.at(cell)
    if kind < 0.65:
        name = named(rng, scene, cell, without=("colour",))
        forms = (f"{name} colour", f"colour {name}", f"colour of {name}", f"what colour {name}", f"which colour {name}", f"{name} is what colour",
                 f"{name}: colour", f"{name} - which colour", f"what colour {name} is", f"which colour the {name} is")  # fmt: skip
        return (
            (short_question(rng, *forms), f"{COLOURS[thing.colour].capitalize()}.", ((cell,),))
            if name
            else None
        )
    if kind < 0.85:
        name = named(rng, scene, cell)
        forms = (f"where {name}", f"{name} where", f"{name}: where", f"where is {name}", f"place of {name}", f"position of the {name}", f"where the {name} is",
                 f"{name} position", f"{name} is where")  # fmt: skip
        return (short_question(rng, *forms), f"At the {POSITIONS[cell]}.", ((cell,),)) if name else None
    name = named(rng, scene, cell, without=("size",))
    forms = (
        f"{name} big or small",
        f"size of {name}",
        f"{name} size",
        f"how big {name}",
        f"big or small {name}",
    )
    return (short_question(rng, *forms), f"{('Small', 'Large')[thing.size]}.", ((cell,),)) if name else None


def _next_to(rng: random.Random, scene: Scene) -> Asked:
    """What is next to a thing, or whether one is; only where nothing stands at an angle or above and below."""
    if len(scene.occupied) < 2:
        return None
    cell, other = rng.sample(scene.occupied, 2)
    a, b = named(rng, scene, cell), named(rng, scene, other)
    if a is None or b is None:
        return None
    (row, column), (row2, column2) = divmod(cell, GRID), divmod(other, GRID)
    far = max(abs(row - row2), abs(column - column2)) > 1
    if rng.random() < 0.5:
        if not far and row != row2:
            return None
        if rng.random() < 0.4:
            rest = rng.choice(("next to each other", "side by side", "beside each other"))
            return yes_no(rng, "are", f"the {a} and the {b}", rest), sure(not far), ((cell,), (other,))
        return (
            yes_no(rng, "is", f"the {a}", f"{rng.choice(('next to', 'beside'))} the {b}"),
            sure(not far),
            ((cell,), (other,)),
        )
    near = [i for i in scene.occupied if i != cell and max(abs(i // GRID - row), abs(i % GRID - column)) == 1]
    if len(near) > 1 or any(i // GRID != row for i in near):
        return None
    forms = [
        f"what is next to the {a}",
        f"what is beside the {a}",
        f"which shape is next to the {a}",
        f"what stands next to the {a}",
    ]
    return wh_question(rng, forms, [f"what is next to the {a}"]), things_in(scene, near), ((cell,), near)


def _either_place(rng: random.Random, scene: Scene) -> Asked:
    """Whether a thing is on one side or on the other."""
    cells = [i for i in scene.occupied if i in (1, 3, 5, 7)]
    if not cells:
        return None
    cell = rng.choice(cells)
    name, ways = (
        named(rng, scene, cell),
        ["on the left", "on the right"] if cell in (3, 5) else ["at the top", "at the bottom"],
    )
    if name is None:
        return None
    rng.shuffle(ways)
    either = " or ".join(ways)
    forms = [
        f"is the {name} {either}",
        f"the {name}: {either}",
        f"does the {name} stand {either}",
        f"where is the {name}, {either}",
    ]
    return short_question(rng, *forms), f"At the {POSITIONS[cell]}.", ((cell,),)


def _twice(rng: random.Random, scene: Scene) -> Asked:
    """The only shape that is there twice."""
    shapes = [scene.at(cell).shape for cell in scene.occupied]
    double = [shape for shape in range(len(SHAPES)) if shapes.count(shape) > 1]
    if len(double) != 1 or shapes.count(double[0]) != 2:
        return None
    cells = [cell for cell in scene.occupied if scene.at(cell).shape == double[0]]
    forms = ["which shape is there twice", "what shape is there twice", "which shape comes up twice", "what is there two times", "which shape appears twice",
             "of which shape are there two"]  # fmt: skip
    return wh_question(rng, forms, ["which shape is there twice"]), f"The {SHAPES[double[0]]}.", (cells,)


def _there_beside(rng: random.Random, scene: Scene) -> Asked:
    """Whether a thing of some look is right above, below or beside one; nothing where it is only roughly so."""
    if not scene.occupied:
        return None
    cell, how = rng.choice(scene.occupied), rng.choice(list(RELATIONS))
    goal, name = neighbour(cell, how), named(rng, scene, cell)
    if goal is None or name is None:
        return None
    there = beyond(scene, cell, how)
    if there not in ([], [goal]) or (not there and rng.random() < 0.5):
        return None
    x = f"{rng.choice(SIDE_WORDS[how])} the {name}"
    if rng.random() < 0.5:
        return (
            short_question(
                rng, f"is there anything {x}", f"is anything {x}", f"anything {x}", f"is something {x}"
            ),
            sure(bool(there)),
            ((cell,), there),
        )
    look = (
        some_look(rng, scene)[0]
        if not there or rng.random() < 0.4
        else (scene.at(goal).shape, None, None, None)
    )
    one = article(look_words(rng, look, "thing"))
    return (
        short_question(rng, f"is there {one} {x}", f"do you see {one} {x}", f"is {one} {x}"),
        sure(goal in fitting(scene, look)),
        ((cell,), there),
    )


QUESTIONS: dict[Callable[[random.Random, Scene], Asked], int] = {
    _any_of: 7, _alike: 5, _all_so: 4, _further: 4, _outermost: 3, _in_a_line: 4, _corners: 3, _in_between: 2, _not_so: 4,
    _where_both: 3, _at_least: 4, _both_there: 3, _looks_like: 4, _has_pattern: 3, _plural_colours: 5, _besides: 3, _room: 4,
    _isnt_it: 4, _which_is: 4, _in_a_word: 10, _next_to: 4, _either_place: 3, _twice: 2, _there_beside: 4,
}  # fmt: skip
"""What is asked more, and how often."""


_LEADS = ("I can't see it well: ", "quick question, ", "for my homework: ", "my little brother asks: ", "in this picture, ", "look at the picture. ",
          "on this image, ", "help me please: ", "I'm not sure, ", "sorry to bother you, but ", "can you help? ", "question: ", "excuse me, ", "hello, ",
          "good morning! ", "hmm, ", "I forgot: ", "just checking: ", "my daughter wants to know: ", "um, ", "let's see, ")  # fmt: skip
_TAILS = (" thanks", " thank you", " thx", " I can't tell", " I'm curious", " just curious", " I don't see it", " I forgot", " I am colour blind",
          " my eyes are bad", " it's for school", " my son asks", " I'm not sure")  # fmt: skip


def _framed(rng: random.Random, text: str) -> str:
    """The question with a few words before or after it."""
    before, mark, rest = text.rpartition("<image> ")
    kind = rng.random()
    if kind < 0.07 and not rest.endswith("<image>") and rest:
        lead = rng.choice(_LEADS)
        return f"{before}{mark}{perhaps_capital(rng, lead)}{rest[0].lower() if rest[:2] != 'I ' else 'I'}{rest[1:]}"
    if kind < 0.12 and text.endswith("?"):
        return text + rng.choice(_TAILS)
    return text


def asked(rng: random.Random) -> Request:
    """A question about a picture in the words of people, answered in few."""
    kind = rng.random()
    if kind < 0.04:
        return which_drawing(rng)
    return asking.asked(rng, QUESTIONS if kind < 0.36 else None, _framed)
