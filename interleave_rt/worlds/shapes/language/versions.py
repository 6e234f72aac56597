"""Named drawings that change: by day and by night, with a part and then without it, in one colour and then in another.

And drawings with several things said of them at once: "a house, no sun, brown roof, on white".
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence

from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    Transition,
    other_colour,
)

from .clauses import Clause
from .composites import COMPOSITES, Composite, fits_a_column
from .drawings import (
    SIDED_PARTS,
    PlacedPart,
    assembled,
    defaults,
    drawing_words,
    ground_for,
    in_place,
    placed_parts,
    plural,
)
from .grammar import article
from .phrases import ASK_FOR, HOW, PLACES, dressed, glued
from .plans import MOST_STEPS, Request
from .wishes import clauses_in_full, each, on_ground, recoloured, spoken_request

_THEN = (
    ", then ",
    ", then ",
    ". Then ",
    " and then ",
    ", and then ",
    ". After that ",
    ". Later ",
    ", later ",
    "; then ",
    ". ",
    ", after that ",
)
_END = ("", "", "", "", ".", ".", " please", ". Thanks", ". The end.")
_ASKS = (*("{x}",) * 14, *(form for form in ASK_FOR if form.endswith("{x}")))
"""What stands before a drawing and what becomes of it."""
_ALL_ASKS = (*_ASKS, *ASK_FOR, *HOW[:3])
_WHY = ("",) * 12 + (
    ", for my son",
    ", it's for my little sister",
    ", for a birthday card",
    ", for our class",
    ", it's for grandma",
)
_BLUE, _BLACK = COLOURS.index("blue"), COLOURS.index("black")
_GONE = {"{t} falls off": "{t} fall off", "{t} comes off": "{t} come off", "{t} disappears": "{t} disappear", "{t} goes away": "{t} go away",
         "{t} is gone": "{t} are gone", "{t} is taken away": "{t} are taken away", "{t} vanishes": "{t} vanish", "it loses {t}": "it loses {t}",
         "without {t}": "without {t}", "the same without {t}": "the same without {t}", "somebody takes {t} away": "somebody takes {t} away",
         "the wind blows {t} away": "the wind blows {t} away", "{t} flies away": "{t} fly away"}  # fmt: skip
"""What is said where one part goes, and where several do."""
_OWN_WAY = {"flame": ("{t} goes out", "{t} dies", "somebody blows {t} out"), "spark": ("{t} goes out",), "sun": ("{t} sets", "{t} goes down", "{t} hides"),
            "moon": ("{t} sets", "{t} goes down"), "cherry": ("somebody eats {t}",), "berry": ("somebody eats {t}",), "scoop": ("{t} melts",),
            "petals": ("{t} fall off",), "bubble": ("{t} bursts", "{t} pops"), "stars": ("{t} go out", "{t} fade"), "red light": ("{t} goes off",),
            "yellow light": ("{t} goes off",), "green light": ("{t} goes off",), "hat": ("the wind takes {t}",), "bow": ("{t} comes undone and is gone",)}  # fmt: skip
"""How parts go that have a way of their own."""
_OWN_COMING = {"sun": ("rises", "comes out", "comes up"), "moon": ("rises", "comes out", "comes up"), "stars": ("come out",), "petals": ("grow",), "flame": ("is lit",),
               "red light": ("goes on",), "yellow light": ("goes on",), "green light": ("goes on",), "bubble": ("comes up",)}  # fmt: skip
_PART_NAMES: dict[str, dict[str, tuple[str, ...]]] = {"christmas tree": {"balls": ("baubles", "ornaments")}, "lamp": {"shade": ("lampshade",)}, "mushroom": {"stalk": ("stem",), "cap": ("hat",)},
               "drum": {"sticks": ("drumsticks",)}}  # fmt: skip
"""Other names of parts."""


def _units(parts: Sequence[PlacedPart]) -> dict[str, list[str]]:
    """What can be spoken of: every part by its name, and "arms" and the like for those that are two or more."""
    names = [name for name, _, _ in parts]
    found = {
        name: [name]
        for name in names
        if name not in COMPOSITES and not any(other.endswith(f" {name}") for other in names)
    }
    for word in (*SIDED_PARTS, "star", "light"):
        several = [name for name in names if name.endswith(f" {word}")]
        if len(several) > 1:
            found[f"{word}s"] = several
    return found


def _name(rng: random.Random, drawing: Composite) -> str:
    """What it is called, perhaps with a word that leaves it as it is."""
    nice = rng.choice(("nice ", "cute ", "simple ", "beautiful ", "lovely ", "little ", "funny "))
    return drawing_words(rng, drawing, nice if rng.random() < 0.08 else "")


def _many(name: str) -> bool:
    return name.endswith("s")


def _coloured(drawing: Composite) -> list[str]:
    """Choices that are the colour of one part, or of all parts that their plural names."""
    found = []
    for key, values in drawing.choices.items():
        if values[0] in COLOURS and key != drawing.name:
            where = _of_choice(drawing, key)
            if where == [key] or (_many(key) and all(name.split()[-1] == key[:-1] for name in where)):
                found.append(key)
    return found


def _of_choice(drawing: Composite, key: str) -> list[str]:
    """The names of the parts that a choice is about."""
    return [part.name for part in drawing.parts if f"{{{key}}}" in part.thing]


def _with(key: str, colour: str) -> str:
    return f"{colour} {key}" if _many(key) else article(f"{colour} {key}")


def _request(
    rng: random.Random,
    text: str,
    clauses: list[Clause],
    drawing: Composite | None,
    more: Sequence[Transition] = (),
    asks: Sequence[str] = _ASKS,
) -> Request | None:
    """The text within one of `asks`; `more`: what becomes of the drawing. None where the steps are too many or change nothing."""
    clauses = clauses + clauses_in_full(more)
    if len(clauses) > MOST_STEPS or any(step.transition.before == step.transition.after for step in clauses):
        return None
    whole = any(mark in text for mark in (". ", "; ", ": "))
    short = ("{x}", "{x}", "{x}", "draw {x}", "Draw {x}", "please draw {x}", "I want {x}")
    form = rng.choice(short if whole and len(asks) > 1 else asks)
    if text.startswith(("the ", "day turns", "night turns")) or " grows" in text:
        form = "{x}"
    for part, others in _PART_NAMES.get(drawing.name if drawing else "", {}).items():
        if rng.random() < 0.2:
            text = re.sub(rf"\b{part}\b", rng.choice(others), text)
    text = form.format(x=text)
    if text[-1] not in ".!?" and form == "{x}":
        text += rng.choice(_END)
        text = text[0].upper() + text[1:] if rng.random() < 0.4 else text
    return spoken_request(
        dressed(rng, text),
        [clause.transition for clause in clauses],
        clauses,
        drawing.name if drawing else None,
    )


def _cells(parts: Sequence[PlacedPart], names: Collection[str]) -> list[int]:
    return [cell for name, _, cell in parts if name in names]


def _added(scene: Scene, things: dict[int, Thing]) -> list[Transition]:
    """The things come one after the other, each to its cell."""
    return each(scene, things, lambda now, cell: Transition.add(now, things[cell], cell))


def _loses(rng: random.Random, drawing: Composite) -> Request | None:
    """A part goes, or what its plural names; perhaps it comes back, perhaps in another colour."""
    parts, ground = in_place(drawing)
    clauses = assembled(parts, ground)
    units = _units(parts)
    unit = rng.choice(list(units))
    if len(units[unit]) == len(parts):
        return None
    done = each(clauses[-1].transition.after, _cells(parts, units[unit]), Transition.remove)
    what, many = _name(rng, drawing), _many(unit)
    t = f"{rng.choice(('the', 'the', 'its'))} {unit}"
    them = "them" if many else "it"
    kind = rng.random()
    if kind < 0.25:
        text = rng.choice((f"{what}, first with the {unit}, then without", f"first {what} with the {unit}, then without {them}",
                           f"{what}, once with the {unit} and then without", f"{what} with the {unit}, later without {them}",
                           f"{what} that loses its {unit}", f"{what} and then the same {drawing.name} without the {unit}",
                           f"{what}; later the {unit} {'are' if many else 'is'} missing"))  # fmt: skip
        return _request(rng, text, clauses, drawing, done)
    gone = rng.choice(list(_GONE))
    words = (_GONE[gone] if many else gone).format(t=t)
    if unit in _OWN_WAY and rng.random() < 0.5:
        words = rng.choice(_OWN_WAY[unit]).format(t=t)
    joint = rng.choice(
        [one for one in _THEN if one != ". " or "without" not in words]
    )  # "a cat. Without the nose" is one picture
    text = what + glued(joint, words)
    others = [one for one, names in units.items() if not set(names) & set(units[unit])]
    if others and kind > 0.8 and len(parts) > 2:
        other = rng.choice(others)
        if len(units[unit]) + len(units[other]) == len(parts):
            return None
        done += each(done[-1].after, _cells(parts, units[other]), Transition.remove)
        o = rng.choice((f"the {other} too", f"the {other}", f"the {other} as well"))
        go, goes = rng.choice(
            (
                ("go away", "goes away"),
                ("disappear", "disappears"),
                ("vanish", "vanishes"),
                ("are gone", "is gone"),
            )
        )
        text = what + rng.choice((f". First the {unit} {go if many else goes}, then {o}", f", then remove the {unit} and then {o}",
                                  f", then take the {unit} away, after that {o}", f". Remove the {unit}, then {o}",
                                  f"; first the {unit} {go if many else goes}, then the {other} {go if _many(other) else goes}"))  # fmt: skip
        return _request(rng, text, clauses, drawing, done)
    if kind < 0.5 and len(units[unit]) == 1:
        name, thing, cell = next(part for part in parts if part[0] == unit)
        colour = thing.colour
        back = rng.choice(
            (
                "it comes back",
                f"the {unit} is back",
                f"the {unit} comes back",
                f"the {drawing.name} gets it back",
            )
        )
        if rng.random() < 0.5:
            colour = other_colour(rng, colour, ground)
            a = COLOURS[colour]
            back = rng.choice((f"it gets {article(f'{a} {name}')}", f"{article(f'{a} {name}')} comes instead",
                               f"it gets a new {name} in {a}", f"there is {article(f'{a} {name}')} in its place"))  # fmt: skip
        done.append(Transition.add(done[-1].after, thing._replace(colour=colour), cell))
        text += glued(rng.choice(_THEN[:7]), back)
    return _request(rng, text, clauses, drawing, done)


def _gains(rng: random.Random, drawing: Composite) -> Request | None:
    """At first a part is missing, and then it is there."""
    parts, _ = in_place(drawing)
    units = _units(parts)
    unit = rng.choice(list(units))
    left = [part for part in parts if part[0] not in units[unit]]
    ground = ground_for([drawing], parts)
    if len(left) < 2 or ground is None:
        return None
    clauses = assembled(left, ground)
    colour = None
    if rng.random() < 0.3 and " " not in unit:
        colour = rng.randrange(len(COLOURS))
    missing = {cell: thing if colour is None else thing._replace(colour=colour)
               for name, thing, cell in parts if name in units[unit]}  # fmt: skip
    done = _added(clauses[-1].transition.after, missing)
    what, many = _name(rng, drawing), _many(unit)
    them, one = ("them", "them") if many else ("it", "one")
    if colour is None:
        comes = rng.choice(
            _OWN_COMING.get(unit, ("appear" if many else "appears", "come" if many else "comes"))
        )
        text = rng.choice((f"{what} without the {unit}, then the {unit} {comes}", f"{what}, no {unit} yet, then the {unit} {comes}", f"{what}, first without the {unit}, then with {them}", f"{what} without the {unit}, then with {them}",
                           f"first {what} without its {unit} and then with {them}", f"{what} without the {unit}. Then add the {unit}",
                           f"{what} that has no {unit} at first and then gets {one}", f"{what}, but the {unit} {'come' if many else 'comes'} last",
                           f"{what} without the {unit}. After that the {unit} {'appear' if many else 'appears'}",
                           f"{what}, at first the {unit} {'are' if many else 'is'} missing, then {'they appear' if many else 'it appears'}"))  # fmt: skip
    else:
        new = _with(unit, COLOURS[colour])
        text = rng.choice((f"{what} without the {unit}, then give it {new}", f"{what} without {unit}. It gets {new}",
                           f"{what} with no {unit}, then it gets {new}", f"{what} without the {unit} and then add {new}"))  # fmt: skip
    return _request(rng, text, clauses, drawing, done)


def _day(rng: random.Random, drawing: Composite) -> Request | None:
    """By day and by night: the same drawing, and the background changes."""
    parts, _ = in_place(drawing)
    if drawing.name == "night sky" or any(thing.colour in (_BLUE, _BLACK) for _, thing, _ in parts):
        return None
    name, what = drawing.name, _name(rng, drawing)
    dark = rng.random() < 0.25
    skies = [_BLACK, _BLUE] if dark else [_BLUE, _BLACK]
    day, night = (
        rng.choice(("by day", "in the daytime", "at day", "during the day")),
        rng.choice(("at night", "by night", "in the night", "in the dark")),
    )
    one, other = (night, day) if dark else (day, night)
    comes = rng.choice(
        ("the morning comes", "it becomes day", "it is day")
        if dark
        else ("night comes", "night falls", "it gets dark", "it is night")
    )
    sky = f"{rng.choice(('the sky', 'the background'))} {rng.choice(('turns', 'becomes', 'goes'))} {COLOURS[skies[1]]}"
    text = rng.choice((
        f"{what} {one}, then the same {name} {other}", f"{what} {one} and then {other}", f"{what} first {one}, then {other}", f"{what} {one}, later {other}",
        f"{what} {one}. Then {comes}", f"{what} {one}, then {comes}", f"{what} {one} and {other}", f"{what} {one}; then {sky}",
        f"{'night turns to day' if dark else 'day turns to night'}: {what} {on_ground(rng, skies[0]).strip(' ,')}, then {sky}",
        f"{what} {one}. Then {comes} and {sky}", f"first {what} {one}, then the same {other}",
    ))  # fmt: skip
    clauses = assembled(parts, skies[0])
    done = [Transition.ground(clauses[-1].transition.after, skies[1])]
    if rng.random() < 0.2:
        text += glued(rng.choice((". Then ", ", then ", " and then ")), rng.choice(("it is day again", "the day comes again") if not dark else ("it is night again", "the night comes again")))  # fmt: skip
        done.append(Transition.ground(done[-1].after, skies[0]))
    return _request(rng, text, clauses, drawing, done)


def _shades(rng: random.Random, drawing: Composite) -> Request | None:
    """A part has one colour, and then another one or two."""
    keys = _coloured(drawing)
    if not keys:
        return None
    key = rng.choice(keys)
    colours = rng.sample(range(len(COLOURS)), rng.choice((2, 2, 2, 3)))
    a, *later = (COLOURS[colour] for colour in colours)
    parts = placed_parts(drawing, defaults(drawing) | {key: a}, {})
    seen = {thing.colour for _, thing, _ in parts} | set(colours)
    usual = [COLOURS.index(name) for name in drawing.grounds]
    ground = next((g for g in (*usual, *range(len(COLOURS))) if g not in seen), None)
    if ground is None or ground != ground_for([drawing], parts):
        return None
    clauses = assembled(parts, ground)
    now, done = clauses[-1].transition.after, list[Transition]()
    for colour in colours[1:]:
        done += recoloured(now, _cells(parts, _of_choice(drawing, key)), colour)
        now = done[-1].after
    what, many = _name(rng, drawing), _many(key)
    be, s = ("are", "") if many else ("is", "s")
    row = rng.choice((" and then ", ", then ")).join(later)
    turn = rng.choice((f"turn{s}", f"become{s}" if s else "become", f"change{s} to", f"get{s}"))
    text = rng.choice((
        f"{what} with {_with(key, a)} that {turn} {row}", f"{what} whose {key} {be} first {a}, then {row}",
        f"{what} with {_with(key, a)}, then the {key} {turn} {row}", f"{what} with {_with(key, a)}, then make the {key} {row}",
        f"{what} with {_with(key, a)}. Later the {key} {turn} {row}", f"{what}. Its {key} change{s} from {a} to {row}",
        f"{what} with {_with(key, a)}, and after that I want {'them' if many else f'the {key}'} {row}",
        f"{what}, {key} {a} first, then {row}", f"{what}, {a} {key}, later change the {key} to {row}", f"{what} whose {key} turn{s} from {a} to {row}",
        f"{what} with {_with(key, a)}, then paint the {key} {row}", f"the {key} of {what} {be} {a}, then {row}",
        f"{what}: the {key} {be} {a} first and later {row}", f"{what} where the {key} {be} {a} and then {turn} {row}",
    ))  # fmt: skip
    return _request(rng, text, clauses, drawing, done)


def _described(rng: random.Random, drawing: Composite) -> Request | None:
    """What it has, what it lacks and what it stands on, in any order."""
    values, keys = defaults(drawing), _coloured(drawing)
    told = rng.sample(keys, min(len(keys), rng.choice((0, 1, 1, 2))))
    for key in told:
        values[key] = rng.choice(COLOURS)
    parts = placed_parts(drawing, values, {})
    units = _units(parts)
    missing = None
    if rng.random() < 0.75:
        first = parts[0][0]
        free = [unit for unit, names in units.items() if first not in names and unit not in told and len(parts) - len(names) > 1
                and not any(key in (unit, f"{unit.split()[-1]}s") for key in told)]  # fmt: skip
        if not free:
            return None
        missing = rng.choice(free)
    one = missing is not None and len(units[missing]) == 2 and rng.random() < 0.35
    dropped = [] if missing is None else units[missing][1:] if one else units[missing]
    parts = [part for part in parts if part[0] not in dropped]
    ground = ground_for([drawing], parts)
    where = ""
    if rng.random() < 0.25:
        ground = rng.randrange(len(COLOURS))
        where = on_ground(rng, ground).strip(" ,")
    if ground is None or len(told) + bool(missing) + bool(where) < 2 - (
        missing is not None and rng.random() < 0.5
    ):
        return None
    what = _name(rng, drawing)
    sentences = rng.random() < 0.15
    pieces = []
    for key in told:
        v, be = values[key], "are" if _many(key) else "is"
        pieces.append(rng.choice((f"{v} {key}", f"{v} {key}", f"with {_with(key, v)}", f"with {_with(key, v)}", f"{key} in {v}",
                                  f"the {key} {be} {v}", f"whose {key} {be} {v}", f"its {key} {v}", f"having {_with(key, v)}")
                                 if not sentences else (f"{v} {key}", f"The {key} {be} {v}")))  # fmt: skip
    if missing:
        m = missing
        if one:
            single = m[:-1]
            said: tuple[str, ...] = (
                f"only one {single}",
                f"with just one {single}",
                f"with only one {single}",
                f"with one {single}",
            )
        elif _many(m):
            said = (
                f"without {m}",
                f"no {m}",
                f"without the {m}",
                f"w/o {m}",
                f"missing its {m}",
                f"with no {m}",
                f"leave out the {m}",
                f"but without {m}",
            )
        else:
            said = (f"without {article(m)}", f"no {m}", f"without the {m}", f"w/o {m}", f"missing its {m}", f"with no {m}", f"leave out the {m}",
                    f"that lacks the {m}", f"but no {m}", f"without {m}", f"minus the {m}", f"skip the {m}")  # fmt: skip
        if sentences:
            said = (f"only one {m[:-1]}",) if one else (f"no {m}", f"without the {m}", f"leave out the {m}")
        pieces.append(rng.choice(said))
    rng.shuffle(pieces)
    if where:
        pieces.append(where)
    if sentences:
        text = ". ".join((what, *(piece[0].upper() + piece[1:] for piece in pieces)))
    else:
        adverb = ("with", "but", "that", "minus", "whose", "having", "missing", "w/o", "on ")
        text = what + (" " if pieces[0].startswith(adverb) else ", ") + pieces[0]
        for piece in pieces[1:]:
            both = piece.startswith(("with", "w/o")) and rng.random() < 0.6
            close = piece == where and where.startswith("on ") and not re.search("leave out|skip", text)
            text += (" and " if both else " " if close and rng.random() < 0.6 else ", ") + piece
    why = rng.choice(_WHY) if not sentences else ""
    return _request(rng, text + why, assembled(parts, ground), drawing, asks=_ASKS if why else _ALL_ASKS)


def _loved(rng: random.Random, drawing: Composite) -> Request | None:
    """Why it is wanted comes first, and then "one with a red hat"."""
    keys = _coloured(drawing)
    if not keys:
        return None
    key = rng.choice(keys)
    colour = rng.choice(COLOURS)
    parts = placed_parts(drawing, defaults(drawing) | {key: colour}, {})
    ground = ground_for([drawing], parts)
    if ground is None:
        return None
    if rng.random() < 0.4:
        ground = rng.randrange(len(COLOURS))
        one = f"one{on_ground(rng, ground)}"
        parts = placed_parts(drawing, defaults(drawing), {})
    else:
        one = f"one {rng.choice(('with', 'with', 'that has'))} {_with(key, colour)}"
    who = rng.choice(
        ("My daughter", "My son", "My mum", "My little brother", "Our class", "Grandma", "She", "My boss")
    )
    love = rng.choice(("loves", "likes", "is crazy about"))
    text = rng.choice((f"{who} {love} {plural(drawing.name)}. Please draw {one}.", f"{who} {love} {plural(drawing.name)}, draw {one}",
                       f"{who} {love} {plural(drawing.name)}. Can you make {one}?", f"{who} wants {article(drawing.name)}, {one} please",
                       f"I love {plural(drawing.name)}. Draw {one}", f"I need {article(drawing.name)}, {one}"))  # fmt: skip
    return _request(rng, text, assembled(parts, ground), drawing, asks=("{x}",))


def _left_over(rng: random.Random, drawing: Composite) -> Request | None:
    """All of it goes, or all but one part."""
    parts, ground = in_place(drawing)
    clauses = assembled(parts, ground)
    if len(parts) > 3 or drawing.name in [name for name, _, _ in parts]:
        return None
    what, name = _name(rng, drawing), drawing.name
    kept = rng.choice([None, *(part for part, _, _ in parts if part not in COMPOSITES)])
    gone = [cell for part, _, cell in reversed(parts) if part != kept]
    done = each(clauses[-1].transition.after, gone, Transition.remove)
    if kept is None:
        text = what + glued(rng.choice(_THEN), rng.choice((f"the {name} is gone", f"the whole {name} disappears", "nothing is left of it",
                                                            f"the {name} vanishes completely", "everything goes away", f"remove the whole {name}",
                                                            "clear everything", f"take the whole {name} away")))  # fmt: skip
    else:
        text = what + glued(rng.choice(_THEN), rng.choice((f"only the {kept} is left", f"only its {kept} remains", f"everything but the {kept} disappears",
                                                            f"remove everything except the {kept}", f"nothing is left but the {kept}", f"just the {kept} stays")))  # fmt: skip
    return _request(rng, text, clauses, drawing, done)


def _in_order(rng: random.Random, drawing: Composite) -> Request | None:
    """The order in which its parts come, those of one kind together: "first the stem, then the petals"."""
    parts, ground = in_place(drawing)
    units, groups = _units(parts), []
    for name, _, _ in parts:
        several = [unit for unit, names in units.items() if name in names and len(names) > 1]
        unit = several[0] if several else name
        if unit not in units:
            return None
        groups += [unit] if unit not in groups else []
    if not 2 <= len(groups) <= 5:
        return None
    rng.shuffle(groups)
    rest = [unit for unit in units if len(units[unit]) == 1 or unit in groups]
    what, first = _name(rng, drawing), groups[0]
    if rng.random() < 0.3 and _many(first):
        order = [*units[first], *(name for name, _, _ in parts if name not in units[first])]
        text = rng.choice((f"{what}, {first} first", f"{what}, start with the {first}", f"{what}: the {first} first, then the rest",
                           f"{what}, begin with the {first}", f"{what}, first the {first}, then the rest"))  # fmt: skip
    elif len(groups) < len(rest) or len(groups) <= 4:
        order = [name for unit in groups for name in units[unit]]
        the = [f"the {unit}" for unit in groups] if rng.random() < 0.7 else groups
        then = ", then ".join(the)
        grows = " grows" if drawing.group == "plant" and not what.endswith("s") and rng.random() < 0.5 else ""
        text = rng.choice((f"{what}{grows}: first {then}", f"{what}{grows}: {then}", f"{what}, first {then}", f"{what}. First {then}", f"{what}, {the[0]} first, then {', then '.join(the[1:])}",
                           f"{what}, built like this: {then}", f"{what} part by part: {', '.join(the)}"))  # fmt: skip
    else:
        return None
    parts.sort(key=lambda part: order.index(part[0]))
    return _request(rng, text, assembled(parts, ground), drawing)


def _same_but(rng: random.Random, drawing: Composite) -> Request | None:
    """It as it is, and then again with a part in another colour or on another background."""
    parts, ground = in_place(drawing)
    clauses, keys = assembled(parts, ground), _coloured(drawing)
    now, colour = clauses[-1].transition.after, rng.randrange(len(COLOURS))
    v = COLOURS[colour]
    if rng.random() < 0.3 or not keys:
        done = [Transition.ground(now, colour)]
        new = rng.choice((f"on {v}", f"on {article(v)} background", f"with {article(v)} background"))
    else:
        key = rng.choice(keys)
        done = recoloured(now, _cells(parts, _of_choice(drawing, key)), colour)
        new = f"with {_with(key, v)}"
    what, name = _name(rng, drawing), drawing.name
    text = what + rng.choice((f", then the same {name} {new}", f", then the same {new}", f" and then the same {new}", f", after that the same {new}", f". Then the same {new}",
                              f". Now the same {name} {new}", f" and then again, but {new}", f", then again {new}", f"; then change it to one {new}", f", afterwards {new}"))  # fmt: skip
    return _request(rng, text, clauses, drawing, done)


def _and_things(rng: random.Random, drawing: Composite) -> Request | None:
    """It, and a thing or two of the world's shapes in places that it leaves free."""
    parts, _ = in_place(drawing)
    free = [cell for cell in range(CELLS) if cell not in [cell for _, _, cell in parts]]
    count = rng.choice((1, 1, 2))
    if len(free) < count:
        return None
    words = []
    for cell in rng.sample(free, count):
        size, colour, shape = (
            rng.choice((None, 0, 1)),
            rng.randrange(len(COLOURS)),
            rng.randrange(len(SHAPES)),
        )
        look = f"{'' if size is None else SIZES[size] + ' '}{COLOURS[colour]} {SHAPES[shape]}"
        words.append(f"{article(look)} {rng.choice(PLACES[cell])}")
        parts.append((SHAPES[shape], Thing(shape, colour, 1 if size is None else size), cell))
    ground = ground_for([drawing], parts)
    if ground is None:
        return None
    what = _name(rng, drawing)
    text = (
        what
        + rng.choice((" and ", ", ", " with ", ", and ", " plus "))
        + rng.choice((" and ", ", ")).join(words)
    )
    own = len(parts) - count
    clauses = assembled(parts[:own], ground)
    done = _added(clauses[-1].transition.after, {cell: thing for _, thing, cell in parts[own:]})
    return _request(rng, text, clauses, drawing, done)


