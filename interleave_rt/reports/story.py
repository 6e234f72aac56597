"""The sequence as one picture: an SVG that shows every step with its text, and the tries that were refused."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from interleave_rt.result import Result
from interleave_rt.shown import wrapped
from interleave_rt.wire import Step

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

_SIDE = 168  # of a step's picture, in SVG units
_GAP = 24
_SMALL = 48  # of a refused try
_LINE = 16
_TITLE_LINE = 20
_TITLE_COLUMN = 8.5  # width of a letter of the title, and of one under a picture
_COLUMN = 6.5
_MAX_LINES = 4  # of the title, and under a picture
_MAX_LINES_ALONE = 10  # of a step without a picture
_MAX_REFUSED = 3  # shown; a step may have up to nine
_STYLE = """image{image-rendering:pixelated} .paper{fill:#fafafa} .title{fill:#222222} .words{fill:#333333}
.edge{stroke:#d0d0d0} .no{fill:#a93226} .no-edge{stroke:#a93226} .warn{fill:#7d4a00} .warn-edge{stroke:#b36b00}
@media (prefers-color-scheme:dark){.paper{fill:#1f1f22} .title{fill:#ecebe8} .words{fill:#d0cec9}
.edge{stroke:#4a4a50} .no{fill:#f09a8a} .no-edge{stroke:#f09a8a} .warn{fill:#f2c37b} .warn-edge{stroke:#f2c37b}}"""


def render_story(result: Result) -> str:
    """The SVG as text; it embeds the pictures and loads nothing. Steps without a picture are text cards."""
    steps = result.steps
    drawn = [step for step in steps if step.pixels is not None]
    columns = len(steps) if drawn else 1  # words alone stand below one another, as wide as the picture
    width = _GAP + max(2, columns) * (_SIDE + _GAP)
    title = wrapped(result.request, int((width - 2 * _GAP) / _TITLE_COLUMN), _MAX_LINES)
    top = 24 + max(1, len(title)) * _TITLE_LINE
    parts = [
        f'<text class="title" x="{_GAP}" y="{28 + i * _TITLE_LINE}" font-size="15" font-weight="600">{escape(line)}</text>'
        for i, line in enumerate(title)
    ]
    if not drawn:
        bottom = top
        numbered = len(steps) > 1
        for step in steps:
            text = _words(step, width - 2 * _GAP, _MAX_LINES_ALONE, numbered=numbered)
            parts += _lines(text, _GAP, bottom + 14)
            bottom += len(text) * _LINE + 12
    else:
        refused = any(_refused(step) for step in drawn)
        below = top + _SIDE + 26 + max(_height(step) for step in drawn)
        bottom = below + (_SMALL + 32 if refused else 0)
        for index, step in enumerate(steps):
            x = _GAP + index * (_SIDE + _GAP)
            parts += [*_card(step, x, top), *_tries(step, x, below)]
    height = bottom + 8
    svg = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, sans-serif"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {svg}>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}" rx="10"/>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _card(step: Step, x: int, y: int) -> list[str]:
    if step.pixels is None:
        return _lines(_words(step, _SIDE, _MAX_LINES_ALONE), x, y + 14)
    never = step.outcome == "never_accepted"
    edge = (
        'class="warn-edge" stroke-width="2.5" stroke-dasharray="7 4"'
        if never
        else 'class="edge" stroke-width="1.5"'
    )
    parts = [
        _image(step.pixels, x, y, _SIDE),
        f'<rect x="{x}" y="{y}" width="{_SIDE}" height="{_SIDE}" rx="4" fill="none" {edge}/>',
    ]
    if never:
        parts.append(
            f'<text class="warn" x="{x}" y="{y + _SIDE + 20}" font-size="12" font-weight="600">never accepted</text>'
        )
    return [*parts, *_lines(_words(step), x, y + _SIDE + 20 + never * _LINE)]


def _height(step: Step) -> int:
    """Of what stands under a picture."""
    return (len(_words(step)) + (step.outcome == "never_accepted")) * _LINE


def _words(step: Step, width: int = _SIDE, most: int = _MAX_LINES, *, numbered: bool = True) -> list[str]:
    text = step.text or step.plan.step_name
    return wrapped(f"{step.step_number}. {text}" if numbered else text, int(width / _COLUMN), most)


def _lines(text: list[str], x: int, y: int) -> list[str]:
    return [
        f'<text class="words" x="{x}" y="{y + i * _LINE}" font-size="12.5">{escape(line)}</text>'
        for i, line in enumerate(text)
    ]


def _tries(step: Step, x: int, y: int) -> list[str]:
    refused = _refused(step)
    if not refused:
        return []
    parts = [f'<text class="no" x="{x}" y="{y + 8}" font-size="11">refused by the critic:</text>']
    for i, pixels in enumerate(refused[:_MAX_REFUSED]):
        left = x + i * (_SMALL + 8)
        parts.append(_image(pixels, left, y + 16, _SMALL))
        parts.append(
            f'<rect class="no-edge" x="{left}" y="{y + 16}" width="{_SMALL}" height="{_SMALL}" rx="3" fill="none"/>'
        )
    if len(refused) > _MAX_REFUSED:
        more = f"+{len(refused) - _MAX_REFUSED}"
        parts.append(
            f'<text class="no" x="{x + _SIDE}" y="{y + 8}" font-size="11" text-anchor="end">{more}</text>'
        )
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
