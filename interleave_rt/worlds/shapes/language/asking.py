"""Questions about pictures in the words of people, answered in few."""

from __future__ import annotations

import random
from collections.abc import Callable

from interleave_rt.worlds.shapes.scene import (
    COLOURS,
    GRID,
    PATTERNS,
    POSITIONS,
    SHAPES,
    SIZES,
    Scene,
    Transition,
)

from .clauses import random_clauses
from .grammar import RELATIONS, article, neighbour
from .phrases import NAMES, NUMBERS, PLACES
from .plans import Request, answer
from .question_words import (
    AFTER,
    BEFORE,
    HERE,
    SIDE_WORDS,
    Asked,
    beyond,
    perhaps_capital,
    some_look,
    sure,
    things_in,
    wh_question,
    yes_no,
)
from .seeing import Look, both_named, called, called_in_line, fitting, hurried, look_words, named


def _is_there(rng: random.Random, scene: Scene) -> Asked:
    look, cells = some_look(rng, scene)
    name = look_words(rng, look, rng.choice(("thing", "thing", "shape", "object")))
    one, here, reply = article(name), rng.choice(HERE), sure(bool(cells))
    if look[0] is None and rng.random() < 0.3:
        one = f"{rng.choice(('anything', 'something'))} {look_words(rng, look, '').strip()}"
    if rng.random() < 0.4:
        return yes_no(rng, "is", "there", f"{one}{here}"), reply, (cells,)
    some = one if one.startswith(("any", "some")) else rng.choice((f"any {name}s", one))
    direct = ("do you see {a}{h}", "does {n} have {a}", "can you see {a}{h}", "{a}", "is {a} in it", "does {n} show {a}",
              "is {a} to be seen{h}", "can {a} be seen{h}", "are there {m}{h}", "do you find {a}{h}", "does it contain {a}",
              "have we got {a}{h}", "do you notice {a}", "is there {a} anywhere", "{m}", "are there {m} at all",
              "can you find {a}{h}", "is {a} among them", "is one of them {a}")  # fmt: skip
    form = rng.choice(direct)
    if "{m}" in form and some == one:
        form = "is there {a}{h}"
    text = form.format(a=one, m=some, h=here, n=rng.choice(NAMES))
    return perhaps_capital(rng, text + rng.choice(("?", "?", "?", "", " please?"))), reply, (cells,)


def _how_many(rng: random.Random, scene: Scene) -> Asked:
    here, noun = rng.choice(HERE), rng.choice(("things", "things", "shapes", "objects", "figures"))
    many = ("how many {s} are there{h}", "how many {s}", "how many {s} do you see{h}", "how many {s} can you see{h}",
            "how many {s} does {n} have", "how many {s} does {n} show", "the number of {s}", "number of {s}",
            "how many {s} are in {n}", "how many {s} are to be seen{h}", "how many {s} can you count{h}",
            "how many {s} have we got{h}", "what is the number of {s}{h}", "there are how many {s}",
            "how many {s} in total", "how many {s} do you count")  # fmt: skip
    told = (
        "how many {s} there are{h}",
        "how many {s} you see{h}",
        "the number of {s}{h}",
        "how many {s} {n} has",
    )
    count = ("count the {s}{h}", "count all {s}{h}", "please count the {s}", "can you count the {s}{h}?", "Count the {s}.",
             "count the {s} for me", "could you count the {s}?")  # fmt: skip
    look, cells = some_look(rng, scene)
    words = look_words(rng, look, noun[:-1]) + "s"
    kind = rng.random()
    if kind < 0.15:
        words, cells = noun, list(scene.occupied)
    elif kind < 0.3:
        return _kinds(rng, scene)
    elif look[0] is None and rng.random() < 0.4:  # how many are red?
        adjective = look_words(rng, look, "").strip()
        of = rng.choice(("", " of them", " of the things", " of these"))
        ask = f"how many{of} are {adjective}"
        return wh_question(rng, [ask], [ask]), f"{len(cells)}.", (cells,)
    filled = [[form.format(s=words, h=here, n=rng.choice(NAMES)) for form in forms] for forms in (many, told)]
    if rng.random() < 0.2:
        return perhaps_capital(rng, rng.choice(count).format(s=words, h=here)), f"{len(cells)}.", (cells,)
    return wh_question(rng, *filled), f"{len(cells)}.", (cells,)


