"""The trace of a request as Chrome trace events: open the file in Perfetto (ui.perfetto.dev works offline too)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from interleave_rt.files import check_file, write_file
from interleave_rt.result import Result
from interleave_rt.wire import Decision, PlanStep, Span

TRACE_FORMAT_VERSION = 1


def number_of(plan: Sequence[PlanStep], index: int) -> int:
    """The plan's number of the step at an index from 0; what people see is always this number."""
    if index < len(plan):
        return plan[index].step_number
    return index + (plan[0].step_number if plan else 1)


def label(span: Span, plan: Sequence[PlanStep]) -> str:
    """A short name of a call: `step 2, attempt 1`."""
    if span.kind == "plan":
        return "plan" + (", again" if span.retry else "")
    text = f"step {number_of(plan, span.step)}, attempt {span.attempt}"
    return text + (", asked again" if span.retry else "")


def explain(decision: Decision, plan: Sequence[PlanStep]) -> str:
    """One line: what was considered, the answer, and why."""
    call = f"{decision.role}, step {number_of(plan, decision.step)}"
    answer = "started" if decision.started else "not started"
    gain = f", gain {decision.gain_us / 1000:+.1f} ms at p {decision.p:.2f}" if decision.gain_us else ""
    if decision.verdict_us is None and decision.started:
        gain = ", how long a verdict takes is not known yet"  # and so no gain either
    return f"{call}: {answer}: {decision.reason}{gain}"


def chrome_trace(result: Result) -> dict[str, Any]:
    """One process a request, one thread a lane, complete events in microseconds."""
    lanes = list(dict.fromkeys(span.lane for span in result.trace))
    calls = [
        {
            "ph": "X",
            "pid": 1,
            "tid": lanes.index(span.lane) + 1,
            "name": ("" if span.kind == "plan" else f"{span.kind} ") + label(span, result.plan),
            "cat": "speculative" if span.speculative else "committed",
            "ts": span.started_us,
            "dur": max(0, span.ended_us - span.started_us),
            "args": {
                "outcome": span.outcome,
                "used": span.used,
                "queued_us": span.queued_us,
                **({"stop": span.stop, "answer": span.answer} if span.answer else {}),
            },
        }
        for span in result.trace
    ]
    reasons = [
        {
            "ph": "i",
            "s": "t",
            "pid": 1,
            "tid": len(lanes) + 1,
            "name": explain(decision, result.plan),
            "cat": "speculation",
            "ts": decision.at_us,
            "args": decision.as_dict(),
        }
        for decision in result.decisions
    ]
    threads = [*lanes, "speculation"] if reasons else lanes
    names = [
        {"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": name}}
        for number, name in enumerate(threads, start=1)
    ]
    return {
        "traceEvents": [
            {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": result.request[:80]}},
            *names,
            *calls,
            *reasons,
        ],
        "displayTimeUnit": "ms",
        "otherData": {
            "format_version": TRACE_FORMAT_VERSION,
            "outcome": result.outcome,
            "pack": result.as_dict()["pack"],
        },
    }


def save_trace(result: Result, path: str | PathLike[str]) -> Path:
    """Writes the trace as JSON; makes its folder. Raises `BadRequestError` where it cannot be written."""
    check_file(path)
    return write_file(path, json.dumps(chrome_trace(result), ensure_ascii=False))
