"""What a person sees of `bench --synthetic`: a table a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_SHOWN_ONCE = (
    "rows",
    "errors",
    "kinds",
    "arms",
    "speedup",
    "speculation",
    "lossless",
    "script",
    "environment",
)
_SILENT = ("complete", "seconds", "format", "card")


def show_synthetic(document: Mapping[str, Any]) -> None:
    """Rows with their milliseconds, rates and share of the card's peak; then what is said in single figures."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    versions = ", ".join(f"{name} {version}" for name, version in document["environment"].items())
    console.print(f"{document['card'] or 'CPU'}; {versions}", highlight=False)
    for name, part in document["parts"].items():
        console.print(f"\n{name}, {part['seconds']} s", highlight=False)
        if part.get("rows"):
            console.print(_rows(part["rows"]))
        for key, value in part.items():
            if key not in (*_SHOWN_ONCE, *_SILENT):
                console.print(f"  {key}: {value}", highlight=False, markup=False)
        for kind, found in part.get("kinds", {}).items():
            console.print(f"  side by side, {kind}: {found}", highlight=False, markup=False)
        for arm, found in part.get("arms", {}).items():
            mean = found["e2e_latency_ms"]["mean"]
            said = "no request finished" if mean is None else f"{mean / 1e3:.2f} s a request"
            console.print(f"  {arm}: {said} ({found['completed']} requests)", highlight=False)
            for message, count in found["failures"].items():
                console.print(f"  {arm}: {count} failed: {message}", highlight=False, markup=False)
        for pair, found in part.get("speedup", {}).items():
            console.print(f"  {pair.replace('_', ' ')}: {found['ratio']}", highlight=False)
        if same := part.get("lossless"):
            console.print(
                f"  equal to the loop over its own answers: {same['equal']} of {same['requests']}",
                highlight=False,
            )
        for what, error in part.get("errors", {}).items():
            console.print(f"  failed, {what}: {error}", highlight=False, markup=False)


def _rows(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for label in ("", "how"):
        table.add_column(label)
    for figure in ("ms", "TFLOP/s", "GB/s", "of the peak"):
        table.add_column(figure, justify="right", no_wrap=True)
    for row in rows:
        share = row.get("of_peak")
        table.add_row(
            row["what"],
            row["how"],
            f"{row['ms']:,.2f}",
            "" if "tflops" not in row else f"{row['tflops']:,.0f}",
            "" if "gb_per_s" not in row else f"{row['gb_per_s']:,.0f}",
            "" if share is None else f"{share:.0%}",
        )
    return table
