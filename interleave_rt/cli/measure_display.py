"""What a person sees of `bench` and `simulate`: a bar while it runs, tables at its end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from interleave_rt.measure.runner import Progress
from interleave_rt.shown import shown

_LATENCIES = {
    "end to end": "e2e_latency_ms",
    "first image": "ttfi_ms",
    "a step": "time_per_step_ms",
    "between images": "inter_image_latency_ms",
    "image to verdict": "time_to_verdict_ms",
}


class ShownProgress(Progress):
    """A bar on standard error, and, unless `quiet`, lines where something is decided; standard output has the result."""

    def __init__(self, *, quiet: bool) -> None:
        console = Console(file=sys.stderr)
        self._quiet = quiet
        self._bar = Bar(
            TextColumn("measuring"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._lock = threading.Lock()

    def __enter__(self) -> ShownProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, total: int) -> None:
        self._bar.update(self._task, total=total, completed=0)

    def say(self, text: str) -> None:
        if not self._quiet:
            self._bar.console.print(text, highlight=False, soft_wrap=True)

    def step(self) -> None:
        with self._lock:
            self._bar.advance(self._task)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=200)  # a pipe has no width of its own


def show(result: Mapping[str, Any]) -> None:
    """The tables of one document."""
    console, arms = _console(), result["arms"]
    for line in (_head(result), _latencies(arms), _rates(arms), _stages(arms), *_lines(result)):
        console.print(line, highlight=False, soft_wrap=isinstance(line, str), markup=False)


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
        table.add_column(label)
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    return table


def _latencies(arms: Mapping[str, Any]) -> Table:
    table = _table("latency, ms", ["", "arm"], list(next(iter(arms.values()))["e2e_latency_ms"]))
    for label, key in _LATENCIES.items():
        for number, (arm, figures) in enumerate(arms.items()):
            cells = ["-" if value is None else f"{value:,.1f}" for value in figures[key].values()]
            table.add_row("" if number else label, arm, *cells)
    return table


def _rates(arms: Mapping[str, Any]) -> Table:
    heads = ["requests/s", "steps/s", "good/s", "done", "failed", "refused", "peak RSS"]
    table = _table("rates", ["arm"], heads)
    for arm, figures in arms.items():
        rates = [
            "-" if figures[key] is None else f"{figures[key]:.3f}"
            for key in ("request_throughput", "steps_per_s", "goodput")
        ]
        counts = [str(figures[key]) for key in ("completed", "failed", "refused")]
        peak = figures.get("peak_rss_mb")
        table.add_row(arm, *rates, *counts, "-" if peak is None else f"{peak:.0f} MB")
    return table


def _stages(arms: Mapping[str, Any]) -> Table:
    roles = list(next(iter(arms.values()))["stages"])
    table = _table("stages: ms a call, busy share, share of the calls' time in vain", ["arm"], roles)
    for arm, figures in arms.items():
        cells = []
        for role, stage in figures["stages"].items():
            vain = figures["waste"][f"{role}_share"]
            shares = f"  {100 * (stage['busy'] or 0.0):3.0f} %  {100 * vain:3.0f} %"
            cells.append("-" if stage["ms"] is None else f"{stage['ms']:,.1f}{shares}")
        table.add_row(arm, *cells)
    return table


def _lines(result: Mapping[str, Any]) -> list[str]:
    lines = []
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
