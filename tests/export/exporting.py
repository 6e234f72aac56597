"""What tests of exports share: a file of a checkpoint that says something else, a live run beside the reference's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from interleave_rt import Engine, Options
from interleave_rt.config import EngineConfig


def rewrite(file: Path, **changes: Any) -> None:
    """Changes a JSON file, which may be a link; None takes a key out."""
    raw = json.loads(file.read_text()) | changes
    file.unlink()
    file.write_text(json.dumps({key: value for key, value in raw.items() if value is not None}))


def check_live(pack: Any, asked: list[tuple[str, dict[str, Any]]], expected: list[Any]) -> None:
    """Law 1: texts with their options get these results, one after another and all at once with speculation."""
    for speculation, at_once in (("off", 1), ("depth=2", 8)):
        with Engine.load(pack, config=EngineConfig(max_live=at_once)) as engine:
            handles = []
            for text, said in asked:
                handles.append(engine.submit(text, options=Options(**said, speculation=speculation)))
                if at_once == 1:
                    handles[-1].finished(60)
            assert [handle.finished(60).result.canonical() for handle in handles] == expected
