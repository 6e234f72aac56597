"""The engine's promises, over scripted roles: order, losslessness, cancelling, deadlines, limits, threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import picture, refused, wait_until
from PIL import Image

from interleave_rt import (
    BackendFailedError,
    BadRequestError,
    CancelledError,
    ClosedError,
    DeadlineError,
    Engine,
    LimitExceededError,
    Options,
    OverloadedError,
    Request,
    _core,
)
from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.config import EngineConfig
from interleave_rt.pack.images import encode_png
from interleave_rt.roles.reference import run_reference
from interleave_rt.roles.scripted import ScriptedRoles

QUICK = Script(planner_ms=4, first_step_ms=1, generator_ms=3, critic_ms=3, verdict_ms=1, accept_prob=0.5)
SLOW = Script(
    planner_ms=2, first_step_ms=1, generator_ms=60, critic_ms=60, min_steps=6, max_steps=6, accept_prob=1.0
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(ScriptedBackend(QUICK)) as made:
        yield made


@pytest.fixture
def slow() -> Iterator[Engine]:
    with Engine(ScriptedBackend(SLOW), EngineConfig(max_live=2, max_queued=1)) as made:
        yield made


def idle(engine: Engine) -> bool:
    gc.collect()
    return engine.counters()["live"] == 0


def reference(script: Script, request: Request | str, options: Options) -> dict:
    asked = Request(request) if isinstance(request, str) else request
    return run_reference(asked, options, ScriptedRoles(script))


# ---- the laws


@pytest.mark.parametrize("speculation", ["off", "auto", "depth=3"])
def test_results_equal_the_sequential_loop(engine, speculation):
    for seed in range(16):
        options = Options(
            seed=seed,
            t_max=1 + seed % 5,
            speculation=speculation,
            judge_last=seed % 3 == 0,
            keep=("last", "best")[seed % 2],
            seeds=("counter", "reference")[seed % 4 == 1],
        )
        result = engine.run(f"request {seed}", options=options)
        assert result.outcome == "finished"
        assert result.canonical() == reference(QUICK, f"request {seed}", options)
        if options.seeds == "reference":
            seeds = [{attempt.seed for attempt in step.attempts} for step in result.steps]
            assert seeds == [{1000 * index} for index in range(len(seeds))]


def test_unreadable_answers_and_text_only_steps_equal_the_sequential_loop():
    script = Script(
        generator_ms=1, critic_ms=1, min_steps=1, max_steps=4, accept_prob=0.4, text_only_prob=0.2,
        unreadable_plan_prob=0.3, violated_plan_prob=0.4, unreadable_verdict_prob=0.3, unreadable_refined_prob=0.3, seed=5,
    )  # fmt: skip
    failed = 0
    with Engine(ScriptedBackend(script)) as engine:
        for seed in range(30):
            options = Options(seed=seed, t_max=3, keep=("last", "best")[seed % 2], speculation="depth=2")
            try:
                wanted = reference(script, "x", options)
            except BackendFailedError:
                failed += 1
                with refused(BackendFailedError, "unreadable, twice"):
                    engine.run("x", options=options)
                continue
            assert engine.run("x", options=options).canonical() == wanted
    assert 0 < failed < 15


def test_input_images_are_the_first_source(engine):
    request = Request("go on", (picture(),))
    result = engine.run(request, seed=3)
    assert result.canonical() == reference(QUICK, request, Options(seed=3))
    assert result.canonical() != engine.run("go on", seed=3).canonical()
    assert np.array_equal(result.inputs[0], picture())


def test_events_come_in_the_order_of_the_sequential_program(engine):
    for seed in range(6):
        *events, end = engine.stream("a story", seed=seed, speculation="depth=3")
        assert [event.kind for event in (*events, end)].count("finished") == 1
        planned = [event.index for event in events if event.kind == "plan_step"]
        assert planned == list(range(len(planned)))
        step, attempt = 0, 0
        for event in events:
            if event.kind == "attempt_image":
                assert (event.index, event.attempt.number) == (step, attempt + 1)
                assert event.attempt.verdict is None
                assert event.attempt.pixels is not None
                attempt += 1
            elif event.kind == "verdict":
                assert (event.index, event.attempt) == (step, attempt)
            elif event.kind == "step_committed":
                assert (event.index, len(event.step.attempts)) == (step, attempt)
                step, attempt = step + 1, 0
        assert step == len(end.result.steps) == len(planned)


def test_pixels_hash_to_what_the_result_says(engine):
    for step in engine.run("x", seed=2).steps:
        for attempt in step.attempts:
            assert _core.hash_pixels(attempt.pixels) == attempt.image_hash
            with pytest.raises(ValueError, match="WRITEABLE"):
                attempt.pixels.setflags(write=True)
        assert any(attempt.pixels is step.pixels for attempt in step.attempts)


def test_the_trace_accounts_for_every_call(engine):
    result = engine.run("x", seed=4, speculation="depth=2")
    made = {(s.step, s.attempt) for s in result.trace if s.kind == "generate" and s.used}
    wanted = {(i, a.number) for i, step in enumerate(result.steps) for a in step.attempts}
    assert made == wanted
    assert all(0 <= s.queued_us <= s.started_us <= s.ended_us for s in result.trace)
    ahead = result.speculation
    assert ahead.started == ahead.used + ahead.wasted == sum(s.speculative for s in result.trace)
    assert result.timings.first_step_s <= result.timings.first_image_s <= result.timings.total_s


# ---- readers, ends and limits


def test_a_handle_replays_its_events_to_every_reader(engine):
    handle = engine.submit("x", seed=1)
    seen: list[list[str]] = []
    threads = [threading.Thread(target=lambda: seen.append([e.kind for e in handle])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(seen) == 4
    assert all(kinds == [event.kind for event in handle] for kinds in seen)
    assert handle.result() is handle.result()
    with pytest.raises(IndexError):
        handle.event(10_000)


def test_many_threads_share_an_engine(engine):
    wrong = []

    def work(first: int) -> None:
        for seed in range(first, first + 5):
            result = engine.run(f"t{seed}", seed=seed, speculation="auto")
            if result.canonical() != reference(QUICK, f"t{seed}", Options(seed=seed)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []


def test_cancelling_keeps_a_prefix_and_takes_one_quantum(slow):
    handle = slow.submit("x", seed=1)
    next(event for event in handle if event.kind == "step_committed" and event.index == 1)
    asked = time.monotonic()
    slow.cancel(handle)
    with pytest.raises(CancelledError) as caught:
        handle.result(10)
    assert time.monotonic() - asked < 0.5
    partial = caught.value.partial
    assert partial.outcome == "cancelled"
    assert 2 <= len(partial.steps) < SLOW.max_steps
    full = reference(SLOW, "x", Options(seed=1))
    assert partial.canonical()["steps"] == full["steps"][: len(partial.steps)]
    handle.cancel()  # after the end: no effect


def test_a_deadline_ends_the_request_with_what_it_has(slow):
    with pytest.raises(DeadlineError) as caught:
        slow.run("x", deadline_s=0.2, speculation="off")
    partial = caught.value.partial
    assert partial.outcome == "deadline"
    assert 1 <= len(partial.steps) < SLOW.max_steps
    assert 0.15 < partial.timings.total_s < 1.0
    end = list(slow.stream("x", deadline_s=0.05))[-1]  # a stream does not raise but tells
    assert (end.outcome, end.error.code, end.result.outcome) == ("deadline", "deadline", "deadline")


def test_one_request_too_many_is_refused_at_once(slow):
    handles = [slow.submit(f"x{i}") for i in range(3)]
    asked = time.monotonic()
    with refused(OverloadedError, hint="max_queued"):
        slow.submit("one more")
    assert time.monotonic() - asked < 0.5
    for handle in handles:
        handle.cancel()
        assert handle.finished(10).outcome == "cancelled"
    assert slow.run("now there is room", max_steps=1, t_max=1).outcome == "finished"


def leave_a_stream(engine: Engine) -> None:
    next(event for event in engine.stream("x") if event.kind == "plan_step")


def drop_a_handle(engine: Engine) -> None:
    engine.submit("x")


def leave_an_asynchronous_stream(engine: Engine) -> None:
    async def scenario() -> None:
        async for _ in engine.astream("y"):
            break

    asyncio.run(scenario())


def cancel_a_coroutine(engine: Engine) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(engine.arun("x"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def close_a_loop(engine: Engine) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(engine.astream("x").__anext__())
    loop.close()


@pytest.mark.parametrize(
    "leave",
    [leave_a_stream, drop_a_handle, leave_an_asynchronous_stream, cancel_a_coroutine, close_a_loop],
)
def test_a_request_that_nobody_waits_for_gives_its_place_free(slow, leave):
    for _ in range(4):
        leave(slow)
        wait_until(lambda: idle(slow), 5)
    assert slow.run("next", max_steps=1, t_max=1).outcome == "finished"
    assert asyncio.run(slow.arun("and with asyncio", max_steps=1, t_max=1)).outcome == "finished"


def test_waiting_has_a_timeout_and_the_request_goes_on(slow):
    handle = slow.submit("x", max_steps=1)
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    assert handle.result(10).outcome == "finished"


def test_drain_refuses_new_requests_and_waits_for_the_old(slow):
    results = []
    handle = slow.submit("x", max_steps=2)
    reader = threading.Thread(target=lambda: results.append(handle.result()))
    reader.start()
    assert slow.drain(0.01) is False
    with pytest.raises(OverloadedError):
        slow.submit("y")
    assert slow.drain(20) is True
    reader.join(5)
    assert results[0].outcome == "finished"


def test_close_ends_what_waits_and_pictures_stay():
    engine = Engine(ScriptedBackend(SLOW))
    result = engine.run("x", max_steps=1)
    handle = engine.submit("y")
    failures = []

    def wait() -> None:
        with pytest.raises(CancelledError) as caught:
            handle.result()
        failures.append(caught.value.code)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.05)
    engine.close()
    engine.close()
    waiting.join(10)
    assert failures == ["cancelled"]
    copy = result.steps[0].pixels.copy()
    del engine
    gc.collect()
    assert np.array_equal(result.steps[0].pixels, copy)


def test_a_failing_role_is_a_backend_error_with_what_was_committed():
    with Engine(ScriptedBackend(Script(generator_ms=1, critic_ms=1, failing_prob=1.0))) as engine:
        with pytest.raises(BackendFailedError) as caught:
            engine.run("x")
        assert caught.value.partial.steps == ()
        assert caught.value.partial.outcome == "failed"


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda engine: engine.run(" "), "empty"),
        (lambda engine: engine.submit(Request("x"), images=[picture()]), "twice"),
        (lambda engine: engine.submit("x", colour="red"), "no option"),
        (lambda engine: engine.submit("x", images=["gone.png"]), "gone.png"),
        (lambda engine: Engine.load(thread=1), "no field 'thread'"),
    ],
)
def test_wrong_input_never_reaches_a_lane(engine, act, says):
    with refused(BadRequestError, says):
        act(engine)
    assert idle(engine)


# ---- asyncio


def test_asyncio_twins(engine, slow):
    async def scenario() -> None:
        result = await engine.arun("x", seed=1)
        assert result.canonical() == engine.run("x", seed=1).canonical()
        kinds = [event.kind async for event in engine.astream("x", seed=1)]
        # in which order events of different lanes come is a matter of timing
        assert sorted(kinds) == sorted(event.kind for event in engine.stream("x", seed=1))
        drawn = await engine.arun("go on", [picture()], seed=2)
        assert drawn.canonical() == engine.run("go on", [picture()], seed=2).canonical()
        with pytest.raises(DeadlineError):
            await slow.arun("z", deadline_s=0.05)

    asyncio.run(scenario())


def test_any_number_of_coroutines_wait_without_a_thread():
    script = Script(planner_ms=2, first_step_ms=1, generator_ms=2, critic_ms=2, min_steps=1, max_steps=1)

    async def scenario(engine: Engine) -> float:
        before = threading.active_count()
        runs = [asyncio.create_task(engine.arun(f"x{seed}", seed=seed)) for seed in range(200)]
        slowest = 0.0
        while not all(run.done() for run in runs):
            asked = time.perf_counter()
            await asyncio.to_thread(lambda: None)
            slowest = max(slowest, time.perf_counter() - asked)
            await asyncio.sleep(0.005)
        assert threading.active_count() <= before + 1 + 8  # the pump, and to_thread's own
        for seed, run in enumerate(runs):
            assert run.result().canonical() == engine.run(f"x{seed}", seed=seed).canonical()
        return slowest

    with Engine(ScriptedBackend(script), EngineConfig(max_queued=200)) as engine:
        # the better of two: machines hiccup
        assert min(asyncio.run(scenario(engine)) for _ in range(2)) < 0.05
        assert idle(engine)


def test_too_many_coroutines_are_refused(slow):
    async def scenario() -> list:
        return await asyncio.gather(*(slow.arun("x", max_steps=1) for _ in range(6)), return_exceptions=True)

    ended = asyncio.run(scenario())
    assert sum(isinstance(one, OverloadedError) for one in ended) == 3
    assert sum(getattr(one, "outcome", "") == "finished" for one in ended) == 3


def test_the_seventh_coroutine_hears_as_soon_as_the_first():
    script = Script(
        planner_ms=40, first_step_ms=30, generator_ms=300, planner_cap=8, max_steps=1, min_steps=1
    )

    async def first_event(engine: Engine) -> float:
        asked = time.perf_counter()
        async for _ in engine.astream("x", max_steps=1):
            return time.perf_counter() - asked
        return float("inf")

    async def scenario(engine: Engine) -> tuple[float, float]:
        alone = await first_event(engine)
        others = [asyncio.create_task(engine.arun(f"x{i}")) for i in range(6)]
        await asyncio.sleep(0.1)
        seventh = await first_event(engine)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return alone, seventh

    with Engine(ScriptedBackend(script)) as engine:
        alone, seventh = asyncio.run(scenario(engine))
    assert seventh < alone * 1.1 + 0.02


def test_closing_ends_coroutines_that_wait():
    async def scenario(engine: Engine) -> str:
        task = asyncio.create_task(engine.arun("x"))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(engine.close)
        with pytest.raises(CancelledError) as caught:
            await task
        return caught.value.partial.outcome

    assert asyncio.run(scenario(Engine(ScriptedBackend(SLOW)))) == "cancelled"


def test_closing_waits_for_pictures_that_are_read_and_refuses_later_ones(monkeypatch):
    reading, go_on = threading.Event(), threading.Event()

    def slowly(image: Any, **limits: Any) -> Any:
        reading.set()
        assert go_on.wait(20)
        return image

    monkeypatch.setattr("interleave_rt.engine.load_image", slowly)

    async def scenario(engine: Engine) -> None:
        asked = asyncio.create_task(engine.arun("x", [picture()]))
        await asyncio.to_thread(reading.wait, 20)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        await asyncio.sleep(0.1)
        assert not closing.done()
        go_on.set()
        await closing
        assert not [t for t in threading.enumerate() if t.name.startswith("interleave-rt-input")]
        for late in (asked, engine.arun("later", [picture()])):
            with pytest.raises(ClosedError, match="closed"):
                await late
        with pytest.raises(ClosedError, match="closed"):
            engine.run("later")

    asyncio.run(scenario(Engine(ScriptedBackend(SLOW))))


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": "1"}, {"seed": True}, {"seed": 1.0}, {"deadline_s": "5"}, {"deadline_s": float("nan")}, {"options": {}},
        {"deadline_s": float("inf")}, {"request": "Draw \ud800"}, {"images": ["a\0b"]}, {"images": 3},
    ],
)  # fmt: skip
def test_what_a_caller_gives_is_looked_at_and_nothing_is_kept(wrong, engine):
    with pytest.raises(BadRequestError):
        engine.run(**{"request": "x", "images": [], **wrong})
    for _ in range(3):
        with pytest.raises(BadRequestError):
            engine.run("Draw \ud800", [picture()])
    assert engine.counters()["images"] == 0


def test_marks_are_read_in_letters_of_either_case(engine):
    given = Request("Look: <IMAGE> and <Image>, add a star", [picture(), picture(1)])
    assert given.marked_text == "Look: <image> and <image>, add a star"
    assert engine.run(given).request == given.marked_text
    with refused(BadRequestError, "1 <image> mark for 0 images"):
        Request("a <IMAGE>")


def test_numbers_of_numpy_and_a_single_picture_are_taken(engine):
    assert engine.run("x", seed=np.int64(3), t_max=np.int32(2)).options.seed == 3
    for images in (picture(), Image.fromarray(picture()), encode_png(picture())):
        assert len(engine.run("x", images).inputs) == 1
    assert EngineConfig(max_live=np.int64(3)).max_live == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_live": 2**31}, {"threads": 5000}, {"critic_slowdown": "x"}, {"critic_slowdown": float("inf")},
        {"generator_rate": "x"}, {"lane_grace_s": float("inf")}, {"max_queued": 1e3},
    ],
)  # fmt: skip
def test_a_configuration_has_finite_numbers_and_ceilings(wrong):
    with pytest.raises(BadRequestError):
        EngineConfig(**wrong)
    with pytest.raises(BadRequestError):
        Engine(ScriptedBackend(Script(planner_ms=float("inf"))))


def test_a_text_that_cannot_fit_is_refused_before_it_is_read():
    with Engine.load() as engine:
        with pytest.raises(LimitExceededError, match="the planner can read"):
            engine.submit("draw a red circle and " * 40_000)
        assert engine.counters()["text_requests"] == 0
