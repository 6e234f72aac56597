"""What a request has committed, and the event that brings it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import BadRequestError, InterleaveError, from_code
from .request import IMAGE_MARK, Options
from .wire import (
    NO_PICTURES,
    Attempt,
    AttemptImageEvent,
    Decision,
    Outcome,
    Pictures,
    PlanStep,
    PlanStepEvent,
    Span,
    Speculation,
    Step,
    StepCommittedEvent,
    Timings,
    VerdictEvent,
    part,
    read_fields,
)

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from PIL import Image as PilImage

    from .request import Pixels

FORMAT = "interleave-rt.result/1"
Writer = Callable[["Result", "str | PathLike[str]"], "Path"]
_WRITERS: dict[str, Writer] = {}


def saves_results(writer: Writer) -> Writer:
    """Decorator of the function behind `Result.save`: what a saved result looks like is not decided here."""
    _WRITERS["folder"] = writer
    return writer


def step_file(number: int) -> str:
    """The name of a step's final image in a saved result."""
    return f"step-{number}.png"


def attempt_file(number: int, attempt: int) -> str:
    """The name of an image that was not kept."""
    return f"attempts/step-{number}-{attempt}.png"


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a request committed.

    Args:
        request: The text, with one `<image>` mark for each input picture.
        options: How it was run.
        steps: The committed steps, in order.
        outcome: `finished`; `declined`: the planner answered in words that it cannot, see `Backend.declines`; or
            `failed`, `cancelled` or `deadline`, where `error` says why.
        plan: Every step that was read; more than `steps` where the request did not finish.
        plan_truncated: The plan went on after the last step that was read.
        timings: Of the whole request.
        speculation: What was started ahead of verdicts.
        trace: Every call, in the order in which they were started.
        decisions: Why calls were started ahead of a verdict, or not.
        inputs: The input pictures, uint8 [height, width, 3].
        pack: Name, version and promise of what ran it; see `Pack.info`.
        error: None where it finished, or was declined.
        calls: What calls of roles outside the graphs have answered, by the name of the call
            (`interleave_rt.backends.record.call_key`).

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
    pack: Mapping[str, str] = field(default_factory=dict)
    error: InterleaveError | None = None
    calls: Mapping[str, Any] = field(default_factory=dict, repr=False)

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
        if "folder" not in _WRITERS:
            raise InterleaveError(
                "[Result.save] no writer is loaded", hint="import interleave_rt.reports first"
            )
        return _WRITERS["folder"](self, folder)

    def as_dict(self, prefix: str = "") -> dict[str, Any]:
        """The object that `result.json` holds and `--json` prints; trace, decisions, inputs and calls stay outside.

        Pictures are named as the files of a saved result, each name after `prefix`.
        """
        return {
            "format": FORMAT,
            "request": self.request,
            "outcome": self.outcome,
            "error": self.error.as_dict() if self.error else None,
            "plan_truncated": self.plan_truncated,
            "plan": [step.as_dict() for step in self.plan],
            "steps": [_with_files(step, prefix) for step in self.steps],
            "timings": self.timings.as_dict(),
            "speculation": self.speculation.as_dict(),
            "options": self.options.as_dict(),
            # not where it lies on this machine
            "pack": {name: value for name, value in self.pack.items() if name != "path"},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], pictures: Pictures = NO_PICTURES) -> Result:
        """The result of such an object; `pictures` by the names in it."""
        if (found := part(raw, "format", str, "Result")) != FORMAT:
            raise BadRequestError(f"[Result] format is {found!r}: give {FORMAT!r}")
        options = Options.from_dict(part(raw, "options", Mapping, "Result"))
        error = _error(part(raw, "error", Mapping | None, "Result"))
        return cls(**read_fields(cls, {**raw, "options": options, "error": error}, pictures))


def _with_files(step: Step, prefix: str) -> dict[str, Any]:
    number, kept = step.step_number, prefix + step_file(step.step_number)

    def name_of(attempt: Attempt) -> str:
        return kept if attempt.pixels is step.pixels else prefix + attempt_file(number, attempt.number)

    return {**step.as_dict(name_of), "image": kept if step.pixels is not None else None}


def _error(raw: Mapping[str, Any] | None) -> InterleaveError | None:
    if raw is None:
        return None
    code, message = (part(raw, name, str, "error") for name in ("code", "message"))
    return from_code(code, message, hint=raw.get("hint"))


@dataclass(frozen=True, slots=True)
class FinishedEvent:
    """The request has ended; `error` says why where it did not finish. Always the last event."""

    kind: ClassVar[str] = "finished"
    outcome: Outcome
    result: Result
    error: InterleaveError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The event as plain data; pictures of the result are named as the files of a saved one."""
        error = self.error.as_dict() if self.error else None
        return {"kind": self.kind, "outcome": self.outcome, "error": error, "result": self.result.as_dict()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], pictures: Pictures = NO_PICTURES) -> FinishedEvent:
        """The event again."""
        result = Result.from_dict(part(raw, "result", Mapping, cls.kind), pictures)
        if result.error is not None:
            result.error.partial = result
        return cls(part(raw, "outcome", Outcome, cls.kind), result, result.error)


Event = PlanStepEvent | AttemptImageEvent | VerdictEvent | StepCommittedEvent | FinishedEvent
_EVENTS: dict[str, Callable[[Mapping[str, Any], Pictures], Event]] = {
    event.kind: event.from_dict
    for event in (PlanStepEvent, AttemptImageEvent, VerdictEvent, StepCommittedEvent, FinishedEvent)
}


def event_from_dict(raw: Mapping[str, Any], pictures: Pictures = NO_PICTURES) -> Event:
    """The event of its `as_dict`."""
    kind = part(raw, "kind", str, "event")
    if kind not in _EVENTS:
        raise BadRequestError(f"[wire] there is no event {kind!r}", hint="it is one of " + ", ".join(_EVENTS))
    return _EVENTS[kind](raw, pictures)