def _kinds(rng: random.Random, scene: Scene) -> Asked:
    """How many colours or shapes the things have, or how many places are free."""
    things = [scene.at(cell) for cell in scene.occupied]
    if not things:
        return None
    kind = rng.choice(("colours", "shapes", "free"))
    if kind == "free":
        direct = [
            "how many places are empty",
            "how many places are free",
            "how many of the nine places are empty",
        ]
        return wh_question(rng, direct, [direct[0], direct[1]]), f"{len(scene.empty)}.", (scene.empty,)
    if kind == "shapes":
        direct = [
            "how many different shapes are there",
            "how many kinds of shapes do you see",
            "how many sorts of shapes",
        ]
        one_each = [
            i for n, i in enumerate(scene.occupied) if things[n].shape not in {t.shape for t in things[:n]}
        ]
        return (
            wh_question(rng, direct, ["how many different shapes there are"]),
            f"{len(one_each)}.",
            (one_each,),
        )
    direct = ["how many colours do the things have", "in how many colours are the things", ("how many different colours do "
              "the things have")]  # fmt: skip
    one_each = [
        i for n, i in enumerate(scene.occupied) if things[n].colour not in {t.colour for t in things[:n]}
    ]
    return wh_question(rng, direct, ["how many colours the things have"]), f"{len(one_each)}.", (one_each,)


def _where_is(rng: random.Random, scene: Scene) -> Asked:
    if not scene.occupied:
        return None
    cell = rng.choice(scene.occupied)
    name = named(rng, scene, cell)
    if name is None:
        return None
    t = "it" if len(scene.occupied) == 1 and rng.random() < 0.2 else f"the {name}"
    here = rng.choice(("", "", *HERE[5:]))
    direct = [f"where is {t}{here}", f"where is {t}", f"where do you see {t}", f"in which place is {t}", f"where can I find {t}",
              f"at which place is {t}", f"where does {t} stand", f"{t} is where",               f"where is {t} located", f"what is the place of {t}", f"what is the position of {t}", f"where do I find {t}{here}",
              f"where can {t} be seen", f"whereabouts is {t}"]  # fmt: skip
    told = [f"where {t} is", f"where {t} stands", f"in which place {t} is", f"where to find {t}"]
    return wh_question(rng, direct, told), f"At the {POSITIONS[cell]}.", ((cell,),)


def _is_at(rng: random.Random, scene: Scene) -> Asked:
    """Whether a thing is at a place; nothing is asked of which the places are near each other."""
    if not scene.occupied:
        return None
    cell = rng.choice(scene.occupied)
    place = cell if rng.random() < 0.5 else rng.randrange(len(POSITIONS))
    (row, column), (row2, column2) = divmod(cell, GRID), divmod(place, GRID)
    if place != cell and ((place == 4) == (cell == 4)) and (row == row2 or column == column2):
        return None  # is what is at the top left at the top?
    t = called(rng, scene, cell)
    if (
        t is None
        or not t.startswith(("it", "the "))
        or " at " in t
        or " in " in t
        or " on " in t
        or t.split()[-2:][0] in _SIDE
    ):
        return None
    reply = sure(place == cell, f"at the {POSITIONS[cell]}")
    return yes_no(rng, "is", t, rng.choice(PLACES[place][:3])), reply, ((cell,),)


_SIDE = ("left", "right", "upper", "lower", "top", "bottom")


def _background(rng: random.Random, scene: Scene) -> Asked:
    colour = COLOURS[scene.background]
    if rng.random() < 0.25:
        other = colour if rng.random() < 0.5 else rng.choice(COLOURS)
        return yes_no(rng, "is", "the background", other), sure(other == colour, colour), ()
    direct = ("which colour is the background", "what colour is the background", "the background colour",
              "which colour does the background have", "what is the colour behind it", "what is the background colour",
              "what colour does the background have", "what colour is it behind the things", "on which colour is it",
              "which background does it have", "what background colour do you see", "what is the colour of the background",
              "the background is what colour", "in which colour is the background", "colour of the background",
              "what background has {n}", "what is the background", "which colour has the background")  # fmt: skip
    told = ("which colour the background is", "what colour the background has", "the colour of the background",
            "the background colour", "what the background colour is", "what colour is behind the things")  # fmt: skip
    asks = [form.format(n=rng.choice(NAMES[:2])) for form in direct]
    return wh_question(rng, asks, told), f"{colour.capitalize()}.", ()


