"""What becomes of a thing, told in a sentence: it falls, grows, turns red, meets another one."""

from __future__ import annotations

import random
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, SHAPES, SIZES

from .grammar import article
from .phrases import EVENTS, JOINTS, PATHS, TOLD, dressed, numbered
from .plans import Request
from .wishes import (
    Edit,
    Item,
    Talk,
    clauses_in_full,
    on_ground,
    random_item,
    spoken_request,
    steps_of,
    thing_words,
)


def happening(rng: random.Random) -> Request:
    """One thing and what becomes of it, perhaps two things one after the other."""
    while True:
        talk = Talk()
        text = _told(rng, talk)
        steps = steps_of(talk)
        if steps is None:
            continue
        if rng.random() < 0.1:
            text = numbered(rng, text, len(steps))
        return spoken_request(dressed(rng, text), steps, clauses_in_full(steps))


def _told(rng: random.Random, talk: Talk) -> str:
    item = random_item(rng)
    words = _called(rng, item)
    talk.items.append(item)
    text = _event(rng, talk, words)
    if rng.random() < 0.25:
        talk.ground = rng.randrange(len(COLOURS))
        text += on_ground(rng, talk.ground)
    if rng.random() < 0.25:
        text += rng.choice(JOINTS[rng.choice(list(JOINTS))][:3]) + _more(rng, talk)
    return rng.choice(TOLD).format(x=text)


def _called(rng: random.Random, item: Item) -> str:
    """What the thing is, as the one that a story is about."""
    if rng.random() < 0.06:
        item.shape, item.colour, item.size, item.pattern = (
            SHAPES.index("circle"),
            COLOURS.index("yellow"),
            None,
            0,
        )
        return "the sun"
    if rng.random() < 0.6:
        return thing_words(rng, item)
    said = [SIZES[item.size]] if item.size is not None else []
    said += [PATTERNS[item.pattern]] if item.pattern else []
    said += [COLOURS[item.colour]] if item.colour is not None else []
    return " ".join(["the", *said, SHAPES[item.shape]])


def _event(rng: random.Random, talk: Talk, words: str) -> str:
    item = talk.items[0]
    kind = rng.choices(("path", *EVENTS), (8, 2, 2, 4, 2, 2, 3))[0]
    if kind == "path":
        cells, told = rng.choice(PATHS)
        item.cell = cells[0]
        talk.edits += [Edit("move", 0, cell) for cell in cells[1:]]
        return told.format(x=words)
    told = rng.choice(EVENTS[kind])
    if kind in ("grows", "shrinks"):
        item.size, item.pattern = (0, 0) if kind == "grows" else (1, 0)
        talk.edits.append(Edit("size", 0, 1 - item.size))
        return told.format(x=thing_words(rng, replace(item, size=None)))
    if kind == "colours":
        colours = rng.sample(range(len(COLOURS)), rng.choice((2, 2, 3)))
        item.colour = colours[0]
        talk.edits += [Edit("colour", 0, colour) for colour in colours[1:]]
        later = [COLOURS[colour] for colour in colours[1:]]
        joined = later[0] if len(later) == 1 else rng.choice((" to ", " and then ", ", ")).join(later)
        return told.format(x=thing_words(rng, replace(item, colour=None)), c=COLOURS[colours[0]], d=joined)
    if kind == "sky":
        colours = rng.sample(range(len(COLOURS)), rng.choice((1, 2)))
        talk.edits += [Edit("ground", 0, colour) for colour in colours]
        turns = " and then ".join(told.format(c=COLOURS[colour]) for colour in colours)
        return f"{words}{rng.choice((', then ', '. Then ', ', '))}{turns}"
    if kind == "joins":
        other = random_item(rng)
        talk.items.append(other)
        return told.format(x=words, y=thing_words(rng, other))
    talk.edits.append(Edit("remove", 0))
    return told.format(x=words)


def _more(rng: random.Random, talk: Talk) -> str:
    """And then one thing more."""
    colour = rng.randrange(len(COLOURS))
    kind = rng.choice(("colour", "colour", "remove", "ground"))
    if kind == "ground":
        talk.edits.append(Edit("ground", 0, colour))
        return rng.choice(EVENTS["sky"]).format(c=COLOURS[colour])
    talk.edits.append(Edit(kind, 0, colour))
    it = "it" if len(talk.items) == 1 else "the first one"
    if kind == "remove":
        return rng.choice(EVENTS["goes"][::2]).format(x=it)
    return rng.choice(
        (
            f"{it} turns {COLOURS[colour]}",
            f"{it} becomes {article(COLOURS[colour])} one",
            f"{it} gets {COLOURS[colour]}",
        )
    )
