"""What callers hand in and get back: plain frozen values, no models and no work on pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .errors import InterleaveError
from .request import IMAGE_MARK, Devices, Options, Request

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from PIL import Image as PilImage

    from .request import Pixels

__all__ = [
    "Attempt",
    "AttemptImageEvent",
    "Decision",
    "Devices",
    "Event",
    "FinishedEvent",
    "Options",
    "PlanStep",
    "PlanStepEvent",
    "Request",
    "Result",
    "Span",
    "Speculation",
    "Step",
    "StepCommittedEvent",
    "Timings",
    "Verdict",
    "VerdictEvent",
]

Outcome = Literal["finished", "failed", "cancelled", "deadline"]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step as the planner wrote it; a step without a prompt is text only."""

    step_number: int
    step_name: str
    instruction: str | None = None
    prompt: str | None = None
    auxiliary_text: str | None = None

    @property
    def text(self) -> str:
        """What is shown for the step: `auxiliary_text` unless it is empty or "None", else `instruction`."""
        auxiliary = (self.auxiliary_text or "").strip()
        return (self.instruction or "").strip() if auxiliary in ("", "None") else auxiliary

    def as_dict(self) -> dict[str, Any]:
        """The five fields under the planner's own names."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the critic said of one image."""

    accepted: bool
    p_success: float
    refined: str | None = None
    reasoning: str = ""

    def canonical(self) -> dict[str, Any]:
        """The part that speculation, batching and timing may never change."""
        said: dict[str, Any] = {"accepted": self.accepted, "p_success": self.p_success}
        return said if self.accepted else {**said, "refined": self.refined}


class _Pictured:
    """Mixin: a Pillow view of `pixels`, made when somebody asks."""

    __slots__ = ()

    @property
    def image(self) -> PilImage.Image | None:
        """The picture as a Pillow image; None where there is none."""
        pixels: Pixels | None = getattr(self, "pixels")  # noqa: B009
        if pixels is None:
            return None
        from PIL import Image

        return Image.fromarray(pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Attempt(_Pictured):
    """One generation of a step. `verdict` is None where it was not judged (or not readably)."""

    number: int
    prompt: str
    seed: int
    image_hash: int
    pixels: Pixels | None = field(default=None, repr=False)
    verdict: Verdict | None = None
    refused_unreadable: bool = False  # refused, and the refined prompt could not be read

    def canonical(self) -> dict[str, Any]:
        """The part that speculation, batching and timing may never change."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "image": f"{self.image_hash:016x}",
            "verdict": self.verdict.canonical() if self.verdict else None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Step(_Pictured):
    """A committed step: its text, its final image (None for a text-only step), and how it came about."""

    plan: PlanStep
    attempts: tuple[Attempt, ...] = ()
    pixels: Pixels | None = field(default=None, repr=False)
    accepted: bool | None = None  # of the final image; None: it was not judged

    @property
    def step_number(self) -> int:
        """The number that the planner gave it."""
        return self.plan.step_number

    @property
    def text(self) -> str:
        """What is shown with the image."""
        return self.plan.text

    def canonical(self) -> dict[str, Any]:
        """The part that speculation, batching and timing may never change."""
        return {
            "step": self.plan.as_dict(),
            "attempts": [attempt.canonical() for attempt in self.attempts],
            "accepted": self.accepted,
        }


@dataclass(frozen=True, slots=True)
class Span:
    """One call of a role in the trace, times in microseconds since the request was submitted."""

    lane: str
    role: str
    kind: str
    step: int
    attempt: int
    retry: int
    speculative: bool
    queued_us: int
    started_us: int
    ended_us: int
    outcome: str
    used: bool
    cancel_us: int | None = None  # it was given up; its lane ends it at the next chance

    def as_dict(self) -> dict[str, Any]:
        """The span as plain data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a call was, or was not, started ahead of a verdict; at most one entry until the reason changes.

    Times in microseconds, `at_us` since the request was submitted. None: not measured yet.
    """

    at_us: int
    role: str
    step: int
    attempt: int
    started: bool
    reason: str
    p: float  # that the call will be asked for
    gain_us: float  # expected; 0 where it was not asked for
    depth: int
    beyond: int  # unverified verdicts before the call
    undisturbed: float  # probability that no committed call wants the slot meanwhile
    others: int  # other requests, running and queued
    critic_slowdown: float | None  # s_c
    generator_rate: float | None  # r_g
    verdict_us: float | None  # Cv
    generate_us: float | None  # G

    def as_dict(self) -> dict[str, Any]:
        """The decision as plain data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since the request was submitted; None: it did not come to that."""

    total_s: float
    first_step_s: float | None = None
    first_image_s: float | None = None
    planner_busy_s: float = 0.0
    generator_busy_s: float = 0.0
    critic_busy_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The timings as plain data, rounded to a microsecond."""
        pairs = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: None if value is None else round(value, 6) for name, value in pairs}


