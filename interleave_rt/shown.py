"""Text of models, packs and requests as people see it: no control characters, and as wide as a terminal makes it."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clipped", "counted", "for_people", "shown", "width", "wrapped"]

# Controls, halves of characters, and what is no character; and what turns the direction of all that follows.
_HARMFUL = re.compile(
    "\r\n?|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)

_PLACE = re.compile(r"^\[[\w.-]+\] ")


def shown(text: str) -> str:
    r"""The text with U+FFFD in place of control characters; lines and tabs stay.

    Example:
        >>> shown("red \x1b[31m")
        'red �[31m'
    """
    return _HARMFUL.sub(lambda found: "\n" if found[0].startswith("\r") else "\ufffd", text)


def for_people(message: str) -> str:
    """What an error says, for people: without the part of the program that it begins with.

    Example:
        >>> for_people("[Request] the text is empty")
        'the text is empty'
    """
    return _PLACE.sub("", message)


def counted(count: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "step"), counted(0, "picture")
        ('1 step', '0 pictures')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")


def width(text: str) -> int:
    """Columns of a terminal: two for wide letters of East Asia, none for marks on others.

    Example:
        >>> width("猫 cat")
        6
    """
    return sum(_columns(letter) for letter in text)


def clipped(text: str, columns: int) -> str:
    """On one line, at most that wide; an ellipsis where something is left out.

    Example:
        >>> clipped("a small red ball", 9)
        'a small…'
    """
    line = " ".join(shown(text).split())
    if width(line) <= columns:
        return line
    kept, used = [], 1
    for letter in line:
        used += _columns(letter)
        if used > columns:
            break
        kept.append(letter)
    return "".join(kept).rstrip() + "…"


def wrapped(text: str, columns: int, lines: int) -> list[str]:
    """At most so many lines, each at most that wide; words that are wider are broken, what is left out leaves an ellipsis.

    Example:
        >>> wrapped("the cat sat on the mat", 8, 2)
        ['the cat', 'sat on…']
        >>> wrapped("1. 猫和狗在家", 8, 2)
        ['1. 猫和', '狗在家']
    """
    made: list[str] = []
    rest = " ".join(shown(text).split())
    while rest and len(made) < lines - 1 and width(rest) > columns:
        fits, used = 0, 0
        for letter in rest:
            used += _columns(letter)
            if used > columns:
                break
            fits += 1
        # Between wide letters a line may end anywhere.
        cut = fits if fits and _columns(rest[fits]) == 2 else rest.rfind(" ", 0, fits + 1)
        cut = cut if cut > 0 else max(1, fits)
        made.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*made, clipped(rest, columns)] if rest else made


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1