def _which_colour(rng: random.Random, scene: Scene) -> Asked:
    if not scene.occupied:
        return None
    if len(scene.occupied) > 1 and rng.random() < 0.12:
        return _two_colours(rng, scene)
    cell = rng.choice(scene.occupied)
    t = called_in_line(rng, scene, cell, without=("colour",))
    if t is None:
        return None
    direct = (f"what colour is {t}", f"what is the colour of {t}", f"which colour has {t}", f"which colour is {t}",
              f"what colour does {t} have", f"in which colour is {t}", f"the colour of {t}", f"{t}: which colour",
              f"{t} is what colour", f"which colour does {t} have", f"what colour has {t}", f"{t} has which colour",
              f"of what colour is {t}", f"which colour do you see on {t}", f"what colour was used for {t}",
              f"{t} is of which colour")  # fmt: skip
    told = (f"what colour {t} is", f"the colour of {t}", f"which colour {t} has", f"what the colour of {t} is",
            f"in which colour {t} is", f"the colour of {t}")  # fmt: skip
    reply = f"{COLOURS[scene.at(cell).colour].capitalize()}."
    if rng.random() < 0.08:
        return perhaps_capital(rng, f"name the colour of {t}"), reply, ((cell,),)
    return wh_question(rng, direct, told), reply, ((cell,),)


def _two_colours(rng: random.Random, scene: Scene) -> Asked:
    """The colours of two things, or of one after the other one has been named."""
    first, second = rng.sample(scene.occupied, 2)
    names = both_named(rng, scene, (first, second), ("colour",))
    if names is None:
        return None
    a, b = names
    one, other = (COLOURS[scene.at(cell).colour] for cell in (first, second))
    if rng.random() < 0.5:
        form = rng.choice(("{a} is {v}. And {b}?", "{a} is {v}, and {b}?", "{a} is {v}, what colour is {b}?",
                           "{a} is {v}. What about {b}?"))  # fmt: skip
        return (
            perhaps_capital(rng, form.format(a=a, b=b, v=one)),
            f"{other.capitalize()}.",
            ((first,), (second,)),
        )
    direct = [f"what colour are {a} and {b}", f"which colours do {a} and {b} have", f"what colour is {a} and what colour is {b}",
              f"what colour is {a}, and {b}"]  # fmt: skip
    both = f"Both are {one}." if one == other else f"{one.capitalize()} and {other}."
    return wh_question(rng, direct, [f"which colours {a} and {b} have"]), both, ((first,), (second,))


def _is_so(rng: random.Random, scene: Scene) -> Asked:
    """Whether a thing has a colour, size, shape or pattern."""
    if not scene.occupied:
        return None
    cell = rng.choice(scene.occupied)
    thing, yes = scene.at(cell), rng.random() < 0.5
    kind = rng.choice(("colour", "colour", "colour", "size", "shape", "pattern"))
    if kind == "pattern" and not thing.size:
        return None
    t = called_in_line(rng, scene, cell, without=(kind,))
    if t is None:
        return None
    if kind == "colour":
        is_so, asked_for = COLOURS[thing.colour], rng.choice(COLOURS)
    elif kind == "shape":
        is_so, asked_for = article(SHAPES[thing.shape]), article(rng.choice(SHAPES))
    elif kind == "size":
        is_so, asked_for = SIZES[thing.size], rng.choice(SIZES)
    else:
        is_so, asked_for = PATTERNS[thing.pattern], rng.choice(PATTERNS)
    if yes:
        asked_for = is_so
    if kind in ("colour", "pattern", "shape") and asked_for != is_so and rng.random() < 0.3:
        pair = rng.sample((is_so, asked_for), 2)  # one or the other
        either = f"is {t} {pair[0]} or {pair[1]}{rng.choice(('?', ''))}"
        return perhaps_capital(rng, either), f"{is_so.capitalize()}.", ((cell,),)
    if kind == "size" and rng.random() < 0.3:
        either = rng.choice(("big or small", "small or large", "large or small"))
        return wh_question(rng, [f"is {t} {either}", f"how big is {t}", f"what size is {t}", f"what size does {t} have"],
                   [f"how big {t} is", f"the size of {t}", f"what size {t} has"]), f"{is_so.capitalize()}.", ((cell,),)  # fmt: skip
    if kind == "size" and asked_for == "large" and rng.random() < 0.5:
        return yes_no(rng, "is", t, "big"), sure(asked_for == is_so, is_so), ((cell,),)
    return yes_no(rng, "is", t, asked_for), sure(asked_for == is_so, is_so), ((cell,),)


