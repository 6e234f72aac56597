"""Kinds of requests that have to be declined, put together from broad vocabularies (`data/declined.tsv`)."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, SIZES

from .composites import COMPOSITES
from .files import rows
from .grammar import article
from .phrases import DRAWING_NAMES

Declined = tuple[str, str, str]
"""(group of what is offered, why it cannot be drawn, text)"""

_FORMS = ("{x}", "{x}", "{x}", "{x} please", "draw {x}", "Draw {x}.", "draw {x} please", "can you draw {x}?", "please draw {x}", "I want {x}",
          "give me {x}", "paint {x}", "show me {x}", "I'd like {x}", "could you make {x}?", "how do I draw {x}?", "draw {x} step by step")  # fmt: skip
_MANY = ("10", "11", "12", "13", "15", "16", "18", "20", "24", "25", "30", "36", "40", "50", "64", "99", "100", "144", "500", "1000", "ten", "eleven",
         "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "eighteen", "twenty", "twenty-five", "thirty", "forty", "sixty", "ninety",
         "a hundred", "two hundred", "a thousand", "a million", "a dozen", "two dozen", "hundreds of", "thousands of", "infinitely many")  # fmt: skip
_SOME = ("three", "four", "five", "six", "seven", "eight", "nine", "3", "4", "5", "6", "7", "8", "9")
_CORNERS = {"circle": (), "square": ("four", "4"), "triangle": ("three", "3"), "diamond": ("four", "4"), "star": ("ten", "five", "10", "5"),
            "ring": (), "heart": (), "bowl": ()}  # fmt: skip
_SCRIBBLE = (
    "?",
    "!",
    ".",
    "-",
    "*",
    "#",
    "+",
    "=",
    "/",
    "~",
    ";",
    ":",
    ")",
    "&",
    "%",
    "@",
    "_",
    "<>",
    "^",
    "$",
)


@functools.cache
def words_of() -> dict[str, list[str]]:
    """The vocabulary, by kind."""
    found: dict[str, list[str]] = {}
    for kind, texts in rows("declined.tsv"):
        # code has marks of its own, so an entry ends only where no blank follows the mark
        found.setdefault(kind, []).extend(re.split(r";(?! |$)", texts))
    return found


@functools.cache
def vocabulary() -> dict[str, list[str]]:
    """What training knows of the rest of the world, by kind."""
    found: dict[str, list[str]] = {}
    for kind, text in rows("out_of_domain.tsv"):
        found.setdefault(kind, []).append(text)
    return found


def _one(rng: random.Random, kind: str) -> str:
    return rng.choice(words_of()[kind])


def _drawing(rng: random.Random) -> tuple[str, str]:
    """(name, what somebody may call it) of a drawing."""
    name = rng.choice(list(COMPOSITES))
    return name, rng.choice(DRAWING_NAMES[name]) if name in DRAWING_NAMES and rng.random() < 0.25 else name


def _shape(rng: random.Random) -> str:
    look = (
        rng.choice(SIZES) if rng.random() < 0.3 else "",
        rng.choice(COLOURS) if rng.random() < 0.6 else "",
    )
    return " ".join(filter(None, (*look, rng.choice(SHAPES))))


def _known(rng: random.Random) -> str:
    """A drawing or a shape."""
    return _drawing(rng)[1] if rng.random() < 0.5 else _shape(rng)


def _plural(name: str) -> str:
    if name in ("fish", "traffic lights"):
        return name
    if name.endswith("man"):
        return f"{name[:-3]}men"
    return f"{name[:-1]}ies" if name.endswith("ly") else f"{name}s"


def _form(rng: random.Random, words: str) -> str:
    return rng.choice(_FORMS).format(x=words)


def own_words(name: str) -> frozenset[str]:
    """The words of the parts of a drawing, without a plural "s"; what it can be given."""
    drawing = COMPOSITES[name]
    every = " ".join((name, *(part.name for part in drawing.parts), *drawing.choices))
    return frozenset(word.rstrip("s") for word in every.split())


def _noise(rng: random.Random) -> Declined:
    kind = rng.random()
    if kind < 0.15:
        text = rng.choice(_SCRIBBLE) * rng.randint(1, 6)
    elif kind < 0.25:
        text = "".join(rng.choice(_SCRIBBLE) for _ in range(rng.randint(2, 6)))
    elif kind < 0.4:
        letter = rng.choice("abcdefghijklmnopqrstuvwxyz0123456789")
        text = rng.choice((letter, letter.upper(), letter * rng.randint(2, 6), f"{letter} {letter} {letter}"))
    elif kind < 0.55:
        text = _one(rng, "verb") + rng.choice(("", "", "", ".", "!", "?", "...", " please", ", please"))
    elif kind < 0.65:
        word = rng.choice(("the", "a", "and", "draw", "please", "of", "on", "it", "is", "to", "yes", "no", "ha", "bla", "la", "add", "so", "what"))  # fmt: skip
        text = rng.choice((" ", " ", ", ")).join([word] * rng.randint(2, 6))
    elif kind < 0.85:
        text = _one(rng, "greeting") + rng.choice(("", "", "", "!", ".", "?", "...", " :)", " you", " again"))
        if rng.random() < 0.25:
            text += rng.choice((", ", " ", "! ")) + _one(rng, "greeting")
    else:
        number = str(rng.randint(0, 99999))
        text = rng.choice((number, f"{number} {rng.randint(0, 99)}", f"{number}{rng.choice('abcxyz')}", f"{rng.randint(1, 99)} {rng.choice('+-*/')} {rng.randint(1, 99)}", f"-{number}", f"{number}%"))  # fmt: skip
    return "any", "task", text


def _code(rng: random.Random) -> Declined:
    code = _one(rng, "code")
    return "any", "task", rng.choice((code, code, f"> {code}", f"$ {code}", f"`{code}`", f"run {code}", f"{code};", f"what does {code} do?"))  # fmt: skip


def _question(rng: random.Random) -> Declined:
    if rng.random() < 0.45:
        before = rng.choice(
            ("", "", "", "", "hey, ", "tell me: ", "so ", "hi, ", "one question: ", "please, ")
        )
        return "any", "task", before + _one(rng, "ask") + rng.choice(("?", "?", "", "", " please", "??"))
    name, other = (
        _drawing(rng)[0] if rng.random() < 0.6 else rng.choice((*SHAPES, *SHAPES, *COLOURS)) for _ in range(2)
    )
    thing, second = (rng.choice(SHAPES) if word in COLOURS else word for word in (name, other))
    text = _one(rng, "about").format(a=article(thing), b=article(second), p=_plural(thing), n=thing if rng.random() < 0.7 else name,
                                     l=_one(rng, "language"), w=article(_one(rng, "writing")))  # fmt: skip
    return "any", "task", text


def _injected(rng: random.Random) -> Declined:
    filler = rng.choice(
        (_known(rng), article(_known(rng)), _one(rng, "greeting"), _one(rng, "figure"), _one(rng, "ask"))
    )
    text = _one(rng, "inject").format(x=filler)
    return "any", "task", text + rng.choice(("", "", "", ".", "!", " please", " now"))


def _emblem(rng: random.Random) -> Declined:
    country, nation, brand = _one(rng, "country"), _one(rng, "nation"), _one(rng, "brand")
    words = rng.choice((f"the flag of {country}", f"flag of {country}", f"the {nation} flag", f"{article(nation)} flag", f"a map of {country}", f"{country}'s flag",
                        f"the coat of arms of {country}", f"the logo of {brand}", f"{brand} logo", f"the {brand} logo", f"{article(brand)} logo", f"the emblem of {brand}"))  # fmt: skip
    return "object", "thing", _form(rng, words)


def _figure(rng: random.Random) -> Declined:
    who = _one(rng, "figure")
    more = rng.choice(("", "", "", f" {_one(rng, 'doing')}", f" {_one(rng, 'where')}", f" with {article(_known(rng))}", f" on {article(rng.choice(COLOURS))} background",
                       " and his friends", f" meets {_one(rng, 'figure')}", f" as {article(_drawing(rng)[0])}"))  # fmt: skip
    return "person", "thing", _form(rng, who + more)


def _scene(rng: random.Random) -> Declined:
    group = rng.choices(("animal", "person", "vehicle", "object"), (6, 3, 1, 1))[0]
    who = article(rng.choice(vocabulary()[group]))
    doing, where = _one(rng, "doings"), _one(rng, "where")
    words = rng.choice((f"{who} {doing} {where}", f"{who} {doing} {where}", f"{who} {_one(rng, 'doing')}", f"{who} {where}", f"{who} {doing} with {article(_drawing(rng)[0])}",
                        f"{who} that is {doing}", f"{who} {_one(rng, 'doing')} {where}"))  # fmt: skip
    return group, "thing", _form(rng, words)


def _part(rng: random.Random) -> Declined:
    """A drawing with a part, a mood or an act that it cannot have."""
    name, called = _drawing(rng)
    group, own = COMPOSITES[name].group, own_words(name)
    kind = rng.random()
    if kind < 0.4:
        parts = [part for part in words_of()["part"] if not own & {word.rstrip("s") for word in part.split()}]
        if kind < 0.08:  # what another drawing has
            other = rng.choice(list(COMPOSITES))
            many = [
                key
                for key in COMPOSITES[other].choices
                if key.endswith("s") and key.rstrip("s") not in own | {"star", "ball"}
            ]
            parts = many or parts
        part = rng.choice(parts)
        first, _, rest = part.partition(" ")
        if rng.random() < 0.2:
            part = (
                f"{first} {rng.choice(COLOURS)} {rest}"
                if first == "a"
                else f"{rng.choice(COLOURS)} {part}"
                if first != "an"
                else part
            )
        words = f"{article(called)} {rng.choice(('with', 'with', 'with', 'that has', 'and'))} {part}".replace(
            "a orange", "an orange"
        )
    elif kind < 0.65:
        words = f"{article(called)} {rng.choice(('', '', 'that is ', 'who is '))}{_one(rng, 'doing')}"
    elif kind < 0.8:
        words = f"{article(called)} {_one(rng, 'scene')}"
    else:
        mood = _one(rng, "mood")
        if rng.random() < 0.5:
            name, called = "face", rng.choice(("face", "smiley", "clown", "cat", "snowman", "robot"))
        words = f"{article(called)} that is {mood}" if " " in mood else article(f"{mood} {called}")
    return group, "words", _form(rng, words)


def _too_many(rng: random.Random) -> Declined:
    if rng.random() < 0.5:
        return "any", "number", _form(rng, f"{rng.choice(_MANY)} {_shape(rng)}s" + rng.choice(("", "", "", " in a row", " in a circle", f" on {article(rng.choice(COLOURS))} background")))  # fmt: skip
    number = rng.choice(_MANY if rng.random() < 0.35 else _SOME)
    name, called = _drawing(rng)
    return "any", "number", _form(rng, f"{number} {_plural(called if called != 'smiling face' else name)}" + rng.choice(("", "", "", " in a row", " side by side", " next to each other")))  # fmt: skip


def _looks(rng: random.Random) -> Declined:
    kind, known = rng.random(), _known(rng)
    if kind < 0.3:
        hue = f"{_one(rng, 'hue')}{rng.choice((' ', ' ', ' ', '-'))}{rng.choice(COLOURS)}"
        what = rng.choice((*SHAPES, *COMPOSITES))
        return "any", "colour", _form(rng, rng.choice((article(f"{hue} {what}"), article(f"{hue} {what}"), f"{hue} {_plural(what)}", f"{article(what)} in {hue}", f"{article(what)} on {article(hue)} background")))  # fmt: skip
    if kind < 0.6:
        words = article(f"{_one(rng, 'look')} {known}")
    elif kind < 0.65:
        words = article(f"{rng.choice(('long', 'short', 'thin', 'thick', 'dashed', 'straight', 'curved', 'dotted', 'wavy', 'diagonal', 'vertical', 'horizontal'))} {rng.choice((*COLOURS, ''))} line".replace("  ", " "))  # fmt: skip
        return "any", "shape", _form(rng, words)
    else:
        words = f"{article(known)} {_one(rng, 'pose')}"
    return "any", "words", _form(rng, words)


def _grounds(rng: random.Random) -> Declined:
    ground = _one(rng, "ground")
    words = rng.choice((f"{article(_known(rng))} on {article(ground)} background", f"{article(ground)} background with {article(_known(rng))}", f"{article(_known(rng))} with {article(ground)} background",
                        f"make the background {ground}, then draw {article(_known(rng))}", f"{article(ground)} background"))  # fmt: skip
    return "any", "words", words if words.startswith("make") else _form(rng, words)


def _overlapping(rng: random.Random) -> Declined:
    first, second = article(_known(rng)), article(_known(rng))
    if rng.random() < 0.3:
        return "any", "place", _form(rng, f"{first} {_one(rng, 'off')}")
    words = rng.choice((f"{first} {_one(rng, 'overlap')} {second}", f"{first} {_one(rng, 'overlap')} {second}", f"{first} {_one(rng, 'overlap')} {second}",
                        f"{first} on top of {second} so that they overlap", f"{first} and {second} that overlap", f"{first} and {second}, overlapping", f"{second} with {first} inside",
                        f"{second} with {first} in it", f"{second} that contains {first}", f"{first} partly on top of {second}", f"{second} around {first}"))  # fmt: skip
    return "any", "place", _form(rng, words)


def _media(rng: random.Random) -> Declined:
    known = article(_known(rng))
    kind = rng.random()
    if kind < 0.5:
        text = _form(rng, f"{known} {_one(rng, 'way')}")
    elif kind < 0.75:
        text = _form(rng, f"{_one(rng, 'medium')} {known}")
    else:
        text = _one(rng, "order").format(x=rng.choice((known, f"the {_known(rng)}"))) + rng.choice(
            ("", "", "", " please", ".")
        )
    return "any", "words", text


def _impossible(rng: random.Random) -> Declined:
    shape, other = rng.sample(SHAPES, 2)
    numbers = [word for word in ("two", "three", "four", "five", "six", "seven", "eight", "ten", "3", "4", "5", "6", "7", "12", "no") if word not in _CORNERS[shape]]  # fmt: skip
    if shape in ("circle", "ring", "heart", "bowl"):
        numbers.remove("no")
    pattern = _one(rng, "impossible")
    if pattern == "a round {s}" and shape in ("circle", "ring", "bowl"):
        shape = "square"
    if pattern == "a {n}-cornered {s}":
        numbers = [word for word in numbers if word != "no"]
    return "any", "shape", _form(rng, pattern.format(s=shape, t=other, n=rng.choice(numbers)))


KINDS: dict[Callable[[random.Random], Declined], int] = {
    _noise: 12, _code: 6, _question: 13, _injected: 7, _emblem: 5, _figure: 6, _scene: 7, _part: 14, _too_many: 7, _looks: 10, _grounds: 4,
    _overlapping: 9, _media: 10, _impossible: 5,
}  # fmt: skip
"""Every kind with its weight."""


def declined(rng: random.Random) -> Declined:
    """A request that has to be declined, of any of these kinds."""
    (make,) = rng.choices(tuple(KINDS), tuple(KINDS.values()))
    return make(rng)
