"""The sequence as one picture: an SVG that shows every step with its text, and the tries that were refused."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from interleave_rt.result import Result
from interleave_rt.shown import clipped, wrapped
from interleave_rt.wire import Step

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

_SIDE = 168  # of a step's picture, in SVG units
_GAP = 24
_SMALL = 48  # of a refused try
_LINE = 16
_LETTER = 8  # of the title, on the average
_COLUMNS = 26  # of a line under a picture
_MAX_LINES = 4
_MAX_LINES_ALONE = 10  # of a step without a picture
_MAX_REFUSED = 3  # shown; a step may have up to nine


def render_story(result: Result) -> str:
    """The SVG as text; it embeds the pictures and loads nothing. Steps without a picture are text cards."""
    steps = result.steps
    width = _GAP + max(2, len(steps)) * (_SIDE + _GAP)
    texts = [_words(step) for step in steps]
    has_refused = any(_refused(step) for step in steps)
    lines = max(
        (len(text) for step, text in zip(steps, texts, strict=True) if step.pixels is not None), default=0
    )
    top = 44
    height = top + _SIDE + 26 + lines * _LINE + (_SMALL + 40 if has_refused else 8)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" font-family="system-ui, sans-serif">'
        ),
        "<style>image{image-rendering:pixelated}</style>",
        f'<rect width="{width}" height="{height}" rx="10" fill="#fafafa"/>',
        f'<text x="{_GAP}" y="28" font-size="15" font-weight="600" fill="#222">{escape(clipped(result.request, (width - 2 * _GAP) // _LETTER))}</text>',
    ]
    for index, (step, text) in enumerate(zip(steps, texts, strict=True)):
        x = _GAP + index * (_SIDE + _GAP)
        parts += _card(step, text, x, top)
        if has_refused:
            parts += _tries(step, x, top + _SIDE + 26 + lines * _LINE)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _card(step: Step, text: list[str], x: int, y: int) -> list[str]:
    parts = []
    if step.pixels is not None:
        parts.append(_image(step.pixels, x, y, _SIDE))
        edge = "#c0392b" if step.outcome == "never_accepted" else "#d0d0d0"
        parts.append(
            f'<rect x="{x}" y="{y}" width="{_SIDE}" height="{_SIDE}" rx="4" fill="none" stroke="{edge}" '
            'stroke-width="1.5"/>'
        )
    first = y + 14 if step.pixels is None else y + _SIDE + 20  # words alone stand where a picture would
    for i, line in enumerate(text):
        parts.append(
            f'<text x="{x}" y="{first + i * _LINE}" font-size="12.5" fill="#333">{escape(line)}</text>'
        )
    return parts


def _words(step: Step) -> list[str]:
    text = f"{step.step_number}. {step.text or step.plan.step_name}"
    return wrapped(text, _COLUMNS, _MAX_LINES if step.pixels is not None else _MAX_LINES_ALONE)


def _tries(step: Step, x: int, y: int) -> list[str]:
    refused = _refused(step)
    if not refused:
        return []
    parts = [f'<text x="{x}" y="{y + 8}" font-size="11" fill="#c0392b">refused by the critic:</text>']
    for i, pixels in enumerate(refused[:_MAX_REFUSED]):
        left = x + i * (_SMALL + 8)
        parts.append(_image(pixels, left, y + 16, _SMALL))
        parts.append(
            f'<rect x="{left}" y="{y + 16}" width="{_SMALL}" height="{_SMALL}" rx="3" fill="none" stroke="#c0392b"/>'
        )
    if len(refused) > _MAX_REFUSED:
        more = f"+{len(refused) - _MAX_REFUSED}"
        parts.append(f'<text x="{x + _SIDE - 4}" y="{y + 8}" font-size="11" fill="#c0392b">{more}</text>')
    return parts


def _refused(step: Step) -> list[Pixels]:
    return [a.pixels for a in step.attempts if a.pixels is not None and a.pixels is not step.pixels]


def _image(pixels: Pixels, x: int, y: int, side: int) -> str:
    data, _ = embedded(pixels, 384)
    return f'<image x="{x}" y="{y}" width="{side}" height="{side}" href="{data}"/>'


def embedded(pixels: Pixels, side: int) -> tuple[str, tuple[int, int]]:
    """A picture as a `data:` URI, made smaller where a side is longer than `side`; and its own width and height."""
    image = Image.fromarray(pixels)
    size = image.size
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", size
