"""The engine over HTTP roles: laws 1 (by replay) and 2 beside a server that fails in every way, and cancels that arrive."""

from __future__ import annotations

import random
import threading
import time

import pytest

pytest.importorskip("httpx")

from interleave_rt import Engine, Options
from interleave_rt.backends.openai import OpenAiGenerator, OpenAiVlm
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.scripted import Script
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.roles.replay import replay

SCRIPT = Script(
    planner_ms=15, first_step_ms=5, generator_ms=4, critic_ms=8, verdict_ms=4, min_steps=1, max_steps=4,
    accept_prob=0.5, text_only_prob=0.1, unreadable_plan_prob=0.05, unreadable_verdict_prob=0.05,
    unreadable_refined_prob=0.1, seed=3,
)  # fmt: skip
SETTINGS = ("off", "auto", "depth=2")


@pytest.fixture
def roles_on(trio):
    def open_roles(url: str, model: str = "m", **options):
        options = {"backoff_s": 0.02, "timeout_s": 60, **options}
        return trio(OpenAiVlm(url, model, **options), OpenAiGenerator(url, "m", **options))

    return open_roles


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
def test_the_loop_over_the_recorded_results_gives_the_same_result(made_up, roles_on, wanders):
    """5 % errors, 5 % garbage, and the rest of the list: every fault is retried, and none of them is seen in a result."""
    weather = Weather(0.2, made_up.FAULTS, seed=11)
    with made_up.MadeUp(SCRIPT, fault=weather, wanders=wanders) as server:
        roles = roles_on(server.url, retries=8)
        backend = OutsideBackend(roles, capacity=3, lossless="replay")
        with Engine(backend, EngineConfig(max_queued=64)) as engine:
            asked = [(f"request {seed}", drawn(seed)) for seed in range(18)]
            handles = [engine.submit(text, options=options) for text, options in asked]
            ends = [handle.finished(200) for handle in handles]
            assert sum(engine.counters()["requests_ended"].values()) == len(asked)
        for end in ends:
            if end.outcome == "finished":
                assert end.result.canonical() == replay(end.result)
                assert end.result.pack["lossless"] == "replay"
            else:
                assert isinstance(end.error, BackendFailedError)
                assert "read" in str(end.error)  # a plan that was unreadable twice: the script's own doing
        assert sum(end.outcome == "finished" for end in ends) >= 15
        # A client that left, or had read its fill, may have seen nothing of a fault.
        done = roles.vlm.counters(), roles.generator.counters()
        retries = sum(count for each in done for name, count in each.items() if name.startswith("retry_"))
        left = sum(each.get("cancelled", 0) for each in done)
        hit = [fault for fault in server.faults if fault[1] != "slow" and fault != ("generator", "nothing")]
        sure = [fault for fault in hit if fault[0] == "generator" or fault[1] not in ("cut", "no json")]
        assert len(sure) - left <= retries <= len(hit)
        assert {fault for _, fault in server.faults} == set(made_up.FAULTS)


def test_what_was_committed_is_kept_when_the_server_dies_for_good(made_up, roles_on):
    dead = threading.Event()

    def fault(role, _number):
        return "reset" if dead.is_set() and role == "critic" else None

    script = Script(min_steps=4, max_steps=4, accept_prob=1.0, generator_ms=20, critic_ms=20, verdict_ms=10)
    with made_up.MadeUp(script, fault=fault, wanders=True) as server:
        roles = roles_on(server.url, retries=1)
        with Engine(OutsideBackend(roles, lossless="replay")) as engine:
            handle = engine.submit("a cat", options=Options(seed=1, speculation="depth=2"))
            for event in handle:
                if event.kind == "step_committed" and event.index == 1:
                    dead.set()
            end = handle.finished(60)
        assert end.outcome == "failed"
        assert "cannot be reached" in str(end.error)
        kept = end.result.canonical()["steps"]
        assert 2 <= len(kept) < 4
        assert all(step["accepted"] for step in kept)


def test_a_cancelled_request_is_given_up_on_the_server(made_up, roles_on):
    script = Script(generator_ms=60_000, min_steps=2, max_steps=2)
    with made_up.MadeUp(script) as server, Engine(OutsideBackend(roles_on(server.url))) as engine:
        handle = engine.submit("a cat", seed=1)
        while not any(role == "generator" for role, _ in server.calls):
            time.sleep(0.005)
        begin = time.monotonic()
        handle.cancel()
        assert handle.finished(60).outcome == "cancelled"
        while not server.gone:
            assert time.monotonic() < begin + 30
            time.sleep(0.001)


def test_a_deadline_is_kept_while_the_server_is_silent(made_up, roles_on):
    script = Script(generator_ms=60_000)
    with made_up.MadeUp(script) as server, Engine(OutsideBackend(roles_on(server.url))) as engine:
        handle = engine.submit("a cat", options=Options(deadline_s=0.5))
        assert handle.finished(60).outcome == "deadline"


def test_a_wrong_model_fails_the_request_with_the_servers_words(made_up, roles_on):
    with (
        made_up.MadeUp(SCRIPT) as server,
        Engine(OutsideBackend(roles_on(server.url, "absent"))) as engine,
        pytest.raises(BadRequestError, match="does not exist"),
    ):
        engine.run("a cat")


def test_a_line_opens_the_roles_and_says_at_once_what_is_wrong(made_up, monkeypatch):
    with made_up.MadeUp(SCRIPT, key="right") as server:
        monkeypatch.setenv("THE_KEY", "right")
        line = f"openai:{server.url}#m,key_env=THE_KEY"
        with Engine.load(planner=line, critic=line, generator=line) as engine:
            assert [lane["capacity"] for lane in engine.lanes()] == [8, 4, 8]
            result = engine.run("a cat", seed=4)
            assert result.canonical() == replay(result)
        monkeypatch.setenv("THE_KEY", "wrong")
        with pytest.raises(BadRequestError, match="answers 401"):
            Engine.load(planner=line, critic=line, generator=line)
        absent = f"openai:{server.url}#absent,key_env=THE_KEY"
        monkeypatch.setenv("THE_KEY", "right")
        with pytest.raises(BadRequestError, match="does not exist"):
            Engine.load(planner=line, critic=absent, generator=line)
    with pytest.raises(BackendFailedError, match="cannot be reached"):
        Engine.load(planner=f"{line},retries=0", critic=line, generator=line)
