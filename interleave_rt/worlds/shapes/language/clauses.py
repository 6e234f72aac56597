"""Wishes in words: what somebody may ask for, clause by clause, with the prompt that each clause becomes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    Transition,
    other_colour,
    random_thing,
)

from .grammar import article, descriptions, explicit, relations
from .places import STYLES, at, go_to

_MOST_THINGS = 6
_RELATION_WORDS = {
    "above": ("above", "on top of", "over"),
    "below": ("below", "under", "beneath"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
}
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


def words_of(rng: random.Random, thing: Thing) -> str:
    """The thing as somebody may say it; a large plain one often without its size."""
    bare = SIZES[thing.size] == "large" and not thing.pattern and rng.random() < 0.5
    return article(f"{COLOURS[thing.colour]} {SHAPES[thing.shape]}" if bare else thing.name)


def _place(rng: random.Random, cell: int) -> str:
    style = rng.choices(range(len(STYLES)), (6, 2, 1))[0]
    place = at(cell, style)
    return place.replace("at the", "in the", 1) if style == 0 and rng.random() < 0.3 else place


def _draw(rng: random.Random) -> Clause:
    background = rng.randrange(len(COLOURS))
    thing, cell = random_thing(rng, background), rng.randrange(CELLS)
    step = Transition.draw(background, thing, cell)
    shape = SHAPES[thing.shape]
    text = f"{words_of(rng, thing)} {_place(rng, cell)}"
    return Clause(text, explicit(step), f"Draw the {shape}.", shape, step)


def add_clause(rng: random.Random, scene: Scene, verb: bool) -> Clause:
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
        where, prompt = _place(rng, cell), explicit(step)
    text = f"{words_of(rng, thing)} {where}"
    if verb:
        text = rng.choice(_ADD).format(t=text)
    return Clause(text, prompt, f"Add the {shape}.", shape, step)


def _anchors(scene: Scene, cell: int, without: int | None = None) -> list[tuple[str, str]]:
    """(relation, unique name) pairs that name a cell, by other things than the one in `without`."""
    pairs = relations(scene, cell, without=without)
    return [(relation, name) for relation, i in pairs for name in descriptions(scene, i)]


def edit_clause(rng: random.Random, scene: Scene) -> Clause | None:
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
        return _removal(rng.choice(_REMOVE).format(r=name), name, scene, cell)
    if kind == "recolour":
        colour = other_colour(rng, scene.background, scene.at(cell).colour)
        text = rng.choice(_RECOLOUR).format(r=name, c=COLOURS[colour])
        return _recolouring(text, name, scene, cell, colour)
    to = rng.choice(scene.empty)
    anchors = _anchors(scene, to, without=cell)
    if anchors and rng.random() < 0.6:
        relation, other = rng.choice(anchors)
        words, place = f"{rng.choice(_RELATION_WORDS[relation])} the {other}", f"{relation} the {other}"
    else:
        words, place = go_to(to, rng.choices(range(len(STYLES)), (6, 2, 1))[0]), go_to(to)
    text = rng.choice(_MOVE).format(r=name, p=words)
    step = Transition.move(scene, cell, to)
    return Clause(text, f"move the {name} {place}", f"Move the {shape}.", f"moved {shape}", step)


def _removal(text: str, name: str, scene: Scene, cell: int) -> Clause:
    shape = SHAPES[scene.at(cell).shape]
    step = Transition.remove(scene, cell)
    return Clause(text, f"remove the {name}", f"Remove the {shape}.", f"no {shape}", step)


def _recolouring(text: str, name: str, scene: Scene, cell: int, colour: int) -> Clause:
    shape, word = SHAPES[scene.at(cell).shape], COLOURS[colour]
    step = Transition.recolour(scene, cell, colour)
    return Clause(text, f"make the {name} {word}", f"Make the {shape} {word}.", f"{word} {shape}", step)


def edit_in_place(rng: random.Random, scene: Scene, kind: str, cell: int, colour: int) -> Clause | None:
    """A wish about whatever is in a cell ("make the shape at the top red"): its prompt names in full what is seen.

    None where the wish means nothing there, or another thing looks the same.
    """
    thing = scene.cells[cell]
    if thing is None or (kind == "recolour" and colour in (thing.colour, scene.background)):
        return None
    if kind == "remove" and len(scene.occupied) == 1:
        return None
    if thing.name not in descriptions(scene, cell):
        return None
    what = rng.choice(("the shape", "the thing", "what is")) + f" {at(cell)}"
    if kind == "remove":
        return _removal(f"remove {what}", thing.name, scene, cell)
    return _recolouring(f"make {what} {COLOURS[colour]}", thing.name, scene, cell, colour)


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
        clause = edit_clause(rng, now) if edits and (full or rng.random() < 0.4) else None
        if clause is None and full:
            break
        clauses.append(clause or add_clause(rng, now, verb=edits))
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