def _what_pattern(rng: random.Random, scene: Scene) -> Asked:
    cell = rng.choice(scene.occupied) if scene.occupied else None
    t = None if cell is None else called_in_line(rng, scene, cell, without=("pattern",))
    if cell is None or t is None or not scene.at(cell).size:
        return None
    direct = [f"which pattern has {t}", f"what pattern does {t} have", f"is {t} plain, striped or dotted",
              f"what is the pattern of {t}", f"how is {t} filled"]  # fmt: skip
    told = [f"which pattern {t} has", f"the pattern of {t}"]
    return wh_question(rng, direct, told), f"{PATTERNS[scene.at(cell).pattern].capitalize()}.", ((cell,),)


def _what_stands(rng: random.Random, scene: Scene) -> Asked:
    cell = (
        rng.choice(scene.occupied) if scene.occupied and rng.random() < 0.9 else rng.randrange(len(POSITIONS))
    )
    thing, p = scene.cells[cell], rng.choice(PLACES[cell])
    kind = rng.random()
    if kind < 0.12:
        if rng.random() < 0.4:
            some = rng.choice(("something", "anything"))
            return yes_no(rng, "is", "there", f"{some} {p}"), sure(thing is not None), ((cell,),)
        free = rng.choice(("empty", "free"))
        return yes_no(rng, "is", f"the place {p}", free), sure(thing is None), ((cell,),)
    if kind < 0.2 and thing is not None:
        direct = [f"which colour is {p}", f"what colour do you see {p}", f"what colour is there {p}"]
        reply = f"{COLOURS[thing.colour].capitalize()}."
        return wh_question(rng, direct, [f"which colour is {p}"]), reply, ((cell,),)
    direct = [f"what is {p}", f"which shape is {p}", f"what stands {p}", f"what do you see {p}", f"what shape is {p}",
              f"what can be seen {p}", f"{p}: what is it", f"{p} is what", f"which thing is {p}", f"what is there {p}",
              f"which object is {p}", f"what thing do you see {p}", f"what kind of shape is {p}", f"what have we got {p}",
              f"what sits {p}", f"which figure is {p}", f"and what is {p}"]  # fmt: skip
    told = [f"what is {p}", f"what you see {p}", f"which shape is {p}", f"what stands {p}"]
    return wh_question(rng, direct, told), things_in(scene, (cell,)), ((cell,),)


def _what_is_so(rng: random.Random, scene: Scene) -> Asked:
    """What has a colour, a size or a pattern; which shape a thing has that is called by its looks."""
    look, cells = some_look(rng, scene)
    if not scene.occupied or len(cells) > 2:
        return None
    reply = things_in(scene, cells)
    if len(cells) == 1 and rng.random() < 0.5:
        t = called_in_line(rng, scene, cells[0], without=("shape",))
        if t is not None:
            direct = [f"what shape is {t}", f"which shape has {t}", f"what is {t}", f"what shape does {t} have", (f"what kind of "
                      f"shape is {t}"), f"which shape is {t}"]  # fmt: skip
            return (
                wh_question(rng, direct, [f"what shape {t} is", f"what {t} is", f"which shape {t} has"]),
                reply,
                (cells,),
            )
    if look[0] is not None:
        return None
    adjective = look_words(rng, look, "").strip()
    direct = [f"what is {adjective}", f"which thing is {adjective}", f"which shape is {adjective}", f"what is {adjective} here",
              f"what do you see that is {adjective}", f"which ones are {adjective}", f"what things are {adjective}",
              f"what {adjective} things are there", f"which of them is {adjective}"]  # fmt: skip
    return wh_question(rng, direct, [f"what is {adjective}", f"which thing is {adjective}"]), reply, (cells,)


