"""Picture stories: something happens to a thing or two, step by step, with a sentence for every picture."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Thing, Transition, other_colour

from .grammar import article, explicit, natural
from .plans import PlanStep, Request, operations, split_of

_ASK = (
    "Tell the story of {x}.",
    "Tell me the story of {x} in pictures.",
    "A picture story: {x}.",
    "Show the story of {x}",
    "Make a picture story about {x}.",
    "tell a story about {x}",
    "Illustrate the story of {x}.",
)
_Told = list[
    tuple[str, tuple[Any, ...], str, str]
]  # a method of `Transition` with its arguments, sentence, step name


def _rolls(rng: random.Random, ground: int) -> tuple[str, _Told]:
    colour, size = other_colour(rng, ground), rng.randrange(2)
    kind = rng.choice((0, 5))  # a ball or a hoop
    word = "ball" if kind == 0 else "hoop"
    path, way = rng.choice((((6, 7, 8), "right"), ((8, 7, 6), "left")))
    thing = Thing(kind, colour, size)
    size_word = "small" if size == 0 else "large"
    return f"{article(size_word)} {COLOURS[colour]} {word} that rolls to the {way}", [
        ("draw", (ground, thing, path[0]), f"The {word} lies still.", word),
        ("move", path[:2], f"It rolls to the {way}.", "rolling"),
        ("move", path[1:], f"It stops at the {way}.", "end"),
    ]


def _rises(rng: random.Random, ground: int) -> tuple[str, _Told]:
    hill, sun = other_colour(rng, ground), rng.choice([c for c in (3, 4, 0) if c != ground])
    return f"{article(COLOURS[sun])} sun that rises over {article(COLOURS[hill])} hill", [
        ("draw", (ground, Thing(2, hill, 1), 7), "The hill is quiet.", "hill"),
        ("add", (Thing(0, sun, 0), 3), "The sun wakes up.", "sun"),
        ("move", (3, 1), "Now it is noon.", "noon"),
    ]


def _changes(rng: random.Random, ground: int) -> tuple[str, _Told]:
    shape = rng.randrange(len(SHAPES))
    colours = [other_colour(rng, ground)]
    colours.append(other_colour(rng, ground, colours[0]))
    colours.append(other_colour(rng, ground, colours[1]))
    words = [COLOURS[c] for c in colours]
    name = SHAPES[shape]
    return f"a {name} that is first {words[0]}, then {words[1]} and then {words[2]}", [
        ("draw", (ground, Thing(shape, colours[0], 1), 4), f"The {name} is {words[0]}.", name),
        ("recolour", (4, colours[1]), f"It turns {words[1]}.", words[1]),
        ("recolour", (4, colours[2]), f"At last it is {words[2]}.", words[2]),
    ]


def _grows(rng: random.Random, ground: int) -> tuple[str, _Told]:
    stem, bloom = other_colour(rng, ground), other_colour(rng, ground)
    return f"{article(COLOURS[stem])} plant that grows and gets {article(COLOURS[bloom])} bloom", [
        ("draw", (ground, Thing(3, stem, 0), 7), "A seed lies in the ground.", "seed"),
        ("add", (Thing(3, stem, 1), 4), "A stem grows out of it.", "stem"),
        ("add", (Thing(4, bloom, 1), 1), "It blooms.", "bloom"),
    ]


def _vanishes(rng: random.Random, ground: int) -> tuple[str, _Told]:
    colour, shape = other_colour(rng, ground), rng.choice((4, 6, 0))
    other = other_colour(rng, ground, colour)
    place = rng.choice((3, 5))
    name = SHAPES[shape]
    way = "left" if place == 3 else "right"
    return (
        f"{article(COLOURS[colour])} {name} that meets a small {COLOURS[other]} {name} on the {way} and loses it"
    ), [
        ("draw", (ground, Thing(shape, colour, 1), 4), f"There was {article(name)}, all alone.", name),
        ("add", (Thing(shape, other, 0), place), "A friend came along.", "friend"),
        ("remove", (place,), "Then the friend went home.", "alone"),
    ]


def _flies(rng: random.Random, ground: int) -> tuple[str, _Told]:
    colour, column = other_colour(rng, ground), rng.randrange(3)
    place = ("on the left", "in the middle", "on the right")[column]
    return f"a striped {COLOURS[colour]} balloon that flies up {place}", [
        ("draw", (ground, Thing(0, colour, 1, 1), 6 + column), "The balloon is on the ground.", "balloon"),
        ("move", (6 + column, 3 + column), "It takes off.", "start"),
        ("move", (3 + column, column), "It is high up in the sky.", "sky"),
    ]


def _melts(rng: random.Random, ground: int) -> tuple[str, _Told]:
    hat = other_colour(rng, ground, 7)
    return f"a snowman that loses {article(COLOURS[hat])} hat", [
        ("draw", (ground, Thing(0, 7, 1), 7), "Somebody rolls a ball of snow.", "body"),
        ("add", (Thing(0, 7, 1), 4), "A second one becomes the head.", "head"),
        ("add", (Thing(1, hat, 0), 1), "The snowman gets a hat.", "hat"),
        ("remove", (1,), "The wind takes the hat away.", "wind"),
    ]


_STORIES: tuple[Callable[[random.Random, int], tuple[str, _Told]], ...] = (
    _rolls,
    _rises,
    _changes,
    _grows,
    _vanishes,
    _flies,
    _melts,
)


_VERBS = {"draw": "Draw", "add": "Add", "move": "Move", "remove": "Remove", "recolour": "Change"}


def story(rng: random.Random) -> Request:
    """A story with its text in `auxiliary_text`."""
    make = rng.choice(_STORIES)
    ground = rng.choice((1, 2, 6)) if make is _melts else rng.randrange(len(COLOURS))
    about, told = make(rng, ground)
    text = rng.choice(_ASK).format(x=f"{about} on {article(COLOURS[ground])} background")
    steps: list[PlanStep] = []
    done: list[Transition] = []
    for operation, arguments, sentence, name in told:
        scene = (done[-1].after,) if done else ()
        step: Transition = getattr(Transition, operation)(*scene, *arguments)
        prompt = natural(step, done[-1].cell) if done else explicit(step)
        steps.append(PlanStep(f"{_VERBS[operation]} the {_noun(step)}.", prompt, sentence, name))
        done.append(step)
    scenes = tuple(step.after for step in done)
    return Request(text, "narrative", "story", (), tuple(steps), scenes, split_of(operations(done)))


def _noun(step: Transition) -> str:
    scene = step.before if step.operation in ("remove", "move") and step.before is not None else step.after
    return SHAPES[scene.at(step.cell).shape]
