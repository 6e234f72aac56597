"""Named drawings in other words: parts left out or in a told order, changes of parts, what becomes of them, and pairs."""

from __future__ import annotations

import random
from collections.abc import Sequence

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Thing, Transition

from .clauses import Clause
from .composites import COMPOSITES, Composite, fits_a_column
from .compositions import repaired, strange_noun
from .drawings import (
    SIDED_PARTS,
    PlacedPart,
    assembled,
    attributes,
    defaults,
    drawing_words,
    ground_for,
    in_place,
    placed_parts,
    plural,
)
from .grammar import article
from .phrases import ASK_FOR, HOW, SIZE_WORDS, dressed, glued
from .plans import MOST_STEPS, Request
from .wishes import ORDER, clauses_in_full, on_ground, spoken_request

_AFTER = (
    ", then ",
    ". Then ",
    " and then ",
    ". After that ",
    ". Now ",
    ", and finally ",
    "; ",
    ". Afterwards ",
    ". ",
)
_TAKE = (
    "remove {r}",
    "take {r} away",
    "take {r} off",
    "erase {r}",
    "delete {r}",
    "let {r} disappear",
    "take away {r}",
    "wipe {r} out",
)


def _request(rng: random.Random, text: str, clauses: list[Clause], name: str | None = None) -> Request | None:
    if len(clauses) > MOST_STEPS:
        return None
    return spoken_request(dressed(rng, text), [clause.transition for clause in clauses], clauses, name)


def _less(rng: random.Random, drawing: Composite) -> Request | None:
    """A drawing without one of its parts or two of them."""
    parts, _ = in_place(drawing)
    names = [name for name, _, _ in parts]
    gone = rng.sample(names[1:], rng.choice((1, 1, 1, 2))) if len(names) > 3 else names[-1:]
    if len(names) < 3 or len(set(names)) < len(names):
        return None
    gone.sort(key=names.index)
    left = [part for part in parts if part[0] not in gone]
    ground = ground_for([drawing], left)
    if ground is None:
        return None
    no = rng.choice((" and ", " or ")).join(gone)
    both = " and ".join(f"the {name}" for name in gone)
    what = drawing_words(rng, drawing)
    text = rng.choice((
        f"{what} without {no}", f"{what} with no {no}", f"{what}, but without {both}", f"{what}, no {no}",
        f"{what} but leave out {both}", f"{what} minus {both}", f"{what}, leave {both} away", f"{what} that has no {no}",
        f"{what}, just without {both}", f"{what} (no {no})", f"{what}, {both} should be missing", f"{what} - no {no}, please",
    ))  # fmt: skip
    ask = rng.choice((*ASK_FOR[:24], *HOW[:3])) if rng.random() < 0.7 else "{x}"
    return _request(rng, ask.format(x=text), assembled(left, ground), drawing.name)


def _ordered(rng: random.Random, drawing: Composite) -> Request | None:
    """A drawing whose parts come in an order that is told."""
    parts, ground = in_place(drawing)
    names = [name for name, _, _ in parts]
    if len(set(names)) < len(names) or drawing.name in names:
        return None
    what = drawing_words(rng, drawing)
    kind = rng.random()
    if kind < 0.45:
        first = rng.randrange(len(parts))
        parts.insert(0, parts.pop(first))
        name = parts[0][0]
        text = rng.choice((
            f"how does {what} come about? {name.capitalize()} first, then the rest", f"draw {what}, the {name} first",
            f"{what}, start with the {name}", f"Draw {what}. Begin with the {name}.", f"{what}: first the {name}, then everything else",
            f"how do I draw {what} if I start with the {name}?", f"draw {what} but begin with the {name}",
            f"how is {what} built? The {name} first, then the rest", f"{what}, {name} first", f"draw {what} starting with the {name}",
            f"First the {name} of {what}, then the other parts",
        ))  # fmt: skip
    elif kind < 0.65 and fits_a_column(drawing):
        up = rng.random() < 0.6
        parts.sort(key=lambda part: part[2], reverse=up)
        way = ("from the bottom up", "from bottom to top", "from the bottom to the top") if up else (
            "from the top down", "from top to bottom", "from the top to the bottom")  # fmt: skip
        text = rng.choice((f"draw {what} {rng.choice(way)}", f"{what}, {rng.choice(way)}", f"Build {what} {rng.choice(way)}.",
                           f"show me {what} drawn {rng.choice(way)}"))  # fmt: skip
    else:
        rng.shuffle(parts)
        order = (
            [f"the {name}" for name, _, _ in parts] if rng.random() < 0.5 else [name for name, _, _ in parts]
        )
        listed = (
            ", ".join(order[:-1]) + rng.choice((" and ", " and finally ", ", last ", ", then ")) + order[-1]
        )
        steps = ", then ".join(order)
        text = rng.choice((f"{what}: first {listed}", f"draw {what} in this order: {listed}", f"{what}: {steps}",
                           f"draw {what}, first {steps}", f"how does {what} grow? {steps[0].upper()}{steps[1:]}"
                           if drawing.group == "plant" else f"{what} built like this: {steps}"))  # fmt: skip
    return _request(rng, text, assembled(parts, ground), drawing.name)


