"""What a person sees of `bench` and `simulate`: a bar while it runs, tables at its end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from interleave_rt.measure.runner import Progress
from interleave_rt.shown import counted, shown

_SAY_S = 10.0
_NARROW = 90  # columns; less has no room for two labels beside the figures
_WHOLE = 1000  # from here on figures have no decimals
_BUSY = 0.25  # cores; more that others take makes figures doubtful
_LATENCIES = {
    "end to end": "e2e_latency_ms",
    "first image": "ttfi_ms",
    "a step": "time_per_step_ms",
    "between images": "inter_image_latency_ms",
    "image to verdict": "time_to_verdict_ms",
}


class ShownProgress(Progress):
    """On standard error, a bar or, where that is no terminal, a line every ten seconds; standard output has the result.

    `quiet`: a bar alone.
    """

    def __init__(self, *, quiet: bool) -> None:
        console = Console(file=sys.stderr)
        self._quiet = quiet
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("loading", total=None)
        self._lock = threading.Lock()
        self._lines = not quiet and not console.is_terminal
        self._total = self._done = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> ShownProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, text: str) -> None:
        self._bar.update(self._task, description=text)
        if self._lines:
            print(text, file=sys.stderr, flush=True)

    def start(self, total: int) -> None:
        self._total, self._began = total, time.monotonic()
        self._bar.update(self._task, total=total, completed=0)

    def say(self, text: str) -> None:
        if not self._quiet:
            self._bar.console.print(text, highlight=False, soft_wrap=True)

    def step(self) -> None:
        with self._lock:
            self._bar.advance(self._task)
            self._done += 1
            now = time.monotonic()
            if self._lines and now - self._said >= _SAY_S:
                self._said = now
                left = (self._total - self._done) * (now - self._began) / self._done
                text = f"{self._done} of {self._total} requests, at most {left:.0f} s left"
                print(text, file=sys.stderr, flush=True)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=200)  # a pipe has no width of its own


def show(result: Mapping[str, Any]) -> None:
    """The tables of one document."""
    console, arms = _console(), result["arms"]
    narrow = console.width < _NARROW
    tables = (_latencies(arms, narrow=narrow), _rates(arms), _stages(arms, narrow=narrow))
    for line in (_head(result), *tables, *_lines(result)):
        console.print(line, highlight=False, soft_wrap=isinstance(line, str), markup=False)
    missing = result.get("environment", {}).get("missing_cores") or 0.0
    if missing > _BUSY:
        cores = result["environment"]["cores"]
        console.print(
            f"warning: other programs took {missing:.1f} of the {counted(cores, 'core')} that this one may use: "
            "the figures say little, measure again when they have ended",
            style="yellow",
            highlight=False,
        )


def show_sweep(points: Sequence[tuple[Mapping[str, float], Mapping[str, Any]]]) -> None:
    """One row a point."""
    console = _console()
    at, document = points[0]
    console.print(_head(document), highlight=False, markup=False)
    arms = [head for name in document["arms"] for head in (f"{name} p50 ms", "p99 ms", "req/s")]
    table = _table("", [], [*at, *arms])
    for at, document in points:
        cells = [f"{value:g}" for value in at.values()]
        for arm in document["arms"].values():
            latency = arm["e2e_latency_ms"]
            figures = (latency.get("p50"), latency.get("p99"), arm["request_throughput"])
            cells += ["" if value is None else f"{value:,.4g}" for value in figures]
        table.add_row(*cells)
    console.print(table)


def _head(result: Mapping[str, Any]) -> str:
    if "source" in result:
        return shown(str(result["source"]["note"]))
    scenario, environment = result["scenario"], result["environment"]
    return shown(
        f"{scenario['target']}, {scenario['name']}: {scenario['requests']} requests, seed {scenario['seed']}; "
        f"{environment['cpu']}, {environment['cores']} cores"
    )


def _table(title: str, labels: Sequence[str], figures: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for label in labels:
        table.add_column(label, no_wrap=True)
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    return table


_Groups = Mapping[str, Mapping[str, Sequence[str]]]  # by label and arm: the figures


def _grouped(title: str, heads: Sequence[str], groups: _Groups, *, narrow: bool) -> Table:
    """A row an arm below each label; the label stands before the first one, or, `narrow`, above it."""
    table = _table(title, ["arm"] if narrow else ["", "arm"], heads)
    for label, arms in groups.items():
        if narrow:
            table.add_row(label, style="bold")
        for number, (arm, cells) in enumerate(arms.items()):
            table.add_row(*([] if narrow else ["" if number else label]), arm, *cells)
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < _WHOLE else f"{value:,.0f}"


def _latencies(arms: Mapping[str, Any], *, narrow: bool) -> Table:
    groups = {
        label: {arm: [_figure(value) for value in figures[key].values()] for arm, figures in arms.items()}
        for label, key in _LATENCIES.items()
    }
    heads = list(next(iter(arms.values()))["e2e_latency_ms"])
    return _grouped("latency, ms", heads, groups, narrow=narrow)


def _rates(arms: Mapping[str, Any]) -> Table:
    """Columns of which nothing is to be said are left out."""
    columns = {
        "requests/s": [_rate(figures["request_throughput"]) for figures in arms.values()],
        "steps/s": [_rate(figures["steps_per_s"]) for figures in arms.values()],
        "good/s": [_rate(figures["goodput"]) for figures in arms.values()],
        "done": [str(figures["completed"]) for figures in arms.values()],
        "failed": [str(figures["failed"]) for figures in arms.values()],
        "refused": [str(figures["refused"]) for figures in arms.values()],
        "memory": [
            "-" if (peak := figures.get("peak_rss_mb")) is None else f"{peak:.0f} MB"
            for figures in arms.values()
        ],
    }
    said = {head: cells for head, cells in columns.items() if set(cells) - {"-", "0"} or head == "done"}
    table = _table("rates", ["arm"], list(said))
    for row in zip(arms, *said.values(), strict=True):
        table.add_row(*row)
    return table


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _stages(arms: Mapping[str, Any], *, narrow: bool) -> Table:
    def cells(arm: Mapping[str, Any], role: str) -> list[str]:
        stage = arm["stages"][role]
        if stage["ms"] is None:
            return ["-", "-", "-"]
        vain = arm["waste"][f"{role}_share"]
        return [f"{stage['ms']:,.1f}", f"{100 * (stage['busy'] or 0.0):.0f} %", f"{100 * vain:.0f} %"]

    groups = {
        role: {name: cells(arm, role) for name, arm in arms.items()}
        for role in next(iter(arms.values()))["stages"]
    }
    return _grouped("roles", ["ms a call", "time busy", "of it in vain"], groups, narrow=narrow)


def _lines(result: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{name}: {count} failed: {message}"
        for name, arm in result["arms"].items()
        for message, count in arm.get("failures", {}).items()
    ]
    for name, one in result["speedup"].items():
        lines.append(f"{name.replace('_', ' ')}: {_ratio(one)}, throughput {_ratio(one['throughput'])}")
    ahead = result["speculation"]
    if ahead:
        rates = ", ".join(f"{k}: {100 * v:.0f} %" for k, v in ahead["accept_rate_by_attempt"].items())
        lines.append(
            f"speculation {ahead['setting']}: {ahead['speculated']} calls, {ahead['committed']} used, "
            f"{ahead['discarded']} discarded ({ahead['wasted_ms']:.0f} ms); accepted by attempt {rates or '-'}"
        )
        for role, cancel in ahead["cancel_latency_by_role_ms"].items():
            if cancel["count"]:
                figures = ", ".join(f"{k} {v:.2f}" for k, v in cancel.items() if k != "count")
                lines.append(f"cancel to free {role}, ms: {figures} ({cancel['count']} calls)")
    same = result.get("lossless")
    if same:
        lines.append(
            f"results equal in all arms: {same['equal']} of {same['requests']} ({same['finished']} finished)"
        )
    return lines


def _ratio(one: Mapping[str, Any] | float | None) -> str:
    """Of a measurement, with its interval; of virtual time, a number."""
    found = one if isinstance(one, Mapping) else {"ratio": one}
    if found["ratio"] is None:
        return "-"
    span = "" if found.get("low") is None else f" ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found['ratio']:.2f}x{span}"
