"""What a person sees of a benchmark: a bar while it runs, tables at its end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from interleave_rt.measure import Progress

__all__ = ["make_progress", "show"]

_LATENCIES = {
    "end to end": "e2e_latency_ms",
    "first image": "ttfi_ms",
    "a step": "time_per_step_ms",
    "between images": "inter_image_latency_ms",
    "image to verdict": "time_to_verdict_ms",
}


class ShownProgress(Progress):
    """A bar on standard error; standard output holds the result alone."""

    def __init__(self, console: Console) -> None:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, total: int) -> None:
        self._bar.update(self._task, total=total, completed=0)

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, soft_wrap=True)

    def step(self) -> None:
        with self._lock:
            self._bar.advance(self._task)


class _Quiet(ShownProgress):
    def say(self, text: str) -> None:
        pass


def make_progress(*, quiet: bool) -> ShownProgress:
    """A bar, and lines where something is decided."""
    console = Console(file=sys.stderr)
    return _Quiet(console) if quiet else ShownProgress(console)


def show(result: Mapping[str, Any]) -> None:
    """The tables."""
    console = Console()
    scenario, arms = result["scenario"], result["arms"]
    console.print(
        f"{scenario['target']}, {scenario['name']}: {scenario['requests']} requests, seed {scenario['seed']}; "
        f"{result['environment']['cpu']}, {result['environment']['cores']} cores",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_latencies(arms))
    console.print(_rates(arms))
    console.print(_stages(arms))
    for line in _lines(result):
        console.print(line, highlight=False, soft_wrap=True)


def _latencies(arms: Mapping[str, Any]) -> Table:
    some = next(iter(arms.values()))["e2e_latency_ms"]
    table = Table(title="latency, ms", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("arm")
    for name in some:
        table.add_column(name, justify="right")
    for label, key in _LATENCIES.items():
        for number, (arm, figures) in enumerate(arms.items()):
            cells = ["-" if value is None else f"{value:.1f}" for value in figures[key].values()]
            table.add_row("" if number else label, arm, *cells)
    return table


def _rates(arms: Mapping[str, Any]) -> Table:
    table = Table(title="rates", title_justify="left", box=None, pad_edge=False)
    table.add_column("arm")
    for head in ("requests/s", "steps/s", "good/s", "done", "failed", "refused", "peak RSS"):
        table.add_column(head, justify="right", no_wrap=True)
    for arm, figures in arms.items():
        rates = [
            "-" if figures[key] is None else f"{figures[key]:.3f}"
            for key in ("request_throughput", "steps_per_s", "goodput")
        ]
        counts = [str(figures[key]) for key in ("completed", "failed", "refused")]
        table.add_row(arm, *rates, *counts, f"{figures['peak_rss_mb']:.0f} MB")
    return table


def _stages(arms: Mapping[str, Any]) -> Table:
    table = Table(title="stages: ms a call, busy share", title_justify="left", box=None, pad_edge=False)
    table.add_column("arm")
    for role in next(iter(arms.values()))["stages"]:
        table.add_column(role, justify="right", no_wrap=True)
    for arm, figures in arms.items():
        cells = [
            "-" if stage["ms"] is None else f"{stage['ms']:.1f}  {100 * stage['busy']:3.0f} %"
            for stage in figures["stages"].values()
        ]
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
    same = result["lossless"]
    lines.append(
        f"results equal in all arms: {same['equal']} of {same['requests']} ({same['finished']} finished)"
    )
    return lines


def _ratio(one: Mapping[str, Any]) -> str:
    if one["ratio"] is None:
        return "-"
    span = "" if one["low"] is None else f" ({one['low']:.2f} to {one['high']:.2f})"
    return f"{one['ratio']:.2f}x{span}"
