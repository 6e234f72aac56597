"""One measured figure with its interval and target, and the row that it stands in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .intervals import Interval, Share, share

__all__ = ["Figure", "Row", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """Bounds that a value must keep, both included."""

    low: float | None = None
    high: float | None = None

    def met(self, value: float | None) -> bool:
        """Whether the value keeps them; nothing measured is not met."""
        return (
            value is not None
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
        )

    def as_dict(self) -> dict[str, float]:
        """`at_least` and `at_most`, where there are such bounds."""
        bounds = {"at_least": self.low, "at_most": self.high}
        return {name: round(bound, 4) for name, bound in bounds.items() if bound is not None}


@dataclass(frozen=True, slots=True)
class Figure:
    """A value over `n` cases; a `what` that begins with "- " is a part or a detail of the figure above it.

    `unit`: "share" (shown in percent), "p" (a number in 0..1), "s", "MB" or "count".
    """

    what: str
    value: float | None
    n: int
    interval: Interval | None = None
    target: Target | None = None
    unit: str = "share"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.target.met(self.value)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, rounded."""
        return {
            "what": self.what.removeprefix("- "),
            "n": self.n,
            "share" if self.unit == "share" else "value": None
            if self.value is None
            else round(self.value, 4),
            "interval": None if self.interval is None else [round(end, 4) for end in self.interval],
            "target": None if self.target is None else self.target.as_dict(),
            "met": self.met,
            "unit": self.unit,
        }

    def shown(self, value: float | None) -> str:
        """A value of this figure's unit as text."""
        if value is None:
            return "-"
        if self.unit == "share":
            return f"{100 * value:.1f} %"
        return {"p": f"{value:.3f}", "s": f"{value:.2f} s", "MB": f"{value:.1f} MB"}.get(
            self.unit, f"{value:.2f}"
        )

    def cells(self) -> tuple[str, str, str, str, str]:
        """n, value, interval, target and verdict as text, for tables."""
        interval = "" if self.interval is None else " to ".join(self.shown(end) for end in self.interval)
        return (
            str(self.n),
            self.shown(self.value),
            interval,
            self._bounds(),
            {None: "", True: "yes"}.get(self.met, "NO"),
        )

    def _bounds(self) -> str:
        if self.target is None:
            return ""
        low, high = self.target.low, self.target.high
        if low is not None and high is not None:
            return f"{self.shown(low)} to {self.shown(high)}"
        return f"at least {self.shown(low)}" if high is None else f"at most {self.shown(high)}"


@dataclass(slots=True)
class Row:
    """What one module has measured.

    `failed` counts requests that ended in an error or an unreadable answer: they stand among the cases as failures.
    `details` is plain data for the JSON file: what went wrong, bins.
    """

    name: str
    figures: dict[str, Figure] = field(default_factory=dict)
    failed: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def value(self, name: str, what: str, value: float | None, n: int, **more: Any) -> None:
        """Add a figure; `more` as of `Figure`."""
        self.figures[name] = Figure(what, value, n, **more)

    def share(self, name: str, what: str, hits: Share | Iterable[bool], target: Target | None = None) -> None:
        """Add a share of cases."""
        found = hits if isinstance(hits, Share) else share(hits)
        self.value(name, what, found.value, found.n, interval=found.interval, target=target)

    @property
    def missed(self) -> list[str]:
        """Names of the figures that miss their targets."""
        return [f"{self.name}.{name}" for name, figure in self.figures.items() if figure.met is False]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
            "failed": self.failed,
            "met": not self.missed,
            "seconds": round(self.seconds, 1),
            "details": self.details,
        }