_PAIRS = (
    "{x} and beside it {y}", "beside {x} stands {y}", "{x}, and to the right of it {y}", "to the right of {x} there is {y}", "right of {x} put {y}", "{x} (left) and {y} (right)",
    "{y} right of {x}", "{x} on the left, {y} on the right", "{x} meets {y}", "{x} looks at {y}", "{x} and its friend, {y}", "{x} + {y} next to each other", "{x} left and {y} right",
    "left: {x}, right: {y}", "on the right {y} and on the left {x}", "both {x} and {y} in one picture", "{x} and {y}, both in one picture", "{x} with {y} beside it",
)  # fmt: skip


def _look(rng: random.Random, drawing: Composite) -> tuple[dict[str, str], str, str | None]:
    """(choices, words, the part left out) of one of a pair."""
    values, words, out = defaults(drawing), _name(rng, drawing), None
    names = [part.name for part in drawing.parts]
    keys = _coloured(drawing)
    kind = rng.random()
    if kind < 0.35 and keys:
        key = rng.choice(keys)
        values[key] = rng.choice(COLOURS)
        words += f" {rng.choice(('with', 'with', 'that has'))} {_with(key, values[key])}"
    elif kind < 0.6 and len(names) > 2:
        out = rng.choice([name for name in names[1:] if name not in COMPOSITES])
        words += rng.choice(
            (f" without {article(out)}", f" without the {out}", f" without {out}", f" with no {out}")
        )
    return values, words, out


