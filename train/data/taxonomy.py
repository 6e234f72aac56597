"""What can be asked for: domains, sub-categories, banks of words, and templates with places for them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interleave_rt.errors import BadRequestError
from interleave_rt.files import read_text

from .recipe import tomllib

__all__ = ["SLOT", "Domain", "fill", "load_world", "near_duplicates", "normal", "words_of"]

SLOT = re.compile(r"\{(\w+)\}")
_WORLDS = Path(__file__).parent / "worlds"


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain: its templates name its banks in braces.

    Args:
        banks: The first words of each bank, for every sub-category.
    """

    name: str
    subcategories: tuple[str, ...]
    templates: tuple[str, ...]
    banks: Mapping[str, tuple[str, ...]]


def load_world(name: str, domains: Sequence[str] = (), folder: Path = Path()) -> list[Domain]:
    """The domains of a file in `folder`, or of one that comes along (`general`, `shapes`).

    Raises:
        BadRequestError: There is no such file or domain, it is no TOML, or a template names a bank that is not there.
    """
    own = _WORLDS / f"{name}.toml"
    path = own if own.exists() else folder / name
    text = read_text(path, what="world", hint="name a TOML file, or general or shapes")
    try:
        raw = tomllib.loads(text)
        found = [
            Domain(
                one["name"],
                tuple(one["subcategories"]),
                tuple(one["templates"]),
                {bank: tuple(words) for bank, words in one["banks"].items()},
            )
            for one in raw["domain"]
        ]
    except tomllib.TOMLDecodeError as error:
        raise BadRequestError(f"[world] {path} is no TOML: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRequestError(
            f"[world] {path}: a domain lacks {error}", hint="see train/data/worlds"
        ) from None
    for domain in found:
        for template in domain.templates:
            unknown = [slot for slot in SLOT.findall(template) if slot not in domain.banks]
            if unknown:
                raise BadRequestError(
                    f"[world] {path}: {domain.name} has no bank {unknown[0]!r}: {template!r}"
                )
    known = [domain.name for domain in found]
    for wanted in domains:
        if wanted not in known:
            raise BadRequestError(
                f"[recipe] there is no domain {wanted!r}", hint=f"domains are {', '.join(known)}"
            )
    return [domain for domain in found if not domains or domain.name in domains]


def words_of(seeds: Iterable[str], found: Iterable[Iterable[str]]) -> list[str]:
    """The words of a bank without repeats, in order."""
    every = [" ".join(word.split()) for words in (seeds, *found) for word in words]
    kept: dict[str, str] = {}
    for word in filter(None, every):
        kept.setdefault(word.casefold(), word)
    return list(kept.values())


def fill(templates: Sequence[str], words: Mapping[str, Sequence[str]], rng: random.Random) -> Iterator[str]:
    """Prompts without end: a template with a word in each of its places; all words are met before one comes again."""
    decks: dict[str, list[str]] = {bank: [] for bank in words}
    while True:
        template = rng.choice(templates)
        told = {}
        for slot in SLOT.findall(template):
            if not decks[slot]:
                decks[slot] = rng.sample(words[slot], len(words[slot]))
            told[slot] = decks[slot].pop()
        yield SLOT.sub(lambda found, told=told: told[found[1]], template)  # type: ignore[misc]


def normal(text: str) -> str:
    """A text as it is compared: its words alone, in small letters."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def near_duplicates(texts: Sequence[str], near: float) -> set[int]:
    """Indices of texts whose set of words overlaps an earlier kept one's by the share `near` or more (of their union).

    Texts with the same words in another order are the same only where `near` is below 1.
    """
    sets = [frozenset(normal(text).split()) for text in texts]
    often = Counter(word for words in sets for word in words)
    index: dict[str, list[int]] = {}
    seen: set[str] = set()
    dropped = set()
    for number, words in enumerate(sets):
        plain = normal(texts[number])
        rare = sorted(words, key=lambda word: (often[word], word))
        # Sets that overlap so much share one of their rarest words: so many of each are looked at.
        looked = rare[: len(rare) - _ceil(near * len(rare)) + 1]
        others = {other for word in looked for other in index.get(word, ())} if near < 1 else set()
        if plain in seen or any(_overlap(words, sets[other]) >= near for other in others):
            dropped.add(number)
            continue
        seen.add(plain)
        for word in looked:
            index.setdefault(word, []).append(number)
    return dropped


def _ceil(value: float) -> int:
    return -int(-(value - 1e-9) // 1)


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0
