"""What several rows are made of: held-out requests with their plans, and sequences that the engine has made.

Everything is made when a row first asks for it, and only once; a longer list begins with the shorter one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.request import Options, Request
from interleave_rt.types import Result
from interleave_rt.worlds.shapes.language import Request as Wish
from interleave_rt.worlds.shapes.requests import collect, continuing, narrative, question, unseen
from interleave_rt.worlds.shapes.scene import Pixels, drawn_story

from .gallery import Gallery
from .models import Models, Plan
from .outcomes import Outcome, look_at
from .progress import Progress
from .settings import Settings

__all__ = ["USUAL", "Keep", "Kind", "Material", "Planned"]

Kind = Literal["narrative", "continuing", "question", "unseen"]
Keep = Literal["last", "best"]

_MAKERS: dict[Kind, Callable[[random.Random], Wish]] = {
    "narrative": narrative,
    "continuing": continuing,
    "question": question,
    "unseen": unseen,
}
USUAL: tuple[int, Keep] = (5, "last")
"""How the system runs by default: T_max, and what is kept."""

_CHUNK = 32  # plans between two signs of progress


@dataclass(frozen=True, slots=True)
class Planned:
    """A request, the pictures that were given with it, and the plan (None: unreadable, or an error)."""

    wish: Wish
    pictures: tuple[Pixels, ...]
    plan: Plan | None


class Material:
    """Plans and sequences of one evaluation."""

    def __init__(self, models: Models, settings: Settings, progress: Progress | None = None) -> None:
        self.models, self.settings = models, settings
        self.progress = progress or Progress(None)
        self.gallery = Gallery()
        self._wishes: dict[Kind, list[Wish]] = {}
        self._planned: dict[Kind, list[Planned]] = {}
        self._outcomes: dict[tuple[int, Keep], list[Outcome]] = {}

    def rng(self, name: str) -> random.Random:
        """A source of random numbers that is another one for every name and seed."""
        return random.Random(f"{name}/{self.settings.seed}")

    def wishes(self, kind: Kind, count: int) -> list[Wish]:
        """Different held-out requests of a kind."""
        if len(self._wishes.get(kind, ())) < count:
            name = f"eval/{kind}/{self.settings.seed}"
            self._wishes[kind] = collect(_MAKERS[kind], self.settings.split, count, name)
        return self._wishes[kind][:count]

    def planned(self, kind: Kind, count: int) -> list[Planned]:
        """The first requests of a kind with their plans."""
        known = self._planned.setdefault(kind, [])
        known += self.plan(self.wishes(kind, count)[len(known) :], f"plans, {kind}")
        return known[:count]

    def plan(self, wishes: Sequence[Wish], title: str) -> list[Planned]:
        """Plans of any requests, with pictures drawn for them."""
        pictures = [self._drawn(wish) for wish in wishes]
        requests = [_request(wish.text, drawn) for wish, drawn in zip(wishes, pictures, strict=True)]
        plans: list[Plan | None] = []
        if wishes:
            with self.progress.task(title, len(wishes)) as tell:
                for start in range(0, len(wishes), _CHUNK):
                    plans += self._plans(requests[start : start + _CHUNK])
                    tell(len(plans))
        return [Planned(*found) for found in zip(wishes, pictures, plans, strict=True)]

    def _plans(self, requests: Sequence[Request | None]) -> list[Plan | None]:
        made = iter(self.models.plan([one for one in requests if one is not None], self.settings.seed))
        return [None if request is None else next(made) for request in requests]

    def _drawn(self, wish: Wish) -> tuple[Pixels, ...]:
        # by content, so that a picture does not depend on what was asked for before
        return tuple(drawn_story(wish.images, self.rng(f"pictures/{wish.text}/{wish.plan_key}")))

    def outcomes(self, t_max: int, keep: Keep, count: int) -> list[Outcome]:
        """What came of the first narrative requests with up to `t_max` tries a step."""
        known = self._outcomes.setdefault((t_max, keep), [])
        wishes = self.wishes("narrative", count)
        todo = range(len(known), len(wishes))

        def look(index: int, ended: Result | InterleaveError) -> tuple[Outcome, Result | None]:
            if isinstance(ended, InterleaveError):
                return Outcome(plan_right=False, steps=(), failed=True), None
            return look_at(ended, wishes[todo[index]]), ended

        cases = [(Request(wishes[i].text), self._options(i, t_max, keep)) for i in todo]
        if cases:
            with self.progress.task(f"sequences, T_max {t_max}, keep {keep}", len(wishes)) as tell:
                for outcome, result in self.models.run_all(cases, look):
                    known.append(outcome)
                    if result is not None and (t_max, keep) == USUAL:
                        self.gallery.offer(result, outcome)
                    tell(len(known))
        return known[:count]

    def made(self, t_max: int, keep: Keep) -> int:
        """How many sequences of a setting there are already."""
        return len(self._outcomes.get((t_max, keep), ()))

    def _options(self, index: int, t_max: int, keep: Keep) -> Options:
        # the same seeds in every setting, so that settings are compared on equal first pictures
        return Options(seed=self.settings.seed * 1_000_000 + index, t_max=t_max, keep=keep)


def _request(text: str, pictures: Sequence[Pixels]) -> Request | None:
    try:
        return Request(text, tuple(pictures))
    except BadRequestError:
        return None
