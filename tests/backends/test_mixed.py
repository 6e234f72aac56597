"""Every mixture of runtimes for the three roles: it runs, reports, and equals the loop over its own answers.

A sixteenth of the 64 mixtures stands for all pairs of two roles; IRT_ALL_MIXTURES=1 runs all of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interleave_rt import Engine, Options, load_pack
from interleave_rt.backends.scripted import Script
from interleave_rt.pack import choose_pack
from interleave_rt.roles.prompts import Prompts

NEEDED = ("torch", "transformers", "diffusers", "onnx", "httpx")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

RUNTIMES = ("native", "torch", "openai", "scripted")
ALL = list(itertools.product(range(4), repeat=3))
CHOSEN = ALL if os.environ.get("IRT_ALL_MIXTURES") else [one for one in ALL if sum(one) % 4 == 0]
ROLES = ("planner", "generator", "critic")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from interleave_rt.train.shapes.from_pack import write_checkpoints

    folder = tmp_path_factory.mktemp("models")
    write_checkpoints(load_pack(), folder)
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        made_up = importlib.import_module("made_up_server")
    finally:
        sys.path.pop(0)
    script = Script(
        planner_ms=2, first_step_ms=1, generator_ms=2, critic_ms=2, verdict_ms=1, min_steps=2, accept_prob=0.5
    )
    with made_up.MadeUp(script, Prompts.from_folder(models / "prompts")) as running:
        yield running


@pytest.mark.parametrize("mixture", CHOSEN, ids=lambda one: "-".join(RUNTIMES[index] for index in one))
def test_a_mixture_runs_reports_and_equals_the_loop_over_its_answers(
    mixture: tuple[int, ...], models: Path, server: Any, tmp_path: Path
) -> None:
    lines = {
        role: {
            "native": None,
            "torch": f"torch:{models / role}",
            "openai": f"openai:{server.url}#made-up",
            "scripted": "scripted,min_steps=2,max_steps=3,accept_prob=0.5,seed=3",
        }[RUNTIMES[index]]
        for role, index in zip(ROLES, mixture, strict=True)
    }
    pack = choose_pack(None, prompts=models / "prompts", **lines)
    with Engine.load(pack) as engine:
        options = Options(seed=5, t_max=2, max_steps=2, speculation="depth=2", width=96, height=96)
        result = engine.run("Draw a snowman step by step", options=options)
        assert result.outcome == "finished"
        assert engine.replay(result) == result.canonical()
    assert {name.removesuffix(" runs on") for name in result.pack if name.endswith(" runs on")} == {
        role for role, line in lines.items() if line
    }
    assert result.save(tmp_path / "out").joinpath("report.html").stat().st_size > 1000
