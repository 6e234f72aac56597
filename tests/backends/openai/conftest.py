"""The made-up server of benchmarks/, and roles on it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from interleave_rt.roles.base import SharedRules

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="session")
def made_up() -> Any:
    """The module of the server; `MadeUp(...)` is one, as a context."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("made_up_server")
    finally:
        sys.path.remove(str(BENCHMARKS))


class Trio(SharedRules):
    """Planner and critic, and a generator, as one."""

    def __init__(self, vlm: Any, generator: Any) -> None:
        self.vlm, self.generator = vlm, generator
        self.plan, self.judge, self.generate = vlm.plan, vlm.judge, generator.generate


@pytest.fixture
def trio() -> type[Trio]:
    return Trio
