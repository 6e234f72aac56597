"""What a person sees while a request runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from interleave_rt.result import Event, FinishedEvent, Result
from interleave_rt.shown import counted, shown, width, wrapped
from interleave_rt.wire import AttemptImageEvent, PlanStepEvent, StepCommittedEvent, VerdictEvent

from .streams import is_unicode


class Display:
    """Shows nothing: what `--json` uses, and the base of the others."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def loaded(self) -> None:
        """The models are there; the request begins."""

    def show(self, event: Event) -> None:
        """Takes one event."""

    def stop(self) -> None:
        """What is shown stays as it is; may be called again."""

    def interrupted(self) -> None:
        """Somebody pressed Ctrl-C; the request is ending."""

    def close(self, result: Result, out: Path) -> None:
        """Everything is saved."""


class PlainDisplay(Display):
    """One line an event: for logs and pipes."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}  # the plan's number of each step, by index

    def show(self, event: Event) -> None:
        if isinstance(event, PlanStepEvent):
            self._numbers[event.index] = event.step.step_number
        line = _line(event, self._numbers)
        if line:
            print(" ".join(shown(line).split("\n")), flush=True)

    def interrupted(self) -> None:
        print("interrupted: ending the request", file=sys.stderr, flush=True)

    def close(self, result: Result, out: Path) -> None:
        print(summary(result))
        print(shown(f"saved in {out}: story.svg, report.html, result.json"))


@dataclass(slots=True)
class _Row:
    number: int
    text: str
    state: str = "planned"  # planned | drawing | judging | declined, or the step's outcome
    attempts: int = 0
    scores: list[tuple[bool, float]] = field(default_factory=list)
    reason: str = ""  # of the last refusal


class LiveDisplay(Display):
    """A table that fills in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[int, _Row] = {}
        self._started = time.monotonic()
        self._note = "loading"
        self._ascii = not is_unicode(console.file)
        self._spinner = Spinner("line" if self._ascii else "dots", style="cyan")
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=12, transient=False)

    def __enter__(self) -> Display:
        self._live.start()
        return self

    def loaded(self) -> None:
        self._started = time.monotonic()
        self._note = "planning"

    def stop(self) -> None:
        self._note = ""
        self._live.transient = not self._rows  # no empty line before an error
        self._live.stop()

    def interrupted(self) -> None:
        self._note = "interrupted: ending the request"

    def show(self, event: Event) -> None:
        if isinstance(event, PlanStepEvent):
            self._rows[event.index] = _Row(event.step.step_number, event.step.text)
            return
        if isinstance(event, AttemptImageEvent):
            row = self._rows[event.index]
            row.attempts, row.state = event.attempt.number, "judging"
            self._note = ""
        elif isinstance(event, VerdictEvent):
            row = self._rows[event.index]
            row.scores.append((event.verdict.accepted, event.verdict.p_success))
            row.reason = "" if event.verdict.accepted else event.verdict.reasoning
            row.state = "accepted" if event.verdict.accepted else "drawing"
        elif isinstance(event, StepCommittedEvent):
            self._rows[event.index].state = event.step.outcome
        elif isinstance(event, FinishedEvent) and event.outcome == "declined":
            for row in self._rows.values():
                row.state = "declined"

    def close(self, result: Result, out: Path) -> None:
        self._console.print(self._text([(summary(result), "bold")]))
        self._console.print(self._text([(f"Open {out / 'report.html'}", "dim")]))

    def _table(self) -> Group:
        parts: list[RenderableType] = []
        current = next((row for row in self._rows.values() if row.state in _OPEN), None)
        columns = self._console.width
        digits = max((len(str(row.number)) for row in self._rows.values()), default=1)
        indent, room = digits + 4, columns // 3
        widest = max((width(shown(row.text)) for row in self._rows.values()), default=0)
        for row in self._rows.values():
            mark: Text | Spinner = self._text([_MARKS[row.state]])
            if row is current and not self._ended():
                mark = self._spinner
            style = "dim" if row.state == "planned" and row is not current else ""
            line = _line_of(digits, max(1, min(widest, columns - indent - room)))
            line.add_row(
                mark,
                str(row.number),
                self._text([(row.text, style)]),
                self._text(_tries(row, row is current, room)),
            )
            parts.append(line)
            if row.reason:
                reason = "\n".join(wrapped(row.reason, columns - indent, _REASON_LINES))
                parts.append(Padding(self._text([(reason, "yellow")]), (0, 0, 0, indent)))
        if self._note:
            line = _line_of(digits, len(self._note))
            elapsed = f"{time.monotonic() - self._started:.1f} s"
            line.add_row(self._spinner, "", Text(self._note, style="dim"), Text(elapsed, style="dim"))
            parts.append(line)
        return Group(*parts)

    def _text(self, parts: Sequence[tuple[str, str]]) -> Text:
        """Of (text, style): nothing in it does anything to the terminal, or is unknown to it."""
        return Text.assemble(
            *((shown(text).translate(_ASCII) if self._ascii else shown(text), style) for text, style in parts)
        )

    def _ended(self) -> bool:
        return not self._live.is_started


