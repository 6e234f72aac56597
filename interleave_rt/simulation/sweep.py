"""Grids of simulations: to CSV, and to a picture."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError

from .settings import Settings

__all__ = ["check_matplotlib", "parse_sweep", "plot_sweep", "run_sweep", "write_csv"]

MOST_POINTS = 2000
Point = tuple[dict[str, float], dict[str, Any]]

# How a value of an axis changes the settings.
_AXES: dict[str, Any] = {
    "p": lambda value: {"accept_prob": str(value)},
    "rate": lambda value: {"request_rate": value},
    "load": lambda value: {"request_rate": value},  # scaled by what the generator can do
    "concurrency": lambda value: {"concurrency": int(value), "scenario": "closed-loop"},
    "steps": lambda value: {"steps": str(int(value))},
    "t_max": lambda value: {"t_max": int(value)},
    "depth": lambda value: {"depth": int(value)},
    "cards": lambda value: {"cards": int(value)},
    "decode_sms": lambda value: {"decode_sms": value},
    "generator": lambda value: {"generator_ms": value},
    "critic": lambda value: {"critic_ms": value},
    "verdict": lambda value: {"verdict_ms": value},
}


def parse_sweep(text: str) -> dict[str, list[float]]:
    """`p=0.2:1:0.2,rate=1|2|4`: axes by name, as ranges (ends included) or lists.

    Example:
        >>> parse_sweep("p=0.5:1:0.25,depth=1|2")
        {'p': [0.5, 0.75, 1.0], 'depth': [1.0, 2.0]}
    """
    axes: dict[str, list[float]] = {}
    for part in filter(None, text.split(",")):
        name, _, listed = part.partition("=")
        name = name.strip()
        if name not in _AXES:
            raise BadRequestError(f"--sweep has no axis {name!r}", hint=f"axes: {', '.join(_AXES)}")
        if name in axes:
            raise BadRequestError(f"--sweep names {name} twice")
        axes[name] = _values(name, listed)
    points = 1
    for values in axes.values():
        points *= len(values)
    if not axes or points > MOST_POINTS:
        raise BadRequestError(f"--sweep has {points if axes else 0} points: 1 to {MOST_POINTS} are possible")
    return axes


def _values(name: str, text: str) -> list[float]:
    try:
        if ":" not in text:
            return [float(value) for value in text.split("|")]
        low, high, step = (float(value) for value in text.split(":"))
    except ValueError:
        low, high, step = 0.0, 0.0, 0.0
    if step <= 0 or high < low:
        raise BadRequestError(
            f"--sweep {name}={text}", hint="FROM:TO:STEP with STEP above 0, or values: 1|2|4"
        )
    count = int((high - low) / step + 1e-9) + 1
    return [round(low + index * step, 10) for index in range(count)]


def run_sweep(settings: Settings, axes: Mapping[str, Sequence[float]]) -> list[Point]:
    """Every point of the grid, with the same requests and the same calls."""
    points = []
    for values in itertools.product(*axes.values()):
        at = dict(zip(axes, values, strict=True))
        here = settings
        for name, value in at.items():
            if name != "load":
                here = replace(here, **_AXES[name](value))
        if "load" in at:
            here = replace(here, request_rate=at["load"] * here.generator_capacity())
        points.append((at, here.run()))
    return points


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """One line a row, columns in order of first appearance."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(listed)


def check_matplotlib() -> None:
    """Raises `BadRequestError` where plots cannot be drawn."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise BadRequestError(
            "--plot needs matplotlib, which is not installed", hint='pip install "interleave-rt[bench]"'
        )


def plot_sweep(points: Sequence[Point], path: Path) -> None:
    """Mean latency and throughput over the first axis, one line an arm and a point of the other axes."""
    check_matplotlib()
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    first, *others = points[0][0]
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for at, document in points:
        rest = ", ".join(f"{name} {at[name]:g}" for name in others)
        for name, arm in document["arms"].items():
            label = f"{name} ({rest})" if rest else name
            figures = (at[first], arm["e2e_latency_ms"]["mean"] or 0.0, arm["request_throughput"] or 0.0)
            lines.setdefault(label, []).append(figures)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for label, found in lines.items():
        left.plot([f[0] for f in found], [f[1] for f in found], marker="o", markersize=3, label=label)
        right.plot([f[0] for f in found], [f[2] for f in found], marker="o", markersize=3)
    left.set_ylabel("latency, mean ms")
    right.set_ylabel("requests/s")
    for axis in (left, right):
        axis.set_xlabel(first)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    left.legend(fontsize="small")
    figure.suptitle(points[0][1]["source"]["note"], fontsize="small")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise BadRequestError(f"--plot {str(path)!r} cannot be written: {error}") from None
    finally:
        plt.close(figure)
