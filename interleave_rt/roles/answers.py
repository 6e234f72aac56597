"""From what a model wrote to plan steps and verdicts: the engine's own reading, for answers that are complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from interleave_rt import _core
from interleave_rt.wire import Verdict, WrittenPlan

OnAnswer = Callable[[bytes, str], None]
"""Told of what a model wrote, and why it wrote no more (`Span.stop`)."""


def read_plan(answer: bytes, mode: str, max_steps: int) -> WrittenPlan:
    """What can be read of a planner's answer.

    Args:
        answer: UTF-8, as it was written.
        mode: Of the request; a `narrative` plan begins with step 1, whatever number it bears.
        max_steps: So many are read at most.

    Example:
        >>> text = b'{"execution_plan": [{"step_number": 1, "step_name": "a", "prompt": "b"}]}'
        >>> plan = read_plan(text, "narrative", 25)
        >>> plan.steps[0].prompt, plan.truncated
        ('b', False)
    """
    scanner = _core.PlanScanner(max_steps, 1 if mode == "narrative" else 0)
    scanner.feed(answer)
    return WrittenPlan.from_dict(scanner.finish())


def read_verdict(answer: bytes, success_p: Callable[[int], float] | None = None) -> Verdict | None:
    """The verdict in a critic's answer; None where it cannot be read.

    Args:
        answer: UTF-8, as it was written.
        success_p: p(success) of the token at a byte offset of `answer`: it is asked for the verdict's true or
            false. Without it p is 1 or 0.
    """
    scanner = _core.VerdictScanner()
    scanner.feed(answer)
    verdict, start = scanner.finish(), scanner.boolean_started_at()
    if verdict is None or start is None:
        return None
    read = Verdict.from_dict(verdict)
    return replace(read, p_success=float(read.accepted) if success_p is None else success_p(start))
