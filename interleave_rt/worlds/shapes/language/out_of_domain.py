"""Requests that lead out of the world, which are answered by saying so: whole other things and near misses."""

from __future__ import annotations

import functools
import random
import re

from interleave_rt.worlds.shapes.scene import COLOURS, POSITIONS, SHAPES, SIZES

from .composites import COMPOSITES, variants
from .compositions import takes_back
from .continuations import continuing
from .declined import declined, vocabulary
from .examples import refusal
from .files import rows
from .grammar import article
from .narratives import ASK, narrative, part_words
from .phrases import COMMON_WORDS
from .plans import Request, answer
from .speech import spoken

_THINGS = ("animal", "vehicle", "building", "food", "plant", "person", "sky", "object", "place")
OUTSIDE = "outside"
"""The `kind` of these requests."""


@functools.cache
def outside_test() -> tuple[tuple[str, str], ...]:
    """(kind, request) of the hand-written test; nothing of it is trained on."""
    return tuple((kind, text) for kind, text in rows("out_of_domain_test.tsv"))


@functools.cache
def _test_texts() -> frozenset[str]:
    return frozenset(text.lower() for _, text in outside_test())


_SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "la",
    "me",
    "ni",
    "ro",
    "su",
    "ta",
    "ve",
    "wi",
    "xo",
    "zu",
    "pla",
    "stri",
    "gro",
    "cle",
    "dru",
]


def _nonsense(rng: random.Random) -> str:
    """A word that nobody knows."""
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3))) + rng.choice(
        ("", "n", "r", "x", "k")
    )


def _stranger(rng: random.Random) -> tuple[str, str]:
    """(group, noun) of something that cannot be drawn."""
    if rng.random() < 0.2:
        return "any", _nonsense(rng)
    group = rng.choice(_THINGS)
    return group, rng.choice(vocabulary()[group])


def _other_thing(rng: random.Random) -> tuple[str, str]:
    """(group, text) of a request to draw something else."""
    group, noun = _stranger(rng)
    words = noun
    if rng.random() < 0.3:
        words = f"{rng.choice((*COLOURS, *SIZES, *vocabulary()['size'], *vocabulary()['colour']))} {words}"
    phrase = rng.choice((article(words), article(words), words, f"two {words}s", f"the {words}"))
    extra = rng.random()
    if extra < 0.12:
        phrase += f" with {article(rng.choice((*vocabulary()['part'], *SHAPES, 'hat')))}"
    elif extra < 0.24:
        phrase += f" on {article(rng.choice(COLOURS))} background"
    elif extra < 0.3:
        phrase += f" at the {rng.choice(POSITIONS)}"
    elif extra < 0.42:
        phrase += rng.choice((" in ", " and ", " next to ", " under ")) + article(_stranger(rng)[1])
    return group, rng.choice((*ASK, "{x}", "{x}, please", "give me {x}", "Sketch {x}", "I need {x}")).format(
        x=phrase
    )


def _drawing_with_more(rng: random.Random) -> tuple[str, str]:
    """A drawing that exists, with a part, colour or neighbour that does not."""
    name = rng.choice(list(COMPOSITES))
    if rng.random() < 0.4:
        return COMPOSITES[name].group, _asked(rng, _with_a_twist(rng, name))
    _, values = rng.choice(variants(name))
    phrase = article(name) + (part_words(values, None) if rng.random() < 0.3 else "")
    kind = rng.random()
    if kind < 0.15:
        phrase += f" {rng.choice(_JOINTS)} {rng.choice((article(_stranger(rng)[1]), _stranger(rng)[1]))}"
    elif kind < 0.4:
        joint = " and " if " with " in phrase else " with "
        phrase += joint + article(rng.choice(vocabulary()["part"]))
    elif kind < 0.6:
        phrase += f" on {article(rng.choice(vocabulary()['colour']))} background"
    elif kind < 0.75:
        phrase += f" and {article(_stranger(rng)[1])}"
    elif kind < 0.9:
        key = next(iter(values), "hat")
        phrase += f" with {article(rng.choice(vocabulary()['colour']))} {key}"
    else:
        phrase = f"{article(rng.choice(vocabulary()['size'] + vocabulary()['pattern']))} {name}"
    return COMPOSITES[name].group, rng.choice(ASK).format(x=phrase)


