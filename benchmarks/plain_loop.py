"""The plain loop of `interleave_rt.roles` with its pictures kept, and the detour through PNG that a demo's loop takes.

The engine hands raw buffers over. What that saves is measured here: the same loop over the same roles, with and without
`PngDetour`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interleave_rt import Options, Request, Result
from interleave_rt.pack.images import encode_png, load_image
from interleave_rt.roles import Roles
from interleave_rt.roles.reference import run_reference
from interleave_rt.wire import PlanStep, Verdict, WrittenPlan

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Held:
    """A picture as a PNG file on its way from one role to the next; its hash is that of its pixels."""

    png: bytes | Path
    hash: int

    def pixels(self) -> Pixels:
        return load_image(self.png)


class PngDetour:
    """Roles whose pictures pass through PNG: written once, read by every role that gets them.

    Args:
        roles: Whose calls.
        folder: Where the files go, as in the official demo; None: they stay in memory.
    """

    def __init__(self, roles: Roles, folder: Path | None = None) -> None:
        self._roles, self._folder, self._count = roles, folder, 0

    def _put(self, pixels: Pixels | None) -> Held | None:
        if pixels is None:
            return None
        png = encode_png(pixels)
        if self._folder is None:
            return Held(png, self._roles.hash_of(pixels))
        self._count += 1
        path = self._folder / f"{self._count}.png"
        path.write_bytes(png)
        return Held(path, self._roles.hash_of(pixels))

    @staticmethod
    def _get(held: Held | None) -> Pixels | None:
        return None if held is None else held.pixels()

    def plan(self, request: Request, max_steps: int, seed: int, retry: int) -> WrittenPlan:
        return self._roles.plan(request, max_steps, seed, retry)

    references = 1

    def generate(self, prompt: str, source: Held | None, seed: int, options: Options) -> Held | None:
        return self._put(self._roles.generate(prompt, self._get(source), seed, options))

    def judge(
        self, before: Held | None, after: Held, original_prompt: str, prompt: str, seed: int, retry: int
    ) -> Verdict | None:
        return self._roles.judge(self._get(before), self._get(after), original_prompt, prompt, seed, retry)

    def inputs(self, request: Request) -> list[Held | None]:
        return [self._put(pixels) for pixels in self._roles.inputs(request)]

    def hash_of(self, picture: Held) -> int:
        return picture.hash

    def seed_of(self, options: Options, kind: str, step: int, attempt: int, retry: int) -> int:
        return self._roles.seed_of(options, kind, step, attempt, retry)


class _Kept:
    """Roles that remember what they have drawn, by content."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self.pictures: dict[str, Pixels] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._roles, name)

    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:
        picture: Pixels = self._roles.generate(prompt, source, seed, options)
        self.pictures[f"{self._roles.hash_of(picture):016x}"] = picture
        return picture


@dataclass(frozen=True)
class PlainStep:
    """A step of the plan and its last picture; None for a text-only step."""

    plan: PlanStep
    pixels: Pixels | None


@dataclass(frozen=True)
class PlainResult:
    """What the plain loop gave: the canonical result and its pictures; has what the oracle looks at in a `Result`."""

    canonical: dict[str, Any]
    pictures: dict[str, Pixels]

    @property
    def steps(self) -> list[PlainStep]:
        found = []
        for step in self.canonical["steps"]:
            last = step["attempts"][-1]["image"] if step["attempts"] else None
            plan = {name: step["step"][name] for name in PlanStep.__dataclass_fields__}
            found.append(PlainStep(PlanStep(**plan), None if last is None else self.pictures[last]))
        return found


def run_plain(
    request: Request, options: Options, roles: Roles, through: Callable[[Roles], Roles] = lambda roles: roles
) -> PlainResult:
    """The sequential loop, each role's pictures kept; `through` may lead them astray, e.g. `PngDetour`."""
    kept: Any = _Kept(roles)
    return PlainResult(run_reference(request, options, through(kept)), kept.pictures)


def difference(ours: Result, theirs: PlainResult, levels: int = 1) -> str | None:
    """Where an engine's result differs from another runtime's; images may differ by so many of 255 levels.

    A verdict that was not asked for here is not compared: it can change nothing.
    """
    wanted = theirs.canonical
    if ours.plan_truncated != wanted["plan_truncated"] or [s.plan.as_dict() for s in ours.steps] != [
        s["step"] for s in wanted["steps"]
    ]:
        return "another plan"
    for number, (step, other) in enumerate(zip(ours.steps, wanted["steps"], strict=True), 1):
        attempts = other["attempts"]
        for place, (one, two) in enumerate(zip(step.attempts, attempts, strict=False), 1):
            where = f"step {number}, attempt {place}: "
            if (one.prompt, one.seed) != (two["prompt"], two["seed"]):
                return where + "another prompt or seed"
            assert one.pixels is not None
            apart = int(np.abs(one.pixels.astype(int) - theirs.pictures[two["image"]].astype(int)).max())
            if apart > levels:
                return where + f"images differ by {apart} of 255"
            asked = ours.options.judges_attempt(place)
            said = [
                (v["accepted"], v.get("refined")) if v and asked else None
                for v in (one.verdict and one.verdict.canonical(), two["verdict"])
            ]
            if said[0] != said[1]:
                return where + f"another verdict ({said[0]} and {said[1]})"
        if len(step.attempts) != len(attempts):
            return f"step {number}: {len(step.attempts)} attempts and {len(attempts)}"
    return None
