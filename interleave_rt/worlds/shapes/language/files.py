"""Texts that lie beside the code: tables of words, and the templates of prompts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
TEMPLATES = _HERE / "templates"
"""The folder of the templates."""


def rows(name: str) -> list[list[str]]:
    """The lines of a file of `data`, cut at their tabs; without comments and empty lines."""
    lines = (_HERE / "data" / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


@cache
def template(name: str) -> str:
    """The text of a template file (`narrative.txt`, `guidance.txt`, `critic.txt`, `chat.jinja`)."""
    return (TEMPLATES / name).read_text(encoding="utf-8")