def _edited(rng: random.Random, drawing: Composite) -> Request | None:
    """A drawing, and then changes of its parts: one or two, said in one breath."""
    parts, ground = in_place(drawing)
    clauses = assembled(parts, ground)
    kind = rng.random()
    now = clauses[-1].transition.after
    by_name = {name: [cell] for name, _, cell in parts if name not in COMPOSITES}
    for word in SIDED_PARTS:  # "the arms" are both of them
        cells = [cell for name, _, cell in parts if name.endswith(f" {word}")]
        if cells:
            by_name[f"{word}s"] = cells
    sample = rng.sample(list(by_name), 2) if len(by_name) > 1 else list(by_name)
    one, other = sample[0], sample[-1]
    if set(by_name[one]) & set(by_name[other]) and one != other:
        return None
    owner = rng.choice(("the ", "the ", "its "))
    what = drawing_words(rng, drawing)
    colours = rng.sample(range(len(COLOURS)), 2)
    a, b = (COLOURS[colour] for colour in colours)
    done: list[Transition] = []

    def recolour(cells: Sequence[int], colour: int) -> None:
        for cell in cells:
            before = done[-1].after if done else now
            if before.at(cell).colour == colour:
                raise ValueError("[redrawn] it has that colour")
            done.append(Transition.recolour(before, cell, colour))

    if kind < 0.35:
        recolour(by_name[one], colours[0])
        text = rng.choice(("make {r} {v}", "paint {r} {v}", "colour {r} {v}", "turn {r} {v}", "{r} should be {v}", "change {r} to {v}",
                           "make {r} {v} instead", "give it {w}")).format(r=f"{owner}{one}", v=a,
                           w=f"{a} {one}" if one.endswith("s") else article(f"{a} {one}"))  # fmt: skip
    elif kind < 0.55 and one != other:
        recolour(by_name[one], colours[0])
        recolour(by_name[other], colours[1])
        text = rng.choice((f"make {owner}{one} {a} and {owner}{other} {b}", f"paint {owner}{one} {a} and {owner}{other} {b}",
                           f"{owner}{one} becomes {a} and {owner}{other} {b}" if not one.endswith("s") else
                           f"colour {owner}{one} {a}, {owner}{other} {b}", f"make {owner}{one} {a}, {owner}{other} {b}"))  # fmt: skip
    elif kind < 0.9:
        cells = by_name[one] + (by_name[other] if one != other and rng.random() < 0.3 else [])
        if len(cells) >= len(parts):
            return None
        for cell in cells:
            done.append(Transition.remove(done[-1].after if done else now, cell))
        called = f"{owner}{one}" + (f" and {owner}{other}" if len(cells) > len(by_name[one]) else "")
        text = rng.choice(_TAKE).format(r=called)
    else:
        free = next((cell for cell in ORDER if now.cells[cell] is None), None)
        if free is None or colours[0] == now.background:
            return None
        shape, size = rng.randrange(len(SHAPES)), rng.choice((None, 0, 1))
        done.append(Transition.add(now, Thing(shape, colours[0], 1 if size is None else size, 0), free))
        look = f"{'' if size is None else SIZE_WORDS[size][0] + ' '}{a} {SHAPES[shape]}"
        text = rng.choice(
            ("add {x}", "put {x} next to it", "draw {x} beside it", "add {x} to the picture")
        ).format(x=article(look))
    lead = rng.choice((*ASK_FOR[:24], *HOW[:4])).format(x=what).rstrip(".!?")
    text = (
        lead
        + glued(rng.choice(_AFTER), text)
        + rng.choice(("", "", "", ".", " afterwards", " please", " at the end"))
    )
    return _request(rng, text, clauses + clauses_in_full(done), drawing.name)


