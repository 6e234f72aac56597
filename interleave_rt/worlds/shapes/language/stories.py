"""Picture stories: something happens to a thing or two, step by step, with a sentence for every picture."""

from __future__ import annotations

import random
from collections.abc import Callable

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Scene, Thing, Transition

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
_Told = list[tuple[Transition, str, str]]  # step, sentence, step name


def _other(rng: random.Random, *taken: int) -> int:
    return rng.choice([colour for colour in range(len(COLOURS)) if colour not in taken])


def _rolls(rng: random.Random, ground: int) -> tuple[str, _Told]:
    colour, size = _other(rng, ground), rng.randrange(2)
    kind = rng.choice((0, 5))  # a ball or a hoop
    word = "ball" if kind == 0 else "hoop"
    path, way = rng.choice((((6, 7, 8), "right"), ((8, 7, 6), "left")))
    thing = Thing(kind, colour, size)
    first = Transition.draw(ground, thing, path[0])
    second = Transition.move(first.after, path[0], path[1])
    third = Transition.move(second.after, path[1], path[2])
    size_word = "small" if size == 0 else "large"
    return f"{article(size_word)} {COLOURS[colour]} {word} that rolls to the {way}", [
        (first, f"The {word} lies still.", word),
        (second, f"It rolls to the {way}.", "rolling"),
        (third, f"It stops at the {way}.", "end"),
    ]


def _rises(rng: random.Random, ground: int) -> tuple[str, _Told]:
    hill, sun = _other(rng, ground), rng.choice([c for c in (3, 4, 0) if c != ground])
    first = Transition.draw(ground, Thing(2, hill, 1), 7)
    second = Transition.add(first.after, Thing(0, sun, 0), 3)
    third = Transition.move(second.after, 3, 1)
    return f"{article(COLOURS[sun])} sun that rises over {article(COLOURS[hill])} hill", [
        (first, "The hill is quiet.", "hill"),
        (second, "The sun wakes up.", "sun"),
        (third, "Now it is noon.", "noon"),
    ]


def _changes(rng: random.Random, ground: int) -> tuple[str, _Told]:
    shape = rng.randrange(len(SHAPES))
    colours = [_other(rng, ground)]
    colours.append(_other(rng, ground, colours[0]))
    colours.append(_other(rng, ground, colours[1]))
    first = Transition.draw(ground, Thing(shape, colours[0], 1), 4)
    second = Transition.recolour(first.after, 4, colours[1])
    third = Transition.recolour(second.after, 4, colours[2])
    words = [COLOURS[c] for c in colours]
    name = SHAPES[shape]
    return f"a {name} that is first {words[0]}, then {words[1]} and then {words[2]}", [
        (first, f"The {name} is {words[0]}.", name),
        (second, f"It turns {words[1]}.", words[1]),
        (third, f"At last it is {words[2]}.", words[2]),
    ]


def _grows(rng: random.Random, ground: int) -> tuple[str, _Told]:
    stem, bloom = _other(rng, ground), _other(rng, ground)
    first = Transition.draw(ground, Thing(3, stem, 0), 7)
    second = Transition.add(first.after, Thing(3, stem, 1), 4)
    third = Transition.add(second.after, Thing(4, bloom, 1), 1)
    return f"{article(COLOURS[stem])} plant that grows and gets {article(COLOURS[bloom])} bloom", [
        (first, "A seed lies in the ground.", "seed"),
        (second, "A stem grows out of it.", "stem"),
        (third, "It blooms.", "bloom"),
    ]


def _vanishes(rng: random.Random, ground: int) -> tuple[str, _Told]:
    colour, shape = _other(rng, ground), rng.choice((4, 6, 0))
    other = _other(rng, ground, colour)
    place = rng.choice((3, 5))
    first = Transition.draw(ground, Thing(shape, colour, 1), 4)
    second = Transition.add(first.after, Thing(shape, other, 0), place)
    third = Transition.remove(second.after, place)
    name = SHAPES[shape]
    way = "left" if place == 3 else "right"
    return (
        f"{article(COLOURS[colour])} {name} that meets a small {COLOURS[other]} {name} on the {way} and loses it"
    ), [
        (first, f"There was {article(name)}, all alone.", name),
        (second, "A friend came along.", "friend"),
        (third, "Then the friend went home.", "alone"),
    ]


def _flies(rng: random.Random, ground: int) -> tuple[str, _Told]:
    colour, column = _other(rng, ground), rng.randrange(3)
    place = ("on the left", "in the middle", "on the right")[column]
    first = Transition.draw(ground, Thing(0, colour, 1, 1), 6 + column)
    second = Transition.move(first.after, 6 + column, 3 + column)
    third = Transition.move(second.after, 3 + column, column)
    return f"a striped {COLOURS[colour]} balloon that flies up {place}", [
        (first, "The balloon is on the ground.", "balloon"),
        (second, "It takes off.", "start"),
        (third, "It is high up in the sky.", "sky"),
    ]


def _melts(rng: random.Random, ground: int) -> tuple[str, _Told]:
    hat = _other(rng, ground, 7)
    first = Transition.draw(ground, Thing(0, 7, 1), 7)
    second = Transition.add(first.after, Thing(0, 7, 1), 4)
    third = Transition.add(second.after, Thing(1, hat, 0), 1)
    fourth = Transition.remove(third.after, 1)
    return f"a snowman that loses {article(COLOURS[hat])} hat", [
        (first, "Somebody rolls a ball of snow.", "body"),
        (second, "A second one becomes the head.", "head"),
        (third, "The snowman gets a hat.", "hat"),
        (fourth, "The wind takes the hat away.", "wind"),
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


def _prompt(step: Transition, last: Transition | None) -> str:
    return explicit(step) if last is None else natural(step, last.cell)


def story(rng: random.Random) -> Request:
    """A story with its text in `auxiliary_text`."""
    make = rng.choice(_STORIES)
    ground = rng.choice((1, 2, 6)) if make is _melts else rng.randrange(len(COLOURS))
    about, told = make(rng, ground)
    template = rng.choice(_ASK)
    text = template.format(x=f"{about} on {article(COLOURS[ground])} background")
    steps, last = [], None
    for step, sentence, name in told:
        verb = {"draw": "Draw", "add": "Add", "move": "Move", "remove": "Remove", "recolour": "Change"}
        steps.append(
            PlanStep(f"{verb[step.operation]} the {_noun(step)}.", _prompt(step, last), sentence, name)
        )
        last = step
    scenes: tuple[Scene, ...] = tuple(step.after for step, _, _ in told)
    split = split_of(operations(step for step, _, _ in told))
    return Request(text, "narrative", "story", (), tuple(steps), scenes, split)


def _noun(step: Transition) -> str:
    scene = step.before if step.operation in ("remove", "move") and step.before is not None else step.after
    return SHAPES[scene.at(step.cell).shape]
