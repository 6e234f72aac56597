"""Threads of the lanes on few cores: by trial, and only where a trial says something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interleave_rt import Engine, _core
from interleave_rt.backends import threads
from interleave_rt.backends.ort import load_runtime
from interleave_rt.backends.threads import thread_budget
from interleave_rt.config import EngineConfig


@pytest.fixture
def trials(pack, monkeypatch):
    """Seconds of a trial by the name of the graph and the threads; every graph is large enough for one."""
    seconds: dict[tuple[str, int], float] = {}
    monkeypatch.setattr(threads, "_TINY", 0)
    monkeypatch.setattr(
        threads._core, "time_graph", lambda path, _, count, __: seconds[path.split("/")[-1], count]
    )
    threads._timed.cache_clear()
    yield seconds
    threads._timed.cache_clear()


@pytest.mark.parametrize(
    ("transformer", "decoder", "found", "separate"),
    [(1.0, 1.1, (1, 1), True), (1.7, 1.0, (2, 1), False), (1.7, 1.6, (2, 2), False)],
)
def test_a_lane_gets_all_cores_where_they_help(pack, trials, transformer, decoder, found, separate):
    for name, gain in (("transformer.onnx", transformer), ("decoder.onnx", decoder)):
        trials[name, 1], trials[name, 2] = 0.01, 0.01 / gain
    budget = thread_budget(pack, EngineConfig(threads=2))
    assert ((budget.generator, budget.vlm), budget.separate) == (found, separate)
    assert f"pictures {transformer:.2f} x, answers {decoder:.2f} x" in budget.why
    # What is said holds, and many cores are shared out; neither is tried.
    trials.clear()
    for config in (EngineConfig(threads=2, generator_threads=1), EngineConfig(threads=8)):
        assert thread_budget(pack, config) == config.budget()


def test_large_graphs_are_not_opened_for_a_trial_nor_those_of_other_providers(pack, trials, monkeypatch):
    monkeypatch.setattr(threads, "_LARGE", 1)
    config = EngineConfig(threads=2)
    assert thread_budget(pack, config).generator == 2
    assert thread_budget(pack, replace(config, providers=["CUDAExecutionProvider"])).generator == 1


def test_the_embedded_pack_is_too_small_for_a_trial_and_its_result_says_so():
    with Engine.load(threads=2) as engine:
        said = engine.run("Draw a house.").pack["threads"]
    assert said == "1+1: by 2 threads for one: pictures too short, answers too short"


def test_graphs_are_timed(pack):
    load_runtime()
    for role, cut in (
        (pack.manifest.roles.planner, threads._decoder),
        (pack.manifest.roles.generator, threads._transformer),
    ):
        part, shapes = cut(role)
        assert 0 < _core.time_graph(str(pack.path / part.file), shapes, 1, 2) < 10
