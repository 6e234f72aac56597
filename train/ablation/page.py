"""The page of an ablation: one HTML file beside its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interleave_rt.reports.pages import page_template

if TYPE_CHECKING:
    from .claims import Claim, Found
    from .rows import Row

__all__ = ["render_page"]

_TEMPLATE = Path(__file__).parent / "page.html.j2"
_FIGURES = {
    "critic": {
        "refined": "refined prompts that succeed",
        "balanced": "balanced accuracy",
        "accepted": "right accepted",
        "refused": "wrong refused",
        "read": "answers that can be read",
        "step/1": "steps, T_max 1",
        "step/3": "T_max 3",
        "step/5": "T_max 5",
        "sequence/1": "sequences, T_max 1",
        "sequence/3": "T_max 3",
        "sequence/5": "T_max 5",
    },
    "planner": {
        "final": "last picture as asked",
        "plan": "right plans",
        "asked": "right plan and every picture",
        "drawn": "pictures as their prompts say",
    },
}


def render_page(
    document: Mapping[str, Any],
    rows: Mapping[str, Row],
    claims: Mapping[str, tuple[Claim, Found | None]],
    paper: Sequence[Sequence[str]],
    *,
    drawn: bool,
) -> str:
    """The page as text: no script, no font, no picture from elsewhere.

    Args:
        document: Of the ablation.
        rows: All that there are, by name.
        claims: By name; None: not measured.
        paper: The lines of the paper's table.
        drawn: Whether there is a plot.
    """
    return page_template(_TEMPLATE).render(
        document=document,
        rows=rows,
        claims=claims,
        paper=paper,
        drawn=drawn,
        tables=_FIGURES,
        percent=_percent,
    )


def _percent(one: Any, *, points: bool = False) -> str:
    """A share with its interval; a difference in points."""
    if one is None or one["value"] is None:
        return "-"
    shown = f"{100 * one['value']:+.1f}" if points else f"{100 * one['value']:.1f}"
    if one["low"] is None:
        return shown
    return f"{shown} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
