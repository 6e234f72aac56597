"""The bindings themselves: errors, ownership of arrays, types, the GIL, and clean ends."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import numpy as np
import pytest

from interleave_rt import _core

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def make_engine(**script: Any) -> _core.Engine:
    """An engine with scripted lanes that take no time, unless `script` says otherwise."""
    times = dict.fromkeys(("planner_ms", "first_step_ms", "generator_ms", "critic_ms", "verdict_ms"), 0.5)
    engine = _core.Engine({})
    engine.add_scripted({**times, "min_steps": 2, "max_steps": 2, **script})
    return engine


def spec(text: str = "draw", **fields: Any) -> dict[str, Any]:
    return {"text": text, **fields}


def events(engine: _core.Engine, request: int) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    while not out or out[-1]["kind"] != "finished":
        event = engine.next_event(request, 1000)
        if event is not None:
            out.append(event)
    return out


def code_of(act: Any, *args: Any) -> str:
    with pytest.raises(_core.CoreError) as caught:
        act(*args)
    code, message = caught.value.args
    assert message.startswith("[")
    return code


def test_errors_carry_code_and_message() -> None:
    engine = make_engine()
    assert code_of(engine.submit, spec("")) == "bad_request"
    assert code_of(engine.submit, spec(timeout_s=-1.0)) == "bad_request"
    assert code_of(engine.submit, spec(timeout_s=float("nan"))) == "bad_request"
    assert code_of(engine.submit, spec(), [np.zeros((0, 4, 3), np.uint8)]) == "bad_request"
    assert code_of(engine.next_event, 99, 0) == "bad_request"
    assert code_of(engine.fail_text, 1, "no such code", "text") == "bad_request"
    assert code_of(_core.seed_of, 1, "counter", "paint", 0, 0, 0) == "bad_request"
    assert code_of(_core.resize_bicubic, PICTURE, 0, 3) == "bad_request"
    assert code_of(_core.flow_sigmas, 0, 3) == "bad_request"
    engine.set_draining(True)
    assert code_of(engine.submit, spec()) == "overloaded"
    engine.close()
    assert code_of(engine.submit, spec()) == "closed"


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: _core.Engine({"max_lives": 1}), "[EngineConfig] there is no field 'max_lives'"),
        (lambda: _core.Engine({"max_live": "8"}), "[EngineConfig] max_live is '8': give a whole number"),
        (lambda: _core.Engine({"image_bytes": -1}), "[EngineConfig] image_bytes is -1: give a whole number from 0"),
        (lambda: _core.ScriptedRoles({"seed": True}), "[Script] seed is True: give a whole number from 0"),
        (lambda: _core.ScriptedRoles({"jitter": None}), "[Script] jitter is None: give a number"),
        (lambda: make_engine().submit(spec(keep="first")), "[Engine.submit] keep is 'first': give one of last, best"),
        (lambda: make_engine().submit(spec(text=1)), "[Engine.submit] text is 1: give a text"),
        (lambda: make_engine().submit(spec(judge_last=1)), "[Engine.submit] judge_last is 1: give True or False"),
        (lambda: _core.ScriptedRoles({"accept_prob": 1.5}), "accept"),
        (lambda: make_engine(first_step_ms=10.0, planner_ms=1.0), "first_step_ms"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(act: Any, said: str) -> None:
    with pytest.raises(_core.CoreError) as caught:
        act()
    assert caught.value.args[0] == "bad_request"
    assert said in caught.value.args[1]


@pytest.mark.parametrize(
    "picture",
    [PICTURE.astype(np.float32), PICTURE[:, :, :2], PICTURE[0], np.zeros((4, 4, 4), np.uint8), PICTURE[::2]],
    ids=["float", "two channels", "one row", "four channels", "strided"],
)
def test_pictures_of_another_kind_are_type_errors(picture: np.ndarray) -> None:
    with pytest.raises(TypeError):
        make_engine().submit(spec(mode="guidance"), [picture])


def test_a_waiting_reader_leaves_python_running() -> None:
    engine = make_engine(planner_ms=300.0, first_step_ms=300.0)
    request = engine.submit(spec())
    counted = 0
    reader = threading.Thread(target=engine.next_event, args=(request, 10_000))
    reader.start()
    while reader.is_alive():
        counted += 1
        time.sleep(0.001)
    assert counted > 20
    engine.close()


def test_close_wakes_readers_and_workers() -> None:
    engine = make_engine(planner_ms=60_000.0, first_step_ms=50_000.0)
    request = engine.submit(spec())
    seen: list[Any] = []
    threads = [
        threading.Thread(target=lambda: seen.append(engine.next_event(request, 30_000))),
        threading.Thread(target=lambda: seen.append(engine.poll_text(30_000, 1))),
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    engine.close()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 15
    assert None in seen
    (ended,) = [event for event in seen if event]
    assert (ended["kind"], ended["outcome"]) == ("finished", "cancelled")


def test_dropping_an_engine_joins_its_threads() -> None:
    before = threading.active_count()
    for _ in range(5):
        engine = make_engine(planner_ms=1000.0)
        engine.submit(spec())
        del engine
    gc.collect()
    assert threading.active_count() == before


def test_trace_and_decisions_tell_what_was_started_ahead() -> None:
    engine = make_engine(min_steps=4, max_steps=4, accept_prob=1.0, critic_ms=5.0, verdict_ms=4.0)
    request = engine.submit(spec(speculation="depth"))
    assert events(engine, request)[-1]["outcome"] == "finished"
    trace = engine.trace(request)["spans"]
    assert {span["kind"] for span in trace} == {"plan", "generate", "judge"}
    assert any(span["speculative"] and span["used"] for span in trace)
    assert all(span["queued_us"] <= span["started_us"] <= span["ended_us"] for span in trace if span["used"])
    decisions = engine.trace(request)["decisions"]
    assert any(decision["started"] for decision in decisions)
    # One for each call that was considered, as long as the reason stays the same.
    told = [(one["role"], one["step"], one["attempt"], one["reason"]) for one in decisions]
    assert len(told) == len(set(told))
    assert {one["role"] for one in decisions} == {"generator", "critic"}
    assert {one["step"] for one in decisions if one["role"] == "generator" and one["started"]} == {1, 2, 3}
    engine.forget(request)
    assert code_of(engine.trace, request) == "bad_request"
    counters = engine.counters()
    assert counters["strays"] == 0
    assert counters["requests_ended"]["finished"] == 1
    engine.close()


def test_auto_tells_its_numbers() -> None:
    # Images take longer than verdicts: two judgements beside each other in one lane are no sample of their time.
    engine = make_engine(
        min_steps=4, max_steps=4, accept_prob=1.0, generator_ms=10.0, critic_ms=5.0, verdict_ms=4.0
    )
    for _ in range(3):
        request = engine.submit(spec(speculation="auto"))
        assert events(engine, request)[-1]["outcome"] == "finished"
    last = engine.trace(request)["decisions"][-1]
    assert last["reason"]
    assert 0.5 < last["p"] <= 1.0
    assert last["others"] == 0
    assert last["undisturbed"] == 1.0
    assert last["verdict_us"] >= 3000
    assert last["generate_us"] >= 3000
    assert last["critic_slowdown"] is None or last["critic_slowdown"] >= 1.0
    assert sum(engine.counters()["decisions"].values()) > 0
    engine.close()


def test_scanners_read_streams() -> None:
    answer = (
        b'<think>two</think><answer>{"execution_plan": ['
        b'{"step_number": 1, "step_name": "a", "prompt": "p\xc3\xa9"}, {"step_number": 2, "step_name": "b"'
    )
    scanner = _core.PlanScanner(25, 1)
    for byte in answer:
        scanner.feed(bytes([byte]))
    assert [step["prompt"] for step in scanner.closed()] == ["pé"]
    plan = scanner.finish()
    assert (len(plan["steps"]), plan["truncated"], plan["violated"], plan["reasoning"]) == (
        1,
        True,
        False,
        "two",
    )
    verdict = _core.VerdictScanner()
    verdict.feed(b'<answer>{"previous_step_success": true')
    assert verdict.accepted() is True
    assert verdict.boolean_started_at() == 34
    assert verdict.finish()["previous_step_success"] is True


def test_the_build_says_what_it_is() -> None:
    assert set(_core.build_info()) == {"version", "compiler", "build_type", "sanitizer"}
