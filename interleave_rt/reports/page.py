"""The report: one HTML file that opens anywhere, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from interleave_rt.result import Result
from interleave_rt.shown import clipped, for_people
from interleave_rt.wire import Step

from .pages import page_template
from .story import embedded
from .timeline import LEFT, WIDTH, make_timeline
from .trace import explain

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

_TEMPLATE = Path(__file__).parent / "report.html.j2"
_MAX_DECISIONS = 200  # in the page; the trace holds all
_MAX_SIDE = 768  # of an image in the page; the files beside it are whole


def render_page(result: Result) -> str:
    """The page as text: no script, no font, no image from elsewhere."""
    return page_template(_TEMPLATE).render(
        result=result,
        title=clipped(result.request, 120),
        steps=[_step(step) for step in result.steps],
        error=for_people(result.error.message) if result.error else "",
        waiting=result.plan[len(result.steps) :],
        inputs=[_inline(pixels) for pixels in result.inputs],
        facts=_facts(result),
        settings=_settings(result),
        timeline=make_timeline(result.trace, result.plan),
        decisions=[
            f"{one.at_us / 1000:.1f} ms: {explain(one, result.plan)}"
            for one in result.decisions[:_MAX_DECISIONS]
        ],
        width=WIDTH,
        left=LEFT,
    )


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.step_number,
        "name": step.plan.step_name,
        "text": step.text,
        "image": _inline(step.pixels),
        "outcome": step.outcome,
        "attempts": [
            {
                "number": attempt.number,
                "prompt": attempt.prompt,
                "origin": _origin(step, index)
                + (", too long: its end was not read" if attempt.prompt_cut else ""),
                "image": _inline(attempt.pixels),
                "verdict": attempt.verdict,
                "final": attempt.pixels is step.pixels,
                "unreadable": attempt.refused_unreadable,
            }
            for index, attempt in enumerate(step.attempts)
        ],
    }


def _origin(step: Step, index: int) -> str:
    """Where the prompt of an attempt (index from 0) comes from, for people."""
    if index == 0:
        return "prompt of the plan"
    attempt, verdict = step.attempts[index], step.attempts[index - 1].verdict
    if verdict is None or verdict.refined != attempt.prompt:
        return "the same prompt once more"
    return "prompt as the critic rewrote it" + (
        ", word for word the plan's" if attempt.prompt == step.plan.prompt else ""
    )


def _facts(result: Result) -> list[tuple[str, str, str]]:
    """(value, what it is, remark) for the row of figures."""
    images = sum(step.pixels is not None for step in result.steps)
    attempts = sum(len(step.attempts) for step in result.steps)
    if not attempts:
        return []  # words alone have no figures
    refused = sum(
        attempt.verdict is not None and not attempt.verdict.accepted
        for step in result.steps
        for attempt in step.attempts
    )
    timings, ahead = result.timings, result.speculation
    facts = [
        (str(len(result.steps)), "step" if len(result.steps) == 1 else "steps", f"{images} with a picture"),
        (_seconds(timings.total_s), "in all", f"first picture after {_seconds(timings.first_image_s)}"),
        (
            str(attempts),
            "picture made" if attempts == 1 else "pictures made",
            f"{refused} refused by the critic",
        ),
    ]
    if ahead.setting == "off":
        return [*facts, ("off", "speculation", "every call waited for its verdict")]
    remark = f"{ahead.used} kept, {ahead.wasted} discarded"
    return [*facts, (str(ahead.started), "calls made ahead", remark)]


def _settings(result: Result) -> list[tuple[str, str]]:
    options, pack = result.options, result.pack
    rows = [
        ("pack", " ".join(filter(None, (pack.get("name", ""), pack.get("version", ""))))),
        ("equality", _promise(pack.get("lossless", ""))),
        ("seed", f"{options.seed} ({options.seeds})"),
        *((name, text) for name, text in pack.items() if name.endswith((" runs on", " version", " lora"))),
        ("pictures start from", _sources(pack.get("references", "1"))),
        ("tries a step", f"at most {options.t_max}, keep {options.keep}"),
        ("speculation", options.speculation),
    ]
    return [row for row in rows if row[1]]


def _promise(lossless: str) -> str:
    if lossless == "bitwise":
        return "equal to the sequential loop, bit for bit"
    return (
        "replay: equal to the sequential loop over what these calls answered; the models need not answer the same again"
        if lossless
        else ""
    )


def _sources(references: str) -> str:
    if references == "1":
        return ""
    return "their text alone" if references == "0" else f"the last {references} pictures of the story"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _inline(pixels: Pixels | None) -> dict[str, Any] | None:
    if pixels is None:
        return None
    data, (width, height) = embedded(pixels, _MAX_SIDE)
    return {"data": data, "width": width, "height": height, "small": max(width, height) <= 256}