def _line_of(digits: int, words: int) -> Table:
    """One row: mark, number, words in so many columns, and what has become of them."""
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=digits, justify="right", style="dim")
    line.add_column(width=words, overflow="fold")
    line.add_column(no_wrap=True)
    return line


_REASON_LINES = 3  # of a refusal; the report has the whole of it
_OPEN = ("planned", "drawing", "judging")
_MARKS = {
    "planned": ("·", "dim"),
    "drawing": ("·", "cyan"),
    "judging": ("·", "cyan"),
    "accepted": ("✓", "green"),
    "never_accepted": ("✗", "yellow"),
    "not_judged": ("○", "yellow"),
    "declined": ("✗", "yellow"),
    "text": ("✓", "green"),
}
_ASCII = str.maketrans("·✓✗○…", ".+x-~")  # for terminals that know no others


def _tries(row: _Row, current: bool, columns: int) -> list[tuple[str, str]]:
    """The row's last tries and what is done now, in about so many columns."""
    now = []
    if row.state in ("never_accepted", "not_judged"):
        now = [(row.state.replace("_", " "), "yellow")]
    elif current and row.state == "judging":
        now = [("judging", "cyan")]
    elif current:
        now = [("drawing" + (f", try {row.attempts + 1}" if row.attempts else ""), "cyan")]
    scores = [
        (f"{'✓' if accepted else '✗'} {p:.2f}  ", "green" if accepted else "yellow")
        for accepted, p in row.scores
    ]
    room = max(1, (columns - sum(len(text) for text, _ in now)) // 8)
    left_out = [(f"+{len(scores) - room} ", "dim")] if len(scores) > room else []
    return [*left_out, *scores[-room:], *now]


def make_display(*, quiet: bool) -> Display:
    """The right display for where standard output goes."""
    if quiet:
        return Display()
    console = Console()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay()


def summary(result: Result) -> str:
    """One line about a result."""
    if result.outcome == "declined":
        return f"declined: the planner answered in words that it cannot, in {result.timings.total_s:.2f} s"
    steps, images = len(result.steps), sum(len(step.attempts) for step in result.steps)
    refused = sum(a.verdict is not None and not a.verdict.accepted for s in result.steps for a in s.attempts)
    parts = [counted(steps, "step"), counted(images, "picture") + " made"]
    if refused:
        parts.append(f"{refused} refused")
    for outcome in ("never_accepted", "not_judged"):
        count = sum(step.outcome == outcome for step in result.steps)
        if count:
            parts.append(f"{counted(count, 'step')} {outcome.replace('_', ' ')}")
    cuts = sum(attempt.prompt_cut for step in result.steps for attempt in step.attempts)
    if cuts:
        parts.append(f"{counted(cuts, 'prompt')} too long for the generator")
    cut = " (the planner's answer was cut short: steps are missing)" if result.plan_truncated else ""
    text = f"{result.outcome}: {', '.join(parts)}{cut} in {result.timings.total_s:.2f} s"
    if result.timings.first_image_s is not None:
        text += f" (first picture after {result.timings.first_image_s:.2f} s)"
    return text


def _line(event: Event, numbers: Mapping[int, int]) -> str:
    """Steps have the plan's numbers, which are also those of the files."""
    if isinstance(event, PlanStepEvent):
        return f"plan  {event.step.step_number}: {event.step.text}"
    if isinstance(event, AttemptImageEvent):
        tail = " (too long for the generator: its end was not read)" if event.attempt.prompt_cut else ""
        return f"image {numbers[event.index]}.{event.attempt.number}: {event.attempt.prompt}{tail}"
    if isinstance(event, VerdictEvent):
        word = "accepted" if event.verdict.accepted else "refused"
        reason = (
            "" if event.verdict.accepted or not event.verdict.reasoning else f": {event.verdict.reasoning}"
        )
        return (
            f"judge {numbers[event.index]}.{event.attempt}: {word} (p {event.verdict.p_success:.3f}){reason}"
        )
    if isinstance(event, StepCommittedEvent):
        said = event.step.outcome.replace("_", " ")
        tail = "" if event.step.pixels is None else f" ({said}, {len(event.step.attempts)} made)"
        return f"step  {event.step.step_number}: {event.step.text}{tail}"
    return ""