def _fate(rng: random.Random, drawing: Composite) -> Request | None:
    """A drawing of which a part or everything goes away, or that goes through colours or lights: a story of it."""
    name = drawing.name
    parts, ground = in_place(drawing)
    clauses = assembled(parts, ground)
    cells = {part: cell for part, _, cell in parts}
    now = clauses[-1].transition.after
    what = rng.choice((article(name), article(name), name, f"the {name}"))
    done: list[Transition] = []

    def gone(*which: str) -> None:
        for part in which:
            done.append(Transition.remove(done[-1].after if done else now, cells[part]))

    kind = rng.random()
    if name == "snowman" and kind < 0.6:
        whole = rng.random() < 0.4
        gone("hat", "head", *(("body",) if whole else ()))
        text = rng.choice((f"{what} melts away completely", f"{what} melts until nothing is left", f"{what} melts: hat, head and body go away")
                          if whole else (f"{what} melts", f"{what} melted in the sun", f"how {what} melts", f"{what} is melting",
                                         f"{what} slowly melts", f"spring comes and {what} melts"))  # fmt: skip
    elif name == "candle" and kind < 0.6:
        gone("spark", "flame")
        text = rng.choice(
            (f"{what} goes out", f"{what} is blown out", f"somebody blows {what} out", f"{what} went out")
        )
    elif name == "tree" and kind < 0.7:
        colours = [
            "green",
            *rng.choice(
                (["orange"], ["yellow", "orange"], ["orange", "red"], ["yellow", "red"], ["yellow"], ["red"])
            ),
        ]
        parts = placed_parts(drawing, defaults(drawing) | {"crown": "green"}, {})
        for colour in colours[1:]:
            done.append(
                Transition.recolour(done[-1].after if done else now, cells["crown"], COLOURS.index(colour))
            )
        listed = ", then ".join(colours)
        text = rng.choice((f"{what} through the seasons: {listed}", f"{what} in summer and in autumn: {listed}",
                           f"a tree over the year: {listed}", f"the crown of {what} is {listed}", f"{what} whose crown turns from {' to '.join(colours)}",
                           f"autumn comes to {what}: {listed}"))  # fmt: skip
    elif kind < 0.45:
        order = sorted(cells, key=lambda part: cells[part])
        gone(*order)
        text = rng.choice((f"{what} appears and then disappears again from top to bottom", f"draw {what} and then take it away part by part, from the top",
                           f"{what} vanishes bit by bit from the top", f"{what} goes away piece by piece, the top first"))  # fmt: skip
    else:
        skies = rng.sample(range(len(COLOURS)), rng.choice((2, 3)))
        if any(thing.colour == sky for _, thing, _ in parts for sky in skies) or now.background == skies[0]:
            return None
        for sky in skies:
            done.append(Transition.ground(done[-1].after if done else now, sky))
        words = [COLOURS[sky] for sky in skies]
        text = rng.choice((f"{what}, then the sky turns {' and then '.join(words)}", f"{what} and the background changes: first {', then '.join(words)}",
                           f"{what} while the sky becomes {' and then '.join(words)}"))  # fmt: skip
    lead = rng.choice(("", "", "", "Story: ", "a story: ", "tell the story: ", "Show how ", "draw how "))
    if "how " in (lead + text)[:12] and (
        text.startswith(("how", "spring", "draw", "autumn", "the crown")) or ":" in text or "," in text
    ):
        lead = ""
    return _request(
        rng,
        lead + text + rng.choice(("", "", ".", " The end." if text[-1] == "." else ". The end.")),
        clauses + clauses_in_full(done),
        name,
    )


def _repaired(rng: random.Random, drawing: Composite) -> Request | None:
    """A drawing instead of something that is taken back."""
    parts, ground = in_place(drawing)
    wrong = article(
        strange_noun(rng)
        if rng.random() < 0.5
        else rng.choice([name for name in COMPOSITES if name != drawing.name])
    )
    text = repaired(rng, wrong, article(drawing.name))
    lead = rng.choice(("", "", "draw ", "Draw ", "I want ")) * (not text.startswith(("I ", "no ", "not ")))
    return _request(rng, lead + text, assembled(parts, ground), drawing.name)


