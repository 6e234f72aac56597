"""From the core's events to the values that callers see; one reader a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from interleave_rt import _core

from .errors import CancelledError, DeadlineError, InterleaveError, from_code
from .request import Options, Request
from .types import (
    Attempt,
    AttemptImageEvent,
    Decision,
    Event,
    FinishedEvent,
    Outcome,
    PlanStep,
    PlanStepEvent,
    Result,
    Span,
    Speculation,
    Step,
    StepCommittedEvent,
    Timings,
    Verdict,
    VerdictEvent,
)

if TYPE_CHECKING:
    from .request import Pixels

__all__ = ["EventReader", "make_spec"]


def make_spec(request: Request, options: Options, images: Sequence[str]) -> _core.RequestSpec:
    """What the core is told of a request; `images` are keys of its image store."""
    spec = _core.RequestSpec()
    spec.text, spec.images = request.marked_text, list(images)
    spec.mode = _core.PlanMode.guidance if images else _core.PlanMode.narrative
    spec.seed, spec.seed_rule = options.seed, getattr(_core.SeedRule, options.seeds)
    spec.t_max, spec.max_steps, spec.judge_last = options.t_max, options.max_steps, options.judge_last
    spec.keep = getattr(_core.Keep, options.keep)
    mode, spec.speculation_depth = options.speculation_depth()
    spec.speculation_mode = getattr(_core.SpeculationMode, mode)
    for name in options.devices.__dataclass_fields__:
        setattr(spec, name, getattr(options.devices, name))
    spec.width, spec.height, spec.denoising_steps = options.width, options.height, options.denoising_steps
    spec.timeout_s = options.deadline_s or 0.0
    return spec


class EventReader:
    """Turns raw events into public ones and builds the result at the end; reading one again is harmless."""

    def __init__(
        self,
        core: _core.Engine,
        request: Request,
        options: Options,
        inputs: Sequence[Pixels],
        pack: Mapping[str, str],
        submitted_us: int,
    ) -> None:
        self._core = core
        self._request, self._options = request, options
        self._inputs, self._pack = tuple(inputs), pack
        self._submitted_us = submitted_us
        # By index: reading an event twice changes nothing.
        self._plan: dict[int, PlanStep] = {}
        self._steps: dict[int, Step] = {}
        self._pixels: dict[str, Pixels] = {}
        self._first_step_s: float | None = None
        self._first_image_s: float | None = None

    def read(self, request_id: int, raw: tuple[Any, ...]) -> Event:
        """The public event of a raw one; the last of a request is a `FinishedEvent`."""
        kind, *payload = raw
        if kind == "plan_step":
            index, step = payload
            self._plan[index] = _plan_step(step)
            self._first_step_s = self._first_step_s or self._elapsed()
            return PlanStepEvent(index, self._plan[index])
        if kind == "attempt_image":
            index, attempt, pixels = payload
            self._pixels[attempt.image] = pixels
            self._first_image_s = self._first_image_s or self._elapsed()
            return AttemptImageEvent(index, self._attempt(attempt))
        if kind == "verdict":
            index, number, verdict = payload
            return VerdictEvent(index, number, _verdict(verdict))
        if kind == "step_committed":
            index, committed = payload
            self._steps[index] = self._step(committed)
            return StepCommittedEvent(index, self._steps[index])
        if kind == "ended":
            return self._finished(request_id, *payload)
        raise InterleaveError(f"[EventReader] the core sent an unknown event {kind!r}")

    def _attempt(self, raw: _core.Attempt) -> Attempt:
        return Attempt(
            number=raw.number,
            prompt=raw.prompt,
            seed=raw.seed,
            image_hash=raw.image_hash,
            pixels=self._pixels.get(raw.image),
            verdict=_verdict(raw.verdict) if raw.verdict is not None and raw.verdict.readable else None,
            refused_unreadable=raw.refused_unreadable,
        )

    def _step(self, raw: _core.StepResult) -> Step:
        attempts = tuple(self._attempt(attempt) for attempt in raw.attempts)
        pixels = self._pixels.get(raw.image) if raw.image else None
        return Step(_plan_step(raw.plan), attempts, pixels, raw.accepted)

    def _elapsed(self) -> float:
        return (self._core.now_us() - self._submitted_us) / 1e6

    def _finished(
        self, request_id: int, outcome: Any, code: str | None, message: str | None, truncated: bool
    ) -> FinishedEvent:
        total_s = self._elapsed()
        name = str(getattr(outcome, "name", outcome)).removeprefix("k").lower()
        assert name in get_args(Outcome), name
        ended: Outcome = name  # type: ignore[assignment]
        error = _error(ended, code, message, len(self._steps), self._options)
        trace = tuple(self._span(span) for span in self._core.trace(request_id))
        result = Result(
            request=self._request.marked_text,
            options=self._options,
            steps=tuple(self._steps.values()),
            outcome=ended,
            plan=tuple(self._plan.values()),
            plan_truncated=truncated,
            timings=self._timings(total_s, trace),
            speculation=_speculation(self._options.speculation, trace),
            trace=trace,
            decisions=tuple(self._decision(decision) for decision in self._core.decisions(request_id)),
            inputs=self._inputs,
            pack=self._pack,
            error=error,
        )
        if error is not None:
            error.partial = result
        return FinishedEvent(ended, result, error)

    def _span(self, raw: _core.Span) -> Span:
        values = {name: getattr(raw, name) for name in Span.__dataclass_fields__}
        now = self._core.now_us()
        for name in ("queued_us", "started_us", "ended_us"):
            at = now if values[name] is None else values[name]  # a discarded call may still be running
            values[name] = at - self._submitted_us
        if values["cancel_us"] is not None:
            values["cancel_us"] -= self._submitted_us
        return Span(**values)

    def _decision(self, raw: _core.Decision) -> Decision:
        values = {name: getattr(raw, name) for name in Decision.__dataclass_fields__}
        return Decision(**{**values, "at_us": values["at_us"] - self._submitted_us})

    def _timings(self, total_s: float, trace: Sequence[Span]) -> Timings:
        busy = dict.fromkeys(("planner", "generator", "critic"), 0)
        for span in trace:
            busy[span.role] = busy.get(span.role, 0) + max(0, span.ended_us - span.started_us)
        return Timings(
            total_s=total_s,
            first_step_s=self._first_step_s,
            first_image_s=self._first_image_s,
            planner_busy_s=busy["planner"] / 1e6,
            generator_busy_s=busy["generator"] / 1e6,
            critic_busy_s=busy["critic"] / 1e6,
        )


def _plan_step(raw: _core.PlanStep) -> PlanStep:
    return PlanStep(**{name: getattr(raw, name) for name in PlanStep.__dataclass_fields__})


def _verdict(raw: _core.Verdict) -> Verdict:
    return Verdict(raw.accepted, raw.p_success, raw.refined, raw.reasoning)


def _speculation(setting: str, trace: Sequence[Span]) -> Speculation:
    ahead = [span for span in trace if span.speculative]
    lost = [span for span in ahead if not span.used]
    return Speculation(
        setting=setting,
        started=len(ahead),
        used=len(ahead) - len(lost),
        discarded=len(lost),
        discarded_s=round(sum(max(0, span.ended_us - span.started_us) for span in lost) / 1e6, 6),
    )


def _error(
    outcome: Outcome, code: str | None, message: str | None, committed: int, options: Options
) -> InterleaveError | None:
    if outcome == "finished":
        return None
    done = f"{committed} step{'' if committed == 1 else 's'} committed"
    if outcome == "cancelled":
        return CancelledError(message or f"the request was cancelled; {done}")
    if outcome == "deadline":
        return DeadlineError(
            message or f"the request ran out of its {options.deadline_s} s; {done}",
            hint="allow more time, or lower t_max or max_steps",
        )
    return from_code(code or "internal", message or f"the request failed; {done}")
