"""How every page is made from its template: escaped, strict, and without control characters."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from interleave_rt.shown import shown

__all__ = ["page_template"]


@cache
def page_template(file: Path) -> jinja2.Template:
    """The template in a file. What it does not know is an error; control characters of texts never reach the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(file.name)


def _harmless(value: Any) -> Any:
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