def _looks(rng: random.Random, drawing: Composite) -> Request | None:
    """What colours the parts have, said in other ways than "with a red hat"."""
    values = defaults(drawing)
    keys = [key for key in values if values[key] in COLOURS]
    if not keys:
        return None
    chosen = rng.sample(keys, min(len(keys), rng.choice((1, 1, 2))))
    for key in chosen:
        values[key] = rng.choice(COLOURS)
    parts = placed_parts(drawing, values, {})
    ground = ground_for([drawing], parts)
    if ground is None:
        return None
    what = drawing_words(rng, drawing)
    be = [
        f"the {key} {'are' if key.endswith('s') else 'is'} {values[key]}"
        for key in chosen
        if key != drawing.name
    ]
    short = [f"{key} {values[key]}" for key in chosen if key != drawing.name]
    tight = [f"{values[key]} {key}" for key in chosen if key != drawing.name]
    if not be:
        return None
    text = rng.choice((
        f"{what} where {' and '.join(be)}", f"{what}. {' and '.join(be).capitalize()}.", f"{what}, {', '.join(short)}", f"{what} ({', '.join(tight)})",
        f"{what}, {' and '.join(be)}", f"{what}: {', '.join(tight)}",
        f"{what}, but with {' and '.join(tight)}" if all(key.endswith("s") for key in chosen) else f"{what} with {' and '.join(f'the {key} in {values[key]}' for key in chosen)}",
        f"{what}. I want {' and '.join(f'the {key} in {values[key]}' for key in chosen)}.",
    ))  # fmt: skip
    ask = (
        rng.choice((*ASK_FOR[:12], "{x}", "{x}", "{x}"))
        if not text.endswith(".")
        else rng.choice(("{x}", "draw {x}", "Draw {x}", "I want {x}"))
    )
    return _request(rng, ask.format(x=text), assembled(parts, ground), drawing.name)


_WAYS = {_less: 4, _ordered: 5, _edited: 6, _fate: 4, _repaired: 2, _looks: 4}


def redrawn(rng: random.Random) -> Request:
    """A named drawing, in a way that says more than its name."""
    (make,) = rng.choices(tuple(_WAYS), tuple(_WAYS.values()))
    while True:
        name = rng.choice(
            ("snowman", "snowman", "tree", "candle", *COMPOSITES) if make is _fate else tuple(COMPOSITES)
        )
        try:
            request = make(rng, COMPOSITES[name])
        except ValueError:
            continue
        if request is not None:
            return request


_PAIRS = (
    "{x} and {y}", "{x} and {y}", "{x}, {y}", "{x} + {y}", "{x} & {y}", "both {x} and {y}", "{x} as well as {y}", "{x} and also {y}", "{x} along with {y}",
    "{x} and {y} side by side", "{x} and {y} next to each other", "{x} next to {y}", "{x} beside {y}", "first {x}, then {y} to the right of it",
    "first {x}, then {y} next to it", "first {x} and then {y} on its right", "{x}, then {y}", "{x}, and on its right {y}", "{x} left and {y} right",
    "{x} left, {y} right", "left {x}, right {y}", "on the left {x}, on the right {y}", "{x} on the left and {y} on the right", "{x} at the left and {y} at the right",
    "{x} on the left side, {y} on the right side", "{x} to the left of {y}", "two drawings: {x} and {y}", "1) {x} 2) {y}", "1. {x}, 2. {y}", "{x}; {y}", "{x}, plus {y}",
    "{x}. Next to it, {y}.", "{x}. Beside it {y}.", "{x}, accompanied by {y}", "{x} together with {y}", "{x} with {y} to its right", "{x} standing next to {y}",
)  # fmt: skip
_BACK = ("first {y}, then {x} to the left of it", "{y} and to its left {x}", "{y}, then {x} on its left", "{y} with {x} to its left",
         "first {y} on the right, then {x} on the left")  # fmt: skip


def together(rng: random.Random) -> Request:
    """Two named drawings beside each other, in many ways of saying so, perhaps with a change of one."""
    narrow = [item for item in COMPOSITES.values() if fits_a_column(item)]
    while True:
        try:
            request = _together(rng, rng.choice(narrow), rng.choice(narrow))
        except ValueError:
            continue
        if request is not None:
            return request


