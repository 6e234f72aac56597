"""Wishes about a named drawing that is seen, in the names of its parts: "give the snowman a red hat"."""

from __future__ import annotations

import random

from interleave_rt.worlds.shapes.scene import COLOURS, POSITIONS, SHAPES, Scene, Thing, Transition

from .composites import COMPOSITES, Composite, variants
from .grammar import article
from .groups import Wish
from .phrases import DRAWING_NAMES, PLACES, SIZE_WORDS
from .seeing import sizes

_Parts = dict[str, tuple[int, Thing]]
"""The cell and the looks of every part, by name, in drawing order."""


def _chosen(rng: random.Random) -> tuple[Composite, int, _Parts]:
    drawing = COMPOSITES[rng.choice(list(COMPOSITES))]
    ground, values = rng.choice(variants(drawing.name))
    parts = {p.name: (POSITIONS.index(p.place), Thing.named(p.thing.format(**values))) for p in drawing.parts}
    return drawing, COLOURS.index(ground), parts


def _speakable(name: str, thing: Thing, drawing: Composite) -> bool:
    """Whether the name of a part stands for nothing else: not for the drawing, nor for a shape that it has not."""
    return name != drawing.name and (name not in SHAPES or name == SHAPES[thing.shape])


def _said(rng: random.Random, drawing: Composite) -> str:
    others = DRAWING_NAMES.get(drawing.name, [])
    return rng.choice(others) if others and rng.random() < 0.25 else drawing.name


def about_a_drawing(rng: random.Random) -> tuple[Scene, Wish]:
    """A picture of a drawing, perhaps without some of its parts, and what is to become of a part."""
    while True:
        drawing, ground, parts = _chosen(rng)
        names = [name for name, (_, thing) in parts.items() if _speakable(name, thing, drawing)]
        if not names:
            continue
        make = rng.choices((_given, _changed, _pair), (5, 4, 2))[0]
        try:
            made = make(rng, drawing, Scene(ground), parts, names)
        except ValueError:  # a colour of the background
            continue
        if made is not None and all(step.before != step.after for step in made[1].steps):
            return made


def _scene(empty: Scene, parts: _Parts, without: frozenset[str]) -> Scene:
    for name, (cell, thing) in parts.items():
        if name not in without:
            empty = empty.put(cell, thing)
    return empty


def _given(
    rng: random.Random, drawing: Composite, empty: Scene, parts: _Parts, names: list[str]
) -> tuple[Scene, Wish] | None:
    """A part that is missing."""
    name = rng.choice(names)
    order = list(parts)
    later = order[order.index(name) + 1 :]
    without = {name, *(later if rng.random() < 0.5 else ())}
    scene = _scene(empty, parts, frozenset(without))
    if len(scene.occupied) < 2 and len(parts) > 2:
        return None
    cell, thing = parts[name]
    n = _said(rng, drawing)
    d, v = f"the {n}", ""
    part = next(one for one in drawing.parts if one.name == name)
    keys = [key for key in drawing.choices if "{" + key + "}" in part.thing]
    if rng.random() < 0.7:
        thing = thing._replace(colour=rng.randrange(len(COLOURS)))
        v = COLOURS[thing.colour]
    elif keys and any(key in one.thing for one in drawing.parts if one.name not in without for key in keys):
        pass  # as on the picture: the other eye has the colour of the one that is there
    elif keys:
        fresh = Thing.named(part.thing.format(**{key: values[0] for key, values in drawing.choices.items()}))
        thing = fresh
    words = f"{v} {name}".strip()
    step = Transition.add(scene, thing, cell)
    a, t = article(words), f"the {words}"
    forms = ["give {d} {a}", "{d} needs {a}", "add {a} to {d}", "{d} gets {a}", "{a} for {d}", "put {a} on {d}", "add {t} to {d}",
             "{d} is missing {a}", "I want {d} to have {a}", "{d} should have {a}", "draw {a} for {d}", "let {d} have {a}",
             "{d} still needs {a}", "{d} lacks {a}", "{d} has no {m} yet, add {a}", "now {t} of {d}", "where is {d}'s {m}? Add {a}",
             "draw {t} of {d}", "this {n} needs {a}", "give this {n} {a}", "add {t}", "it needs {a}", "give it {a}", "complete {d} with {a}",
             "finish {d} with {a}", "it is a {n}: give it {a}", "my {n} needs {a}", "give my {n} {a}", "{d} wants {a}", "{d} with {a}"]  # fmt: skip
    if rng.random() < 0.2:  # finished with a thing that is told by its looks
        look = f"{rng.choice(SIZE_WORDS[thing.size])} {COLOURS[thing.colour]} {SHAPES[thing.shape]}"
        if thing.pattern:
            return None
        form = rng.choice(("finish {d} by adding {x} {p}", "complete {d} with {x} {p}", "finish {d}: {x} {p}", "this is {e}, add {x} {p}",
                           "to finish {d}, put {x} {p}", "{d} needs {x} {p}", "continue {d} with {x} {p}"))  # fmt: skip
        words = form.format(d=d, e=article(n), x=article(look), p=rng.choice(PLACES[cell][:3]))
        return scene, Wish(words, [step])
    words = rng.choice(forms).replace("a {n}", "{e}").format(d=d, n=n, a=a, t=t, m=name, e=article(n))
    return scene, Wish(words, [step], whole="?" in words)


