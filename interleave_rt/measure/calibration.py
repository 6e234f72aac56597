"""A calibration: what was measured of an engine, as a file that `simulate --calibration` replays.

The file is one JSON object (format_version 1):

    {"format": "interleave-rt calibration", "format_version": 1,
     "measured": {...},                           where and how: for people
     "critic_slowdown": 1.3, "generator_rate": 0.8,   s_c and r_g: critic and generator beside each other
     "denoising_steps": 4,                        cancel points of a generator call
     "arms": {ARM: {                              sequential, sequential-es, speculative
         "lanes": {ROLE: {"capacity": 8, "device": "cpu:1", "batching": [1, 1.2, ...], "warm_ms": 0.8, "cancel_ms": 2}},
         "rates": {"generator+critic": {"generator": 0.8, "critic": 0.77}, ...},
         "submit_ms": 0.4,                        between two requests of one client
         "reader_ms": 0.9}},                      from the last event of a request to its reader
     "requests": [{"t_max": 5, "arms": {ARM: {
         "plan_ms": 160, "closes_ms": [40, 70],   the whole plan, and when each step of it closed
         "steps": [[{"generate_ms": 60, "verdict_ms": 40, "judge_ms": 60, "accepted": true}]]}}}]}

Times are milliseconds of a call that is alone. `steps` has one list a step (empty: text only) with one entry a try;
`accepted` is null where nobody judged, or not readably. `batching[b - 1]` says how many times as long each of b calls
takes while b are under way in a lane, `warm_ms` how much work a call is spared right after another one of its lane,
`rates` how fast a role is while exactly the named ones are active.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interleave_rt.checks import within
from interleave_rt.errors import BadRequestError
from interleave_rt.files import read_json, write_file

from .arms import ARMS
from .load import MAX_REQUESTS
from .machine import MAX_CAPACITY, Lane, Machine
from .record import ROLES
from .tasks import ACCEPTED, MAX_MS, MAX_STEPS, MAX_TRIES, REFUSED, UNREADABLE, Task, Tasks

FORMAT = "interleave-rt calibration"
FORMAT_VERSION = 1

Ms = Annotated[float, Field(ge=0, le=MAX_MS, allow_inf_nan=False)]
RoleName = Literal["planner", "generator", "critic"]
Factor = Annotated[float, Field(gt=0.001, le=1000, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TryFile(_Strict):
    """One try of a step."""

    generate_ms: Ms
    verdict_ms: Ms = 0.0
    judge_ms: Ms = 0.0
    accepted: bool | None = None


class WorkFile(_Strict):
    """The work of one request in one arm."""

    plan_ms: Ms
    closes_ms: list[Ms]
    steps: Annotated[
        list[Annotated[list[TryFile], Field(max_length=MAX_TRIES)]], Field(min_length=1, max_length=MAX_STEPS)
    ]


class RequestFile(_Strict):
    """One request, in every arm that was measured."""

    t_max: Annotated[int, Field(ge=1, le=MAX_TRIES)]
    arms: dict[str, WorkFile]


class LaneFile(_Strict):
    """One lane."""

    capacity: Annotated[int, Field(ge=1, le=MAX_CAPACITY)]
    device: Annotated[str, Field(pattern="^[ -~]*$")]
    batching: Annotated[list[Factor], Field(min_length=1)] = [1.0]
    warm_ms: Ms = 0.0
    cancel_ms: Ms = 0.0


class ArmFile(_Strict):
    """What an arm ran on."""

    lanes: dict[RoleName, LaneFile]
    rates: dict[str, dict[RoleName, Factor]] = {}
    submit_ms: Ms = 0.0
    reader_ms: Ms = 0.0


class Calibration(_Strict):
    """A whole file, checked; made by `of`."""

    format: Literal["interleave-rt calibration"]
    format_version: Literal[1]
    measured: dict[str, Any] = {}
    critic_slowdown: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    generator_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    denoising_steps: Annotated[int, Field(ge=1, le=1000)] = 4
    arms: Annotated[dict[str, ArmFile], Field(min_length=1)]
    requests: Annotated[list[RequestFile], Field(min_length=1)]

    @classmethod
    def of(cls, document: Any, name: str = "the calibration") -> Calibration:
        """Checks plain data.

        Raises:
            BadRequestError: The message names the field that is wrong.
        """
        if isinstance(document, dict) and document.get("format") == FORMAT:
            version = document.get("format_version")
            if version != FORMAT_VERSION:
                raise BadRequestError(
                    f"[calibration] {name} has format_version {version!r}, this version reads {FORMAT_VERSION}",
                    hint="measure it again: interleave-rt bench --save-calibration FILE",
                )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise BadRequestError(
                f"[calibration] {name}: {place}: {first['msg']}",
                hint="make one with: interleave-rt bench --save-calibration FILE",
            ) from None

    @model_validator(mode="after")
    def _whole(self) -> Calibration:
        for arm, of in self.arms.items():
            if set(of.lanes) != set(ROLES):
                raise ValueError(f"arms.{arm}.lanes: one for each of {', '.join(ROLES)}")
        for index, request in enumerate(self.requests):
            missing = sorted(set(self.arms) - set(request.arms))
            if missing:
                raise ValueError(f"requests.{index} has no times of arm {missing[0]!r}")
            if len({len(work.steps) for work in request.arms.values()}) > 1:
                raise ValueError(f"requests.{index} has unequal steps in its arms")
        return self

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the file; raises `BadRequestError` where that cannot be done."""
        return write_file(path, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")

    def note(self) -> str:
        """One line about where the figures come from."""
        said = self.measured
        where = [str(said[key]) for key in ("target", "cpu", "at") if said.get(key)]
        return f"calibrated on {len(self.requests)} requests" + (f" ({', '.join(where)})" if where else "")

    def machine(self, arm: str) -> Machine:
        """What an arm runs on; `depth=K` is measured with `speculative`."""
        of = self.arms[self._arm(arm)]
        lanes: dict[str, Lane] = {
            role: Lane(machine="calibrated", **lane.model_dump()) for role, lane in of.lanes.items()
        }
        rates: dict[str, Any] = of.model_dump()["rates"]
        return Machine(lanes, {"calibrated": rates}, of.submit_ms, of.reader_ms)

    def tasks(self, count: int | None = None) -> Tasks:
        """The measured requests; more than were measured are the same ones over again."""
        requests = self.requests
        number = len(requests) if count is None else count
        within("--num-requests", number, 1, MAX_REQUESTS)
        chosen = [requests[index % len(requests)] for index in range(number)]
        steps = [len(next(iter(request.arms.values())).steps) for request in chosen]

        def of(arm: str) -> Sequence[Task]:
            name = self._arm(arm)
            return [_task(request.arms[name], request.t_max) for request in chosen]

        return Tasks(of, steps, self.denoising_steps)

    def _arm(self, arm: str) -> str:
        name = arm if arm in ARMS else "speculative"
        if name not in self.arms:
            raise BadRequestError(
                f"[calibration] arm {name!r} was not measured", hint=f"measured: {', '.join(self.arms)}"
            )
        return name


def _task(work: WorkFile, t_max: int) -> Task:
    says = {True: ACCEPTED, False: REFUSED, None: UNREADABLE}
    steps = [
        [
            (one.generate_ms, one.verdict_ms, max(one.verdict_ms, one.judge_ms), says[one.accepted])
            for one in step
        ]
        for step in work.steps
    ]
    return work.plan_ms, list(work.closes_ms), steps, t_max


def load_calibration(path: str | PathLike[str]) -> Calibration:
    """Reads and checks a file.

    Raises:
        BadRequestError: It cannot be read, or is not a calibration; the message names the field.
    """
    hint = "make one with: interleave-rt bench --save-calibration FILE"
    return Calibration.of(read_json(path, what="calibration", hint=hint), str(path))
