"""More wishes about given pictures: the rest, two in one breath, asked or wondered, taken back, another one's looks, a drawing beside one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from interleave_rt.worlds.shapes.scene import COLOURS, GRID, PATTERNS, SHAPES, Scene, Transition, other_colour

from .arranged import NOUNS, POINTS, between, new_thing, nothing_left, one_place_on, somewhere
from .grammar import article
from .groups import LINES, Wish, line_cells
from .phrases import NUMBERS, PLACES
from .places import CORNERS
from .seeing import (
    GONE,
    GROUND,
    both_named,
    called_in_line,
    fitting,
    look_words,
    looks,
    named,
    place_of,
    towards,
)
from .wishes import ORDER, each, recoloured

_PLACED = re.compile(r" (?:at|in|on) the ")
"""In what is called by its place; "put the star on the left at the top" is hard to read."""
_ASKED = ("", "", "", " please", ", please")


def _resized(scene: Scene, cell: int) -> Transition:
    thing = scene.at(cell)
    return Transition.replace(scene, cell, thing._replace(size=1 - thing.size, pattern=0))


def _the_rest(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """One thing stays or gets something of its own, and all others get a colour or a size."""
    if len(scene.occupied) < 2:
        return None
    cell = rng.choice(scene.occupied)
    x, others = called_in_line(rng, scene, cell, it=False), [i for i in scene.occupied if i != cell]
    if x is None:
        return None
    o = rng.choice(("the rest", "the others", "everything else", "all the others", "all other things"))
    if len(others) == 1:
        o = rng.choice(("the other one", "the other one", "the other thing"))
    kind = rng.random()
    if kind < 0.2:
        sizes = {scene.at(i).size for i in others}
        if len(sizes) > 1 or any(scene.at(i).pattern for i in others):
            return None
        v = "smaller" if sizes == {1} else "bigger"
        forms = [
            "make everything but {x} {v}",
            "make everything {v} except {x}",
            "make all of them {v} but not {x}",
            "all but {x} should be {v}",
        ]
        if len(others) == 1:
            forms = ["leave {x} as it is and make {o} {v}", "not {x}, make {o} {v}"]
        return Wish(rng.choice(forms).format(x=x, v=v, o=o), each(scene, others, _resized), about=GROUND)
    colour = other_colour(rng, scene.background)
    rest = [i for i in others if scene.at(i).colour != colour]
    v = COLOURS[colour]
    if kind < 0.6:
        forms = ["everything but {x} should be {v}", "make everything {v} except {x}", "paint everything but {x} {v}", "make all of them {v}, only not {x}",
                 "colour everything except {x} {v}", "all but {x} in {v}", "turn everything except for {x} {v}", "everything {v} apart from {x}",
                 "leave {x} as it is and paint {o} {v}", "don't touch {x}, but make {o} {v}", "{x} stays as it is, {o} should be {v}",
                 "make all things {v}, but not {x}", "keep {x} as it is, make {o} {v}"]  # fmt: skip
        if len(others) == 1:
            forms = [form for form in forms if "{o}" in form]
        steps = recoloured(scene, rest, colour)
        return Wish(rng.choice(forms).format(x=x, v=v, o=o), steps, about=GROUND)
    if kind < 0.8:
        forms = ["remove {x} and make {o} {v}", "take {x} away and paint {o} {v}", "without {x}, and {o} in {v}", "delete {x}, {o} should be {v}",
                 "get rid of {x} and turn {o} {v}"]  # fmt: skip
        first = Transition.remove(scene, cell)
        w = ""
    else:
        other = other_colour(rng, scene.background, scene.at(cell).colour, colour)
        w = COLOURS[other]
        forms = [
            "make {x} {w} and {o} {v}",
            "{x} {w}, {o} {v}",
            "paint {x} {w} and {o} {v}",
            "{x} should be {w} and {o} {v}",
            "I want {x} {w} and {o} {v}",
        ]
        first = Transition.recolour(scene, cell, other)
    steps = [first, *recoloured(first.after, rest, colour)]
    return Wish(rng.choice(forms).format(x=x, v=v, o=o, w=w), steps, about=GROUND) if rest else None


def _in_line(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """What stands on one side, in a row or in the corners, or what has a look, in relative clauses."""
    forms: Sequence[str]
    kind = rng.random()
    if kind < 0.35:
        name = rng.choice(LINES)
        cells = [i for i in line_cells(name) if scene.cells[i] is not None]
        e = rng.choice(
            (
                f"everything in the {name}",
                f"the things in the {name}",
                f"all that is in the {name}",
                f"whatever is in the {name}",
            )
        )
    elif kind < 0.5:
        cells = [i for i in CORNERS if scene.cells[i] is not None]
        e = rng.choice(
            (
                "the things in the corners",
                "everything in the corners",
                "all things in the corners",
                "what stands in the corners",
            )
        )
    else:
        thing = scene.at(rng.choice(scene.occupied))
        look = rng.choice(((None, thing.colour, None, None), (None, None, thing.size, None)))
        a, cells = look_words(rng, look, "").strip(), fitting(scene, look)
        e = rng.choice((f"everything that is {a}", f"all things that are {a}", f"the {a} ones", f"all {a} ones", f"whatever is {a}", f"all the {a} ones",
                        f"the ones that are {a}", f"every {a} one"))  # fmt: skip
    if not 1 < len(cells) <= 5:
        return None
    if rng.random() < 0.35 and len(cells) < len(scene.occupied):
        forms = (
            "remove {e}",
            "delete {e}",
            "{e} should go",
            "take {e} away",
            "I don't need {e}",
            "get rid of {e}",
            "erase {e}, please",
        )
        return Wish(rng.choice(forms).format(e=e), each(scene, cells, Transition.remove), about=GONE)
    colour = other_colour(rng, scene.background)
    forms = (
        "make {e} {v}",
        "paint {e} {v}",
        "{e} should be {v}",
        "turn {e} {v}",
        "I want {e} in {v}",
        "colour {e} {v}",
    )
    steps = recoloured(scene, [i for i in cells if scene.at(i).colour != colour], colour)
    return Wish(rng.choice(forms).format(e=e, v=COLOURS[colour]), steps, about=GROUND)


def _and_the_ground(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A thing and the background in one breath."""
    forms: Sequence[str]
    cell = rng.choice(scene.occupied)
    a = called_in_line(rng, scene, cell, before, it=False)
    if a is None:
        return None
    g = rng.choice(("the background", "the background", "the background", "background"))
    ground = other_colour(rng, scene.background)
    kind, w = rng.random(), COLOURS[ground]
    if kind < 0.3:
        forms = (
            "remove {a} and make {g} {w}",
            "delete {a}, {g} {w}",
            "take {a} away and make {g} {w}",
            "{g} {w} and without {a}",
        )
        form = rng.choice(forms)
        step = Transition.ground(scene, ground) if form.startswith("{g}") else Transition.remove(scene, cell)
        other = (
            Transition.remove(step.after, cell)
            if form.startswith("{g}")
            else Transition.ground(step.after, ground)
        )
        return Wish(form.format(a=a, g=g, w=w), [step, other], about=GROUND)
    colour = other_colour(rng, scene.background, scene.at(cell).colour, ground)
    v = COLOURS[colour]
    if kind < 0.7:
        forms = ("make {a} {v} and {g} {w}", "{a} {v}, {g} {w}", "paint {a} {v} and {g} {w}", "{a} should be {v} and {g} {w}", "I want {a} {v} and {g} {w}",
                 "{v} for {a} and {w} for {g}", "turn {a} {v} and {g} {w}", "change {a} to {v} and {g} to {w}", "{a} in {v} on a {w} background")  # fmt: skip
        step = Transition.recolour(scene, cell, colour)
        form = rng.choice(forms).replace("a {w} background", f"{article(w)} background")
        return Wish(
            form.format(a=a, v=v, g=g, w=w), [step, Transition.ground(step.after, ground)], about=GROUND
        )
    forms = (
        "make {g} {w} and {a} {v}",
        "{g} {w}, {a} {v}",
        "{g} should be {w} and {a} {v}",
        "turn {g} {w} and {a} {v}",
        "I want {g} {w} and {a} {v}",
    )
    step = Transition.ground(scene, ground)
    return Wish(
        rng.choice(forms).format(a=a, v=v, g=g, w=w),
        [step, Transition.recolour(step.after, cell, colour)],
        about=cell,
    )


