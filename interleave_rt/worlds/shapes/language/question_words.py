"""How a question about a picture is put and answered in few words, whatever it is about."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from interleave_rt.worlds.shapes.scene import GRID, Scene, random_thing

from .grammar import article
from .plans import Groups
from .seeing import Look, fitting

Asked = tuple[str, str, Groups] | None
"""What is asked, the answer, and the cells that it is found by."""
HERE = ("", "", "", "", " here", " in the picture", " in this picture", " in it", " on it", " in the image")
"""Where somebody looks; mostly that goes without saying."""
BEFORE = ("",) * 6 + ("so ", "hey, ", "hi, ", "sorry, ", "one question: ", "well, ", "please, ", "ok, ")
AFTER = ("?", "?", "?", "?", "", "", "", " please?", ", please", "??")
"""What stands around a question."""
_TELL = ("tell me {x}", "can you tell me {x}?", "Could you tell me {x}, please?", "please tell me {x}", "do you know {x}?",
         "I want to know {x}", "I'd like to know {x}", "say {x}", "I wonder {x}", "can you say {x}", "Can you see {x}?",
         "tell me {x} please", "do you see {x}?", "let me know {x}", "any idea {x}?")  # fmt: skip


def wh_question(rng: random.Random, direct: Sequence[str], told: Sequence[str] = ()) -> str:
    """A question as it is (`direct`), or as what somebody wants to be told (`told`)."""
    if told and rng.random() < 0.22:
        return rng.choice(_TELL).format(x=rng.choice(told))
    before, after = rng.choice(BEFORE), rng.choice(AFTER)
    text = before + rng.choice(direct)
    if text.startswith(("what is ", "where is ")) and rng.random() < 0.4:
        word, rest = text.split(" is ", 1)
        text = rng.choice((f"{word}'s {rest}", f"{word}s {rest}"))
    return perhaps_capital(rng, text + ("?" if "lease" in before + text and "lease" in after else after))


def perhaps_capital(rng: random.Random, text: str) -> str:
    """With a capital at the beginning, as often as not."""
    return text[0].upper() + text[1:] if rng.random() < 0.5 else text


SHORT_MARKS = ("?", "?", "?", "", "", "??", " please?", " pls")
"""What ends a question of few words."""


def short_question(rng: random.Random, *forms: str) -> str:
    """One of these with a mark."""
    return perhaps_capital(rng, rng.choice(forms) + rng.choice(SHORT_MARKS))


def yes_no(rng: random.Random, verb: str, subject: str, rest: str) -> str:
    """Whether something is so: turned around, as a tag, or embedded."""
    kind, so = rng.random(), f"{subject} {verb} {rest}"
    if kind < 0.1:
        tag = rng.choice(
            (", right?", ", or not?", ", isn't it?", ", is that so?", ", correct?", ", yes or no?")
        )
        return perhaps_capital(rng, so + (tag if verb == "is" or "isn't" not in tag else ", right?"))
    if kind < 0.24:
        whether = rng.choice(("if", "whether"))
        form = rng.choice(("tell me {w} {x}", "can you tell me {w} {x}?", "I wonder {w} {x}", "do you know {w} {x}?",
                           "please say {w} {x}", "I'd like to know {w} {x}", "can you see {w} {x}?"))  # fmt: skip
        return perhaps_capital(rng, form.format(w=whether, x=so))
    return perhaps_capital(rng, rng.choice(BEFORE) + f"{verb} {subject} {rest}" + rng.choice(AFTER))


def sure(so: bool, otherwise: str = "") -> str:
    """Yes or no, where it is no with what it is `otherwise`."""
    return "Yes." if so else f"No, it is {otherwise}." if otherwise else "No."


def some_look(rng: random.Random, scene: Scene) -> tuple[Look, list[int]]:
    """A look that somebody asks for, more often one that is there, and the cells of the things that look so."""
    thing = random_thing(rng, scene.background)
    if scene.occupied and rng.random() < 0.65:
        thing = scene.at(rng.choice(scene.occupied))
        if rng.random() < 0.25:
            thing = thing._replace(colour=random_thing(rng, scene.background).colour)
    kind = rng.random()
    look: Look = (
        thing.shape if kind < 0.7 else None,
        thing.colour if 0.4 < kind < 0.9 else None,
        thing.size if kind > 0.95 or 0.3 < kind < 0.4 else None,
        thing.pattern or None if 0.9 < kind < 0.95 else None,
    )
    if not any(said is not None for said in look):
        look = (thing.shape, None, None, None)
    return look, fitting(scene, look)


def things_in(scene: Scene, cells: Iterable[int]) -> str:
    """The things in these cells, as an answer."""
    things = [article(scene.at(cell).name) for cell in cells if scene.cells[cell] is not None]
    return f"{(', '.join(things) or 'nothing').capitalize()}."


SIDE_WORDS = {"above": ("above", "over"), "below": ("below", "under"), "left of": ("left of", "to the left of"),
              "right of": ("right of", "to the right of")}  # fmt: skip
"""How people say each relation to a thing on a picture."""


def beyond(scene: Scene, cell: int, how: str) -> list[int]:
    """The cells of the things that are at all above a cell, below it, left or right of it."""
    row, column = divmod(cell, GRID)
    return [
        i
        for i in scene.occupied
        if {"above": i // GRID < row, "below": i // GRID > row, "left of": i % GRID < column, "right of": i % GRID > column}[how]
    ]  # fmt: skip