def _changed(
    rng: random.Random, drawing: Composite, empty: Scene, parts: _Parts, names: list[str]
) -> tuple[Scene, Wish] | None:
    """A part that is there gets another colour or another size, or goes."""
    scene, name = _scene(empty, parts, frozenset()), rng.choice(names)
    cell, thing = parts[name]
    n = _said(rng, drawing)
    t = rng.choice(
        (
            f"the {name}",
            f"the {name}",
            f"its {name}",
            f"the {n}'s {name}",
            f"the {name} of the {n}",
            f"the {name} of this {n}",
        )
    )
    kind = rng.choice(("colour", "colour", "colour", "remove", "remove", "size"))
    forms: tuple[str, ...]
    if kind == "colour":
        colour = rng.randrange(len(COLOURS))
        if colour == thing.colour:
            return None
        forms = ("make {t} {v}", "paint {t} {v}", "{t} should be {v}", "colour {t} {v}", "{t} in {v}", "turn {t} {v}", "I want {t} {v}",
                 "change {t} to {v}", "{a} {m} would be nicer", "I'd like {t} to be {v}", "let {t} be {v}", "give the {n} {a} {m}",
                 "the {n} should have {a} {m}", "change the colour of {t} to {v}")  # fmt: skip
        words = rng.choice(forms).format(t=t, v=COLOURS[colour], a=article(COLOURS[colour]), n=n, m=name)
        return scene, Wish(words, [Transition.recolour(scene, cell, colour)])
    if kind == "remove":
        if len(parts) < 3 and rng.random() < 0.5:
            return None
        forms = ("remove {t}", "take {t} away", "without {t}", "take off {t}", "delete {t}", "the {n} loses {t}", "I don't want {t}", "no {m}",
                 "the {n} without {m} please", "the same {n} without {t}", "{t} should go", "get rid of {t}", "the {n} needs no {m}", "erase {t}",
                 "leave out {t}", "a {n} without {m}")  # fmt: skip
        form = rng.choice(forms).replace("a {n}", article(n))
        form = form.replace("loses {t}", "loses its {m}").replace("without {t}", "without the {m}")
        return scene, Wish(form.format(t=t, n=n, m=name), [Transition.remove(scene, cell)])
    if thing.pattern:
        return None
    size = 1 - thing.size
    v = rng.choice(sizes(size)[:2] if size else ("smaller", "smaller"))
    forms = (
        "make {t} {v}",
        "{t} should be {v}",
        "{v} {m} please",
        "a {v} {m} please",
        "I want a {v} {m}",
        "{t} is too {o}",
        "give it a {v} {m}",
    )
    words = rng.choice(forms).format(t=t, v=v, m=name, o="small" if size else "big")
    return scene, Wish(words, [Transition.replace(scene, cell, thing._replace(size=size))])


def _pair(
    rng: random.Random, drawing: Composite, empty: Scene, parts: _Parts, names: list[str]
) -> tuple[Scene, Wish] | None:
    """Two parts of one name: the eyes, the arms, the wheels."""
    sides = [name for name in names if name.startswith(("left ", "right "))]
    both = [name for name in sides if sum(one.endswith(f" {name.split()[-1]}") for one in parts) == 2]
    if len(both) != 2:
        return None
    many = f"{both[0].split()[-1]}s"
    n = _said(rng, drawing)
    kind = rng.choice(("colour", "colour", "add", "remove"))
    scene = _scene(empty, parts, frozenset(both) if kind == "add" else frozenset())
    t = rng.choice(
        (f"the {many}", f"its {many}", f"both {many}", f"the two {many}", f"the {many} of the {n}")
    )
    steps: list[Transition] = []
    colour = rng.randrange(len(COLOURS)) if kind != "remove" else 0
    for name in both:
        now = steps[-1].after if steps else scene
        cell, thing = parts[name]
        if kind == "colour":
            steps.append(Transition.recolour(now, cell, colour))
        elif kind == "remove":
            steps.append(Transition.remove(now, cell))
        else:
            steps.append(Transition.add(now, thing._replace(colour=colour), cell))
    v = COLOURS[colour]
    forms = {
        "colour": ("make {t} {v}", "paint {t} {v}", "{t} should be {v}", "colour {t} {v}", "give the {n} {v} {m}", "{t} in {v}", "I want {v} {m}"),
        "remove": ("remove {t}", "take {t} away", "without {m}", "the {n} without {m}", "no {m} please", "the {n} loses its {m}", "delete {t}"),
        "add": ("give the {n} {v} {m}", "the {n} needs {v} {m}", "add {v} {m}", "add two {v} {m} to the {n}", "it needs two {v} {m}",
                "the {n} gets {v} {m}", "put {v} {m} on the {n}", "{v} {m} for the {n}", "the {n} should have {v} {m}"),
    }[kind]  # fmt: skip
    return scene, Wish(rng.choice(forms).format(t=t, v=v, n=n, m=many), steps)
