"""Questions about given pictures, answered in words only."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Scene

from .clauses import random_clauses
from .places import at
from .plans import Groups, Request, answer

_Said = tuple[str, str, Groups]


def _place(rng: random.Random, scene: Scene) -> _Said:
    cell = rng.choice(scene.occupied) if scene.occupied and rng.random() < 0.8 else rng.randrange(9)
    ask = rng.choice(("What is {p}?", "Which shape is {p}?", "What do you see {p}?", "what is {p}"))
    thing = scene.cells[cell]
    reply = "Nothing." if thing is None else f"A {thing.name}."
    return ask.format(p=at(cell, rng.choice((0, 0, 0, 1)))), reply, ((cell,),)


def _ground(rng: random.Random, scene: Scene) -> _Said:
    ask = rng.choice(
        (
            "What colour is the background?",
            "Which colour is the background?",
            "What is the background colour?",
        )
    )
    return ask, f"{COLOURS[scene.background].capitalize()}.", ()


def _count(rng: random.Random, scene: Scene) -> _Said:
    ask = rng.choice(
        ("How many shapes are there?", "How many things do you see?", "How many shapes are in the picture?")
    )
    return ask, f"{len(scene.occupied)}.", (scene.occupied,)


def _colour(rng: random.Random, scene: Scene) -> _Said:
    single = [
        i for i in scene.occupied if sum(scene.at(j).shape == scene.at(i).shape for j in scene.occupied) == 1
    ]
    if not single:
        return _ground(rng, scene)
    cell = rng.choice(single)
    thing = scene.at(cell)
    ask = rng.choice(("What colour is the {s}?", "Which colour does the {s} have?"))
    return ask.format(s=SHAPES[thing.shape]), f"{COLOURS[thing.colour].capitalize()}.", ((cell,),)


_ONE: tuple[Callable[[random.Random, Scene], _Said], ...] = (_place, _place, _ground, _count, _colour)


def question(rng: random.Random) -> Request:
    """A question about the last of one or two pictures."""
    before = random_clauses(rng, rng.randint(1, 4), edits=True)
    images = tuple(clause.transition.after for clause in before[-rng.choice((1, 1, 2)) :])
    ask, reply, groups = rng.choice(_ONE)(rng, images[-1])
    text = f"{'<image> ' * len(images)}{ask}"
    return answer(text, "question", images, reply, groups)


_SHAPES_TEXT = f"I draw {', '.join(s + 's' for s in SHAPES[:-1])} and {SHAPES[-1]}s in eight colours."
_COLOURS_TEXT = f"I know {', '.join(COLOURS[:-1])} and {COLOURS[-1]}."
_ABOUT = {
    "What can you draw?": _SHAPES_TEXT,
    "What shapes do you know?": _SHAPES_TEXT,
    "Which colours do you know?": _COLOURS_TEXT,
    "What can you do?": _SHAPES_TEXT,
    "What do you draw?": _SHAPES_TEXT,
    "Which shapes are there?": _SHAPES_TEXT,
    "Which shapes can I ask for?": _SHAPES_TEXT,
    "What colours are there?": _COLOURS_TEXT,
    "Which colors can I use?": _COLOURS_TEXT,
    "Tell me the colours that you have": _COLOURS_TEXT,
    "What are you?": "I am a small planner of pictures made of shapes.",
    "Who are you?": "I am a small planner of pictures made of shapes.",
    "Help": _SHAPES_TEXT,
}


def about(rng: random.Random) -> Request:
    """A question about the program itself."""
    text = rng.choice(list(_ABOUT))
    words = text if rng.random() < 0.5 else text.lower().rstrip("?")
    return replace(answer(words, "about", (), _ABOUT[text]), split="train")
