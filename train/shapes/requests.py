"""Seeded requests with their one right plan: what the planner learns and what the system is measured with."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .composites import COMPOSITES, variants
from .grammar import article
from .wishes import Clause, continuation, random_clauses
from .world import COLOURS, POSITIONS, SHAPES, Scene

__all__ = ["PlanStep", "Request", "guidance", "narrative", "sample"]

Mode = Literal["narrative", "guidance"]
Split = Literal["train", "test"]

_TEST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step as the planner writes it (its number follows from the order)."""

    instruction: str | None
    prompt: str | None
    auxiliary_text: str | None
    step_name: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its plan.

    `images` are the scenes of the pictures given with it (at the `<image>` markers of `text`), `scenes` what is to
    be seen after each step (empty for a question that is answered in words).
    """

    text: str
    mode: Mode
    images: tuple[Scene, ...]
    steps: tuple[PlanStep, ...]
    scenes: tuple[Scene, ...]
    composite: str | None
    split: Split

    @property
    def first_number(self) -> int:
        """The step number that the plan starts with."""
        return len(self.images) + 1


def _split(template: str, content: list[str]) -> Split:
    """Train or test, by what is drawn, in which order, and by which phrasing it is asked for."""
    digest = hashlib.sha256("\n".join([template, *content]).encode()).digest()
    return "test" if digest[0] < _TEST_SHARE * 256 else "train"


_ASK = (
    "Draw {x}.",
    "Draw {x} step by step.",
    "draw {x}",
    "draw {x} step by step",
    "Draw {x} step by step",
    "How do I draw {x}?",
    "How do I draw {x} step by step?",
    "Show me how to draw {x}.",
    "Show me how to draw {x} step by step",
    "Show {x} step by step",
    "How to draw {x}",
    "I want to draw {x}, one step at a time.",
    "Please draw {x}.",
    "Can you draw {x} for me?",
    "Teach me to draw {x}.",
    "Paint {x} step by step.",
    "I would like a picture of {x}.",
    "Make a tutorial: {x}",
)
_EXPLAIN = (" Explain each step.", " Say what each step is.", " With a short text for each step.")
_DRAW = (
    "Draw {x} on {bg}.",
    "draw {x} on {bg}",
    "On {bg}, draw {x}.",
    "Please draw {x} on {bg}",
    "A picture of {x} on {bg}",
    "Make a picture with {x} on {bg}.",
    "I want {x} on {bg}.",
    "Paint {x} on {bg}, step by step.",
)
_OPEN = ("Start with", "First draw", "Begin with", "Draw", "Please draw", "start with", "First,")
_CONTINUE = (
    "<image> Continue: {x}",
    "<image> {x}",
    "<image> Now {x}",
    "<image> Please {x}",
    "Here is my picture: <image> Now {x}",
    "<image> Next: {x}",
)
_CONTINUE_TWO = (
    "<image> <image> Continue: {x}",
    "<image> <image> Now {x}",
    "Step 1: <image> Step 2: <image> Next: {x}",
)


def _steps(clauses: list[Clause], explain: bool) -> tuple[PlanStep, ...]:
    return tuple(
        PlanStep(c.instruction, c.prompt, f"This is the {c.name}." if explain else None, c.name)
        for c in clauses
    )


def _composite(rng: random.Random) -> Request:
    composite = COMPOSITES[rng.choice(list(COMPOSITES))]
    every = variants(composite.name)
    # the plain request ("draw a snowman") has to work best: a third of all asks for the defaults
    ground, values = every[0] if rng.random() < 0.3 else rng.choice(every)
    default_ground, defaults = every[0]
    phrase = article(composite.name)
    parts = [
        f"{article(v)} {k}" if not k.endswith("s") else f"{v} {k}"
        for k, v in values.items()
        if v != defaults[k]
    ]
    told = rng.random() < 0.3
    if told:  # name every choice, also the default ones
        parts = [f"{article(v)} {k}" if not k.endswith("s") else f"{v} {k}" for k, v in values.items()]
    if parts:
        phrase += " with " + " and ".join(parts)
    if ground != default_ground or told:
        phrase += f" on {article(ground)} background"
    template = rng.choice(_ASK)
    text = template.format(x=phrase)
    explain = rng.random() < 0.12
    if explain:
        text = text.rstrip(".") + ("" if text.endswith("?") else ".") + rng.choice(_EXPLAIN)
    found = composite.steps(ground, values)
    assert found is not None
    clauses = [
        Clause("", prompt, ("Draw the " if i == 0 else "Add the ") + name + ".", name, step)
        for i, (name, prompt, step) in enumerate(found)
    ]
    scenes = tuple(clause.transition.after for clause in clauses)
    split = _split(template, [scene.describe() for scene in scenes])
    return Request(text, "narrative", (), _steps(clauses, explain), scenes, composite.name, split)


def _wish(rng: random.Random) -> Request:
    """Either one sentence that describes a scene, or a series of wishes with edits."""
    sentence = rng.random() < 0.4
    clauses = random_clauses(rng, rng.choices((1, 2, 3, 4, 5), (1, 3, 3, 2, 1))[0], edits=not sentence)
    background = article(f"{COLOURS[clauses[0].transition.after.background]} background")
    explain = rng.random() < 0.08
    if sentence:
        things = [clause.text for clause in clauses]
        listed = things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]
        template = rng.choice(_DRAW)
        text = template.format(x=listed, bg=background)
    else:
        template = rng.choice(_OPEN)
        text = f"{template} {clauses[0].text} on {background}{continuation(rng, clauses[1:])}"
    if explain:
        text = text.rstrip(".") + "." + rng.choice(_EXPLAIN)
    scenes = tuple(clause.transition.after for clause in clauses)
    split = _split(
        template, [scene.describe() for scene in scenes] + [c.transition.operation for c in clauses]
    )
    return Request(text, "narrative", (), _steps(clauses, explain), scenes, None, split)


def narrative(rng: random.Random) -> Request:
    """A request without pictures; every step of its plan makes one."""
    return _composite(rng) if rng.random() < 0.4 else _wish(rng)


def _answer(text: str, images: tuple[Scene, ...], reply: str) -> Request:
    step = PlanStep(None, None, reply, "answer")
    split = _split(text, [image.describe() for image in images])
    return Request(text, "guidance" if images else "narrative", images, (step,), (), None, split)


def _named(scene: Scene, cell: int) -> str:
    thing = scene.cells[cell]
    return "Nothing." if thing is None else f"A {thing.name}."


def _ask_place(rng: random.Random, scene: Scene) -> tuple[str, str]:
    cell = rng.choice(scene.occupied) if scene.occupied and rng.random() < 0.8 else rng.randrange(9)
    ask = rng.choice(("What is at the {p}?", "Which shape is at the {p}?", "What do you see at the {p}?"))
    return ask.format(p=POSITIONS[cell]), _named(scene, cell)


def _ask_ground(rng: random.Random, scene: Scene) -> tuple[str, str]:
    ask = rng.choice(("What colour is the background?", "Which colour is the background?"))
    return ask, f"{COLOURS[scene.background].capitalize()}."


def _ask_count(rng: random.Random, scene: Scene) -> tuple[str, str]:
    ask = rng.choice(("How many shapes are there?", "How many things do you see?"))
    return ask, f"{len(scene.occupied)}."


_QUESTIONS: tuple[Callable[[random.Random, Scene], tuple[str, str]], ...] = (
    _ask_place,
    _ask_place,
    _ask_ground,
    _ask_count,
)
_SHAPES_TEXT = f"I draw {', '.join(s + 's' for s in SHAPES[:-1])} and {SHAPES[-1]}s in eight colours."
_ABOUT = {
    "What can you draw?": _SHAPES_TEXT,
    "What shapes do you know?": _SHAPES_TEXT,
    "Which colours do you know?": f"I know {', '.join(COLOURS[:-1])} and {COLOURS[-1]}.",
    "What are you?": "I am a small planner of pictures made of shapes.",
}


def guidance(rng: random.Random) -> Request:
    """A request with one or two pictures to continue or to answer about (or a question without any)."""
    kind = rng.random()
    if kind < 0.06:
        text = rng.choice(list(_ABOUT))
        return _answer(text, (), _ABOUT[text])
    before = random_clauses(rng, rng.randint(1, 4), edits=True)
    two = len(before) > 1 and rng.random() < 0.25
    images = tuple(clause.transition.after for clause in before[-2 if two else -1 :])
    if kind < 0.4:
        ask, reply = rng.choice(_QUESTIONS)(rng, images[-1])
        return _answer(f"{'<image> ' * len(images)}{ask}", images, reply)
    clauses = random_clauses(rng, rng.randint(1, 3), edits=True, scene=images[-1])
    template = rng.choice(_CONTINUE_TWO if two else _CONTINUE)
    text = template.format(x=clauses[0].text + continuation(rng, clauses[1:]))
    scenes = tuple(clause.transition.after for clause in clauses)
    split = _split(template, [scene.describe() for scene in (*images, *scenes)])
    return Request(text, "guidance", images, _steps(clauses, False), scenes, None, split)


def sample(split: Split, count: int, seed: int, mode: Mode = "narrative") -> list[Request]:
    """`count` different requests of one split, always the same for the same arguments."""
    rng = random.Random(f"{split}/{mode}/{seed}")
    make = narrative if mode == "narrative" else guidance
    found: dict[tuple[str, tuple[Scene, ...]], Request] = {}
    while len(found) < count:
        request = make(rng)
        if request.split == split:
            found.setdefault((request.text, request.images), request)
    return list(found.values())