def _two_looks(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A thing gets a colour and another size (or a pattern) in one breath."""
    cell = rng.choice(scene.occupied)
    thing, r = scene.at(cell), called_in_line(rng, scene, cell, before, without=("size", "pattern"))
    if r is None or thing.pattern:
        return None
    colour = other_colour(rng, scene.background, thing.colour)
    v, first = COLOURS[colour], Transition.recolour(scene, cell, colour)
    if thing.size and rng.random() < 0.35:
        pattern = rng.randrange(1, len(PATTERNS))
        c = PATTERNS[pattern]

        def other(now: Scene) -> Transition:
            return Transition.replace(now, cell, now.at(cell)._replace(pattern=pattern))
    else:
        c = "smaller" if thing.size else "bigger"
        if rng.random() < 0.4:
            c = "small" if thing.size else "big"

        def other(now: Scene) -> Transition:
            return _resized(now, cell)

    forms = ["make {r} {p} and {q}", "{r} should be {p} and {q}", "I want {r} {p} and {q}", "{r} has to be {p} and {q}", "{r}: {p} and {q}",
             "make {r} {p}, and also {q}", "turn {r} {p} and {q}", "{r} must be {p} and also {q}", "I'd like {r} to be {p} and {q}"]  # fmt: skip
    if rng.random() < 0.5:
        return Wish(rng.choice(forms).format(r=r, p=v, q=c), [first, other(first.after)])
    second = other(scene)
    return Wish(
        rng.choice(forms).format(r=r, p=c, q=v), [second, Transition.recolour(second.after, cell, colour)]
    )


def _like_another(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """A thing gets the colour or the size of another one."""
    if len(scene.occupied) < 2:
        return None
    first, second = rng.sample(scene.occupied, 2)
    one, other = scene.at(first), scene.at(second)
    if rng.random() < 0.7:
        names = [named(rng, scene, first), named(rng, scene, second, without=("colour",))]
        forms = ["give {a} the colour of {b}", "make {a} the same colour as {b}", "{a} should have the same colour as {b}", "paint {a} in the colour of {b}",
                 "{a} in the colour of {b}", "{a} should be the same colour as {b}", "{a} gets the colour of {b}", "make the colour of {a} the same as that of {b}",
                 "use the colour of {b} for {a}", "let {a} have the colour of {b}", "change {a} to the colour of {b}"]  # fmt: skip
        steps = [Transition.recolour(scene, first, other.colour)]
        so = one.colour != other.colour
    else:
        names = [named(rng, scene, first, without=("size",)), named(rng, scene, second, without=("size",))]
        forms = ["make {a} the same size as {b}", "{a} should be the same size as {b}", f"make {{a}} as {('small', 'big')[other.size]} as {{b}}",
                 "give {a} the size of {b}", f"{{a}} should be as {('small', 'big')[other.size]} as {{b}}"]  # fmt: skip
        steps = [_resized(scene, first)]
        so = one.size != other.size and not one.pattern and not other.pattern
    if None in names or not so:
        return None
    return Wish(rng.choice(forms).format(a=f"the {names[0]}", b=f"the {names[1]}"), steps, about=first)


def _several_new(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """Two or three more of one look, or two that differ, with places or where there is room."""
    new, words = new_thing(rng)
    bare = words.split(" ", 1)[1]
    kind = rng.random()
    verb = rng.choice(("add {x}", "put {x}", "draw {x}", "{x}", "I want {x}", "there should be {x}", "it needs {x}", "I'd like {x}", "give me {x}", "place {x}",
                       "could use {x}", "plus {x}"))  # fmt: skip
    if kind < 0.45:
        if " in " in bare:
            return None
        more = ""
        if rng.random() < 0.4:  # as one that is there
            cell = rng.choice(scene.occupied)
            ways = [
                look
                for look in looks(scene.at(cell))
                if look[0] is not None and all(scene.at(i) == scene.at(cell) for i in fitting(scene, look))
            ]
            if not ways:
                return None
            new, bare, more = scene.at(cell), look_words(rng, rng.choice(ways[:2])), "more "
        n = rng.choice((2, 2, 2, 3))
        free = [i for i in ORDER if scene.cells[i] is None]
        place = ""
        row = [
            name
            for name in LINES[:3]
            if n == 3 and not any(scene.cells[i] is not None for i in line_cells(name))
        ]
        if rng.random() < 0.4 and not row:
            free = rng.sample(free, n)
            p, q = (PLACES[i][0] for i in free[:2])
            place = f", one {p} and one {q}" if rng.random() < 0.5 else f" {p} and {q}"
            if n == 3:
                place = f": {p}, {q} and {PLACES[free[2]][0]}"
        elif row:
            place = f" in the {row[0]}"
            free = line_cells(row[0])
        x = f"{rng.choice((NUMBERS[n], NUMBERS[n], str(n)))} {more}{bare}s{place}"
        return Wish(
            verb.format(x=x), each(scene, free[:n], lambda now, i: Transition.add(now, new, i)), about=GROUND
        )
    if len(scene.empty) < 2:
        return None
    one, other = rng.sample(scene.empty, 2)
    second, y = new_thing(rng)
    p, q = place_of(rng, one), place_of(rng, other)
    if kind < 0.85:
        x = rng.choice(
            ("{x} {p} and {y} {q}", "{x} {p}, {y} {q}", "{x} {p} plus {y} {q}", "{p} {x} and {q} {y}")
        )
        if x.startswith("{p}"):
            verb = rng.choice(("{x}", "put {x}", "draw {x}"))
    else:
        x = rng.choice(("{x} and {y}", "{x} and also {y}", "{x} plus {y}"))
        one, other = [i for i in ORDER if scene.cells[i] is None][:2]
    step = Transition.add(scene, new, one)
    return Wish(
        verb.format(x=x.format(x=words, y=y, p=p, q=q)),
        [step, Transition.add(step.after, second, other)],
        about=other,
    )


def _place_first(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """Where something new is to stand comes first; or only that it would be nice to have."""
    new, x = new_thing(rng)
    cell = rng.choice(scene.empty)
    forms = ("{p} put {x}", "{p} add {x}", "{p} I want {x}", "{p} there should be {x}", "{p}: {x}", "{p} goes {x}", "{p}, draw {x}", "{p} I'd like {x}",
             "{x} would be nice {p}", "{x} would look good {p}", "there is room {p}, put {x} there", "{p} is nothing yet, add {x} there",
             "it could use {x} {p}", "{x} belongs {p}", "{p} it is empty, I want {x} there", "{p} comes {x}", "I could do with {x} {p}",
             "something is missing {p}: {x}", "we still need {x} {p}", "{x} should be added {p}", "we're missing {x} {p}", "don't forget {x} {p}",
             "{x} can go {p}", "please put {x} {p} too", "{x} {p} as well", "it'd be nicer with {x} {p}", "+ {x} {p}", "fill the free place {p} with {x}")  # fmt: skip
    as_a_noun = ("{n} is empty, put {x} there", "fill {n} with {x}", "{n} needs {x}", "{n} is still free, add {x} there", "{n} could use {x}",
                 "{n} looks empty, {x} please", "{n} gets {x}")  # fmt: skip
    form = rng.choice(as_a_noun if cell in POINTS and rng.random() < 0.4 else forms)
    return Wish(form.format(p=place_of(rng, cell), x=x, n=NOUNS[cell]), [Transition.add(scene, new, cell)])


def _taken_back(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A wish of which something is corrected in the same breath."""
    cell = rng.choice(scene.occupied)
    r = called_in_line(rng, scene, cell, before)
    if r is None:
        return None
    no = rng.choice(
        (
            ", no wait, ",
            ", no, ",
            ", sorry, ",
            ", I mean ",
            "... no, ",
            ", wait, ",
            ", er, ",
            ", or rather ",
            ", oh no, ",
            ", well no, ",
            " - no, ",
            ", sorry, I mean ",
        )
    )
    kind = rng.random()
    if kind < 0.45:
        colour = other_colour(rng, scene.background, scene.at(cell).colour)
        w, v = COLOURS[other_colour(rng, scene.background, colour)], COLOURS[colour]
        words = rng.choice(
            (
                "make {r} {w}{no}{v}",
                "paint {r} {w}{no}{v}",
                "{r} should be {w}{no}{v}",
                "turn {r} {w}{no}make it {v}",
            )
        ).format(r=r, w=w, no=no, v=v)
        return Wish(words, [Transition.recolour(scene, cell, colour)], about=cell)
    if kind < 0.7 and len(scene.empty) > 1:
        if _PLACED.search(r):
            return None
        to, other = rng.sample(scene.empty, 2)
        words = rng.choice(("move {r} {w}{no}{v}", "put {r} {w}{no}{v}", "bring {r} {w}{no}{v}"))
        ways = [place_of(rng, other), place_of(rng, to)]
        ways = [towards(way) for way in ways] if not words.startswith("put") else ways
        return Wish(words.format(r=r, no=no, w=ways[0], v=ways[1]), [Transition.move(scene, cell, to)])
    if len(scene.occupied) < 2:
        return None
    other = rng.choice([i for i in scene.occupied if i != cell])
    names = both_named(rng, scene, (other, cell))
    if names is None:
        return None
    a, b = names
    if rng.random() < 0.5:
        return Wish(
            rng.choice(("remove {a}{no}{b}", "delete {a}{no}{b}", "take away {a}{no}{b}")).format(
                a=a, b=b, no=no
            ),
            [Transition.remove(scene, cell)],
        )
    colour = other_colour(rng, scene.background, scene.at(cell).colour)
    words = rng.choice(("make {a}{no}{b} {v}", "paint {a}{no}{b} {v}")).format(
        a=a, b=b, no=no, v=COLOURS[colour]
    )
    return Wish(words, [Transition.recolour(scene, cell, colour)], about=cell)


def _across(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A thing goes to the other side or the opposite corner, or one up where that is the edge."""
    forms: Sequence[str]
    cell = rng.choice(scene.occupied)
    name = named(rng, scene, cell)
    r = "it" if cell == before or (len(scene.occupied) == 1 and before is None) else f"the {name}"
    if r == "the None":
        return None
    row, column = divmod(cell, GRID)
    if rng.random() < 0.5 and cell != 4:
        to = 8 - cell
        if cell in CORNERS:
            forms = (
                "move {r} to the opposite corner",
                "put {r} in the opposite corner",
                "{r} should go to the opposite corner",
            )
        else:
            forms = ("move {r} to the other side", "put {r} on the other side", "{r} should be on the opposite side", "move {r} to the opposite side",
                     "bring {r} over to the other side")  # fmt: skip
    else:  # "up" is clear from the middle row alone
        ways = [(1, 0, "down"), (-1, 0, "up")] if row == 1 else []
        ways += [(0, 1, "to the right"), (0, -1, "to the left")] if column == 1 else []
        if not ways:
            return None
        down, right, w = rng.choice(ways)
        to = (row + down) * GRID + column + right
        forms = (
            "move {r} {w}",
            "shift {r} {w}",
            "push {r} {w}",
            "{r} further {w}",
            "{r} should be further {w}",
            "move {r} further {w}",
            "{r} should go {w}",
        )
        forms = tuple(form.replace("{w}", w) for form in forms)
        if w == "up":
            forms = (*forms, "{r} should be higher", "lift {r}", "move {r} higher")
        elif w == "down":
            forms = (*forms, "{r} should be lower", "move {r} lower")
    if scene.cells[to] is not None:
        return None
    return Wish(rng.choice(forms).format(r=r), [Transition.move(scene, cell, to)])


def _wondered(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A wish as a question, or as something that would be nice."""
    cell = rng.choice(scene.occupied)
    kind = rng.choice(("colour", "colour", "size", "move", "remove", "shape", "add"))
    thing, r = scene.at(cell), called_in_line(rng, scene, cell, before, ("size",) if kind == "size" else ())
    if r is None:
        return None
    may = rng.choice(("can", "could", "may", "can", "could"))
    p = rng.choice(_ASKED)
    whole, said = [], []
    if kind == "colour":
        colour = other_colour(rng, scene.background, thing.colour)
        v, step = COLOURS[colour], Transition.recolour(scene, cell, colour)
        whole = [f"{may} {r} be {v}{p}?", f"what if {r} was {v}?", f"how about {r} in {v}?", f"how would {r} look in {v}?", f"{may} I have {r} in {v}{p}?",
                 f"{may} we have {r} in {v}?", f"why isn't {r} {v}? change that", f"is it possible to have {r} in {v}?", f"wouldn't {r} be nicer in {v}?",
                 f"{may} {r} become {v}?", f"{may} {r} be painted {v}{p}?", f"what about {v} for {r}?", f"how about {v} for {r}"]  # fmt: skip
        said = [f"{r} would look better in {v}", f"I want that {r} is {v}", f"I want that {r} becomes {v}", f"do {r} in {v}", f"put {r} in {v}", f"{r} in the colour {v}", f"{r} needs to be {v}", f"{r} ought to be {v}", f"{r} would be nicer in {v}", f"{r} should be painted {v}",
                f"my daughter wants {r} {v}", f"my boss wants {r} in {v}", f"{r} needs to become {v}", f"{r} better {v}", f"{r} could be {v}",
                f"{r} is supposed to be {v}", f"{v} would suit {r}", f"{r} is the wrong colour, it should be {v}", f"I like {r} better in {v}",
                f"I want to see {r} in {v}", f"make sure {r} is {v}", f"{r} has to be painted {v}", f"change only {r} to {v}", f"see that {r} is {v}"]  # fmt: skip
    elif kind == "size":
        if thing.pattern:
            return None
        c, step = "smaller" if thing.size else "bigger", _resized(scene, cell)
        whole = [
            f"{may} {r} be {c}{p}?",
            f"what if {r} was {c}?",
            f"{may} you get {r} {c}?",
            f"{may} {r} get {c}?",
            f"how about {r} a bit {c}?",
        ]
        said = [f"{r} needs to be {c}", f"{r} would look better {c}", f"make {r} more {'small' if thing.size else 'big'}", f"{r} a little bit {c}", f"I want that {r} is {c}", f"{r} more {'small' if thing.size else 'big'} please", f"{r} ought to be {c}", f"{r} isn't {'small' if thing.size else 'big'} enough",
                f"{r} could be {c}", f"{r} should get {c}", f"{r} looks too {'big' if thing.size else 'small'}, fix it", f"I'd prefer {r} {c}"]  # fmt: skip
    elif kind == "move":
        if _PLACED.search(r):
            return None
        to = rng.choice(scene.empty)
        w, step = place_of(rng, to), Transition.move(scene, cell, to)
        t = towards(w)
        whole = [
            f"{may} {r} go {t}{p}?",
            f"{may} {r} be {w}?",
            f"{may} {r} be moved {t}{p}?",
            f"what if {r} was {w}?",
            f"{may} we have {r} {w}{p}?",
        ]
        said = [f"{r} would look better {w}", f"{r} needs to go {t}", f"{r} should be moved {t}", f"{r} is in the wrong place, it belongs {w}",
                f"{r} ought to be {w}", f"{r} would be nicer {w}", f"I'd rather have {r} {w}", f"{r} needs to be {w}"]  # fmt: skip
    elif kind == "remove":
        step = Transition.remove(scene, cell)
        whole = [f"{may} {r} be removed?", f"{may} {r} go away?", f"how would it look without {r}?", f"what if {r} wasn't there?", f"{may} I have it without {r}{p}?",
                 f"what would it look like without {r}?", f"{may} {r} go{p}?"]  # fmt: skip
        said = [f"{r} can be removed", f"{r} needs to go", f"{r} may go", f"we can do without {r}", f"{r} should be removed", f"{r} is too much",
                f"{r} doesn't belong there, remove it", f"{r} bothers me, delete it", f"{r} is wrong, take it away", f"I'm tired of {r}, remove it",
                f"there should be no {r.removeprefix('the ')}" if r.split()[-1] in SHAPES and r.startswith("the ") else f"{r} is superfluous",
                f"{r} was a mistake, delete it", f"it would look better without {r}", f"it is nicer without {r}"]  # fmt: skip
    elif kind == "shape":
        new = thing._replace(shape=(thing.shape + 1 + rng.randrange(len(SHAPES) - 1)) % len(SHAPES))
        v, step = article(SHAPES[new.shape]), Transition.replace(scene, cell, new)
        whole = [
            f"{may} {r} be {v}{p}?",
            f"what if {r} was {v}?",
            f"how about {v} instead of {r}?",
            f"{may} I have {v} instead of {r}{p}?",
            f"{may} {r} become {v}?",
        ]
        said = [f"{r} was supposed to be {v}", f"{r} ought to be {v}", f"{r} would be better as {v}", f"I meant {v}, not {r}", f"{v} would be better than {r}",
                f"I don't like {r}, make it {v}", f"{r} needs to be {v}"]  # fmt: skip
    else:
        new, x = new_thing(rng)
        to = rng.choice(scene.empty)
        w, step = place_of(rng, to), Transition.add(scene, new, to)
        whole = [f"{may} there be {x} {w}?", f"{may} I have {x} {w}{p}?", f"{may} we have {x} {w} too?", f"what if there was {x} {w}?", f"{may} I get {x} {w}?",
                 f"would {x} {w} be possible?", f"how would it look with {x} {w}?", f"what about {x} {w}?", f"{may} {x} be added {w}?"]  # fmt: skip
        said = [f"it would look better with {x} {w}", f"{x} {w} would be great", f"I forgot {x} {w}", f"my son wants {x} {w}", f"I was thinking of {x} {w}",
                f"{x} {w}, that would be nice"]  # fmt: skip
    if rng.random() < 0.45:
        return Wish(rng.choice(whole), [step], whole=True)
    words = rng.choice(said)
    return None if r == "it" and words.startswith(("it better", "it is superfluous")) else Wish(words, [step])


def _the_same_but(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """The same picture with one difference."""
    cell = rng.choice(scene.occupied)
    r = called_in_line(rng, scene, cell, before, it=False)
    if r is None:
        return None
    lead = rng.choice(("the same but {x}", "the same picture but {x}", "same picture, but {x}", "the same again, only {x}", "same, but {x}", "the same thing {x}",
                       "this picture {x}", "exactly the same, just {x}", "I want this {x}", "the same picture {x}"))  # fmt: skip
    kind = rng.random()
    if kind < 0.4:
        colour = other_colour(rng, scene.background, scene.at(cell).colour)
        x = rng.choice(("with {r} in {v}", "with {r} {v}", "with {r} in {v}")).format(r=r, v=COLOURS[colour])
        step = Transition.recolour(scene, cell, colour)
    elif kind < 0.6:
        x, step = f"without {r}", Transition.remove(scene, cell)
    elif kind < 0.8:
        new, words = new_thing(rng)
        to = rng.choice(scene.empty)
        x, step = f"with {words} {place_of(rng, to)}", Transition.add(scene, new, to)
    else:
        ground = other_colour(rng, scene.background)
        x, step = f"with {article(COLOURS[ground])} background", Transition.ground(scene, ground)
    return Wish(lead.format(x=x), [step], whole=rng.random() < 0.5)


def _from_one_ground(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """The background, with the colour that it has or in fewer words."""
    ground = other_colour(rng, scene.background)
    v, w = COLOURS[ground], COLOURS[scene.background]
    a = article(v)
    forms = (f"change the background from {w} to {v}", f"instead of {w} I want {a} background", f"the background is {w}, make it {v}", f"not {w} but {v} behind it",
             f"replace the {w} background with {a} one", f"{v} instead of {w} for the background", f"I don't like the {w} background, make it {v}",
             f"{v} bg", f"bg {v}", f"bg colour {v}", f"{v} backdrop", f"background colour {v}", f"make the bg {v}", f"background: {v}", f"no {w} background, {v} please",
             f"the background should be {v} instead of {w}", f"everything behind should be {v}", f"the background would look better in {v}",
             f"the background needs to be {v}", f"the background could be {v}", f"background in {v}", f"{a} background would be nice", f"turn the {w} background {v}",
             f"the colour behind should be {v}", f"get rid of the {w} background and make it {v}", f"I'd prefer {a} background")  # fmt: skip
    return Wish(rng.choice(forms), [Transition.ground(scene, ground)], about=GROUND)


_KINDS: dict[Callable[[random.Random, Scene, int | None], Wish | None], int] = {
    _the_rest: 12, _in_line: 7, _and_the_ground: 7, _two_looks: 8, _like_another: 6, _several_new: 14, _place_first: 8, _taken_back: 8, _across: 5,
    _wondered: 22, _the_same_but: 6, _from_one_ground: 6,
    between: 5, somewhere: 4, nothing_left: 3, one_place_on: 3,
}  # fmt: skip


def further_wish(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A wish of one of these kinds; None where this picture has none such.

    Raises:
        ValueError: It means nothing here, for instance because of the colour of the background.
    """
    make = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    for _ in range(4):
        if len(scene.empty) < 3:
            return None
        wish = make(rng, scene, before)
        if wish is not None and wish.steps:
            return wish
    return None