def _beside(rng: random.Random, scene: Scene) -> Asked:
    """What stands beside a thing, or whether one stands so to another; only where nobody can see it otherwise."""
    if len(scene.occupied) < 2:
        return None
    first, second = rng.sample(scene.occupied, 2)
    a, b = named(rng, scene, first), named(rng, scene, second)
    how = rng.choice(list(RELATIONS))
    where = rng.choice(SIDE_WORDS[how])
    if a is None or b is None:
        return None
    if rng.random() < 0.5:
        (row, column), (row2, column2) = divmod(first, GRID), divmod(second, GRID)
        if (row == row2) == (how in ("above", "below")) or (row != row2 and column != column2):
            return None
        so = first in beyond(scene, second, how)
        return yes_no(rng, "is", f"the {a}", f"{where} the {b}"), sure(so), ((first,), (second,))
    cell = neighbour(second, how)
    there = beyond(scene, second, how)
    if cell is None or there not in ([], [cell]):
        return None
    x = f"{where} the {b}"
    direct = [
        f"what is {x}",
        f"which shape is {x}",
        f"what stands {x}",
        f"what do you see {x}",
        f"what can be seen {x}",
    ]
    told = [f"what is {x}", f"what stands {x}"]
    return wh_question(rng, direct, told), things_in(scene, there), ((second,), (cell,))


def _sizes_compared(rng: random.Random, scene: Scene) -> Asked:
    if len(scene.occupied) < 2:
        return None
    first, second = rng.sample(scene.occupied, 2)
    names = both_named(rng, scene, (first, second), ("size",))
    if names is None:
        return None
    a, b = names
    one, other = scene.at(first).size, scene.at(second).size
    word = rng.choice(("bigger", "bigger", "larger", "smaller"))
    so = one < other if word == "smaller" else one > other
    both = ((first,), (second,))
    kind = rng.random()
    if kind < 0.45:
        return yes_no(rng, "is", a, f"{word} than {b}"), sure(so), both
    if kind < 0.6:
        if rng.random() < 0.5:
            as_big = f"as {rng.choice(('big', 'large'))} as {b}"
            return yes_no(rng, "is", a, as_big), sure(one == other), both
        same = rng.choice(("the same size", "of the same size", "equally big"))
        return yes_no(rng, "are", f"{a} and {b}", same), sure(one == other), both
    if one == other:
        return None
    asked_for = first if so else second
    reply = f"The {scene.at(asked_for).name}."
    direct = [f"which is {word}, {a} or {b}", f"what is {word}, {a} or {b}", f"which one is {word}, {a} or {b}",
              f"{a} or {b}, which is {word}", f"who is {word}, {a} or {b}", f"is {a} or {b} {word}"]  # fmt: skip
    if len(scene.occupied) == 2:
        direct += [
            f"which one is {word}",
            f"which of the two is {word}",
            f"which is {word}",
            f"which thing is {word}",
        ]
    return (
        wh_question(rng, direct, [f"which is {word}, {a} or {b}", f"whether {a} or {b} is {word}"]),
        reply,
        both,
    )


def _superlative(rng: random.Random, scene: Scene) -> Asked:
    """The only large thing, or the only small one."""
    if len(scene.occupied) < 2:
        return None
    size = rng.randrange(2)
    cells = [cell for cell in scene.occupied if scene.at(cell).size == size]
    if len(cells) != 1:
        return None
    most = rng.choice(("biggest", "largest") if size else ("smallest", "smallest"))
    direct = [
        f"which thing is the {most}",
        f"what is the {most} thing",
        f"which is the {most} shape",
        f"which one is the {most}",
    ]
    told = [f"which thing is the {most}", f"what the {most} thing is"]
    return wh_question(rng, direct, told), f"The {scene.at(cells[0]).name}.", (cells,)


def _same(rng: random.Random, scene: Scene) -> Asked:
    """Whether two things have one colour or one shape, or whether all have."""
    if len(scene.occupied) < 2:
        return None
    things = [scene.at(cell) for cell in scene.occupied]
    if rng.random() < 0.4:
        look, cells = some_look(rng, scene)
        if look[0] is not None and look[1] is None:
            if len(cells) < 2:
                return None
            colour = scene.at(rng.choice(cells)).colour
            so = all(scene.at(cell).colour == colour for cell in cells)
            return yes_no(rng, "are", f"all {SHAPES[look[0]]}s", COLOURS[colour]), sure(so), (cells,)
        if look[1] is None or look[0] is not None:
            return None
        so = len(cells) == len(things)
        subject, verb = rng.choice((("everything", "is"), ("all things", "are"), ("all of them", "are")))
        return yes_no(rng, verb, subject, COLOURS[look[1]]), sure(so), (scene.occupied,)
    first, second = rng.sample(scene.occupied, 2)
    kind = rng.choice(("colour", "shape"))
    names = both_named(rng, scene, (first, second), (kind,), noun="thing")
    if names is None:
        return None
    one, other = scene.at(first), scene.at(second)
    so = one.colour == other.colour if kind == "colour" else one.shape == other.shape
    a, b = names
    forms = [f"do {a} and {b} have the same {kind}", f"have {a} and {b} the same {kind}", f"are {a} and {b} of the same {kind}",
             f"is {a} of the same {kind} as {b}", f"does {a} have the same {kind} as {b}"]  # fmt: skip
    if kind == "colour":
        forms += [f"are {a} and {b} the same colour", f"is {a} the same colour as {b}"]
    ask = rng.choice(BEFORE) + rng.choice(forms) + rng.choice(AFTER)
    return perhaps_capital(rng, ask), sure(so), ((first,), (second,))