@dataclass(frozen=True, slots=True)
class Speculation:
    """What running ahead of the critic was good for."""

    setting: str
    started: int = 0
    used: int = 0
    discarded: int = 0
    discarded_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a request committed.

    Example:
        >>> result = engine.run("Draw a snowman step by step")  # doctest: +SKIP
        >>> [step.text for step in result.steps]  # doctest: +SKIP
        >>> result.save("out/")  # doctest: +SKIP
    """

    request: str
    options: Options
    steps: tuple[Step, ...]
    outcome: Outcome
    plan: tuple[PlanStep, ...] = ()
    plan_truncated: bool = False
    timings: Timings = field(default_factory=lambda: Timings(0.0))
    speculation: Speculation = field(default_factory=lambda: Speculation("off"))
    trace: tuple[Span, ...] = field(default=(), repr=False)
    decisions: tuple[Decision, ...] = field(default=(), repr=False)
    inputs: tuple[Pixels, ...] = field(default=(), repr=False)
    pack: Mapping[str, str] = field(default_factory=dict)  # name, version, lossless
    error: InterleaveError | None = None

    @property
    def text(self) -> str:
        """The whole sequence as text, `<image>` where a picture stands."""
        marks = ["" if step.pixels is None else f"\n{IMAGE_MARK}" for step in self.steps]
        return "\n\n".join(step.text + mark for step, mark in zip(self.steps, marks, strict=True))

    @property
    def images(self) -> list[PilImage.Image]:
        """The final images in order."""
        return [image for step in self.steps if (image := step.image) is not None]

    def canonical(self) -> dict[str, Any]:
        """The result without anything that timing could change: plain data, equal for equal results (law 1)."""
        return {"steps": [step.canonical() for step in self.steps], "plan_truncated": self.plan_truncated}

    def save(self, folder: str | PathLike[str]) -> Path:
        """Writes step-1.png ..., result.json and report.html; returns the folder."""
        from .reports import save_result

        return save_result(self, folder)


@dataclass(frozen=True, slots=True)
class PlanStepEvent:
    """A step of the plan is known."""

    kind: ClassVar[str] = "plan_step"
    index: int
    step: PlanStep


@dataclass(frozen=True, slots=True)
class AttemptImageEvent:
    """An image of step `index` was made; it is not judged yet."""

    kind: ClassVar[str] = "attempt_image"
    index: int
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class VerdictEvent:
    """The critic has spoken of attempt `attempt` of step `index`."""

    kind: ClassVar[str] = "verdict"
    index: int
    attempt: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StepCommittedEvent:
    """Step `index` is final."""

    kind: ClassVar[str] = "step_committed"
    index: int
    step: Step


@dataclass(frozen=True, slots=True)
class FinishedEvent:
    """The request has ended; `error` says why where it did not finish. Always the last event."""

    kind: ClassVar[str] = "finished"
    outcome: Outcome
    result: Result
    error: InterleaveError | None = None


Event = PlanStepEvent | AttemptImageEvent | VerdictEvent | StepCommittedEvent | FinishedEvent
