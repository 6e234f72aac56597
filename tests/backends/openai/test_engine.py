"""The engine over HTTP roles: laws 1 (by replay) and 2 beside a server that fails in every way, and cancels that arrive."""

from __future__ import annotations

import random
import threading
import time

import pytest

pytest.importorskip("httpx")

from interleave_rt import Engine, Options, Request
from interleave_rt.backends.openai import OpenAiGenerator, OpenAiVlm
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.scripted import Script
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.roles.reference import run_reference

SCRIPT = Script(
    planner_ms=15, first_step_ms=5, generator_ms=4, critic_ms=8, verdict_ms=4, min_steps=1, max_steps=4,
    accept_prob=0.5, text_only_prob=0.1, unreadable_plan_prob=0.05, unreadable_verdict_prob=0.05,
    unreadable_refined_prob=0.1, seed=3,
)  # fmt: skip
SETTINGS = ("off", "auto", "depth=2")


def trio(recorded, url: str, **options):
    options = {"backoff_s": 0.02, "timeout_s": 5, **options}
    return recorded(OpenAiVlm(url, "m", **options), OpenAiGenerator(url, "m", **options))


def drawn(seed: int) -> Options:
    return Options(
        seed=seed, t_max=1 + seed % 4, speculation=SETTINGS[seed % 3], keep=("last", "best")[seed % 2]
    )


class Weather:
    """Draws a fault for a share of the calls; no call is hit twice in a row."""

    def __init__(self, share: float, faults: tuple[str, ...], seed: int) -> None:
        self._draw, self._share, self._faults = random.Random(seed), share, faults
        self._lock = threading.Lock()

    def __call__(self, _role: str, _number: int) -> str | None:
        with self._lock:
            return self._draw.choice(self._faults) if self._draw.random() < self._share else None


@pytest.mark.parametrize("wanders", [False, True], ids=["repeats", "wanders"])
def test_the_loop_over_the_recorded_results_gives_the_same_result(made_up, recorded, replayed, wanders):
    """5 % errors, 5 % garbage, and the rest of the list: every fault is retried, and none of them is seen in a result."""
    weather = Weather(0.2, made_up.FAULTS, seed=11)
    with made_up.MadeUp(SCRIPT, fault=weather, wanders=wanders) as server:
        roles = trio(recorded, server.url, retries=8)
        backend = OutsideBackend(roles, capacity=3, lossless="replay")
        with Engine(backend, EngineConfig(max_queued=64)) as engine:
            asked = [(f"request {seed}", drawn(seed)) for seed in range(18)]
            handles = [engine.submit(text, options=options) for text, options in asked]
            ends = [handle.finished(60) for handle in handles]
            assert sum(engine.counters()["requests_ended"].values()) == len(asked)
        again = replayed(roles)
        for end, (text, options) in zip(ends, asked, strict=True):
            if end.outcome == "finished":
                assert end.result.canonical() == run_reference(Request(text), options, again)
                assert end.result.pack["lossless"] == "replay"
            else:
                assert isinstance(end.error, BackendFailedError)
                assert "read" in str(end.error)  # a plan that was unreadable twice: the script's own doing
        assert sum(end.outcome == "finished" for end in ends) >= 15
        # A call whose client left before its fault was done saw none of it.
        done = roles.vlm.counters(), roles.generator.counters()
        retries = sum(count for each in done for name, count in each.items() if name.startswith("retry_"))
        hit = sum(fault != "slow" for fault in server.faults)
        left = sum(each.get("cancelled", 0) for each in done)
        assert hit - left <= retries <= hit
        assert len(set(server.faults)) == len(made_up.FAULTS)


def test_what_was_committed_is_kept_when_the_server_dies_for_good(made_up, recorded, replayed):
    dead = threading.Event()

    def fault(role, _number):
        return "reset" if dead.is_set() and role == "critic" else None

    script = Script(min_steps=4, max_steps=4, accept_prob=1.0, generator_ms=20, critic_ms=20, verdict_ms=10)
    with made_up.MadeUp(script, fault=fault, wanders=True) as server:
        roles = trio(recorded, server.url, retries=1)
        with Engine(OutsideBackend(roles, lossless="replay")) as engine:
            handle = engine.submit("a cat", options=Options(seed=1, speculation="depth=2"))
            for event in handle:
                if event.kind == "step_committed" and event.index == 1:
                    dead.set()
            end = handle.finished(30)
        assert end.outcome == "failed"
        assert "cannot be reached" in str(end.error)
        kept = end.result.canonical()["steps"]
        assert 2 <= len(kept) < 4
        # The recorded loop comes as far, and then asks for what nobody answered.
        with pytest.raises(KeyError):
            run_reference(Request("a cat"), end.result.options, replayed(roles))
        shorter = [step.canonical() for step in end.result.steps]
        assert kept == shorter
        assert all(step["accepted"] for step in kept)


def test_a_cancelled_request_is_given_up_on_the_server(made_up, recorded):
    script = Script(generator_ms=60_000, min_steps=2, max_steps=2)
    with made_up.MadeUp(script) as server, Engine(OutsideBackend(trio(recorded, server.url))) as engine:
        handle = engine.submit("a cat", seed=1)
        while not any(role == "generator" for role, _ in server.calls):
            time.sleep(0.005)
        begin = time.monotonic()
        handle.cancel()
        assert handle.finished(10).outcome == "cancelled"
        while not server.gone:
            assert time.monotonic() < begin + 5
            time.sleep(0.001)
        assert server.gone[0] - begin < 1  # 50 ms on a quiet machine: see test_http


def test_a_deadline_is_kept_while_the_server_is_silent(made_up, recorded):
    script = Script(generator_ms=60_000)
    with made_up.MadeUp(script) as server, Engine(OutsideBackend(trio(recorded, server.url))) as engine:
        handle = engine.submit("a cat", options=Options(deadline_s=0.5))
        assert handle.finished(10).outcome == "deadline"


def test_a_wrong_model_fails_the_request_with_the_servers_words(made_up, recorded):
    with made_up.MadeUp(SCRIPT) as server:
        roles = recorded(OpenAiVlm(server.url, "absent"), OpenAiGenerator(server.url, "m"))
        with Engine(OutsideBackend(roles)) as engine, pytest.raises(BadRequestError, match="does not exist"):
            engine.run("a cat")
