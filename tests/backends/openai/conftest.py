"""The made-up server of benchmarks/, and roles that remember what each call gave."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from interleave_rt import _core
from interleave_rt.request import Options, Request
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


class Recorded(SharedRules):
    """Three roles as one, and the results of their calls by what was asked."""

    def __init__(self, vlm: Any, generator: Any) -> None:
        self.vlm, self.generator = vlm, generator
        self.plans: dict[Any, Any] = {}
        self.pictures: dict[Any, Any] = {}
        self.verdicts: dict[Any, Any] = {}

    def plan(self, request: Request, max_steps: int, seed: int, retry: int, **more: Any) -> Any:
        found = self.vlm.plan(request, max_steps, seed, retry, **more)
        self.plans[request.text, seed, retry] = found
        return found

    def generate(self, prompt: str, source: Any, seed: int, options: Options, *, cancelled: Any) -> Any:
        made = self.generator.generate(prompt, source, seed, options, cancelled=cancelled)
        self.pictures[prompt, hash_of(source), seed] = made
        return made

    def judge(self, before: Any, after: Any, *words: Any, cancelled: Any, on_verdict: Any) -> Any:
        verdict = self.vlm.judge(before, after, *words, cancelled=cancelled, on_verdict=on_verdict)
        self.verdicts[hash_of(before), hash_of(after), words] = verdict
        return verdict


class Replayed(SharedRules):
    """The recorded results again; what was never asked for is a KeyError."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded

    def plan(self, request: Request, max_steps: int, seed: int, retry: int) -> Any:
        return self._recorded.plans[request.text, seed, retry]

    def generate(self, prompt: str, source: Any, seed: int, options: Options) -> Any:
        return self._recorded.pictures[prompt, hash_of(source), seed]

    def judge(self, before: Any, after: Any, *words: Any) -> Any:
        return self._recorded.verdicts[hash_of(before), hash_of(after), words]


def hash_of(picture: Any) -> int | None:
    return None if picture is None else _core.hash_pixels(picture)


@pytest.fixture
def recorded() -> type[Recorded]:
    return Recorded


@pytest.fixture
def replayed() -> type[Replayed]:
    return Replayed