def _numbers_compared(rng: random.Random, scene: Scene) -> Asked:
    looks: list[Look] = [some_look(rng, scene)[0] for _ in range(2)]
    if rng.random() < 0.7:  # two shapes
        looks = [(look[0], None, None, None) for look in looks]
    else:
        looks = [(None, look[1], None, None) for look in looks]
    if looks[0] == looks[1] or any(not any(said is not None for said in look) for look in looks):
        return None
    a, b = (look_words(rng, look, "thing") + "s" for look in looks)
    found = tuple(fitting(scene, look) for look in looks)
    one, other = (len(cells) for cells in found)
    kind = rng.random()
    if kind < 0.3:
        more = rng.choice(("more", "more", "fewer"))
        so = one > other if more == "more" else one < other
        return yes_no(rng, "are", "there", f"{more} {a} than {b}"), sure(so), found
    if kind < 0.4:
        return yes_no(rng, "are", "there", f"as many {a} as {b}"), sure(one == other), found
    reply = "As many." if one == other else f"More {a if one > other else b}."
    form = rng.choice(("are there more {a} or {b}", "more {a} or more {b}", "which are more, {a} or {b}",
                       "are there more {a} or more {b}", "what is there more of, {a} or {b}", "do you see more {a} or more {b}",
                       "{a} or {b}, which are there more of", "which do you see more of: {a} or {b}"))  # fmt: skip
    return perhaps_capital(rng, form.format(a=a, b=b) + rng.choice(("?", "?", ""))), reply, found


def _exactly(rng: random.Random, scene: Scene) -> Asked:
    """Whether there are so many."""
    look, cells = some_look(rng, scene)
    count = len(cells) if rng.random() < 0.5 else rng.randint(2, 4)
    if count < 2:
        return None
    word = rng.choice((NUMBERS[count], str(count)))
    exact = "exactly " if len(cells) > count or rng.random() < 0.3 else ""
    so_many = f"{exact}{word} {look_words(rng, look, 'thing')}s"
    return yes_no(rng, "are", "there", so_many), sure(len(cells) == count), (cells,)


def _most(rng: random.Random, scene: Scene) -> Asked:
    """The shape or the colour that comes up most often."""
    kind = rng.choice(("shape", "colour"))
    values = [scene.at(cell).shape if kind == "shape" else scene.at(cell).colour for cell in scene.occupied]
    if len(values) < 3:
        return None
    ranked = sorted(set(values), key=values.count, reverse=True)
    if len(ranked) < 2 or values.count(ranked[0]) == values.count(ranked[1]):
        return None
    name = SHAPES[ranked[0]] if kind == "shape" else COLOURS[ranked[0]]
    whose = "" if kind == "shape" else rng.choice((" of the things", " among the things"))
    direct = [f"which {kind}{whose} comes up most often", f"what is the most common {kind}{whose}", (f"which {kind}{whose} is there "
              "most often"), f"which {kind}{whose} do you see most"]  # fmt: skip
    reply = f"The {name}." if kind == "shape" else f"{name.capitalize()}."
    groups = tuple(
        [cell for cell, value in zip(scene.occupied, values, strict=True) if value == one] for one in ranked
    )
    return wh_question(rng, direct, [f"which {kind}{whose} is there most often"]), reply, groups


