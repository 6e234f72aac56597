"""The reliability plot as SVG: what the critic's p says against what is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["reliability_svg"]

_SIDE, _LEFT, _TOP, _COUNTS = 300, 46, 10, 60
_WIDTH, _HEIGHT = _LEFT + _SIDE + 14, _TOP + _SIDE + 18 + _COUNTS + 34


def reliability_svg(bins: Sequence[Mapping[str, Any]]) -> str:
    """Of the bins in a document (`low`, `high`, `mean_p`, `n`, `share`, `interval`); all text in it is made of numbers.

    A dot a bin with its 95 % interval, on the diagonal where p can be believed; below, how many pictures each bin has.
    """
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Reliability of the critic">',
        f'<rect class="well" x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"/>',
        f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<text x="{_x(tick)}" y="{_HEIGHT - 18}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{_LEFT - 8}" y="{_y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    most = max((int(one["n"]) for one in bins), default=0)
    floor = _TOP + _SIDE + 18 + _COUNTS
    for one in bins:
        if not one["n"]:
            continue
        x, y = _x(one["mean_p"]), _y(one["share"])
        low, high = (_y(end) for end in one["interval"])
        said = (
            f"p {one['low']:.2f} to {one['high']:.2f}: {one['n']} pictures, mean p {one['mean_p']:.3f}, "
            f"{100 * one['share']:.1f} % right"
        )
        tall = _COUNTS * int(one["n"]) / most
        left, right = _x(one["low"]) + 1, _x(one["high"]) - 1
        parts.append(
            f"<g><title>{said}</title>"
            f'<line class="span" x1="{x}" y1="{low}" x2="{x}" y2="{high}"/>'
            f'<circle class="dot" cx="{x}" cy="{y}" r="4"/>'
            f'<rect class="count" x="{left:.1f}" y="{floor - tall:.1f}" width="{right - left:.1f}" height="{tall:.1f}"/>'
            "</g>"
        )
    parts.append(
        f'<text class="name" x="{_x(0.5)}" y="{_HEIGHT - 3}" text-anchor="middle">p(success) of the critic</text>'
    )
    parts.append(
        f'<text class="name" transform="rotate(-90 12 {_y(0.5)})" x="12" y="{_y(0.5)}" text-anchor="middle">'
        "share of right pictures</text>"
    )
    parts.append("</svg>")
    return "".join(parts)


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * value, 1)


def _y(value: float) -> float:
    return round(_TOP + _SIDE * (1 - value), 1)
