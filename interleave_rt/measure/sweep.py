"""Grids of simulations: to CSV, and to a picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError

from .output import two_plots
from .simulation import SimulationConfig, check_read, flag

MOST_POINTS = 2000
Point = tuple[dict[str, float], dict[str, Any]]

# The setting that an axis changes.
_AXES = {
    "p": "accept_prob",
    "rate": "request_rate",
    "load": "request_rate",  # scaled by what the generator can do
    "concurrency": "concurrency",
    "steps": "steps",
    "t_max": "t_max",
    "depth": "depth",
    "cards": "cards",
    "decode_sms": "decode_sms",
    "generator": "generator_ms",
    "critic": "critic_ms",
    "verdict": "verdict_ms",
}
_WHOLE = ("concurrency", "steps", "t_max", "depth", "cards")
_TEXT = ("p", "steps")


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
        found = [float(value) for value in text.split(":" if ":" in text else "|")]
    except ValueError:
        found = []
    if ":" in text and (len(found) != 3 or not (found[2] > 0 and found[1] >= found[0])):
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise BadRequestError(
            f"--sweep {name}={text}", hint="FROM:TO:STEP with STEP above 0, or values: 1|2|4"
        )
    if ":" in text:
        low, high, step = found
        steps = (high - low) / step + 1e-9
        if not steps < MOST_POINTS:
            raise BadRequestError(
                f"--sweep {name}={text} has more than {MOST_POINTS} points: take a larger STEP"
            )
        found = [round(low + index * step, 10) for index in range(int(steps) + 1)]
    if name in _WHOLE and not all(map(float.is_integer, found)):
        raise BadRequestError(f"--sweep {name}={text}", hint=f"values of {name} are whole numbers")
    return found


def run_sweep(config: SimulationConfig, axes: Mapping[str, Sequence[float]]) -> list[Point]:
    """Every point of the grid, with the same requests and the same calls.

    Raises:
        BadRequestError: An axis changes nothing, changes what another axis or an option says, or a point cannot be.
    """
    swept: dict[str, str] = {}
    for name in axes:
        field = _AXES[name]
        if field in swept:
            raise BadRequestError(f"--sweep names {swept[field]} and {name}: both are the load, give one")
        swept[field] = name
    for known in fields(SimulationConfig):
        if known.name in swept and getattr(config, known.name) != known.default:
            raise BadRequestError(
                f"{flag(known.name)} and --sweep {swept[known.name]} are given together: give one"
            )
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    told = [_at(config, at) for at in grid]
    check_read(told, swept)
    points = []
    for at, here in zip(grid, told, strict=True):
        rate = at["load"] * here.generator_capacity() if "load" in at else here.request_rate
        points.append((at, replace(here, request_rate=rate).document()))
    return points


def _at(config: SimulationConfig, at: Mapping[str, float]) -> SimulationConfig:
    changes: dict[str, Any] = {}
    for name, value in at.items():
        told = int(value) if name in _WHOLE else value
        changes[_AXES[name]] = str(told) if name in _TEXT else told
    if "concurrency" in at and config.scenario == "single-stream":
        changes["scenario"] = "closed-loop"
    return replace(config, **changes)


def plot_sweep(points: Sequence[Point], path: Path) -> None:
    """Mean latency and throughput over the first axis, one line an arm and a point of the other axes."""
    first, *others = points[0][0]
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for at, document in points:
        rest = ", ".join(f"{name} {at[name]:g}" for name in others)
        for name, arm in document["arms"].items():
            label = f"{name} ({rest})" if rest else name
            figures = (at[first], arm["e2e_latency_ms"]["mean"] or 0.0, arm["request_throughput"] or 0.0)
            lines.setdefault(label, []).append(figures)
    with two_plots(path) as (figure, left, right):
        for label, found in lines.items():
            left.plot([f[0] for f in found], [f[1] for f in found], marker="o", markersize=3, label=label)
            right.plot([f[0] for f in found], [f[2] for f in found], marker="o", markersize=3)
        left.set_ylabel("latency, mean ms")
        right.set_ylabel("requests/s")
        for axes in (left, right):
            axes.set_xlabel(first)
            axes.set_ylim(bottom=0)
        left.legend(fontsize="small")
        figure.suptitle(points[0][1]["source"]["note"], fontsize="small")
