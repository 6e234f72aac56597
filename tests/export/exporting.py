"""What tests of exports share: a file of a checkpoint that says something else, a live run beside the reference's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interleave_rt.export import hollow

from interleave_rt import Engine, Options, load_pack
from interleave_rt.config import EngineConfig

LAW_1 = os.environ.get("IRT_LAW_1_PRECISIONS", "int8").split(",")
"""Of the packs of generators that are held to law 1."""


def law_1_requests(usual: int) -> int:
    """Requests of a test of law 1."""
    return int(os.environ.get("IRT_LAW_1_REQUESTS", usual))


def rewrite(file: Path, **changes: Any) -> None:
    """Changes a JSON file, which may be a link; None takes a key out."""
    raw = json.loads(file.read_text()) | changes
    file.unlink()
    file.write_text(json.dumps({key: value for key, value in raw.items() if value is not None}))


def changed(pack: Any, out: Path, **role: Any) -> Any:
    """A copy of the pack whose manifest says something else of the generator."""
    shutil.copytree(pack.path, out)
    raw = json.loads((out / "pack.json").read_text())
    raw["roles"]["generator"] |= role
    (out / "pack.json").write_text(json.dumps(raw))
    return load_pack(out)


def close(found: Any, wanted: Any) -> None:
    """The pictures of a pack and of the library, uint8 both, but for what float32 leaves open."""
    assert found.std() > 10
    gap = np.abs(found.astype(int) - wanted)
    assert gap.max() <= 2
    assert (gap <= 1).mean() >= 0.999


def check_live(pack: Any, asked: list[tuple[str, dict[str, Any]]], expected: list[Any]) -> None:
    """Law 1: texts with their options get these results, one after another and all at once with speculation."""
    for speculation, at_once in (("off", 1), ("depth=2", 8)):
        with Engine.load(pack, config=EngineConfig(max_live=at_once)) as engine:
            handles = []
            for text, said in asked:
                handles.append(engine.submit(text, options=Options(**said, speculation=speculation)))
                if at_once == 1:
                    handles[-1].finished(600)
            assert [handle.finished(600).result.canonical() for handle in handles] == expected


@contextmanager
def traced_once(parts: int) -> Iterator[None]:
    """PyTorch's traces, most of the time of an export, are of shapes alone: here one for all exports, of so many parts."""
    traced: dict[type, Any] = {}
    trace = hollow.trace

    def once(spec: Any) -> Any:
        kind = type(spec.module)
        if kind not in traced:
            traced[kind] = trace(spec)
        return traced[kind]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hollow, "trace", once)
        yield
    assert len(traced) == parts
