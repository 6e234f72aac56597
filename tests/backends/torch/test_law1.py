"""Law 1 over models in PyTorch: whatever the scheduler does, the result is that of the sequential loop at batch 1."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interleave_rt import Engine, Options, Request
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.torch import TorchGenerator, TorchRoles
from interleave_rt.config import EngineConfig
from interleave_rt.roles.reference import run_reference
from interleave_rt.worlds.shapes.requests import sample

TEXTS = [wish.text for wish in sample("test", 3, 5, "narrative")]


def asked(number: int, speculation: str = "off") -> tuple[Request, Options]:
    return Request(TEXTS[number]), Options(seed=number, t_max=3, max_steps=3, speculation=speculation)


@pytest.fixture(scope="module")
def expected(embedded: TorchRoles) -> list[Any]:
    found = [run_reference(*asked(number), embedded) for number in range(len(TEXTS))]
    tries = [len(step["attempts"]) for one in found for step in one["steps"]]
    assert max(tries) > 1  # something is refused
    return found


@pytest.mark.parametrize(
    ("speculation", "at_once"), [("off", 1), ("auto", 8), ("depth=3", 1), ("depth=3", 8)]
)
def test_results_equal_the_sequential_loop(
    embedded: TorchRoles, expected: list[Any], speculation: str, at_once: int
) -> None:
    with Engine(OutsideBackend(embedded, capacity=2), EngineConfig(max_live=at_once)) as engine:
        handles = []
        for number in range(len(TEXTS)):
            request, options = asked(number, speculation)
            handles.append(engine.submit(request.text, options=options))
            if at_once == 1:
                handles[-1].finished(60)
        results = [handle.finished(60).result.canonical() for handle in handles]
        assert results == expected
        if (speculation, at_once) == ("depth=3", 1):
            used = sum(len(step["attempts"]) for one in expected for step in one["steps"])
            assert engine.counters()["generator"]["started"] > used


def test_qwen_image_edit_beside_them(embedded: TorchRoles, qwen_edit: Path, small_sources: None) -> None:
    roles = TorchRoles(embedded.planner, TorchGenerator(qwen_edit), embedded.critic)
    request, options = asked(0, "depth=3")
    with Engine(OutsideBackend(roles)) as engine:
        result = engine.run(request.text, options=options)
    assert result.canonical() == run_reference(request, options, roles)


def test_all_pictures_so_far_as_references(embedded: TorchRoles, expected: list[Any], klein: Path) -> None:
    roles = TorchRoles(embedded.planner, TorchGenerator(klein, sources="all"), embedded.critic)
    long = next(number for number, one in enumerate(expected) if len(one["steps"]) == 3)
    request, options = asked(long, "depth=3")
    wanted = run_reference(request, options, roles)
    with Engine(OutsideBackend(roles, capacity=2)) as engine:
        result = engine.run(request.text, options=options)
        assert engine.replay(result) == result.canonical() == wanted
    assert result.pack["references"] == "4"
    alone = TorchRoles(embedded.planner, TorchGenerator(klein), embedded.critic)
    assert run_reference(request, options, alone) != wanted


@pytest.fixture
def work(embedded: TorchRoles) -> Iterator[list[float]]:
    """When each forward pass of a language model or a denoiser begins."""
    begun: list[float] = []
    models = [
        embedded.planner._loaded.model,
        embedded.critic._loaded.model,
        embedded.generator.pipeline.transformer,
    ]
    hooks = [model.register_forward_pre_hook(lambda *_: begun.append(time.monotonic())) for model in models]
    yield begun
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("role", ["planner", "generator", "critic"])
def test_work_stops_within_a_pass_of_a_cancel(embedded: TorchRoles, work: list[float], role: str) -> None:
    with Engine(OutsideBackend(embedded)) as engine:
        options = Options(seed=1, t_max=5, max_steps=4, denoising_steps=100, speculation="off")
        if role == "critic":
            options = Options(seed=1, t_max=5, max_steps=4, denoising_steps=1, speculation="off")
        handle = engine.submit(TEXTS[0], options=options)
        until = time.monotonic() + 60
        while engine.counters()[role]["started"] == 0:
            assert time.monotonic() < until
            time.sleep(0.002)
        before = len(work)
        while len(work) < before + 2:
            assert time.monotonic() < until
            time.sleep(0.002)
        handle.cancel()
        cancelled = time.monotonic()
        assert handle.finished(30).outcome == "cancelled"
        while engine.counters()["running_calls"]:
            assert time.monotonic() < until
            time.sleep(0.002)
        done = len(work)
        time.sleep(0.3)
        assert len(work) == done  # nothing runs on
        assert sum(begun > cancelled for begun in work) <= 1