def _with_a_twist(rng: random.Random, name: str) -> str:
    """What can be drawn (a drawing, or a shape in words) with a look, a part or a manner that it cannot have."""
    kind = rng.random()
    if kind < 0.3:
        phrase = article(f"{rng.choice(vocabulary()['look'])} {name}")
    elif kind < 0.6:
        phrase = f"{article(name)} {rng.choice(vocabulary()['manner'])}"
    elif kind < 0.75:
        part = rng.choice((*vocabulary()["part"], _stranger(rng)[1]))
        if rng.random() < 0.4:
            part = f"{rng.choice((*COLOURS, *SIZES))} {part}"
        number = rng.choice(("two ", "three ", "4 ", "five ", "six ", "ten ", "lots of ", "many ", "some "))
        part = f"{number}{part.rstrip('s')}s" if rng.random() < 0.4 else article(part)
        phrase = f"{article(name)} with {part}"
    elif kind < 0.87:  # a kind of it that is not known: "a pirate boat"
        phrase = article(f"{_stranger(rng)[1]} {name}")
    else:
        phrase = rng.choice(
            (
                f"the {name} of {_stranger(rng)[1]}",
                f"{article(name)} full of {_stranger(rng)[1]}s",
                f"{article(name)} shop",
            )
        )
    return phrase


def _asked(rng: random.Random, phrase: str) -> str:
    return rng.choice(
        (*ASK, "{x}", "{x}", "{x}", "{x} please", "I want {x}", "give me {x}", "Can you make {x}?")
    ).format(x=phrase)


_JOINTS = [
    "wearing",
    "holding",
    "playing",
    "next to",
    "behind",
    "under",
    "in",
    "on",
    "made of",
    "that eats",
    "with",
    "like",
    "from",
    "without",
    "inside",
    "full of",
]
_INSIDE = (
    "background picture large small please above below under beneath right left center middle upper lower corner "
    "bottom striped dotted place paint erase delete remove shift change colour continue finish complete drawing step "
    "start begin first after finally something things thing shape shapes story teach tutorial explain would could "
    "there which where about going write short"
)
"""Words that say nothing about what is wanted: one too many of them leaves a request what it was."""


@functools.cache
def _odd_words() -> list[str]:
    """Long words of all that is known of the rest of the world."""
    inside = {*COLOURS, *SHAPES, *COMMON_WORDS, *_INSIDE.split()}
    words = {
        word.lower()
        for kind, texts in vocabulary().items()
        if kind != "noise"
        for text in texts
        for word in text.split()
    }
    return sorted(word for word in words if len(word) > 4 and word.isalpha() and word not in inside)


_SWAPS = (("colour", COLOURS), ("shape", SHAPES), ("size", SIZES))


def _one_strange_word(rng: random.Random, request: Request) -> tuple[str, str] | None:
    """Why it cannot be drawn, and the request with one of its words replaced by one that is not of this world."""
    text = request.text
    if takes_back(text):  # a strange word in what is taken back leaves the rest what it was
        return None
    if rng.random() < 0.25:
        verb = rng.choice(vocabulary()["verb"]).format(x=rng.choice(SHAPES))
        return "words", text.rstrip(".?") + rng.choice((", then ", ". Then ", " and ", ", finally ")) + verb
    if rng.random() < 0.12:
        number = rng.randint(4, 12)
        changed, count = re.subn(r"\b(row|column) [123]\b", lambda m: f"{m[1]} {number}", text, count=1)
        return ("place", changed) if count else None
    if rng.random() < 0.25:  # a few words too many, anywhere
        said = text.split(" ")
        where = rng.randint(1, len(said))
        extra = [rng.choice(_odd_words()) for _ in range(rng.randint(1, 4))]
        return "words", " ".join([*said[:where], *extra, *said[where:]])
    if rng.random() < 0.15 and "large striped" in text:  # small things have no pattern
        return "shape", text.replace("large striped", "small striped", 1)
    kind, words = rng.choice(_SWAPS)
    found = list(re.finditer(rf"\b({'|'.join(words)})\b", text))
    if not found:
        return None
    at = rng.choice(found)
    other = _stranger(rng)[1] if kind == "shape" and rng.random() < 0.5 else rng.choice(vocabulary()[kind])
    return kind if kind in ("colour", "shape") else "words", text[: at.start()] + other + text[at.end() :]


