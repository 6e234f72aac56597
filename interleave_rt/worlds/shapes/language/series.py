"""Pictures that follow each other by a rule, and the one that comes next."""

from __future__ import annotations

import random
from collections.abc import Callable

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Scene, Transition, random_thing

from .grammar import article
from .plans import Request, operations, plan_steps, split_of
from .seeing import hurried
from .wishes import clauses_in_full

_PATHS = {
    (3, 4, 5): ("from left to right", "on the left", "in the middle"),
    (5, 4, 3): ("from right to left", "on the right", "in the middle"),
    (1, 4, 7): ("from top to bottom", "at the top", "in the middle"),
    (7, 4, 1): ("from bottom to top", "at the bottom", "in the middle"),
    (0, 1, 2): ("to the right", "at the top left", "at the top"),
    (2, 1, 0): ("to the left", "at the top right", "at the top"),
    (6, 7, 8): ("to the right", "at the bottom left", "at the bottom"),
    (8, 7, 6): ("to the left", "at the bottom right", "at the bottom"),
    (0, 3, 6): ("down", "at the top left", "on the left"),
    (6, 3, 0): ("up", "at the bottom left", "on the left"),
    (2, 5, 8): ("down", "at the top right", "on the right"),
    (8, 5, 2): ("up", "at the bottom right", "on the right"),
    (0, 4, 8): ("diagonally", "at the top left", "in the middle"),
    (8, 4, 0): ("diagonally", "at the bottom right", "in the middle"),
    (2, 4, 6): ("diagonally", "at the top right", "in the middle"),
    (6, 4, 2): ("diagonally", "at the bottom left", "in the middle"),
}
"""Three cells that lie on a line, which way that is, and where the first two are."""
_ROUND = (
    (0, 2, 8, 6),
    (2, 8, 6, 0),
    (8, 6, 0, 2),
    (6, 0, 2, 8),
    (2, 0, 6, 8),
    (0, 6, 8, 2),
    (6, 8, 2, 0),
    (8, 2, 0, 6),
)
"""From corner to corner, both ways round."""
_NEXT = ("what comes next?", "What comes next", "what's next?", "whats next", "what is the next picture?", "Continue.", "go on", "Go on like this.",
         "continue the series", "and then?", "and next?", "next step please", "next picture", "draw the next one", "and now?", "what happens next?",
         "continue like that", "the next one please", "Keep going.", "what does the next picture look like?", "how does it go on?",
         "How does this continue?", "draw what comes next", "show me the next picture", "make the next step", "one step further",
         "now the next picture", "please continue", "continue the pattern", "show what comes after that", "what follows?", "and so on",
         "complete the series", "Guess the next picture", "can you go on?", "What would the next one be?", "how would the series go on")  # fmt: skip

_Series = tuple[list[Scene], Transition, list[str]]
"""The given pictures, the step that comes next, and what may be said of them."""


def _others(rng: random.Random, scene: Scene, free: tuple[int, ...]) -> Scene:
    """Perhaps a thing that has nothing to do with it."""
    cells = [cell for cell in range(9) if cell not in free]
    return scene.put(rng.choice(cells), random_thing(rng, scene.background)) if rng.random() < 0.2 else scene


def _walk(rng: random.Random) -> _Series:
    """A thing goes along a line, or from corner to corner."""
    ground = rng.randrange(len(COLOURS))
    thing = random_thing(rng, ground)
    name, colour = SHAPES[thing.shape], COLOURS[thing.colour]
    path: tuple[int, ...]
    said = []
    if rng.random() < 0.75:
        path, (way, first, second) = rng.choice(list(_PATHS.items()))
        it = rng.choice(("it", f"the {name}", f"the {colour} {name}"))
        said = [f"First {it} was {first}, then {second}.", f"{it} moves {way}.", f"{it} goes {way}:", f"{it} started {first} and went {second}.",
                f"{it} is {first} at first and {second} then.", f"step 1: {first}, step 2: {second}.", f"{first}, then {second},",
                f"{it} wanders {way}."]  # fmt: skip
    else:
        path = rng.choice(_ROUND)
        said = ["It goes from corner to corner.", "it goes round in the corners.", f"the {name} visits every corner.",
                f"the {name} walks around the corners."]  # fmt: skip
    empty = _others(rng, Scene(ground), path)
    scenes = [empty.put(cell, thing) for cell in path]
    return scenes[:-1], Transition.move(scenes[-2], path[-2], path[-1]), said


def _gather(rng: random.Random) -> _Series:
    """One more of the same on every picture, along a line."""
    ground, path = rng.randrange(len(COLOURS)), rng.choice(list(_PATHS))
    thing = random_thing(rng, ground)
    scene, scenes = _others(rng, Scene(ground), path), []
    for cell in path[:2]:
        scene = scene.put(cell, thing)
        scenes.append(scene)
    name = SHAPES[thing.shape]
    said = [f"one {name}, two {name}s,", "There is one more every time.", f"every picture has one more {name}.", "it gets more and more:",
            f"first one {name}, then two.", f"another {name} comes each time."]  # fmt: skip
    return scenes, Transition.add(scene, thing, path[2]), said


