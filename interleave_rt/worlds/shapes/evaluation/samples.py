"""What several rows are made of: held-out requests with their plans, and sequences that the engine has made.

Everything is made when a row first asks for it, and only once; a longer list begins with the shorter one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.request import Options, Request
from interleave_rt.result import Result
from interleave_rt.roles import Roles
from interleave_rt.wire import WrittenPlan
from interleave_rt.worlds.shapes.language import Request as Task
from interleave_rt.worlds.shapes.language import about_a_picture, asked, spoken
from interleave_rt.worlds.shapes.requests import collect, continuing, narrative, question, unseen
from interleave_rt.worlds.shapes.scene import Pixels, drawn_story

from .gallery import Gallery
from .outcomes import Outcome, look_at
from .progress import Progress
from .settings import Settings
from .wording import Plan, Planned

__all__ = ["AT_ONCE", "USUAL", "Keep", "Kind", "Runs", "Samples"]

Kind = Literal["narrative", "continuing", "question", "spoken", "pictured", "asked", "unseen"]
Keep = Literal["last", "best"]

_MAKERS: dict[Kind, Callable[[random.Random], Task]] = {
    "narrative": narrative,
    "continuing": continuing,
    "question": question,
    "spoken": spoken,
    "pictured": about_a_picture,
    "asked": asked,
    "unseen": unseen,
}
USUAL: tuple[int, Keep] = (5, "last")
"""How the system runs by default: T_max, and what is kept."""

AT_ONCE = 8
"""Sequences that are made at the same time."""
_CHUNK = 32  # plans between two signs of progress


class Runs(Protocol):
    """What makes whole sequences: an engine, called from several threads."""

    def run(self, request: Request, *, options: Options) -> Result:
        """As `Engine.run`."""


class Samples:
    """Plans, pictures and sequences of one evaluation.

    Args:
        roles: Answer single calls. With a method `plans` (see `NativeRoles`) they answer many plans at once.
        engine: Gives what makes whole sequences; called when the first one is needed.
        settings: Split, seed, sample sizes.
        progress: Told how far it is.
    """

    def __init__(
        self,
        roles: Roles,
        engine: Callable[[], Runs],
        settings: Settings,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings
        self._roles, self._engine = roles, engine
        self.progress = progress or Progress(None)
        self.gallery = Gallery()
        self._tasks: dict[Kind, list[Task]] = {}
        self._planned: dict[Kind, list[Planned]] = {}
        self._outcomes: dict[tuple[int, Keep], list[Outcome]] = {}

    def rng(self, name: str) -> random.Random:
        """A source of random numbers that is another one for every name and seed."""
        return random.Random(f"{name}/{self.settings.seed}")

    def tasks(self, kind: Kind, count: int) -> list[Task]:
        """Different held-out requests of a kind."""
        if len(self._tasks.get(kind, ())) < count:
            name = f"eval/{kind}/{self.settings.seed}"
            self._tasks[kind] = collect(_MAKERS[kind], self.settings.split, count, name)
        return self._tasks[kind][:count]

    def planned(self, kind: Kind, count: int) -> list[Planned]:
        """The first requests of a kind with their plans."""
        known = self._planned.setdefault(kind, [])
        known += self.plan(self.tasks(kind, count)[len(known) :], f"plans, {kind}")
        return known[:count]

    def plan(self, tasks: Sequence[Task], title: str) -> list[Planned]:
        """Plans of any requests, with pictures drawn for them."""
        pictures = [self._drawn(task) for task in tasks]
        requests = [_request(task.text, drawn) for task, drawn in zip(tasks, pictures, strict=True)]
        plans: list[Plan | None] = []
        if tasks:
            with self.progress.task(title, len(tasks)) as tell:
                for start in range(0, len(tasks), _CHUNK):
                    plans += self._plans(requests[start : start + _CHUNK])
                    tell(len(plans))
        return [Planned(*found) for found in zip(tasks, pictures, plans, strict=True)]

    def _plans(self, requests: Sequence[Request | None]) -> list[Plan | None]:
        """None where there is no request, or its answer could not be read twice."""
        found: list[Plan | None] = [None] * len(requests)
        for retry in (0, 1):
            rows = {i: one for i, one in enumerate(requests) if one is not None and found[i] is None}
            for i, plan in zip(rows, self._answers(list(rows.values()), retry), strict=True):
                found[i] = plan
        return found

    def _answers(self, requests: list[Request], retry: int) -> list[Plan | None]:
        options = Options(seed=self.settings.seed)
        asked = options.max_steps, self._roles.seed_of(options, "plan", 0, 0, retry), retry
        many = getattr(self._roles, "plans", None)
        try:
            if many is not None:
                return [_readable(answer) for answer in many(requests, *asked)]
            return [_readable(self._roles.plan(request, *asked)) for request in requests]
        except InterleaveError:
            # one of them cannot be answered: the others can, alone
            return [self._answers([one], retry)[0] for one in requests] if len(requests) > 1 else [None]

    def paint(self, prompt: str, source: Pixels | None, seed: int, steps: int = 0) -> Pixels:
        """One picture, uint8 [height, width, 3]; 0 denoising steps are the pack's default.

        Raises:
            InterleaveError: The generator has failed.
        """
        image: Pixels = self._roles.generate(prompt, source, seed, Options(denoising_steps=steps))
        return image

    def _drawn(self, task: Task) -> tuple[Pixels, ...]:
        # by content, so that a picture does not depend on what was asked for before
        return tuple(drawn_story(task.images, self.rng(f"pictures/{task.text}/{task.plan_key}")))

    def outcomes(self, t_max: int, keep: Keep, count: int) -> list[Outcome]:
        """What came of the first narrative requests with up to `t_max` tries a step."""
        known = self._outcomes.setdefault((t_max, keep), [])
        tasks = self.tasks("narrative", count)
        todo = range(len(known), len(tasks))

        if todo:
            engine = self._engine()  # loaded before there are threads

            def made(index: int) -> tuple[Outcome, Result | None]:
                try:
                    ended = engine.run(Request(tasks[index].text), options=self._options(index, t_max, keep))
                except InterleaveError:
                    return Outcome(plan_right=False, steps=(), failed=True), None
                return look_at(ended, tasks[index]), ended

            title = f"sequences, T_max {t_max}, keep {keep}"
            with self.progress.task(title, len(tasks)) as tell, ThreadPoolExecutor(AT_ONCE) as threads:
                for outcome, result in threads.map(made, todo):
                    known.append(outcome)
                    if result is not None and (t_max, keep) == USUAL:
                        self.gallery.offer(result, outcome)
                    tell(len(known))
        return known[:count]

    def results(self, tasks: Sequence[Task], title: str) -> list[Result | None]:
        """What the system makes of any requests, run as it runs by default; None where one failed."""
        engine = self._engine()  # loaded before there are threads

        def run(index: int) -> Result | None:
            task = tasks[index]
            try:
                return engine.run(Request(task.text, self._drawn(task)), options=self._options(index, *USUAL))
            except InterleaveError:
                return None

        found: list[Result | None] = []
        with self.progress.task(title, len(tasks)) as tell, ThreadPoolExecutor(AT_ONCE) as threads:
            for result in threads.map(run, range(len(tasks))):
                found.append(result)
                tell(len(found))
        return found

    def made(self, t_max: int, keep: Keep) -> int:
        """How many sequences of a setting there are already."""
        return len(self._outcomes.get((t_max, keep), ()))

    def _options(self, index: int, t_max: int, keep: Keep) -> Options:
        # the same seeds in every setting, so that settings are compared on equal first pictures
        return Options(seed=self.settings.seed * 1_000_000 + index, t_max=t_max, keep=keep)


def _readable(plan: WrittenPlan) -> Plan | None:
    return Plan(plan.steps, plan.truncated) if plan.steps else None


def _request(text: str, pictures: Sequence[Pixels]) -> Request | None:
    try:
        return Request(text, tuple(pictures))
    except BadRequestError:
        return None
