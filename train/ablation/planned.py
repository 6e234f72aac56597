"""The evaluator of planners: whole requests with one picture a step, and no critic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interleave_rt.request import Options
from interleave_rt.request import Request as Asked
from interleave_rt.roles.native import NativeRoles
from interleave_rt.worlds.shapes.evaluation.wording import Plan, plan_exact
from interleave_rt.worlds.shapes.language import Request, apply
from interleave_rt.worlds.shapes.oracle import read
from interleave_rt.worlds.shapes.requests import sample
from interleave_rt.worlds.shapes.scene import Scene

from ..data.journal import Journal
from .fixed import generator, seed_of, shows
from .statistics import Tally, counted

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["plan_all", "planner_tallies"]

_ANSWERS = "plans.log"


def plan_all(folder: Path, planner: NativeRoles | None, *, count: int, seed: int, noise: int) -> None:
    """Writes what becomes of validation requests into a folder; what is there of an earlier try is not made again.

    Args:
        folder: Of the answers.
        planner: Plans; None: the request itself is the only prompt.
        count: Requests.
        seed: Of the requests.
        noise: The row's seed: other pictures, the same for every planner.
    """
    roles, journal = generator(), Journal(folder / _ANSWERS)
    try:
        for number, task in enumerate(sample("validation", count, seed)):
            if journal.get(str(number)) is None:
                plan = None if planner is None else _plan(number, task, planner)
                prompts = (
                    [task.text] if planner is None else [step.prompt for step in plan.steps] if plan else []
                )
                steps, last = _draw(number + noise * count, prompts, roles)
                right = planner is not None and plan_exact(plan, task)
                final = last is not None and last == task.scenes[-1]
                journal.add(str(number), "kept", plan=right, steps=steps, final=final)
    finally:
        journal.close()


def _plan(number: int, task: Request, planner: NativeRoles) -> Plan | None:
    """As the engine asks: once more where nothing can be read."""
    most = Options().max_steps
    for retry in (0, 1):
        written = planner.plan(Asked(task.text), most, seed_of(number, "plan", 0, 0, retry), retry)
        if written.steps:
            return Plan(written.steps, written.truncated)
    return None


def _draw(number: int, prompts: Sequence[str | None], roles: NativeRoles) -> tuple[list[bool], Scene | None]:
    """Which steps are right, and what the last picture shows, where it does so cleanly."""
    source: Pixels | None = None
    before: Scene | None = None
    last: Scene | None = None
    steps = []
    for index, prompt in enumerate(prompts):
        if prompt is None:
            continue
        wanted = apply(before, prompt)
        source = roles.generate(prompt, source, seed_of(number, "generate", index, 1), Options())
        reading = read(source)
        steps.append(shows(reading, wanted))
        before, last = reading.scene, reading.scene if reading.clean else None
    return steps, last


def planner_tallies(folder: Path) -> dict[str, Tally]:
    """The figures of `plan_all`, by name.

    plan: right plans. final: last pictures that show what the request ends with. asked: requests with a right plan all of
    whose pictures are right. drawn: pictures that show what their prompt means on the picture before.
    """
    journal = Journal(folder / _ANSWERS)
    journal.close()
    rows = [journal.lines[key] for key in sorted(journal.lines, key=int)]
    return {
        "plan": counted([[row["plan"]] for row in rows]),
        "final": counted([[row["final"]] for row in rows]),
        "asked": counted([[row["plan"] and all(row["steps"])] for row in rows]),
        "drawn": counted([row["steps"] for row in rows]),
    }
