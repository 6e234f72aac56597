"""A pack in another precision beside the pack that it was made from: the same requests, the same seeds, in pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.request import Options, Request
from interleave_rt.result import Result
from interleave_rt.worlds.shapes.language import Request as Task

from .intervals import Interval, share
from .outcomes import look_at
from .progress import Progress
from .samples import AT_ONCE, Runs

__all__ = ["Precision", "compare", "paired_interval"]

_ROUND = 50  # requests between two looks at the interval
_Z = 1.959964  # of a two-sided 95 % interval
_UNSEEN = 3.0  # over n: what a share may be, at 95 %, that was not seen once in n cases


def paired_interval(differences: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean of paired differences, each in -1..1; None without any.

    Never narrower than n pairs allow that do not differ at all: 3 / n to both sides.
    """
    n = len(differences)
    if not n:
        return None
    mean = math.fsum(differences) / n
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in differences) / max(n - 1, 1))
    half = max(_Z * deviation / math.sqrt(n), _UNSEEN / n)
    return mean - half, mean + half


@dataclass(slots=True)
class Precision:
    """What was found so far; everything is in the order of the requests.

    Args:
        margin: How much of step success may be lost, in 0..1.
        differences: Share of a request's steps that are right, less that of the reference; empty without an oracle.
    """

    margin: float
    requests: int = 0
    failed: int = 0
    differences: list[float] = field(default_factory=list)
    plans: list[bool] = field(default_factory=list)
    verdicts: list[bool] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    @property
    def interval(self) -> Interval | None:
        """Of the success difference, 95 %."""
        return paired_interval(self.differences)

    @property
    def enough(self) -> bool:
        """Whether the interval is so narrow that no loss of half of the margin or less is taken for more."""
        found = self.interval
        return found is not None and bool(self.plans) and found[1] - found[0] <= self.margin

    @property
    def met(self) -> bool | None:
        """Whether at most the margin is lost, by the interval's lower end; None where no oracle has judged.

        Requests that fail in both packs do not differ: not met where no request was answered by both.
        """
        found = self.interval
        return None if found is None else bool(self.plans) and found[0] >= -self.margin

    def document(self) -> dict[str, Any]:
        """Plain data: shares in 0..1; `picture_distance`: mean absolute difference of pixels, of 255."""
        found = self.interval
        n = len(self.differences)
        return {
            "format_version": 1,
            "requests": self.requests,
            "failed": self.failed,
            "success": {
                "n": n,
                "difference": round(math.fsum(self.differences) / n, 4) if n else None,
                "interval": None if found is None else [round(end, 4) for end in found],
                "margin": self.margin,
                "met": self.met,
            },
            "plans_equal": share(self.plans).as_dict(),
            "verdicts_flipped": share(self.verdicts).as_dict(),
            "pictures_equal": share(one == 0 for one in self.distances).as_dict(),
            "picture_distance": round(float(np.mean(self.distances)), 4) if self.distances else None,
        }

    def add(self, ours: Result | None, theirs: Result | None, task: Task | None) -> None:
        """One request, as both packs have answered it; None where it failed."""
        self.requests += 1
        if ours is None or theirs is None:
            self.failed += 1
        if task is not None:
            self.differences.append(_right(ours, task) - _right(theirs, task))
        if ours is None or theirs is None:
            return
        self.plans.append(ours.plan == theirs.plan)
        for one, other in zip(ours.steps, theirs.steps, strict=False):
            for mine, their in zip(one.attempts, other.attempts, strict=False):
                if mine.prompt != their.prompt:
                    break
                if mine.pixels is not None and their.pixels is not None:
                    gap = np.abs(mine.pixels.astype(np.int16) - their.pixels.astype(np.int16))
                    self.distances.append(float(gap.mean()))
                if mine.verdict is not None and their.verdict is not None:
                    self.verdicts.append(mine.verdict.accepted != their.verdict.accepted)


def compare(
    pack: Runs,
    reference: Runs,
    requests: Sequence[Request | Task],
    *,
    margin: float,
    seed: int = 1,
    progress: Progress | None = None,
) -> Precision:
    """Runs requests through both packs until the success difference is known well enough, or there are no more.

    Args:
        pack: In the precision that is judged.
        reference: What it is held against.
        requests: Of the shapes world (`Task`), which its oracle judges; of others only agreement is found.
        margin: Step success that may be lost, in 0..1.
        seed: Of the calls; the same in both packs.
        progress: Told how far it is.

    Raises:
        BadRequestError: The margin is not above 0, or there are no requests.
    """
    if not 0 < margin <= 1 or not requests:
        raise BadRequestError(
            f"[eval] a margin of {margin} over {len(requests)} requests",
            hint="a margin above 0, at most 1, and at least one request",
        )
    found = Precision(margin)

    def runner(engine: Runs) -> Callable[[int], Result | None]:
        def run(index: int) -> Result | None:
            one = requests[index]
            asked = Request(one.text) if isinstance(one, Task) else one
            try:
                return engine.run(asked, options=Options(seed=seed * 1_000_000 + index))
            except InterleaveError:
                return None

        return run

    with (progress or Progress(None)).task("requests, both packs", len(requests)) as tell:
        for start in range(0, len(requests), _ROUND):
            indices = range(start, min(start + _ROUND, len(requests)))
            with ThreadPoolExecutor(AT_ONCE) as threads:
                both = [list(threads.map(runner(engine), indices)) for engine in (pack, reference)]
            for index, ours, theirs in zip(indices, *both, strict=True):
                task = requests[index]
                found.add(ours, theirs, task if isinstance(task, Task) else None)
            tell(found.requests)
            if found.enough:
                break
    return found


def _right(result: Result | None, task: Task) -> float:
    """The share of steps whose picture shows what its prompt means; 0 where there is none."""
    steps = look_at(result, task).steps if result is not None else ()
    return sum(step.right for step in steps) / len(steps) if steps else 0.0
