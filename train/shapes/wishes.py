"""Wishes in words: what somebody may ask for, clause by clause, with the prompt that each clause becomes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .grammar import article, descriptions, explicit, relations
from .transitions import Transition, other_colour
from .world import CELLS, COLOURS, POSITIONS, SHAPES, SIZES, Scene, Thing, random_thing

__all__ = ["Clause", "continuation", "random_clauses"]

_MOST_THINGS = 6
_RELATION_WORDS = {
    "above": ("above", "on top of", "over"),
    "below": ("below", "under", "beneath"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
}
_PLACE_WORDS = ("at the {p}", "at the {p}", "in the {p}")
_ADD = ("add {t}", "put {t}", "place {t}")
_REMOVE = ("remove the {r}", "delete the {r}", "take away the {r}", "erase the {r}")
_RECOLOUR = ("make the {r} {c}", "paint the {r} {c}", "colour the {r} {c}", "change the {r} to {c}")
_MOVE = ("move the {r} {p}", "shift the {r} {p}")


@dataclass(frozen=True, slots=True)
class Clause:
    """One wish: its words in the request, the plan's prompt and instruction, and what it does."""

    text: str
    prompt: str
    instruction: str
    name: str
    transition: Transition


def _words(rng: random.Random, thing: Thing) -> str:
    """The thing as somebody may say it; a large one often without its size."""
    size = "" if SIZES[thing.size] == "large" and rng.random() < 0.7 else f"{SIZES[thing.size]} "
    return article(f"{size}{COLOURS[thing.colour]} {SHAPES[thing.shape]}")


def _place(rng: random.Random, place: str) -> str:
    return rng.choice(_PLACE_WORDS).format(p=place)


def _draw(rng: random.Random) -> Clause:
    background = rng.randrange(len(COLOURS))
    thing, cell = random_thing(rng, background), rng.randrange(CELLS)
    step = Transition.draw(background, thing, cell)
    shape = SHAPES[thing.shape]
    text = f"{_words(rng, thing)} {_place(rng, POSITIONS[cell])}"
    return Clause(text, explicit(step), f"Draw the {shape}.", shape, step)


def _add(rng: random.Random, scene: Scene, verb: bool) -> Clause:
    """A new thing, mostly where it can be said relative to another one."""
    thing = random_thing(rng, scene.background)
    near = [cell for cell in scene.empty if _anchors(scene, cell)]
    cell = rng.choice(near if near and rng.random() < 0.9 else scene.empty)
    step, shape = Transition.add(scene, thing, cell), SHAPES[thing.shape]
    anchors = _anchors(scene, cell)
    if anchors and rng.random() < 0.9:
        relation, name = rng.choice(anchors)
        where = f"{rng.choice(_RELATION_WORDS[relation])} the {name}"
        prompt = f"add {article(thing.name)} {relation} the {name}"
    else:
        where, prompt = _place(rng, POSITIONS[cell]), explicit(step)
    text = f"{_words(rng, thing)} {where}"
    if verb:
        text = rng.choice(_ADD).format(t=text)
    return Clause(text, prompt, f"Add the {shape}.", shape, step)


def _anchors(scene: Scene, cell: int) -> list[tuple[str, str]]:
    """(relation, unique name) pairs that name a cell."""
    return [(relation, name) for relation, i in relations(scene, cell) for name in descriptions(scene, i)]


def _edit(rng: random.Random, scene: Scene) -> Clause | None:
    """A removal, new colour or move of a thing that has a unique name."""
    named = [(cell, descriptions(scene, cell)) for cell in scene.occupied]
    named = [(cell, names) for cell, names in named if names]
    if not named:
        return None
    cell, names = rng.choice(named)
    name, shape = rng.choice(names), SHAPES[scene.at(cell).shape]
    kind = rng.choice(("remove", "recolour", "recolour", "move"))
    if kind == "remove":
        if len(scene.occupied) == 1:
            return None
        text = rng.choice(_REMOVE).format(r=name)
        return Clause(
            text, f"remove the {name}", f"Remove the {shape}.", f"no {shape}", Transition.remove(scene, cell)
        )
    if kind == "recolour":
        colour = other_colour(rng, scene.background, scene.at(cell).colour)
        word = COLOURS[colour]
        text = rng.choice(_RECOLOUR).format(r=name, c=word)
        step = Transition.recolour(scene, cell, colour)
        return Clause(text, f"make the {name} {word}", f"Make the {shape} {word}.", f"{word} {shape}", step)
    to = rng.choice(scene.empty)
    anchors = [
        (relation, other)
        for relation, i in relations(scene, to, without=cell)
        for other in descriptions(scene, i)
    ]
    if anchors and rng.random() < 0.6:
        relation, other = rng.choice(anchors)
        words, place = f"{rng.choice(_RELATION_WORDS[relation])} the {other}", f"{relation} the {other}"
    else:
        words = place = f"to the {POSITIONS[to]}"
    text = rng.choice(_MOVE).format(r=name, p=words)
    step = Transition.move(scene, cell, to)
    return Clause(text, f"move the {name} {place}", f"Move the {shape}.", f"moved {shape}", step)


def random_clauses(
    rng: random.Random, count: int, *, edits: bool, scene: Scene | None = None
) -> list[Clause]:
    """`count` wishes that follow each other: additions, and edits where allowed.

    Without `scene` the first one draws; its text (and all texts, where `edits` is false) has no verb.
    """
    clauses: list[Clause] = []
    if scene is None:
        clauses.append(_draw(rng))
    while len(clauses) < count:
        now = clauses[-1].transition.after if clauses else scene
        assert now is not None
        full = len(now.occupied) >= _MOST_THINGS
        clause = _edit(rng, now) if edits and (full or rng.random() < 0.4) else None
        if clause is None and full:
            break
        clauses.append(clause or _add(rng, now, verb=edits))
    return clauses


def continuation(rng: random.Random, clauses: list[Clause]) -> str:
    """The clauses after the first, joined as speech: ", then ..., finally ..."."""
    style = rng.randrange(3)
    text = ""
    for i, clause in enumerate(clauses):
        last = i == len(clauses) - 1 and i > 0
        if style == 0:
            text += (", finally " if last else ", then ") + clause.text
        elif style == 1:
            text += (
                ". Finally " if last else rng.choice((". Then ", ". Next ", ". After that "))
            ) + clause.text
        else:
            text += (" and then " if last else ", ") + clause.text
    return text + rng.choice((".", "", "."))