def _vanish(rng: random.Random) -> _Series:
    """One fewer on every picture, along a line; something else stays."""
    ground, path = rng.randrange(len(COLOURS)), rng.choice(list(_PATHS))
    thing = random_thing(rng, ground)
    cells = [cell for cell in range(9) if cell not in path]
    scene = Scene(ground).put(rng.choice(cells), random_thing(rng, ground))
    if any(one is not None and one == thing for one in scene.cells):
        return _vanish(rng)
    for cell in path:
        scene = scene.put(cell, thing)
    scenes = [scene]
    for cell in path[:2]:
        scenes.append(scenes[-1].put(cell, None))
    name = SHAPES[thing.shape]
    said = [f"one {name} disappears each time.", f"every picture has one {name} fewer.", f"three {name}s, two {name}s, one {name},",
            f"the {name}s go away one by one."]  # fmt: skip
    return scenes, Transition.remove(scenes[-1], path[2]), said


def _spread(rng: random.Random) -> _Series:
    """One after the other of three alike takes a colour, along a line."""
    ground, path = rng.randrange(len(COLOURS)), rng.choice(list(_PATHS))
    thing = random_thing(rng, ground)
    other = random_thing(rng, ground).colour
    if other == thing.colour:
        return _spread(rng)
    scene = _others(rng, Scene(ground), path)
    for cell in path:
        scene = scene.put(cell, thing)
    scenes = [scene]
    for cell in path[:2]:
        scenes.append(scenes[-1].put(cell, thing._replace(colour=other)))
    v, name = COLOURS[other], SHAPES[thing.shape]
    said = [f"one {name} after the other turns {v}.", f"they turn {v} one by one.", f"each time one more {name} is {v}.",
            f"the {name}s become {v} one after the other:"]  # fmt: skip
    return scenes, Transition.recolour(scenes[-1], path[2], other), said


def _alternate(rng: random.Random) -> _Series:
    """A thing that changes between two colours, two sizes or two shapes."""
    ground, cell = rng.randrange(len(COLOURS)), rng.randrange(9)
    thing = random_thing(rng, ground)
    kind = rng.choice(("colour", "size", "shape"))
    if kind == "colour":
        other = thing._replace(colour=random_thing(rng, ground).colour)
        words = [COLOURS[one.colour] for one in (thing, other)]
    elif kind == "size":
        thing = thing._replace(pattern=0)
        other = thing._replace(size=1 - thing.size)
        words = [("small", "big")[one.size] for one in (thing, other)]
    else:
        other = thing._replace(shape=rng.randrange(len(SHAPES)))
        words = [article(SHAPES[one.shape]) for one in (thing, other)]
    if other == thing:
        return _alternate(rng)
    empty = _others(rng, Scene(ground), (cell,))
    scenes = [empty.put(cell, one) for one in (thing, other, thing)]
    step = (
        Transition.recolour(scenes[-1], cell, other.colour)
        if kind == "colour"
        else Transition.replace(scenes[-1], cell, other)
    )
    a, b = words
    said = [f"{a}, {b}, {a},", f"It is {a}, then {b}, then {a} again.", f"it changes between {a} and {b}.", f"{a}, then {b}, then {a},",
            f"first {a}, then {b}, {a} again..."]  # fmt: skip
    return scenes, step, said


_RULES: dict[Callable[[random.Random], _Series], int] = {
    _walk: 10,
    _gather: 5,
    _vanish: 2,
    _spread: 3,
    _alternate: 4,
}


def what_comes_next(rng: random.Random) -> Request:
    """Two or three pictures and the next one by the rule of these; what the rule is may be said, too."""
    images, step, said = rng.choices(list(_RULES), list(_RULES.values()))[0](rng)
    words = rng.choice(_NEXT)
    if rng.random() < 0.4:
        about = rng.choice(said)
        words = f"{about[0].upper() + about[1:] if rng.random() < 0.6 else about} {words}"
    marks = rng.choice(("<image> " * len(images), "<image>" * len(images) + " ", "<image>, " * len(images),
                        "".join(f"Step {i + 1}: <image> " for i in range(len(images))),
                        "".join(f"{i + 1}. <image> " for i in range(len(images))),
                        "first <image>" + ", then <image>" * (len(images) - 1) + ". "))  # fmt: skip
    split = split_of(operations([step], tuple(images)))
    plan = plan_steps(clauses_in_full([step]), False)
    return Request(
        hurried(rng, marks + words), "guidance", "spoken", tuple(images), plan, (step.after,), split
    )
