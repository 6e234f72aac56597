"""A generator as a recipe names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interleave_rt.pack import load_pack
from interleave_rt.pack.spec import RoleSpec
from interleave_rt.runtimes import open_role

from .oracle import DrawnGenerator

__all__ = ["opened"]


def opened(spec: str, folder: Path) -> Any:
    """A `Pack`, or something with `generate`, as of `Roles`, that can be called.

    Args:
        spec: As of `GeneratorChoice`.
        folder: Where relative paths begin.

    Raises:
        InterleaveError: It cannot be used.
    """
    kind, _, rest = spec.partition(",")
    if kind == "pack":
        return load_pack()
    if kind == "drawn":
        return DrawnGenerator(float(rest.partition("=")[2] or 0.6))
    told = RoleSpec.parse(spec).within(folder)
    if told.runtime == "native":
        return load_pack(told.place)
    made = open_role("generator", told)
    if hasattr(made, "check"):
        made.check()
    return made
