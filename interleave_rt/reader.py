"""From the core's events to the values that callers see; one reader a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interleave_rt import _core

from .errors import CancelledError, DeadlineError, InterleaveError, from_code
from .request import Options, Request
from .result import Event, FinishedEvent, Result, event_from_dict
from .wire import Decision, PlanStep, PlanStepEvent, Span, Speculation, Step, StepCommittedEvent, Timings

if TYPE_CHECKING:
    from .backends import Backend
    from .request import Pixels


class EventReader:
    """Reads the core's events and builds the result at the end; reading one again is harmless."""

    def __init__(
        self,
        core: _core.Engine,
        request: Request,
        options: Options,
        inputs: Sequence[Pixels],
        backend: Backend,
        submitted_us: int,
    ) -> None:
        self._core, self._backend = core, backend
        self._request, self._options = request, options
        self._inputs = tuple(inputs)
        self._submitted_us = submitted_us
        # By index: reading an event twice changes nothing.
        self._plan: dict[int, PlanStep] = {}
        self._steps: dict[int, Step] = {}
        self._pictures: dict[str, Pixels] = {}
        self._first_s: dict[str, float] = {}
        self._calls: Mapping[str, Any] = {}

    def read(self, request_id: int, raw: Mapping[str, Any]) -> Event:
        """The public event of a raw one; the last of a request is a `FinishedEvent`."""
        self._first_s.setdefault(raw["kind"], self._elapsed())
        if raw["kind"] == "finished":
            return self._finished(request_id, raw)
        if "pixels" in raw:
            self._pictures.setdefault(raw["attempt"]["image"], raw["pixels"])
        event = event_from_dict(raw, self._pictures)
        if isinstance(event, PlanStepEvent):
            self._plan[event.index] = event.step
        elif isinstance(event, StepCommittedEvent):
            self._steps[event.index] = event.step
        return event

    def _elapsed(self) -> float:
        return (self._core.now_us() - self._submitted_us) / 1e6

    def _finished(self, request_id: int, raw: Mapping[str, Any]) -> FinishedEvent:
        total_s, outcome = self._elapsed(), raw["outcome"]
        self._calls = self._calls or self._backend.take_calls(request_id)  # they are given once
        if outcome == "finished" and self._declined():
            outcome = "declined"
        error = self._error(outcome, raw["error"] or {})
        trace = self._core.trace(request_id)
        spans = tuple(Span.from_dict(self._since_start(span)) for span in trace["spans"])
        result = Result(
            request=self._request.marked_text,
            options=self._options,
            steps=tuple(self._steps.values()),
            outcome=outcome,
            plan=tuple(self._plan.values()),
            plan_truncated=raw["plan_truncated"],
            timings=self._timings(total_s, spans),
            speculation=_speculation(self._options.speculation, spans),
            trace=spans,
            decisions=tuple(Decision.from_dict(self._since_start(one)) for one in trace["decisions"]),
            inputs=self._inputs,
            pack=self._backend.info(),
            error=error,
            calls=self._calls,
        )
        if error is not None:
            error.partial = result
        return FinishedEvent(outcome, result, error)

    def _declined(self) -> bool:
        """Whether the plan makes no picture, and begins in the words of a planner that cannot."""
        steps = list(self._plan.values())
        words = tuple(self._backend.declines)
        return all(step.prompt is None for step in steps) and steps[0].text.startswith(words)

    def _since_start(self, raw: dict[str, Any]) -> dict[str, Any]:
        if raw.get("ended_us", 0) is None:
            raw["ended_us"] = self._core.now_us()  # a wasted call may still be running
        for name in ("at_us", "queued_us", "started_us", "ended_us", "cancel_us"):
            if raw.get(name) is not None:
                raw[name] -= self._submitted_us
        return raw

    def _timings(self, total_s: float, spans: Sequence[Span]) -> Timings:
        busy = dict.fromkeys(("planner", "generator", "critic"), 0)
        for span in spans:
            busy[span.role] += max(0, span.ended_us - span.started_us)
        return Timings(
            total_s=total_s,
            first_step_s=self._first_s.get("plan_step"),
            first_image_s=self._first_s.get("attempt_image"),
            planner_busy_s=busy["planner"] / 1e6,
            generator_busy_s=busy["generator"] / 1e6,
            critic_busy_s=busy["critic"] / 1e6,
        )

    def _error(self, outcome: str, raw: Mapping[str, str]) -> InterleaveError | None:
        if outcome in ("finished", "declined"):
            return None
        message, committed = raw.get("message"), len(self._steps)
        done = f"{committed} step{'' if committed == 1 else 's'} committed"
        if outcome == "cancelled":
            return CancelledError(message or f"the request was cancelled; {done}")
        if outcome == "deadline":
            return DeadlineError(
                message or f"the request ran out of its {self._options.deadline_s} s; {done}",
                hint="allow more time, or lower t_max or max_steps",
            )
        return from_code(raw.get("code", "internal"), message or f"the request failed; {done}")


def _speculation(setting: str, spans: Sequence[Span]) -> Speculation:
    ahead = [span for span in spans if span.speculative]
    lost = [span for span in ahead if not span.used]
    return Speculation(
        setting=setting,
        started=len(ahead),
        used=len(ahead) - len(lost),
        wasted=len(lost),
        wasted_s=round(sum(max(0, span.ended_us - span.started_us) for span in lost) / 1e6, 6),
    )
