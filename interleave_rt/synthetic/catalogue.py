"""The models that can be made up: their published configurations, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError

__all__ = ["entry", "parse_names"]

_FOLDER = Path(__file__).parent / "configs"
_TINY = ("tiny-vl", "tiny-klein")


def entry(name: str) -> Mapping[str, Any]:
    """What is known of a model: `kind` (`vlm` or `generator`), `side` of its pictures, `text` tokens of a prompt, configurations.

    Raises:
        BadRequestError: There is no such model.
    """
    try:
        found: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except OSError:
        raise BadRequestError(
            f"[synthetic] there is no configuration of {name!r}",
            hint="models are tiny, " + ", ".join(sorted(file.stem for file in _FOLDER.glob("*.json"))),
        ) from None
    return found


def parse_names(text: str) -> Sequence[str]:
    """Reads names separated by commas; `tiny` is two small ones.

    Raises:
        BadRequestError: There is no such model, one is named twice, or none at all.
    """
    named = [name.strip() for name in text.split(",") if name.strip()]
    names = [name for one in named for name in (_TINY if one == "tiny" else (one,))]
    if not names or len(set(names)) < len(names):
        raise BadRequestError(f"--synthetic is {text!r}", hint="name each model once, for example tiny")
    for name in names:
        entry(name)
    return names
