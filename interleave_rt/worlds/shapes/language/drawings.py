"""Named drawings in the words of people, and what refusals offer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, POSITIONS, SHAPES, SIZES, Scene, Thing, Transition

from .clauses import Clause
from .composites import COMPOSITES, Composite, fits_a_column
from .grammar import article, natural
from .phrases import ASK_FOR, DRAWING_NAMES, EDIT_WORDS, HOW, NUMBERS, PLACES, STORY, dressed, numbered
from .places import CORNERS
from .plans import Request
from .wishes import (
    GROUNDS,
    INKS,
    Item,
    Talk,
    clauses_in_full,
    on_ground,
    random_item,
    spoken_request,
    steps_of,
    thing_words,
)

_NO_BODY = ("face", "landscape", "night sky", "traffic light", "christmas tree", "snowman")
"""Drawings of which nobody can say which part "a red one" is about."""


_COLUMN_WORDS = (
    ("on the left", "left", "on the left side"),
    (),
    ("on the right", "right", "on the right side"),
)


_JOINED = (
    " and ", " and ", " and ", " & ", " next to ", ", and next to it ", " and beside it ", " beside ", " with ",
    ", to the right of it ", ", then to its right ", " together with ", " plus ",
)  # fmt: skip


PlacedPart = tuple[str, Thing, int]
"""The name of a part of a drawing, what it looks like, and its cell."""
SIDED_PARTS = ("arm", "wing", "eye", "wheel", "ball", "stick", "petal")
"""Parts of which a drawing has more than one: "left arm", "right arm", and so "the arms"."""


def placed_parts(
    drawing: Composite, values: dict[str, str], said: dict[str, str], column: int = 1
) -> list[PlacedPart]:
    """(name, thing, cell) of every part; `said` are colours of parts, whatever they usually have."""
    found = []
    for part in drawing.parts:
        thing = Thing.named(part.thing.format(**values))
        if part.name in said:
            thing = thing._replace(colour=COLOURS.index(said[part.name]))
        found.append((part.name, thing, POSITIONS.index(part.place) + column - 1))
    return found


def ground_for(drawings: Sequence[Composite], parts: Sequence[PlacedPart]) -> int | None:
    """The first background of the first drawing that suits all parts; any other one where none does."""
    seen = {thing.colour for _, thing, _ in parts}
    usual = [name for name in drawings[0].grounds if all(name in one.grounds for one in drawings)]
    return next((g for name in (*usual, *GROUNDS) if (g := COLOURS.index(name)) not in seen), None)


def defaults(drawing: Composite) -> dict[str, str]:
    """The choices of a drawing where nobody says otherwise."""
    return {key: options[0] for key, options in drawing.choices.items()}


def in_place(drawing: Composite) -> tuple[list[PlacedPart], int]:
    """The parts of a drawing as it usually is, and its background.

    Raises:
        ValueError: No background suits it.
    """
    parts = placed_parts(drawing, defaults(drawing), {})
    ground = ground_for([drawing], parts)
    if ground is None:
        raise ValueError("[drawing] no background suits it")
    return parts, ground


def assembled(parts: Sequence[PlacedPart], ground: int) -> list[Clause]:
    """The parts one after the other, in the words of named drawings.

    Raises:
        ValueError: A part has the colour of the background.
    """
    clauses: list[Clause] = []
    for name, thing, cell in parts:
        if clauses:
            last = clauses[-1].transition
            step = Transition.add(last.after, thing, cell)
            clauses.append(Clause("", natural(step, last.cell), f"Add the {name}.", name, step))
        else:
            step = Transition.draw(ground, thing, cell)
            clauses.append(Clause("", natural(step), f"Draw the {name}.", name, step))
    return clauses


def attributes(rng: random.Random, drawing: Composite) -> tuple[dict[str, str], dict[str, str], str]:
    """(choices, colours of parts, the drawing with these in words); most of what is asked for is a colour."""
    values = defaults(drawing)
    said: dict[str, str] = {}
    coloured = [key for key in values if values[key] in COLOURS and key != drawing.name]
    parts = [part.name for part in drawing.parts if part.name not in values]
    body = next((key for key in values if values[key] in COLOURS), None)
    if body is not None and drawing.name not in _NO_BODY and rng.random() < 0.3:
        values[body] = rng.choice(COLOURS)
        if rng.random() < 0.15:
            return (
                values,
                said,
                f"{drawing_words(rng, drawing)}{rng.choice((' in ', ', ', ' that is '))}{values[body]}",
            )
        return values, said, drawing_words(rng, drawing, f"{values[body]} ")
    told = []
    chosen = coloured + parts[:1]
    for key in rng.sample(chosen, min(len(chosen), rng.choices((0, 1, 2), (4, 4, 1))[0])):
        colour = rng.choice(COLOURS)
        if key in values:
            values[key] = colour
        else:
            said[key] = colour
        part = f"{colour} {key}"
        if not key.endswith("s") and rng.random() >= 0.15:
            part = f"the {part}" if rng.random() < 1 / 3 else article(part)
        told.append(part)
    words = drawing_words(rng, drawing)
    if told:
        words += rng.choice((" with ", " with ", " that has ", " w/ ")) + " and ".join(told)
    return values, said, words


def drawing_words(rng: random.Random, drawing: Composite, adjective: str = "") -> str:
    """The drawing by its name or by another one, mostly with its article."""
    name = drawing.name
    if name in DRAWING_NAMES and rng.random() < 0.35:
        name = rng.choice(DRAWING_NAMES[name])
    return adjective + name if rng.random() < 0.2 else article(adjective + name)


def drawing(rng: random.Random) -> Request:
    """A named drawing, with what is asked of its parts, its background and its number of steps, and changes of it."""
    while True:
        try:
            request = _drawing(rng)
        except ValueError:
            continue
        if request is not None:
            return request


def _drawing(rng: random.Random) -> Request | None:
    chosen = COMPOSITES[rng.choice(list(COMPOSITES))]
    values, said, words = attributes(rng, chosen)
    parts = placed_parts(chosen, values, said)
    without = None
    if rng.random() < 0.08 and len(parts) > 2:
        without = rng.choice(parts[1:])[0]
        if f" {without}" in words:
            return None
        parts = [part for part in parts if part[0] != without]
        words += rng.choice((" without the ", " without a ", " but no ", " without ")) + without
    ground = ground_for([chosen], parts)
    if rng.random() < 0.15:
        ground = rng.randrange(len(COLOURS))
        night = ground == COLOURS.index("black") and rng.random() < 0.5
        words += rng.choice((" at night", " by night", " in the dark")) if night else on_ground(rng, ground)
    if ground is None:
        return None
    counted = 0
    if rng.random() < 0.12:
        counted = rng.randint(2, len(parts) + 1)
        corners = [cell for cell in CORNERS if cell not in {cell for _, _, cell in parts}]
        ink = next(
            i for name in INKS if (i := COLOURS.index(name)) not in {ground, *(p[1].colour for p in parts)}
        )
        parts = (
            [*parts, ("star", Thing(SHAPES.index("star"), ink, 0), corners[0])][:counted]
            if corners
            else parts[:counted]
        )
        if len(parts) < counted:
            return None
    clauses = assembled(parts, ground)
    kind = rng.random()
    text = rng.choice(ASK_FOR if kind < 0.6 else HOW if kind < 0.92 else STORY).format(x=words)
    if counted:
        text = numbered(rng, text, counted)
    elif rng.random() < 0.2:
        more = _part_change(rng, parts, clauses[-1].transition.after)
        if more is None:
            return None
        text = (
            text.rstrip(".!?")
            + rng.choice(
                (", then ", ". Then ", " and then ", ". After that ", ", and finally ", " and ", ". Now ")
            )
            + more[0]
            + rng.choice(("", "", "", ".", " afterwards", " please"))
        )
        clauses.append(more[1])
    steps = [clause.transition for clause in clauses]
    request = spoken_request(dressed(rng, text), steps, clauses, chosen.name)
    plain = not (said or without or counted) and len(steps) == len(chosen.parts)
    usual = plain and values == {key: options[0] for key, options in chosen.choices.items()}
    return replace(request, split="train") if usual and ground == ground_for([chosen], parts) else request


def _part_change(rng: random.Random, parts: Sequence[PlacedPart], now: Scene) -> tuple[str, Clause] | None:
    """A change of a part by its name, of the background, or one more thing, in words and as a wish."""
    names = [name for name, _, _ in parts]
    name, thing, cell = rng.choice(parts)
    if names.count(name) > 1:
        return None
    kind, colour = (
        rng.choice(("colour", "colour", "remove", "ground", "add", "move")),
        rng.randrange(len(COLOURS)),
    )
    called = f"the {name}"
    if kind == "colour":
        if colour == thing.colour:
            return None
        step = Transition.recolour(now, cell, colour)
        text = rng.choice(EDIT_WORDS["colour"][:6]).format(r=called, v=COLOURS[colour])
    elif kind == "remove":
        step, text = Transition.remove(now, cell), rng.choice(EDIT_WORDS["remove"]).format(r=called)
    elif kind == "move":
        where = rng.choice(now.empty)
        step = Transition.move(now, cell, where)
        text = rng.choice(EDIT_WORDS["move"]).format(r=called, p=rng.choice(PLACES[where][:3]))
    elif kind == "ground":
        if colour == now.background:
            return None
        step, text = (
            Transition.ground(now, colour),
            rng.choice(EDIT_WORDS["ground"]).format(v=COLOURS[colour], a=article(COLOURS[colour])),
        )
    else:
        item = replace(random_item(rng), colour=colour)
        where = rng.choice(now.empty)
        step = Transition.add(now, item.seen(), where)
        text = (
            f"{rng.choice(('add ', 'put ', '', 'draw '))}{thing_words(rng, item)} {rng.choice(PLACES[where])}"
        )
    return text, clauses_in_full([step])[0]


def plural(name: str) -> str:
    """Several drawings of one name."""
    if name.endswith("man"):
        return name[:-3] + "men"
    return f"{name}es" if name.endswith("sh") else f"{name[:-1]}ies" if name.endswith("ly") else f"{name}s"


def two_drawings(rng: random.Random) -> Request:
    """Two named drawings beside each other."""
    narrow = [item for item in COMPOSITES.values() if fits_a_column(item)]
    while True:
        first, second = rng.choice(narrow), rng.choice(narrow)
        (values, said, words), (others, other_said, other_words) = (
            attributes(rng, first),
            attributes(rng, second),
        )
        left, right = placed_parts(first, values, said, 0), placed_parts(second, others, other_said, 2)
        ground = ground_for([first, second], [*left, *right])
        if rng.random() < 0.2:
            ground = rng.randrange(len(COLOURS))
        if ground is None or len(left) + len(right) > 6:
            continue
        kind = rng.random()
        if first is second and words == other_words and kind < 0.7:
            phrase = f"two {plural(first.name)}{rng.choice(('', '', ' side by side', ' next to each other'))}"
        elif kind < 0.25:
            phrase = (
                f"{words} {rng.choice(_COLUMN_WORDS[0])} and {other_words} {rng.choice(_COLUMN_WORDS[2])}"
            )
        elif kind < 0.35:  # the right one is named first
            phrase = f"{other_words} to the right of {words}"
        else:
            joint = rng.choice(_JOINED)
            side = joint in (" and ", " & ", " plus ") and rng.random() < 0.25
            phrase = words + joint + other_words + (" side by side" if side else "")
        if ground != ground_for([first, second], [*left, *right]):
            phrase += on_ground(rng, ground)
        try:
            clauses = assembled([*left, *right], ground)
        except ValueError:
            continue
        text = dressed(rng, rng.choice(ASK_FOR).format(x=phrase))
        return spoken_request(text, [clause.transition for clause in clauses], clauses)


def offer_request(words: str) -> Request:
    """The request for what a refusal offers, in just these words: "a house", "two red circles", "a small blue star".

    Raises:
        ValueError: It is no such thing.
    """
    first, _, rest = words.partition(" ")
    count = NUMBERS.index(first) if first in NUMBERS else 1
    if rest in COMPOSITES:
        chosen = COMPOSITES[rest]
        parts = placed_parts(chosen, {key: options[0] for key, options in chosen.choices.items()}, {})
        ground = ground_for([chosen], parts)
        assert ground is not None  # of what it usually looks like
        clauses = assembled(parts, ground)
        steps = [clause.transition for clause in clauses]
        return replace(spoken_request(words, steps, clauses, rest), split="train")
    *said, shape = (rest.removesuffix("s") if count > 1 else rest).split()
    item = Item(SHAPES.index(shape))
    for word in said:
        if word in SIZES:
            item.size = SIZES.index(word)
        else:
            item.colour = COLOURS.index(word)
    made = steps_of(Talk([replace(item, alike=i > 0) for i in range(count)]))
    if made is None:
        raise ValueError(f"[spoken] {words!r} cannot be drawn")
    return spoken_request(words, made, clauses_in_full(made))
