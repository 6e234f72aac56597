"""What `interleave-rt simulate` prints for people."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["show", "show_sweep"]


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=200)  # a pipe has no width of its own


def show(document: dict[str, Any]) -> None:
    console = _console()
    console.print(document["source"]["note"], highlight=False, markup=False)
    arms = document["arms"]
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for name in arms:
        table.add_column(name, justify="right")
    for title, *keys in _ROWS:
        cells = [_cell(arm, keys) for arm in arms.values()]
        if any(cells):
            table.add_row(title, *cells)
    console.print(table)
    for name, ratio in document["speedup"].items():
        if ratio["ratio"] is not None:
            console.print(
                f"{name.replace('_', ' ')}: {ratio['ratio']:.2f} x (throughput {ratio['throughput']:.2f} x)",
                highlight=False,
            )


_ROWS = (
    ("e2e latency, mean ms", "e2e_latency_ms", "mean"),
    ("p50", "e2e_latency_ms", "p50"),
    ("p90", "e2e_latency_ms", "p90"),
    ("p99", "e2e_latency_ms", "p99"),
    ("first image, p50 ms", "ttfi_ms", "p50"),
    ("time per step, p50 ms", "time_per_step_ms", "p50"),
    ("requests/s", "request_throughput"),
    ("steps/s", "steps_per_s"),
    ("goodput, requests/s", "goodput"),
    ("planner busy", "stages", "planner", "busy"),
    ("generator busy", "stages", "generator", "busy"),
    ("critic busy", "stages", "critic", "busy"),
    ("generator time wasted", "waste", "generator_share"),
    ("refused", "refused"),
)


def _cell(arm: dict[str, Any], keys: list[str]) -> str:
    value: Any = arm
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None or (keys == ["refused"] and value == 0):
        return ""
    if keys[-1] in ("busy", "generator_share"):
        return f"{100 * value:.0f} %"
    if isinstance(value, int):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def show_sweep(points: list[tuple[dict[str, float], dict[str, Any]]]) -> None:
    console = _console()
    console.print(points[0][1]["source"]["note"], highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    at, document = points[0]
    for name in at:
        table.add_column(name, justify="right")
    for name in document["arms"]:
        table.add_column(f"{name} p50 ms", justify="right")
        table.add_column("p99 ms", justify="right")
        table.add_column("req/s", justify="right")
    for at, document in points:
        cells = [f"{value:g}" for value in at.values()]
        for arm in document["arms"].values():
            latency = arm["e2e_latency_ms"]
            cells += [
                _number(latency.get("p50")),
                _number(latency.get("p99")),
                _number(arm["request_throughput"]),
            ]
        table.add_row(*cells)
    console.print(table)


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:,.4g}"