def _what_is_in(rng: random.Random, scene: Scene) -> Asked:
    direct = ["what is in {n}", "what do you see in {n}", "what is there", "what is to be seen in {n}", "what does {n} show",
              "what can you see", "what do you see", "what is shown", "which things are in {n}", "which shapes are in {n}",
              "what things are there", "what is on it", "what have I drawn", "what did I draw", "what is this",
              "what can be seen in {n}", "what does {n} contain"]  # fmt: skip
    said = ["describe {n}", "Describe {n}.", "list the things in {n}", "please describe {n}", "can you describe {n}?",
            "describe what you see", "list what you see", "name everything in {n}", "name all things"]  # fmt: skip
    told = ["what is in {n}", "what you see", "what {n} shows", "what is there", "which things are in {n}"]
    reply = things_in(scene, scene.occupied)
    if rng.random() < 0.25:
        return rng.choice(said).format(n=rng.choice(NAMES)), reply, (scene.occupied,)
    return wh_question(rng, direct, told).format(n=rng.choice(NAMES)), reply, (scene.occupied,)


_QUESTIONS: dict[Callable[[random.Random, Scene], Asked], int] = {
    _is_there: 8, _how_many: 10, _where_is: 8, _is_at: 3, _background: 6, _which_colour: 13, _is_so: 9, _what_pattern: 2,
    _what_stands: 9, _what_is_so: 5, _beside: 4, _sizes_compared: 8, _superlative: 3, _same: 4, _numbers_compared: 5,
    _exactly: 2, _most: 2, _what_is_in: 5,
}  # fmt: skip


def asked(
    rng: random.Random,
    questions: dict[Callable[[random.Random, Scene], Asked], int] | None = None,
    framed: Callable[[random.Random, str], str] | None = None,
) -> Request:
    """A question about a picture in the words of people, answered in few.

    `questions`: what may be asked, with how often (the kinds of this module, and two pictures, where it is None).
    `framed` puts words around it, where it is given.
    """
    clauses = random_clauses(rng, rng.randint(1, 5), edits=True)
    if questions is None and len(clauses) > 1 and rng.random() < 0.07:
        return _about_two(rng, clauses[-1].transition)
    scene = clauses[-1].transition.after
    kinds = _QUESTIONS if questions is None else questions
    ask = rng.choices(list(kinds), list(kinds.values()))[0]
    said = None
    for tries in range(1000):
        said = ask(rng, scene)
        if said is not None:
            break
        if tries % 4 == 3:  # another picture, so that rare things are asked as often as they should
            scene = random_clauses(rng, rng.randint(2, 5), edits=True)[-1].transition.after
    if said is None:
        raise RuntimeError(f"[asked] no picture was found for {ask.__name__}")
    text, reply, groups = said
    kind = rng.random()
    if kind < 0.12:
        text = f"{text} <image>"
    elif kind < 0.17:
        text = f"{rng.choice(('Here is my picture:', 'look at this:', 'Look:', 'this is my picture:'))} <image> {text}"
    else:
        text = f"<image> {text}"
    text = text if framed is None else framed(rng, text)
    return answer(hurried(rng, text), "question", (scene,), reply, groups)


def _about_two(rng: random.Random, step: Transition) -> Request:
    """Two pictures, and what is another on the second."""
    assert step.before is not None
    was = step.before.cells[step.cell]
    now = step.after.cells[step.cell]
    forms = ["What has changed?", "what is different?", "what's new in the second picture", "find the difference",
             "What is not the same in the two pictures?", "what's different between the two", "whats the difference",
             "How do the pictures differ?", "spot the difference", "compare the two pictures", "what differs?",
             "what changed from the first to the second picture?", "tell me what has changed", "where is the difference?",
             "can you see what is different?", "what did I change?", "Which difference do you see?",
             "how is the second picture different from the first?", "what is different in the second one"]  # fmt: skip
    if was is None:
        assert now is not None
        reply = f"There is {article(now.name)} more."
        forms += ["what has been added?", "what was added", "which thing is new?", "What came in addition?"]
    elif step.to is not None:
        reply = f"The {was.name} has moved to the {POSITIONS[step.to]}."
        forms += ["what has moved?", "which thing moved and where to?", "what has another place now?"]
    elif now is None:
        reply = f"The {was.name} is gone."
        forms += [
            "what is missing in the second picture?",
            "what has disappeared?",
            "which thing is gone",
            "what did I remove?",
        ]
    else:
        reply = f"The {was.name} is {COLOURS[now.colour]} now."
        forms += ["which thing has another colour now?", "what has another colour in the second picture?"]
    before = rng.choice(
        ("<image> <image> ", "<image> and <image> ", "First: <image> Second: <image> ", "<image><image> ")
    )
    text = hurried(rng, before + rng.choice(forms))
    changed = step.cell if step.to is None else step.to
    return answer(text, "question", (step.before, step.after), reply, ((changed,),))