def _together(rng: random.Random, first: Composite, second: Composite) -> Request | None:
    if rng.random() < 0.2:
        second = first
    plain = rng.random() < 0.6
    values, said, words = (defaults(first), {}, "") if plain else attributes(rng, first)
    others, other_said, other_words = (
        (defaults(second), {}, "") if plain or rng.random() < 0.4 else attributes(rng, second)
    )
    bare = rng.random() < 0.35
    words = words or (first.name if bare else article(first.name))
    other_words = other_words or (second.name if bare else article(second.name))
    count, many = rng.choice(("two", "two", "2", "a pair of")), plural(first.name)
    phrase = ""
    if first is second:
        keys = [key for key in values if values[key] in COLOURS]
        where = rng.choice(
            ("", "", " side by side", " next to each other", ", one left and one right", " beside each other")
        )
        if plain and (not keys or rng.random() < 0.5):
            phrase = f"{count} {many}{where}"
        elif keys:
            key = keys[0]
            said, other_said = {}, {}
            values, others = defaults(first), defaults(first)
            a, b = rng.sample(COLOURS, 2)
            part = (
                rng.choice(("one with {v} {k} and one with {w} {k}",))
                if key.endswith("s")
                else "one with a {v} {k} and one with a {w} {k}"
            )
            if rng.random() < 0.4:
                b = a
                phrase = f"{count} {many}{where}, both with {f'{a} {key}' if key.endswith('s') else article(f'{a} {key}')}"
            else:
                phrase = f"{count} {many}{where if ',' not in where else ''}, " + part.format(
                    v=a, w=b, k=key
                ).replace("a orange", "an orange")
            values[key], others[key] = a, b
        else:
            return None
    left, right = placed_parts(first, values, said, 0), placed_parts(second, others, other_said, 2)
    ground = ground_for([first, second], [*left, *right])
    if ground is None or len(left) + len(right) > 6:
        return None
    turned = not phrase and first is not second and rng.random() < 0.12
    way = rng.choice(_BACK if turned else _PAIRS)
    numbered = way.startswith(("1", "two drawings", "left", "on the left", "first", "both"))
    listed = phrase or way.format(x=words, y=other_words)
    if rng.random() < 0.1 and not listed.endswith("."):
        other_ground = rng.randrange(len(COLOURS))
        listed += on_ground(rng, other_ground)
        ground = other_ground
    ask = (
        "{x}" if listed.endswith(".") else rng.choice((*ASK_FOR[:20], "{x}", "{x}") if numbered else ASK_FOR)
    )
    text = ask.format(x=listed)
    clauses = assembled([*right, *left] if turned else [*left, *right], ground)
    if len(clauses) < 6 and first is not second and rng.random() < 0.2:
        more = _one_of_two(rng, clauses, [(first, left), (second, right)])
        if more is None:
            return None
        text = text.rstrip(".!?") + glued(rng.choice(_AFTER), more[0])
        clauses.append(more[1])
    return _request(rng, text, clauses)


def _one_of_two(
    rng: random.Random, clauses: Sequence[Clause], both: Sequence[tuple[Composite, Sequence[PlacedPart]]]
) -> tuple[str, Clause] | None:
    """A change of a part of one of two drawings, by names that only one of them has."""
    names = [name for _, parts in both for name, _, _ in parts]
    drawing, parts = rng.choice(both)
    name, thing, cell = rng.choice(parts)
    if names.count(name) > 1 and any(
        name == part for other, found in both if other is not drawing for part, _, _ in found
    ):
        called = f"the {name} of the {drawing.name}"
    else:
        called = f"the {name}"
    if sum(name == part for part, _, _ in parts) > 1 or name in COMPOSITES:
        return None
    now = clauses[-1].transition.after
    if rng.random() < 0.4:
        return rng.choice(_TAKE).format(r=called), clauses_in_full([Transition.remove(now, cell)])[0]
    colour = rng.randrange(len(COLOURS))
    if colour == thing.colour:
        return None
    step = Transition.recolour(now, cell, colour)
    return rng.choice(("make {r} {v}", "paint {r} {v}", "{r} should be {v}", "turn {r} {v}")).format(
        r=called, v=COLOURS[colour]
    ), clauses_in_full([step])[0]
