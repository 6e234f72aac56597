"""A backend added from outside: the three roles in Python threads, well behaved and not. Laws 1 and 2 hold."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from interleave_rt import (
    BackendFailedError,
    BadRequestError,
    Engine,
    InterleaveError,
    Options,
    Request,
    _core,
)
from interleave_rt.backends import outside
from interleave_rt.backends.mixed import MixedBackend
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.config import EngineConfig
from interleave_rt.result import AttemptImageEvent
from interleave_rt.roles.reference import run_reference
from interleave_rt.roles.scripted import ScriptedRoles
from interleave_rt.wire import PlanStep, WrittenPlan

SCRIPT = Script(
    generator_ms=1, critic_ms=1, min_steps=1, max_steps=3, accept_prob=0.5, text_only_prob=0.1,
    unreadable_plan_prob=0.1, violated_plan_prob=0.3, unreadable_verdict_prob=0.1, unreadable_refined_prob=0.2, seed=3,
)  # fmt: skip


class Troubled(ScriptedRoles):
    """Scripted roles behind `trouble`, which is called before each answer with the role and whether to give up."""

    def __init__(self, trouble: Callable[[str, Callable[[], bool]], None], script: Script = SCRIPT) -> None:
        super().__init__(script)
        self._trouble = trouble

    def plan(self, *args: Any, cancelled: Any, on_step: Any) -> Any:
        self._trouble("planner", cancelled)
        plan = super().plan(*args)
        for step in plan.steps:
            on_step(step)
        return plan

    def generate(self, *args: Any, cancelled: Any) -> Any:
        self._trouble("generator", cancelled)
        return super().generate(*args)

    def judge(self, *args: Any, cancelled: Any) -> Any:
        self._trouble("critic", cancelled)
        return super().judge(*args)


def sleepy(seed: int, longest_s: float = 0.002) -> Callable[..., None]:
    drawn = random.Random(seed)  # noqa: S311
    return lambda *_: time.sleep(drawn.uniform(0, longest_s))


def reference(text: str, options: Options) -> dict[str, Any] | None:
    try:
        return run_reference(Request(text), options, ScriptedRoles(SCRIPT))
    except BackendFailedError:
        return None


def is_prefix(part: dict[str, Any], whole: dict[str, Any] | None) -> bool:
    steps = [] if whole is None else whole["steps"]
    return part["steps"] == steps[: len(part["steps"])]


def settle(engine: Engine) -> None:
    """Waits for calls that outlive their request."""
    until = time.monotonic() + 20
    while engine.counters()["running_calls"]:
        assert time.monotonic() < until
        time.sleep(0.005)


def drawn(seed: int, speculation: str) -> Options:
    return Options(seed=seed, t_max=1 + seed % 4, speculation=speculation, keep=("last", "best")[seed % 2])


@pytest.mark.parametrize("capacity", [1, 3])
@pytest.mark.parametrize("speculation", ["off", "auto", "depth=2"])
def test_results_equal_the_sequential_loop(capacity, speculation):
    backend = OutsideBackend(Troubled(sleepy(7)), capacity=capacity)
    with Engine(backend, EngineConfig(max_queued=64)) as engine:
        asked = [(f"request {seed}", drawn(seed, speculation)) for seed in range(16)]
        handles = [engine.submit(text, options=options) for text, options in asked]
        for handle, (text, options) in zip(handles, asked, strict=True):
            end, expected = handle.finished(30), reference(text, options)
            assert (end.outcome == "finished") == (expected is not None)
            if expected is not None:
                assert end.result.canonical() == expected
        assert [lane["capacity"] for lane in engine.lanes()] == [capacity] * 3
        assert engine.counters()["strays"] == 0


def test_plain_roles_work_beside_lanes_of_another_backend():
    critic = OutsideBackend(ScriptedRoles(SCRIPT), serves=("critic",), lossless="replay")
    backend = MixedBackend([ScriptedBackend(SCRIPT), critic])
    with Engine(backend) as engine:
        assert [lane["role"] for lane in engine.lanes()] == ["planner", "generator", "critic", "critic"]
        for seed in range(6):
            result = engine.run("both", seed=seed)
            assert result.canonical() == reference("both", Options(seed=seed))
            assert result.pack["lossless"] == "replay"


def test_the_trace_holds_what_models_outside_wrote():
    class Writing(ScriptedRoles):
        def plan(self, *args: Any, on_answer: Any) -> Any:
            on_answer(b"a plan \xff" + b"." * 100_000, "length")
            return super().plan(*args)

        def judge(self, *args: Any, on_answer: Any) -> Any:
            on_answer(b"a verdict", "early")
            return super().judge(*args)

    with Engine(OutsideBackend(Writing(SCRIPT))) as engine:
        spans = engine.run("x", seed=1).trace
    said = {"plan": ("a plan \ufffd", "length"), "judge": ("a verdict", "early"), "generate": ("", "none")}
    assert {span.kind: (span.answer[:9].rstrip("."), span.stop) for span in spans} == said
    assert max(len(span.answer.encode()) for span in spans) == 64 * 1024


@pytest.mark.parametrize("said", ["roles", "backend"])
def test_a_planner_outside_declines_in_its_own_words(said: str):
    class Declining(ScriptedRoles):
        declines = ("I cannot", "Sorry") if said == "roles" else ()

        def plan(self, request: Request, *_: Any) -> Any:
            return WrittenPlan((PlanStep(1, "answer", auxiliary_text=request.text),))

    declines = ("Sorry", "I cannot") if said == "backend" else ()
    with Engine(OutsideBackend(Declining(SCRIPT), declines=declines)) as engine:
        ends = {
            text: engine.run(text).outcome
            for text in ("I cannot draw that.", "Sorry!", "Blue.", "Well, sorry")
        }
    assert list(ends.values()) == ["declined", "declined", "finished", "finished"]


@pytest.mark.parametrize("declines", [("",), ("I cannot", " \n"), " ", (5,)])
def test_words_that_every_answer_begins_with_are_refused(declines: Any):
    with pytest.raises(BadRequestError, match="declines has"):
        OutsideBackend(ScriptedRoles(SCRIPT), declines=declines)


def test_a_prompt_that_a_generator_outside_cuts_is_told():
    class Cutting(ScriptedRoles):
        def generate(self, prompt: str, *args: Any, on_cut: Any) -> Any:
            if prompt.endswith("1"):
                on_cut()
            return super().generate(prompt, *args)

        def plan(self, *_: Any) -> Any:
            steps = [PlanStep(n, "s", instruction="i", prompt=f"prompt {n}") for n in (1, 2)]
            return WrittenPlan(tuple(steps))

    script = Script(accept_prob=1.0)
    with Engine(OutsideBackend(Cutting(script))) as engine:
        events = list(engine.stream("x"))
    told = [event.attempt.prompt_cut for event in events if isinstance(event, AttemptImageEvent)]
    kept = [attempt.prompt_cut for step in events[-1].result.steps for attempt in step.attempts]
    assert told == kept == [True, False]


def test_pictures_of_the_request_reach_the_planner_and_the_first_step():
    seen: list[Any] = []

    class Looking(ScriptedRoles):
        def plan(self, request: Request, *args: Any) -> Any:
            seen.append(request)
            return super().plan(request, *args)

    picture = np.full((8, 6, 3), 9, np.uint8)
    with Engine(OutsideBackend(Looking(SCRIPT))) as engine:
        result = engine.run("go on", [picture], seed=1)
    request = Request("go on", (picture,))
    assert result.canonical() == run_reference(request, Options(seed=1), ScriptedRoles(SCRIPT))
    assert seen[0].mode == "guidance"
    assert np.array_equal(seen[0].images[0], picture)


def test_a_role_that_raises_fails_the_request_with_its_reason():
    def trouble(role: str, cancelled: Any) -> None:
        if role == "critic":
            raise ZeroDivisionError("by nought")

    with Engine(OutsideBackend(Troubled(trouble))) as engine:
        with pytest.raises(BackendFailedError, match="ZeroDivisionError: by nought") as caught:
            engine.run("x", seed=1)
        partial = caught.value.partial
        assert partial is not None
        assert is_prefix(partial.canonical(), reference("x", Options(seed=1)))


def test_a_hung_call_costs_its_lease_and_is_run_again():
    hung = threading.Event()

    def trouble(role: str, cancelled: Any) -> None:
        if role == "generator" and not hung.is_set():
            hung.set()
            time.sleep(1.5)  # its answer comes too late

    backend = OutsideBackend(Troubled(trouble), capacity=2, lease_s=0.3, longest_call_s=0.1)
    with Engine(backend) as engine:
        begin = time.monotonic()
        result = engine.run("x", seed=1)
        assert 0.3 <= time.monotonic() - begin < 5
        assert result.canonical() == reference("x", Options(seed=1))
        assert engine.counters()["lanes_lost"] == 1
        again = engine.run("y", seed=2)
        assert again.canonical() == reference("y", Options(seed=2))


@pytest.mark.parametrize("error", [SystemExit("it gives up"), OSError("no file \udcff")])
def test_whatever_a_role_raises_fails_its_call_and_no_other(error):
    struck = threading.Event()

    def trouble(role: str, cancelled: Any) -> None:
        if not struck.is_set():
            struck.set()
            raise error

    with Engine(OutsideBackend(Troubled(trouble))) as engine:
        with pytest.raises(BackendFailedError, match=type(error).__name__):
            engine.run("x", seed=1)
        assert engine.run("y", seed=2).canonical() == reference("y", Options(seed=2))
        assert engine.counters()["lanes_lost"] == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_costs_its_lease(monkeypatch):
    died = threading.Event()
    usual = outside._Crew._run

    def run(self: Any, call: Any) -> None:
        if call["role"] == "planner" and not died.is_set():
            died.set()
            raise SystemExit
        usual(self, call)

    monkeypatch.setattr(outside._Crew, "_run", run)

    def trouble(role: str, cancelled: Any) -> None: ...

    with Engine(OutsideBackend(Troubled(trouble), capacity=2, lease_s=0.3)) as engine:
        assert engine.run("x", seed=1).canonical() == reference("x", Options(seed=1))
        assert engine.counters()["lanes_lost"] == 1


def test_a_cancelled_call_is_given_up():
    begun, given_up = threading.Event(), threading.Event()

    def trouble(role: str, cancelled: Any) -> None:
        while role == "generator":
            begun.set()
            if cancelled():
                given_up.set()
                raise RuntimeError("given up")
            time.sleep(0.005)

    with Engine(OutsideBackend(Troubled(trouble))) as engine:
        handle = engine.submit("x", seed=1)
        assert begun.wait(10)
        handle.cancel()
        assert handle.finished(10).outcome == "cancelled"
        assert given_up.wait(10)
        settle(engine)
        assert engine.counters()["generator"]["failed"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_storms(seed):
    """Everything at once: late, hung and raising calls, cancels. Each request ends once, on a prefix."""
    draw = random.Random(seed)  # noqa: S311
    lock = threading.Lock()

    def trouble(role: str, cancelled: Any) -> None:
        with lock:
            fate, pause = draw.random(), draw.uniform(0, 0.003)
        time.sleep(pause)
        if fate < 0.01:
            time.sleep(0.5)
        elif fate < 0.02:
            raise SystemExit
        elif fate < 0.03:
            raise OSError("the network is down")

    backend = OutsideBackend(Troubled(trouble), capacity=4, lease_s=0.2, longest_call_s=0.1)
    ends: list[str] = []
    with Engine(backend, EngineConfig(max_queued=64)) as engine:
        asked = [(f"request {i}", drawn(i, ("off", "depth=2")[i % 2])) for i in range(24)]
        handles = [engine.submit(text, options=options) for text, options in asked]
        for handle in handles[::5]:
            handle.cancel()
        for handle, (text, options) in zip(handles, asked, strict=True):
            end, whole = handle.finished(45), reference(text, options)
            ends.append(end.outcome)
            assert is_prefix(end.result.canonical(), whole)
            if end.outcome == "finished":
                assert end.result.canonical() == whole
            assert sum(event.kind == "finished" for event in handle) == 1
        settle(engine)
        counted = engine.counters()
        assert sum(counted["requests_ended"].values()) == len(handles)
        assert counted["live"] == counted["images"] == 0
    assert ends.count("finished") >= len(ends) // 3
    assert "cancelled" in ends


def lane_of(engine: Engine, lease_s: float = 30.0) -> _core.ExternalLane:
    return _core.add_external_lane(engine._core, "generator", 1, "here", "raw", lease_s)


class Halves(ScriptedBackend):
    """No generator but the one that the test plays by hand."""

    def attach(self, core: _core.Engine, config: EngineConfig) -> None:
        self._others = OutsideBackend(ScriptedRoles(SCRIPT), serves=("planner", "critic"))
        self._others.attach(core, config)

    def detach(self) -> None:
        self._others.detach()


def test_double_late_and_unknown_answers_are_counted_and_change_nothing():
    roles = ScriptedRoles(SCRIPT)
    with Engine(Halves(SCRIPT)) as engine:
        lane = lane_of(engine)
        handle = engine.submit("x", seed=1, speculation="off")
        while not handle.done:
            for call in lane.poll(20, 4)[0]:
                assert call["left_s"] is None
                sizes = Options(width=call["width"], height=call["height"])
                made = roles.generate(call["prompt"], call["images"][0], call["seed"], sizes)
                assert lane.progress(call["id"])
                assert lane.finish_image(call["id"], made)
                assert not lane.finish_image(call["id"], made)
                assert not lane.finish_verdict(call["id"] + 1000, None)
            handle.event(len(handle._events), 0.001)
        assert handle.result().canonical() == reference("x", Options(seed=1))
        counted = lane.counters()
        assert counted["strays"] == 2 * counted["handed_out"] > 0
    assert lane.closed
    assert lane.poll(0, 1) == ([], [])
    assert not lane.wanted(1)


def test_what_makes_no_sense_is_refused():
    for wrong in ({"capacity": 0}, {"serves": ("painter",)}):
        with pytest.raises(BadRequestError):
            OutsideBackend(ScriptedRoles(SCRIPT), **wrong)
    with pytest.raises(InterleaveError, match="lease"):
        Engine(OutsideBackend(ScriptedRoles(SCRIPT), lease_s=0))
    with Engine(ScriptedBackend(SCRIPT)) as engine, pytest.raises(_core.CoreError, match="not one of"):
        _core.add_external_lane(engine._core, "painter", 1, "", "", 1.0)
