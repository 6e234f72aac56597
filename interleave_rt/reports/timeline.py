"""Geometry of the lane timeline: which call is drawn where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interleave_rt.wire import PlanStep, Span

from .trace import label, number_of

WIDTH = 1000.0
LEFT = 92.0
_BAR_HEIGHT = 20.0
_ROW_GAP = 14.0
_TOP = 8.0
_RIGHT = 36.0  # room for the last label
_LETTER = 7.0  # width of a digit or a letter of a label
_ORDER = {"planner": 0, "generator": 1, "critic": 2}


def make_timeline(spans: Sequence[Span], plan: Sequence[PlanStep]) -> dict[str, Any] | None:
    """Lays the calls out, lane by lane; calls of one lane that overlap get lines of their own.

    Returns:
        What is drawn, None where there are no calls: `rows` (a lane: `name`, `y`, `height`), `bars` (a call: a rectangle
        with `role`, `fate` (used or lost), `speculative`, a `text` at `text_x`, `inside` it or behind it, and a `title` on
        hover), `ticks` of the time axis (`x`, `text`), `height`, and `axis_y`.
    """
    drawn = [span for span in spans if span.ended_us > span.started_us]
    if not drawn:
        return None
    end = max(span.ended_us for span in drawn)
    scale = (WIDTH - LEFT - _RIGHT) / end
    lanes = sorted({(_ORDER.get(span.role, 9), span.lane) for span in drawn})
    rows, bars = [], []
    y = _TOP
    for _, lane in lanes:
        mine = sorted((span for span in drawn if span.lane == lane), key=lambda span: span.started_us)
        lines: list[list[Span]] = []
        for span in mine:
            line = next((one for one in lines if one[-1].ended_us <= span.started_us), None)
            if line is None:
                lines.append(line := [])
            line.append(span)
        for number, line in enumerate(lines):
            drawn_line = [_bar(span, plan, y + number * (_BAR_HEIGHT + 3), scale) for span in line]
            for bar, after in zip(drawn_line, [*drawn_line[1:], {"x": WIDTH}], strict=True):
                _place_text(bar, after["x"])
            bars += drawn_line
        height = len(lines) * (_BAR_HEIGHT + 3) - 3
        rows.append({"name": lane, "y": y, "height": height})
        y += height + _ROW_GAP
    axis_y = y - _ROW_GAP + 8
    step = _tick_step(end / 1000)
    ticks = [
        {"x": LEFT + i * step * 1000 * scale, "text": f"{i * step:g} ms"}
        for i in range(int(end / 1000 / step) + 1)
    ]
    return {"rows": rows, "bars": bars, "ticks": ticks, "height": axis_y + 20, "axis_y": axis_y}


def _bar(span: Span, plan: Sequence[PlanStep], y: float, scale: float) -> dict[str, Any]:
    width = max(1.5, (span.ended_us - span.started_us) * scale)
    short = "plan" if span.kind == "plan" else f"{number_of(plan, span.step)}.{span.attempt}"
    milliseconds = (span.ended_us - span.started_us) / 1000
    notes = [f"{milliseconds:.1f} ms", f"starts at {span.started_us / 1000:.1f} ms"]
    if span.speculative:
        notes.append("started ahead of its verdict")
    if not span.used:
        notes.append("discarded" if span.outcome != "failed" else "failed")
    return {
        "x": round(LEFT + span.started_us * scale, 2),
        "y": round(y, 2),
        "width": round(width, 2),
        "height": _BAR_HEIGHT,
        "role": span.role,
        "fate": "used" if span.used else "lost",
        "speculative": span.speculative,
        "text": short,
        "title": f"{span.kind}: {label(span, plan)} ({', '.join(notes)})",
    }


def _place_text(bar: dict[str, Any], after: float) -> None:
    """Inside the bar where it has room for it, else behind it, if that is free up to the next bar."""
    room, end = _LETTER * len(bar["text"]), bar["x"] + bar["width"]
    bar["inside"] = bar["width"] > room
    bar["text_x"] = bar["x"] + bar["width"] / 2 if bar["inside"] else end + 3
    if not bar["inside"] and end + 3 + room > after:
        bar["text"] = ""


def _tick_step(milliseconds: float) -> float:
    """A round step that gives four to ten marks."""
    step = 1.0
    while milliseconds / step > 10:
        step *= 2.5 if str(step).startswith("2") and not str(step).startswith("25") else 2
    while milliseconds / step < 4:
        step /= 2
    return step
