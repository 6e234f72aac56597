"""The page of an evaluation: one HTML file that opens anywhere, offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from interleave_rt.pack.images import encode_png
from interleave_rt.reports.pages import page_template
from interleave_rt.wire import Attempt, Step
from interleave_rt.worlds.shapes.oracle import read
from interleave_rt.worlds.shapes.scene import Pixels

from .figures import Row
from .gallery import Gallery, Story
from .outcomes import StepOutcome, Try, drawn_steps
from .plot import reliability_svg
from .settings import ROWS
from .wording import described, told

__all__ = ["render_page"]

_TEMPLATE = Path(__file__).parent / "page.html.j2"
_HONESTY = 40  # requests in the page; the JSON file has more


def render_page(document: Mapping[str, Any], rows: Sequence[Row], gallery: Gallery) -> str:
    """The page as text: no script, no font, no picture from elsewhere."""
    details = {row.name: row.details for row in rows}
    bins = details.get("critic", {}).get("bins", [])
    honesty = details.get("honesty", {})
    return page_template(
        _TEMPLATE
    ).render(
        document=document,
        titles=ROWS,
        rows=rows,
        # made of numbers alone, see reliability_svg
        plot=Markup(reliability_svg(bins)) if any(one["n"] for one in bins) else None,  # noqa: S704
        shelves=[
            ("Right at once", "Every picture was right at the first try.", gallery.successes),
            (
                "Mended",
                "A wrong picture was refused, and the critic's prompt led to the right one.",
                gallery.recoveries,
            ),
            (
                "Wrong in the end",
                "At least one step ended with a picture that the oracle calls wrong.",
                gallery.failures,
            ),
        ],
        mistakes=gallery.mistakes,
        believed=honesty.get("believed", [])[:_HONESTY],
        refused=[text for name in sorted(honesty) if name.startswith("refused/") for text in honesty[name]][
            :_HONESTY
        ],
        inline=_inline,
        looked=_looked,
        seen=_seen,
        described=described,
        told=told,
    )


def _looked(story: Story) -> list[tuple[Step, list[tuple[Attempt, Try]]]]:
    """The steps that have made a picture, and of each its attempts with what the oracle says of them."""
    result, outcome = story
    steps: list[tuple[Step, StepOutcome]] = list(zip(drawn_steps(result), outcome.steps, strict=True))
    return [(step, list(zip(step.attempts, found.tries, strict=True))) for step, found in steps]


def _seen(attempt: Attempt, found: Try) -> str | None:
    """What the oracle sees on a picture that is wrong."""
    return None if found.right or attempt.pixels is None else read(attempt.pixels).scene.describe()


def _inline(pixels: Pixels) -> str:
    """A picture as a data URL."""
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels, level=9)).decode()
