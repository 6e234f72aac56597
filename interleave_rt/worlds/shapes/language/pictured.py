"""What people say about a given picture: what is to be done with it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, GRID, PATTERNS, SHAPES, Scene, Thing, Transition

from .clauses import random_clauses
from .companions import beside_a_drawing, sky_of_a_drawing
from .frames import framed, without_links
from .further_wishes import further_wish
from .grammar import RELATIONS, article, neighbour
from .groups import Wish, of_several
from .parts import about_a_drawing
from .phrases import EDIT_WORDS, ITS, PLACES, RELATION_WORDS
from .plans import MOST_STEPS, Request, operations, plan_steps, split_of
from .seeing import (
    GONE,
    GROUND,
    called,
    called_in_line,
    hurried,
    look_words,
    looks,
    named,
    place_of,
    sizes,
    towards,
)
from .series import what_comes_next
from .wishes import INKS, ORDER, Edit, changed, clauses_in_full, random_item, thing_words

_TRIES = 8
_OPENINGS = (
    "Here is my picture: <image> ",
    "This is my picture: <image> ",
    "look at this: <image> ",
    "My picture <image>. ",
)


def about_a_picture(rng: random.Random) -> Request:
    """What is to be done with a given picture, in the words of people."""
    kind = rng.random()
    if kind < 0.06:
        return what_comes_next(rng)
    while True:
        if kind < 0.2:
            given, wish = about_a_drawing(rng)
        elif kind < 0.25:
            found = beside_a_drawing(rng) if kind < 0.237 else sky_of_a_drawing(rng)
            if found is None or all(step.before == step.after for step in found[1].steps):
                continue
            given, wish = found
        else:
            given = random_clauses(rng, rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 5)), edits=True)[
                -1
            ].transition.after
            made = _on_a_picture(rng, given, None) if given.occupied else None
            if made is None:
                continue
            wish = made
        words, steps = wish.words, list(wish.steps)
        wishes = rng.choices((1, 2, 3), (66, 27, 7))[0] if not wish.whole else 1
        for number in range(1, wishes):
            now = steps[-1].after
            more = _on_a_picture(rng, now, _spoken_of(wish)) if now.occupied else None
            if more is None or more.whole:
                break
            last = number == wishes - 1
            joints = (" and ", ", then ", " and then ", ". Then ", ", and ", ". ", " and also ", ", and after that ") if last else (
                ", ", ", then ", "; ", ". ")  # fmt: skip
            words, steps, wish = (
                words + rng.choice(joints) + without_links(more.words),
                steps + list(more.steps),
                more,
            )
        else:
            if len(steps) <= MOST_STEPS and steps[-1].after != given:
                return _request(rng, given, words, steps, wish.whole)


def _request(rng: random.Random, given: Scene, words: str, steps: list[Transition], whole: bool) -> Request:
    if not whole:
        words = framed(rng, words, len(steps))
    if rng.random() < 0.4:
        words = words[0].upper() + words[1:]
    kind = rng.random()
    text = (
        f"{words} <image>"
        if kind < 0.13
        else f"{rng.choice(_OPENINGS)}{words}"
        if kind < 0.2
        else f"<image> {words}"
    )
    scenes = tuple(step.after for step in steps)
    split = split_of(operations(steps, (given,)))
    plan = plan_steps(clauses_in_full(steps), False)
    return Request(hurried(rng, text), "guidance", "spoken", (given,), plan, scenes, split)


def _spoken_of(wish: Wish) -> int | None:
    """The cell that a wish was about last, or what else it was about."""
    if wish.about is not None:
        return wish.about
    last = wish.steps[-1]
    if last.operation == "ground":
        return GROUND
    if last.operation == "remove":
        return GONE
    return last.cell if last.to is None else last.to


def _on_a_picture(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """A wish about a picture; None where a few tries have found none, or where there is no room left."""
    if not scene.empty:
        return None
    for _ in range(_TRIES):
        make = rng.choices(list(_WAYS), list(_WAYS.values()))[0]
        try:
            wish = make(rng, scene, before)
        except ValueError:  # a thing of the colour of the background, a move to where something stands
            continue
        if wish and wish.steps and all(step.before != step.after for step in wish.steps):
            return wish
    return None


def _bare(name: str) -> str | None:
    """A thing that is called by its looks, without its article."""
    return (
        name.removeprefix("the ")
        if name.startswith("the ") and name.rsplit(maxsplit=1)[-1] in SHAPES
        else None
    )


def _recoloured(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    cell = rng.choice(scene.occupied)
    r, colour = called(rng, scene, cell, before), rng.randrange(len(COLOURS))
    if r is None:
        return None
    v, was = COLOURS[colour], COLOURS[scene.at(cell).colour]
    more = ["{r} {v}", "I want {r} {v}", "I'd like {r} in {v}", "{r} in {v} please", "I'd prefer {r} in {v}", "{r} has to be {v}",
            "have {r} in {v}", "{r} must be {v}", "let's have {r} in {v}", "{r} should turn {v}", "make the colour of {r} {v}",
            "{r} is {w}, it should be {v}", "{r} is {w}, make it {v}", "I don't like {r} in {w}, make it {v}", "get {r} {v}",
            "{v} for {r}", "{r} isn't {v} yet, change that", "set the colour of {r} to {v}", "{r} in {v} instead",
            "use {v} for {r}", "make {r} {v} instead of {w}", "turn {r} from {w} to {v}", "{r} is to be {v}"]  # fmt: skip
    form = rng.choice((*EDIT_WORDS["colour"], *more))
    if r == "it" and form in ("{r} {v}", "{r} in {v} please", "{r} in {v} instead", "{r} in {v}"):
        form = "make {r} {v}"
    if was in r and "{w}" in form:
        return None
    return Wish(form.format(r=r, v=v, w=was), [Transition.recolour(scene, cell, colour)])


def _resized(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    cell = rng.choice(scene.occupied)
    thing, r = scene.at(cell), called(rng, scene, cell, before, without=("size",))
    if r is None or thing.pattern:
        return None
    grows = 1 - thing.size
    v, bare = rng.choice(sizes(grows)), _bare(r)
    more = ["{r} {c}", "make {r} {c}", "make {r} a bit {c}", "I want {r} {c}", "{r} must be {c}", "can {r} be {c}?", "{r} is too {o}",
            "{r} is too {o}, change that", "make {r} much {c}", "I need {r} {c}", "{r} has to be {c}", "let {r} get {c}"]  # fmt: skip
    more += (["enlarge {r}", "blow {r} up", "increase the size of {r}", "scale {r} up", "let {r} grow", "{r} should grow"] if grows else
             ["shrink {r}", "reduce the size of {r}", "scale {r} down", "let {r} shrink", "{r} should shrink"])  # fmt: skip
    if bare is not None:
        more += ["{c} {b}", "{c} {b} please", "{c} {b}", "a {c} {b}", "a {c} {b} please"]
    form = rng.choice((*EDIT_WORDS["size"], *more))
    if "grows" in form and not grows:
        return None
    if (r == "it" and form == "{r} {c}") or form.startswith("can "):
        form = "make {r} {c}"
    words = form.format(r=r, v=v, c="bigger" if grows else "smaller", o="small" if grows else "big", b=bare)
    return Wish(words, [Transition.replace(scene, cell, thing._replace(size=grows, pattern=0))])


def _patterned(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    cell = rng.choice(scene.occupied)
    thing, r = scene.at(cell), called(rng, scene, cell, before, without=("pattern",))
    if r is None or not thing.size:
        return None
    pattern = rng.randrange(len(PATTERNS))
    v = PATTERNS[pattern]
    if not pattern:
        s = "stripes" if thing.pattern == PATTERNS.index("striped") else "dots"
        more = ["remove the {s} from {r}", "no {s} on {r}", "make {r} plain", "{r} without {s}", "take the {s} off {r}",
                "{r} should be plain", "{r} doesn't need {s}"]  # fmt: skip
        return Wish(
            rng.choice(more).format(r=r, s=s), [Transition.replace(scene, cell, thing._replace(pattern=0))]
        )
    s = "stripes" if v == "striped" else "dots"
    more = ["put {s} on {r}", "give {r} {s}", "{r} with {s}", "{s} on {r}", "cover {r} with {s}", "I want {s} on {r}", "{r} gets {s}",
            "{r} needs {s}", "draw {s} on {r}", "add {s} to {r}", "let {r} be {v}", "{r} {v}"]  # fmt: skip
    form = rng.choice((*EDIT_WORDS["pattern"], *more))
    form = "make {r} {v}" if r == "it" and form in ("{r} {v}", "{r} with {s}") else form
    return Wish(
        form.format(r=r, v=v, s=s), [Transition.replace(scene, cell, thing._replace(pattern=pattern))]
    )


_STEPS = {
    (0, 1): ("to the right", "right"),
    (0, -1): ("to the left", "left"),
    (-1, 0): ("up", "upwards"),
    (1, 0): ("down", "downwards"),
}


def _moved(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    cell = rng.choice(scene.occupied)
    r, kind = called(rng, scene, cell, before), rng.random()
    if r is None or (re.search(r"[a-z]+ (?:that is )?(?:at|in|on) the ", r) and r.split()[1] in SHAPES):
        return None  # "put the star on the left at the top" is hard to read
    if kind < 0.2:  # one place on
        way = rng.choice(list(_STEPS))
        row, column = cell // GRID + way[0], cell % GRID + way[1]
        if not (0 <= row < GRID and 0 <= column < GRID):
            return None
        form = rng.choice(("move {r} one place {w}", "move {r} one step {w}", "move {r} a bit {w}", "shift {r} one place {w}",
                           "push {r} one place {w}", "{r} goes one place {w}", "{r} one place {w}", "a bit further {w} with {r}",
                           "bring {r} one place further {w}", "slide {r} a little {w}"))  # fmt: skip
        to = row * GRID + column
        words = form.format(r=r, w=rng.choice(_STEPS[way][: 1 + (way[1] == 0)]))
        return None if scene.cells[to] is not None else Wish(words, [Transition.move(scene, cell, to)])
    if kind < 0.4 and len(scene.occupied) > 1:  # beside another one
        other, how = rng.choice([i for i in scene.occupied if i != cell]), rng.choice(list(RELATIONS))
        goal, name = neighbour(other, how), named(rng, scene, other)
        if goal is None or name is None or scene.cells[goal] is not None:
            return None
        form = rng.choice(("move {r} {w} the {n}", "put {r} {w} the {n}", "{r} should be {w} the {n}", "bring {r} {w} the {n}",
                           "{r} goes {w} the {n}", "place {r} {w} the {n}", "I want {r} {w} the {n}", "{r} {w} the {n}"))  # fmt: skip
        form = "put {r} {w} the {n}" if r == "it" and form.startswith("{r} {w}") else form
        words = form.format(r=r, w=rng.choice(RELATION_WORDS[how]), n=name)
        return Wish(words, [Transition.move(scene, cell, goal)])
    to = rng.choice(scene.empty)
    p = rng.choice(PLACES[to][:3])
    more = ["move {r} {t}", "shift {r} {t}", "bring {r} {t}", "send {r} {t}", "slide {r} {t}", "push {r} {t}", "pull {r} {t}", "{r} {t}",
            "I want {r} {p}", "I'd like {r} to be {p}", "{r} belongs {p}", "have {r} {p}", "{r} has to go {t}", "can {r} go {t}?",
            "{r} must move {t}", "let {r} stand {p}", "let {r} move {t}", "drag {r} {t}", "change the place of {r}: {p}",
            "{r} wants to go {t}", "get {r} {t}", "move {r} over {t}", "{r} stands wrong, put it {p}"]  # fmt: skip
    form = rng.choice((*EDIT_WORDS["move"], *more))
    form = (
        "move {r} {t}"
        if (r == "it" and form == "{r} {t}") or form.startswith("can ") or p == "on top"
        else form
    )
    p = "at the top" if p == "on top" else p
    return Wish(form.format(r=r, p=p, t=towards(p)), [Transition.move(scene, cell, to)])


def _removed(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    cell = rng.choice(scene.occupied)
    r = called(rng, scene, cell, before)
    if r is None:
        return None
    more = ["I don't want {r}", "I don't need {r} any more", "lose {r}", "rub {r} out", "{r} away", "{r} must go", "scrap {r}",
            "let {r} disappear", "make {r} disappear", "take out {r}", "cut {r} out", "without {r} please", "hide {r}", "away with {r}",
            "I don't like {r}, take it away", "{r} is not needed, remove it", "{r} has to go", "take {r} out", "let {r} vanish",
            "get {r} out of there", "{r} isn't wanted any more", "leave out {r}", "drop {r}", "everything without {r}"]  # fmt: skip
    bare = _bare(r)
    if bare is not None:
        more += ["no {b}", "no {b} please", "I want no {b}", "no more {b}"]
    form = rng.choice((*EDIT_WORDS["remove"], *more))
    form = (
        "remove {r}"
        if r == "it" and form in ("{r} away", "without {r} please", "away with {r}", "lose {r}")
        else form
    )
    return Wish(form.format(r=r, b=bare), [Transition.remove(scene, cell)])


def _replaced(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """Another shape in the place of a thing, of its own looks where nothing else is said."""
    cell = rng.choice(scene.occupied)
    thing, r = scene.at(cell), called(rng, scene, cell, before)
    if r is None:
        return None
    new = thing._replace(shape=(thing.shape + 1 + rng.randrange(len(SHAPES) - 1)) % len(SHAPES))
    v = article(SHAPES[new.shape])
    if rng.random() < 0.4:
        new = new._replace(colour=rng.randrange(len(COLOURS)))
        v = article(f"{COLOURS[new.colour]} {SHAPES[new.shape]}")
    more = ["{v} instead of {r}", "I'd rather have {v} than {r}", "{r} should be {v}", "let {r} become {v}", "transform {r} into {v}",
            "make {v} out of {r}", "convert {r} to {v}", "{r} should become {v}", "I want {v} instead of {r}", "{v} in place of {r}",
            "use {v} instead of {r}", "{r} out, {v} in", "there should be {v} instead of {r}", "make {v} of {r}", "not {r} but {v}",
            "{v} where {r} is", "{r} turns into {v}", "{r} gets replaced by {v}", "have {v} in place of {r}"]  # fmt: skip
    form = rng.choice((*EDIT_WORDS["shape"], *more))
    form = "turn {r} into {v}" if r == "it" and form not in EDIT_WORDS["shape"] else form
    return Wish(form.format(r=r, v=v, a=v), [Transition.replace(scene, cell, new)])


def _grounded(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    colour = rng.randrange(len(COLOURS))
    v, a = COLOURS[colour], article(COLOURS[colour])
    step = Transition.ground(scene, colour)
    if rng.random() < 0.25 and before is None:
        whole = ("what if the background was {v}?", "how would it look on {a} background?", "what would it look like on {v}?",
                 "what about {a} background?", "how about {a} background", "can I have it on {a} background?",
                 "what if it had {a} background", "can I see it on {v}?", "could I have {a} background please",
                 "how does it look with {a} background?", "why not {a} background?", "can the background be {v}, please?",
                 "imagine {a} background", "What if it was on {v}?")  # fmt: skip
        return Wish(rng.choice(whole).format(v=v, a=a), [step], whole=True)
    more = ["new background: {v}", "put everything on {a} background", "the background has to be {v}", "I want {a} background",
            "{a} background instead", "the background in {v}", "the same on {v}", "the same on {a} background", "{v} background",
            "use {a} background", "I'd like the background in {v}", "replace the background with {a} one", "have {a} background",
            "let's have {a} background", "it should be on {a} background", "the background must be {v}", "fill the background with {v}",
            "swap the background for {a} one", "make the colour of the background {v}", "put {v} behind it",
            "the background isn't nice, make it {v}"]  # fmt: skip
    return Wish(rng.choice((*EDIT_WORDS["ground"], *more)).format(v=v, a=a), [step])


_ADD_FORMS = ("add {x}", "add {x}", "put {x}", "draw {x}", "place {x}", "{x}", "I'm missing {x}", "it needs {x}", "I want {x}", "paint {x}",
              "there should be {x}", "it lacks {x}", "give it {x}", "have {x}", "I'd like {x}", "I need {x}", "and {x}", "plus {x}",
              "it's missing {x}", "there's still {x} missing", "how about {x}?", "it could do with {x}", "{x} is missing", "let there be {x}",
              "add {x} to it", "now {x} as well", "also {x}", "get me {x}", "there is no {b} yet, add one {p}", "I would like to see {x}",
              "it's missing {x}. could you add it?", "what is missing is {x}", "set {x}", "there has to be {x}")  # fmt: skip


def _said_to_add(rng: random.Random, words: str, place: str, new: Thing, scene: Scene) -> Wish | None:
    """Words for one more thing; `place` may be empty."""
    form = rng.choice(_ADD_FORMS)
    if "{b}" in form:
        b = f"{COLOURS[new.colour]} {SHAPES[new.shape]}"
        if not place or any(scene.at(i)[:2] == new[:2] for i in scene.occupied) or words != article(b):
            return None
        return Wish(form.format(b=b, p=place), [], whole=True)
    if form == "add {x} to it" and place:
        form = "add {x}"
    x = f"{words} {place}".strip()
    if form == "how about {x}?":
        return Wish(form.format(x=x), [], whole=True)
    return Wish(form.format(x=x), [], whole="could you" in form)


def _added(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """One more thing: at a place, beside another one, or where there is room."""
    item = replace(random_item(rng), colour=rng.randrange(len(COLOURS)))
    if rng.random() < 0.12:  # nobody says of which colour
        used = {scene.background, *(scene.at(i).colour for i in scene.occupied)}
        free = [ink for ink in INKS if COLOURS.index(ink) not in used]
        words = thing_words(rng, replace(item, colour=None))
        item.colour = COLOURS.index(free[0])
    else:
        words = thing_words(rng, item)
    new = item.seen()
    kind, cell = rng.random(), rng.choice(scene.occupied)
    if kind < 0.4:
        r, how = called_in_line(rng, scene, cell, before), rng.choice(list(RELATIONS))
        where = neighbour(cell, how)
        if where is None or r is None or scene.cells[where] is not None:
            return None
        place = f"{rng.choice(RELATION_WORDS[how])} {r}"
        if r == "it":
            place = rng.choice(ITS[how])
    elif kind < 0.5:
        where, place = next(i for i in ORDER if scene.cells[i] is None), ""
    else:
        where = rng.choice(scene.empty)
        place = rng.choice(PLACES[where])
    said = _said_to_add(rng, words, place, new, scene)
    return said and replace(said, steps=[Transition.add(scene, new, where)])


def _copied(rng: random.Random, scene: Scene, before: int | None) -> Wish | None:
    """One more like one that is there."""
    cell = rng.choice(scene.occupied)
    new = scene.at(cell)
    alone = len(scene.occupied) == 1
    r = called(rng, scene, cell, before)
    ways = [look for look in looks(new) if look[0] is not None and all(
        scene.at(i) == new for i in scene.occupied if all(x in (None, y) for x, y in zip(look, scene.at(i), strict=True)))]  # fmt: skip
    if r is None or not ways:
        return None
    bare = look_words(rng, rng.choice(ways[:2]))
    one = rng.choice(("another {b}", "one more {b}", "a second {b}", "another {b} like this", "a copy of {r}", "another {b}",
                      "one more {b} like that"))  # fmt: skip
    if "second" in one and sum(scene.at(i)[:2] == new[:2] for i in scene.occupied) > 1:
        return None
    if alone and before is None and rng.random() < 0.5:
        one = rng.choice(("one more like this", "another one like it", "the same thing again", "another one of these", "another one",
                          "one more", "the same again", "a second one", "a copy of it", "one more of the same", "a second one like that",
                          "a twin of it"))  # fmt: skip
    one = one.format(b=bare, r=r)
    kind = rng.random()
    if kind < 0.3:
        how = rng.choice(list(RELATIONS))
        goal = neighbour(cell, how)
        if goal is None or scene.cells[goal] is not None:
            return None
        where = goal
        place = rng.choice(ITS[how])
    elif kind < 0.4:
        where, place = next(i for i in ORDER if scene.cells[i] is None), ""
    else:
        where = rng.choice(scene.empty)
        place = rng.choice(PLACES[where][:3])
    steps = [Transition.add(scene, new, where)]
    if kind >= 0.4 and rng.random() < 0.25:
        form = rng.choice(
            (
                "copy {r} {t}",
                "duplicate {r} {p}",
                "repeat {r} {p}",
                "copy {r} and put the copy {p}",
                "draw {r} again {p}",
            )
        )
        return Wish(form.format(r=r, t=towards(place), p=place), steps)
    form = rng.choice(("add {x}", "put {x}", "draw {x}", "{x}", "{x}", "I want {x}", "place {x}", "I'd like {x}", "give me {x}", "there should be {x}",
                       "I need {x}", "let's have {x}", "and {x}"))  # fmt: skip
    return Wish(form.format(x=f"{one} {place}".strip()), steps)


def _tale(rng: random.Random, scene: Scene, _: int | None) -> Wish | None:
    """A new thing comes, and something becomes of it."""
    item = replace(random_item(rng), colour=rng.randrange(len(COLOURS)))
    new = item.seen()
    where = rng.choice(scene.empty)
    x = thing_words(rng, item)
    if not x.startswith(("a ", "an ", "one ")):
        return None
    form = rng.choice(("{x} comes {p}", "{x} appears {p}", "{x} shows up {p}", "{x} goes {t}", "{x} arrives {p}", "{x} joins {p}",
                       "along comes {x} {p}", "{x} pops up {p}"))  # fmt: skip
    p = place_of(rng, where)
    steps = [Transition.add(scene, new, where)]
    words = form.format(x=x, p=p, t=towards(p))
    if rng.random() < 0.5:
        words = (
            rng.choice(
                (
                    "continue: ",
                    "next ",
                    "and then ",
                    "then ",
                    "next: ",
                    "go on: ",
                    "continue: next ",
                    "Continue, ",
                )
            )
            + words
        )
    kind, value = rng.choice(("colour", "colour", "move", "remove", "size")), 0
    then = rng.choice(
        (", then it ", " and then it ", " and ", ". Then it ", ", after that it ", " and it ", "; then it ")
    )
    if kind == "colour":
        value = rng.randrange(len(COLOURS))
        what = f"{rng.choice(('turns', 'becomes', 'gets', 'changes to'))} {COLOURS[value]}"
    elif kind == "move":
        value = rng.choice([i for i in range(CELLS) if scene.cells[i] is None and i != where])
        what = f"{rng.choice(('moves', 'goes', 'moves on'))} {towards(rng.choice(PLACES[value][:1]))}"
    elif kind == "remove":
        what = rng.choice(("disappears", "goes away again", "leaves again", "is gone"))
    else:
        if new.pattern:
            return None
        value = 1 - new.size
        what = rng.choice(("grows", "gets bigger") if value else ("shrinks", "gets smaller"))
    steps.append(changed(steps[-1].after, Edit(kind, 0, value), [where]))
    return Wish(words + then + what, steps)


_WAYS: dict[Callable[[random.Random, Scene, int | None], Wish | None], int] = {
    _recoloured: 16, _resized: 9, _patterned: 5, _moved: 16, _removed: 14, _replaced: 10, _grounded: 7, _added: 26, _copied: 12,
    _tale: 5, of_several: 34, further_wish: 48,
}  # fmt: skip
