"""Wishes about a named drawing that is seen as a whole: another one beside it, its sky, what it is."""

from __future__ import annotations

import random

from interleave_rt.worlds.shapes.scene import COLOURS, GRID, POSITIONS, Scene, Thing, Transition, other_colour

from .composites import COMPOSITES, Composite, fits_a_column, variants
from .grammar import article
from .groups import Wish
from .phrases import DRAWING_NAMES
from .plans import Request, answer
from .question_words import short_question, sure
from .seeing import GROUND, hurried

_LIKE_EACH_OTHER = (
    {"tree", "christmas tree"},
    {"landscape", "night sky"},
    {"face", "clown"},
    {"boat", "sundae", "ice cream"},
)
"""Drawings that somebody may take for each other: nobody is asked which of them it is."""


def _drawn(rng: random.Random, drawing: Composite) -> tuple[str, Scene]:
    """The name of the background, and the picture of a drawing in any of its colours."""
    ground, values = rng.choice(variants(drawing.name))
    steps = drawing.steps(ground, values)
    assert steps is not None  # variants are what can be drawn
    return ground, steps[-1][2].after


def _columns(drawing: Composite) -> list[int]:
    """The columns beside a drawing that are free and of which one is meant by "next to it": right, else left."""
    used = {POSITIONS.index(part.place) % GRID for part in drawing.parts}
    return [column for column in (2, 0) if column not in used]


def beside_a_drawing(rng: random.Random) -> tuple[Scene, Wish] | None:
    """A picture of a drawing, and another drawing that is to come beside it, in its own colours; None where there is no room."""
    drawing = COMPOSITES[rng.choice(list(COMPOSITES))]
    ground, scene = _drawn(rng, drawing)
    free = _columns(drawing)
    if not free:
        return None
    second = rng.choice([one for one in COMPOSITES.values() if fits_a_column(one)])
    column = rng.choice(free)
    now, added = scene, []
    colours = {key: next(v for v in kinds if v != ground) for key, kinds in second.choices.items()}
    for part in second.parts:
        cell = POSITIONS.index(part.place) + column - 1
        thing = Thing.named(part.thing.format(**colours))
        if thing.colour == now.background or now.cells[cell] is not None:
            return None
        added.append(Transition.add(now, thing, cell))
        now = added[-1].after
    n = rng.choice([drawing.name] * 4 + DRAWING_NAMES.get(drawing.name, []))
    m = rng.choice([second.name] * 4 + DRAWING_NAMES.get(second.name, []))
    d, a = rng.choice((f"the {n}", f"the {n}", f"this {n}", f"my {n}")), article(m)
    if n == m:
        a = f"another {m}"
    side = "right" if column == 2 else "left"
    forms = [f"put {a} to the {side} of {d}", f"add {a} on the {side}", f"{d} needs {a} on its {side}", f"draw {a} on the {side} of {d}", f"{a} to the {side} of {d}",
             f"I want {a} on the {side}", f"there should be {a} on the {side} side", f"{a} on the {side}", f"give {d} {a} on the {side}"]  # fmt: skip
    if column == free[0]:
        forms += [f"{d} needs {a}", f"this {n} needs {a}", f"put {a} next to {d}", f"add {a} beside {d}", f"draw {a} next to it", f"add {a}", f"{a} next to {d}",
                  f"now add {a} beside it", f"I'd like {a} next to {d}", f"it needs {a}", f"{d} should have {a} beside it", f"and {a} next to it",
                  f"it would be nicer with {a} next to it", f"{a} is missing", f"I want {a} too", f"give {d} {a} as a neighbour", f"{d} is lonely, add {a}"]  # fmt: skip
    return scene, Wish(rng.choice(forms), added)


def sky_of_a_drawing(rng: random.Random) -> tuple[Scene, Wish]:
    """The background of a drawing that stands outdoors, as its sky."""
    name = rng.choice(
        ("house", "tree", "landscape", "night sky", "balloon", "boat", "rocket", "snowman", "christmas tree")
    )
    _, scene = _drawn(rng, COMPOSITES[name])
    colour = other_colour(rng, *(thing.colour for thing in scene.cells if thing is not None))
    v = COLOURS[colour]
    forms = ("make the sky {v}", "the sky should be {v}", "paint the sky {v}", "{v} sky please", "a {v} sky", "I want the sky {v}", "turn the sky {v}",
             "change the sky to {v}", "the sky in {v}", "I'd like a {v} sky", "{v} sky")  # fmt: skip
    words = rng.choice(forms).replace("a {v}", article(v)).format(v=v)
    return scene, Wish(words, [Transition.ground(scene, colour)], about=GROUND)


def which_drawing(rng: random.Random) -> Request:
    """Whether a picture is a named drawing, and which one."""
    drawing = COMPOSITES[rng.choice(list(COMPOSITES))]
    (_, scene), name = _drawn(rng, drawing), drawing.name
    alike = next((names for names in _LIKE_EACH_OTHER if name in names), {name})
    other = rng.choice([one for one in COMPOSITES if one not in alike])
    kind = rng.random()
    if kind < 0.55:
        shown = name if rng.random() < 0.5 else other
        a = article(shown)
        text = short_question(rng, f"is this {a}", f"is that {a}", f"is it {a}", f"does this look like {a}", f"is this supposed to be {a}", f"have I drawn {a}",
                    f"did I draw {a}", f"is it meant to be {a}", f"this is {a}, right", f"{a}", f"is this a picture of {a}")  # fmt: skip
        reply = sure(shown == name, article(name))
    else:
        reply = f"{article(name).capitalize()}."
        if kind < 0.7:
            a, b = (article(one) for one in rng.sample((name, other), 2))
            text = short_question(
                rng, f"is this {a} or {b}", f"is it {a} or {b}", f"{a} or {b}", f"what is this, {a} or {b}"
            )
        else:
            text = short_question(rng, "what drawing is this", "which drawing is this", "what is this drawing", "what is it supposed to be", "what is this meant to be",
                        "what is it a picture of", "what is drawn here, all in all", "what do the shapes make together", "guess what I drew",
                        "what does it look like, all together", "what kind of drawing is this")  # fmt: skip
    return answer(hurried(rng, f"<image> {text}"), "question", (scene,), reply, (scene.occupied,))
