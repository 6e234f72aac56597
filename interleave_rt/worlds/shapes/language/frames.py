"""What stands around a wish about a given picture: "could you ...?", "would you mind ...ing?", and reasons for it."""

from __future__ import annotations

import random
import re

from .phrases import ON_A_PICTURE

_COMMANDS = frozenset(("make", "paint", "colour", "turn", "change", "recolour", "give", "let", "switch", "dye", "move", "put", "shift", "bring",
    "place", "drag", "remove", "delete", "take", "erase", "get", "wipe", "throw", "drop", "clear", "replace", "swap",
    "exchange", "substitute", "draw", "set", "add", "keep", "enlarge", "shrink", "blow", "scale", "increase", "reduce",
    "copy", "duplicate", "repeat", "fill", "send", "slide", "push", "pull", "rub", "scrap", "cut", "cover", "transform",
    "convert", "leave", "have", "hide"))  # fmt: skip
"""Verbs that command."""
_FRAMES = (*ON_A_PICTURE, *ON_A_PICTURE, "would you {x}?", "{x}!", "just {x}", "ok, {x}", "can we {x}?", "let's {x}", "{x}, pls",
           "Great! Now {x}", "it would be nice if you could {x}", "in this picture, {x}", "{x} in this picture", "you should {x}",
           "could you {x}", "please could you {x}?", "I'd love you to {x}", "and now {x}", "well done. {x}", "{x} thank you",
           "try to {x}", "first of all {x}", "will you {x}?", "and {x}", "ok now {x}", "I think you should {x}")  # fmt: skip
"""Around what begins with a verb that commands."""
_SAID_FRAMES = ("{x}", "{x}", "{x}", "{x}.", "{x} please", "now {x}", "ok, {x}", "Please: {x}", "{x}!", "{x}, please", "next {x}",
                "and now {x}", "I think {x}", "Next: {x}")  # fmt: skip
"""Around whatever else is said."""
_COMMAND_FRAMES = ("I was wondering if you could {x}", "do you think you could {x}?", "any chance you could {x}?", "would it be possible to {x}?", "maybe {x}",
                  "perhaps {x}", "hello! please {x}", "hi there, can you {x}?", "could you maybe {x}", "is it possible to {x}?", "please help me {x}",
                  "you could {x}", "why don't you {x}?", "I need you to {x}", "go ahead and {x}", "we should {x}", "hmm, {x}", "kindly {x}",
                  "my daughter says you should {x}", "the client wants you to {x}", "be so kind and {x}", "it'd be great if you could {x}", "sorry, could you {x}?",
                  "excuse me, could you {x}", "thanks! now {x}", "nice, now {x}", "actually, {x}", "for my homework, {x}", "quickly {x}", "next step: {x}")  # fmt: skip
"""More of them; now and then."""
_GERUND_FRAMES = ("how about {x}?", "what about {x}?", "would you mind {x}?", "do you mind {x}?", "I suggest {x}", "try {x}", "maybe try {x}",
                 "would you mind {x} for me", "I was thinking of {x}")  # fmt: skip
"""Around such a verb as a noun."""
_REASONS = (" because it looks nicer", ", it's for my daughter", ", it's a birthday card", " so it looks better", ", thanks a lot!", ", my teacher said so",
           ", I think that's better", ", if possible", ", if you can", " if that's ok", ", that would be great", ", it looks boring", " for my mum",
           ", I like that more", " because I like it", ", if you don't mind", ", cheers", " thx", ", my boss asked for it", " for the logo", ", ok?")  # fmt: skip
"""What may follow a wish and says nothing about the picture."""
_GERUNDS = {
    "put": "putting",
    "get": "getting",
    "set": "setting",
    "let": "letting",
    "cut": "cutting",
    "swap": "swapping",
    "rub": "rubbing",
    "scrap": "scrapping",
    "drop": "dropping",
    "drag": "dragging",
    "dye": "dyeing",
}
_GOES_ON = re.compile(r"^(?:(?:and|also|plus|now|next|then|continue|go on)[:,]? )+(?!with )", re.IGNORECASE)
"""What begins a wish that follows another one; it is said once."""
_SEVERAL = re.compile(r"[,.:?!]| and ")
"""In wishes that have more than one verb."""


def gerund(words: str) -> str:
    """The words of a wish with its verb as a noun: "making the star red"."""
    verb, rest = words.split(" ", 1)
    form = _GERUNDS.get(verb) or (f"{verb[:-1]}ing" if verb.endswith("e") else f"{verb}ing")
    return f"{form} {rest}"


def without_links(words: str) -> str:
    """A wish without the "and now" of one that follows another one."""
    return _GOES_ON.sub("", words)


def framed(rng: random.Random, words: str, steps: int) -> str:
    """A wish of so many steps, or several of them, as somebody puts it who asks, orders or wonders."""
    first = words.split(maxsplit=1)[0].strip(",:")
    frame = rng.choice(_FRAMES if first in _COMMANDS else _SAID_FRAMES)
    if first in _COMMANDS and rng.random() < 0.2:
        frame = rng.choice(_COMMAND_FRAMES)
    elif first in _COMMANDS and steps == 1 and not _SEVERAL.search(words) and rng.random() < 0.08:
        frame, words = rng.choice(_GERUND_FRAMES), gerund(words)
    if frame[-1] == "}" and rng.random() < 0.1:
        frame += rng.choice(_REASONS)
    return frame.format(x=words if frame.startswith("{x}") else without_links(words))
