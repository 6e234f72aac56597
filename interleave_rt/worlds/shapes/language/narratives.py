"""Requests without pictures: named drawings, two of them side by side, explicit wishes, stories."""

from __future__ import annotations

import random
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS

from .clauses import Clause, continuation, random_clauses
from .composites import COMPOSITES, Composite, Step, fits_a_column, variants
from .grammar import article
from .plans import Request, operations, plan_steps, split_of
from .stories import story

ASK = (
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
    "how to draw {x}?",
    "I want to draw {x}, one step at a time.",
    "Please draw {x}.",
    "please draw {x}",
    "Can you draw {x} for me?",
    "Could you draw {x}?",
    "Teach me to draw {x}.",
    "Paint {x} step by step.",
    "I would like a picture of {x}.",
    "Make a tutorial: {x}",
    "A picture of {x}, please.",
)
EXPLAIN = (" Explain each step.", " Say what each step is.", " With a short text for each step.")
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
_COLUMN_WORDS = (
    ("on the left", "at the left"),
    ("in the middle", "at the center"),
    ("on the right", "at the right"),
)


def clauses_of(steps: list[Step]) -> list[Clause]:
    """The parts of a drawing as wishes without words of their own."""
    return [
        Clause("", prompt, ("Draw the " if step.before is None else "Add the ") + name + ".", name, step)
        for name, prompt, step in steps
    ]


def part_words(values: dict[str, str], defaults: dict[str, str] | None) -> str:
    """The choices that differ from the defaults (all of them without defaults): " with a red hat and ..."."""
    parts = [
        f"{article(value)} {key}" if not key.endswith("s") else f"{value} {key}"
        for key, value in values.items()
        if defaults is None or value != defaults[key]
    ]
    return " with " + " and ".join(parts) if parts else ""


def _explained(rng: random.Random, text: str, share: float) -> tuple[str, bool]:
    if rng.random() >= share:
        return text, False
    return text.rstrip(".") + ("" if text.endswith("?") else ".") + rng.choice(EXPLAIN), True


def composite(rng: random.Random) -> Request:
    """A named drawing with some of its choices, here and there moved to one side."""
    chosen = COMPOSITES[rng.choice(list(COMPOSITES))]
    every = variants(chosen.name)
    # the plain request ("draw a snowman") has to work best: a third of all asks for the defaults
    ground, values = every[0] if rng.random() < 0.3 else rng.choice(every)
    default_ground, defaults = every[0]
    told = rng.random() < 0.3  # name every choice, also the default ones
    phrase = article(chosen.name) + part_words(values, None if told else defaults)
    column = rng.choice((0, 2)) if fits_a_column(chosen) and rng.random() < 0.15 else 1
    if column != 1:
        phrase += f" {rng.choice(_COLUMN_WORDS[column])}"
    if ground != default_ground or told:
        phrase += f" on {article(ground)} background"
    template = rng.choice(ASK)
    text, explain = _explained(rng, template.format(x=phrase), 0.12)
    found = chosen.steps(ground, values, column=column)
    assert found is not None
    request = _named(text, "composite", clauses_of(found), explain, chosen.name)
    # what a name alone means has to be known: only choices are held out
    plain = column == 1 and (ground, values) == every[0]
    return replace(request, split="train") if plain else request


def _named(text: str, kind: str, clauses: list[Clause], explain: bool, name: str | None) -> Request:
    done = [clause.transition for clause in clauses]
    scenes = tuple(step.after for step in done)
    split = split_of(operations(done))
    return Request(text, "narrative", kind, (), plan_steps(clauses, explain), scenes, split, name)


def _is_unseen(first: Composite, second: Composite) -> bool:
    """Every fifth pair of drawings is never trained on."""
    return sum(map(ord, first.name + second.name)) % 5 == 0


def pair(rng: random.Random, unseen: bool = False) -> Request:
    """Two drawings side by side, each with its defaults; `unseen` ones are those that training never holds."""
    narrow = [item for item in COMPOSITES.values() if fits_a_column(item)]
    while True:
        first, second = rng.sample(narrow, 2)
        grounds = [ground for ground in first.grounds if ground in second.grounds]
        if not grounds or _is_unseen(first, second) != unseen:
            continue
        ground = rng.choice(grounds)
        one = first.steps(ground, variants(first.name)[0][1], column=0)
        if one is None:
            continue
        other = second.steps(ground, variants(second.name)[0][1], column=2, onto=one[-1][2])
        if other is None:
            continue
        phrase = f"{article(first.name)} and {article(second.name)} on {article(ground)} background"
        template = rng.choice(ASK)
        clauses = clauses_of(one) + clauses_of(other)
        return _named(template.format(x=phrase), "pair", clauses, False, None)


def described_scene(rng: random.Random, count: int | None = None) -> Request:
    """Either one sentence that describes a scene, or a series of wishes with edits."""
    sentence = rng.random() < 0.4
    number = count or rng.choices((1, 2, 3, 4, 5), (1, 3, 3, 2, 1))[0]
    clauses = random_clauses(rng, number, edits=not sentence)
    background = article(f"{COLOURS[clauses[0].transition.after.background]} background")
    if sentence:
        things = [clause.text for clause in clauses]
        listed = things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]
        template = rng.choice(_DRAW)
        text = template.format(x=listed, bg=background)
    else:
        template = rng.choice(_OPEN)
        text = f"{template} {clauses[0].text} on {background}{continuation(rng, clauses[1:])}"
    text, explain = _explained(rng, text, 0.08)
    return _named(text, "wish", clauses, explain, None)


def long_series(rng: random.Random) -> Request:
    """A series of six or seven wishes: more than training ever has."""
    while True:
        request = described_scene(rng, rng.randint(6, 7))
        if len(request.steps) >= 6:
            return request


def narrative(rng: random.Random) -> Request:
    """A request without pictures; every step of its plan makes one."""
    kind = rng.random()
    if kind < 0.36:
        return composite(rng)
    if kind < 0.44:
        return pair(rng)
    return story(rng) if kind < 0.52 else described_scene(rng)