def _nearly_shapes(rng: random.Random) -> tuple[str, str]:
    """Why it cannot be drawn, and a request for shapes that is just out of reach."""
    colour, other = rng.sample(COLOURS, 2)
    shape = rng.choice(SHAPES)
    kind = rng.random()
    if kind < 0.25:
        strange = rng.choice(vocabulary()["colour"])
        if rng.random() < 0.3:
            strange = f"{rng.choice(('dark', 'light', 'pale', 'bright', 'deep', 'pastel'))} {colour}"
        why, words = "colour", f"{strange} {shape}"
        words = article(words) if rng.random() < 0.8 else words
    elif kind < 0.45:
        strange = rng.choice(vocabulary()["shape"])
        why, words = (
            "shape",
            rng.choice((article(f"{colour} {strange}"), article(strange), f"{colour} {strange}")),
        )
    elif kind < 0.65:
        why, words = "words", _with_a_twist(rng, rng.choice((f"{colour} {shape}", shape)))
    elif kind < 0.82:
        number = rng.choice(
            (
                "ten",
                "eleven",
                "twelve",
                "fifteen",
                "twenty",
                "thirty",
                "fifty",
                "a hundred",
                "a thousand",
                str(rng.randint(10, 99)),
            )
        )
        why, words = "number", f"{number} {rng.choice((f'{colour} ', ''))}{shape}s"
    else:
        how = rng.choice(
            ("inside", "in", "behind", "in front of", "overlapping", "within", "around", "through")
        )
        why, words = (
            "place",
            f"{article(f'{colour} {shape}')} {how} {article(f'{other} {rng.choice(SHAPES)}')}",
        )
    return why, _asked(rng, words)


def _in_company(rng: random.Random) -> tuple[str, str]:
    """Something that cannot be drawn in a list, a count, a pair or a story of things that can."""
    group, noun = _stranger(rng)
    known = rng.choice(
        (rng.choice(list(COMPOSITES)), f"{rng.choice(COLOURS)} {rng.choice(SHAPES)}", rng.choice(SHAPES))
    )
    other = f"{rng.choice(COLOURS)} {rng.choice(SHAPES)}"
    strange, good, third = article(noun), article(known), article(other)
    text = rng.choice((
        f"{known}, {noun}, {other}", f"{noun} and {known}", f"first {good}, then {strange} to the right of it", f"1) {known} 2) {noun}",
        f"two {noun}s and one {other}", f"two {other}s and {strange}", f"draw {good}, then {strange} next to it", f"{strange} on the left and {good} on the right",
        f"{good}... no sorry, {strange}", f"{strange} melts", f"once there was a lonely {noun}", f"{strange} grows and turns {rng.choice(COLOURS)}",
        f"{strange} meets {good}", f"{good} meets {strange}", f"{known} -> {noun}", f"story in 3 pictures: {strange} falls down", f"draw {good} and turn it into {strange}",
        f"{good} that eats {strange}", f"{third} with {strange} on top", f"two {noun}s side by side please", f"a story about {strange} and {good}",
        f"a red and white {noun}", f"how does {strange} grow?", f"draw {good}, then swap it for {strange}",
    ))  # fmt: skip
    return group, text


def _plain(rng: random.Random) -> tuple[str, str]:
    kind = rng.choices(("task", "injection", "script", "noise"), (4, 3, 4, 2))[0]
    if kind == "noise" and rng.random() < 0.5:
        return "any", " ".join(_nonsense(rng) for _ in range(rng.randint(1, 4)))
    text = rng.choice(vocabulary()[kind])
    if kind == "injection" and rng.random() < 0.5:  # hidden in a request that would be fine
        text = f"{narrative(rng).text} {text}"
    if kind == "script" and rng.random() < 0.5:  # other letters in any order
        letters = list(text)
        rng.shuffle(letters)
        text = "".join(letters).strip()
    return "any", text


def outside_request(rng: random.Random) -> Request:
    """A request from outside with its honest answer."""
    while True:
        kind, why = rng.random(), "thing"
        if kind < 0.92 and rng.random() < 0.48:
            group, why, text = declined(rng)
        elif kind < 0.24:
            group, text = _other_thing(rng)
        elif kind < 0.44:
            group, text = _drawing_with_more(rng)
            why = "words"
        elif kind < 0.5:
            group, text = _in_company(rng)
        elif kind < 0.62:
            make = narrative if rng.random() < 0.5 else spoken
            group, found = "any", _one_strange_word(rng, make(rng))
            if found is None:
                continue
            why, text = found
        elif kind < 0.78:
            group = "any"
            why, text = _nearly_shapes(rng)
        elif kind < 0.92:
            group, text = _plain(rng)
            why = "task"
        else:
            request = continuing(rng)
            changed = _one_strange_word(rng, request)
            if changed is None:
                continue
            return answer(changed[1], OUTSIDE, request.images, refusal("any", changed[0]))
        if rng.random() < 0.1:
            text = text.lower()
        if text.lower() not in _test_texts():
            return answer(text, OUTSIDE, (), refusal(group, why))