def _duo(rng: random.Random, first: Composite) -> Request | None:
    """Two drawings side by side, with something said of each; perhaps one of them goes, or it gets dark."""
    second = rng.choice([one for one in COMPOSITES.values() if fits_a_column(one) and one.name != first.name])
    if not fits_a_column(first):
        return None
    (values, x, out), (others, y, other_out) = _look(rng, first), _look(rng, second)
    left = [part for part in placed_parts(first, values, {}, 0) if part[0] != out]
    right = [part for part in placed_parts(second, others, {}, 2) if part[0] != other_out]
    ground = ground_for([first, second], [*left, *right])
    turned = rng.random() < 0.1
    way = (
        rng.choice(("left of {y} is {x}", "{y} and to its left {x}", "{y}, and on the left of it {x}"))
        if turned
        else rng.choice(_PAIRS)
    )
    if way.startswith("on the right"):
        turned = True
    text = way.format(x=x, y=y)
    if rng.random() < 0.12:
        ground = rng.randrange(len(COLOURS))
        text += rng.choice(
            (
                f", both on {COLOURS[ground]}",
                f", on {article(COLOURS[ground])} background",
                f", {COLOURS[ground]} background",
            )
        )
    if ground is None:
        return None
    clauses = assembled([*right, *left] if turned or way.startswith("{y} right") else [*left, *right], ground)
    now, done = clauses[-1].transition.after, list[Transition]()
    if rng.random() < 0.35:
        which, parts = rng.choice(((first, left), (second, right)))
        if any(which.name == name for name, _, _ in (*left, *right)):
            return None
        if rng.random() < 0.6 and len(clauses) + len(parts) <= MOST_STEPS:
            done = each(now, [cell for _, _, cell in parts], Transition.remove)
            more = rng.choice((f"the {which.name} goes away", f"the {which.name} leaves", f"remove the {which.name}", f"take the whole {which.name} away", f"the {which.name} disappears"))  # fmt: skip
        else:
            sky = rng.randrange(len(COLOURS))
            if sky == ground:
                return None
            done = [Transition.ground(now, sky)]
            more = rng.choice(
                (
                    f"the background turns {COLOURS[sky]}",
                    f"make the background {COLOURS[sky]}",
                    f"the sky becomes {COLOURS[sky]}",
                )
            )
        text += glued(rng.choice(_THEN), more)
    bare = way.startswith(("{x} meets", "{x} looks", "beside", "to the", "right of", "left", "on the"))
    return _request(rng, text, clauses, None, done, ("{x}",) if bare else _ASKS)


_KINDS = {
    _loses: 5,
    _gains: 3,
    _day: 3,
    _shades: 5,
    _described: 8,
    _loved: 1,
    _left_over: 2,
    _in_order: 3,
    _same_but: 3,
    _and_things: 3,
    _duo: 5,
}


def version(rng: random.Random) -> Request:
    """A named drawing that changes, or of which several things are said."""
    (make,) = rng.choices(tuple(_KINDS), tuple(_KINDS.values()))
    while True:
        try:
            request = make(rng, COMPOSITES[rng.choice(list(COMPOSITES))])
        except ValueError:
            continue
        if request is not None:
            return request
