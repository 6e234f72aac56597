"""How an engine ends: to its end whatever fails, and at Ctrl-C, at the end of the process and in a fork."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial

import pytest
from helpers import python, refused

from interleave_rt import BackendFailedError, Engine
from interleave_rt.backends.scripted import ScriptedBackend
from interleave_rt.backends.tokenizer_worker import TokenizerWorker
from interleave_rt.ending import END_S, Ending


@pytest.mark.parametrize("failing", ["", "core", "backend"])
def test_an_engine_ends_to_its_end_whatever_a_part_raises(failing):
    ending, done = Ending(), []

    def part(name: str) -> None:
        done.append(name)
        if name == failing:
            raise RuntimeError(name)

    for name in ("backend", "worker", "core"):
        ending.add(partial(part, name))
    if failing:
        with pytest.raises(RuntimeError, match=failing):
            ending.finish()
    ending.finish()  # the error is said once
    assert done == ["core", "worker", "backend"]


def test_ctrl_c_ends_the_wait_for_an_end_and_not_the_end():
    ending, done, gate = Ending(), [], threading.Event()
    ending.add(lambda: done.append(gate.wait()))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    main = threading.main_thread().ident
    assert main is not None
    try:
        for _ in range(2):
            threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                ending.finish()
    finally:
        signal.signal(signal.SIGINT, before)
    gate.set()
    ending.finish()
    assert done == [True]


def test_an_end_that_hangs_is_not_waited_for_longer_than_said(caplog):
    ending, gate = Ending(), threading.Event()
    ending.add(lambda: gate.wait() and None)
    ending.finish(0.01)
    assert "left behind" in caplog.text
    gate.set()
    ending.finish()


def test_an_end_may_begin_on_a_thread_that_it_joins():
    ending = Ending()
    thread = threading.Thread(target=ending.begin)
    ending.add(thread.join)
    thread.start()
    ending.finish()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        MemoryError(),
        ImportError("failed to map"),
        KeyboardInterrupt(),
    ],
)
@pytest.mark.parametrize("place", ["attach", "start"])
def test_an_engine_that_cannot_start_leaves_nothing_behind(error, place, monkeypatch):
    before = set(threading.enumerate())

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(*((ScriptedBackend, place) if place == "attach" else (TokenizerWorker, place)), fail)
    kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else BackendFailedError
    with pytest.raises(kind):
        Engine(ScriptedBackend())
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("error", "hint"),
    [(ModuleNotFoundError("No module named 'x'", name="x"), "pip install x"), (MemoryError(), "ulimit")],
)
def test_an_engine_that_cannot_start_says_what_to_do(error, hint, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ScriptedBackend, "attach", fail)
    with refused(BackendFailedError, "cannot start", hint=hint):
        Engine(ScriptedBackend())


def test_a_template_that_never_ends_does_not_hold_the_engine(monkeypatch):
    gate = threading.Event()
    with Engine.load() as engine:
        monkeypatch.setattr(engine.backend, "encode", lambda *_: gate.wait())
        engine.submit("Draw a house")
        begun = time.monotonic()
        engine.close()
        assert time.monotonic() - begun < END_S
    gate.set()


def test_a_daemon_thread_in_a_run_at_the_end_of_the_process_does_no_harm():
    said = python(
        """
import threading, time
from interleave_rt import Engine
from interleave_rt.backends.scripted import Script, ScriptedBackend
engine = Engine(ScriptedBackend(Script(generator_ms=5000)))
kept = [engine.submit("x") for _ in range(3)]
for one in kept:
    threading.Thread(target=one.finished, daemon=True).start()
threading.Thread(target=lambda: [engine.lanes() for _ in iter(int, 1)], daemon=True).start()
time.sleep(0.2)
print("over")
"""
    )
    assert said == "over\n"


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
from interleave_rt import BadRequestError, Engine, _core
from interleave_rt.backends.scripted import ScriptedBackend
engine = Engine(ScriptedBackend())
handle = engine.submit("x")
lane = _core.add_external_lane(engine._core, "planner", 1, "here", "raw", 60.0)
handle._lock.acquire()  # as if another thread read its events
child = os.fork()
if child == 0:
    calls = (lambda: engine.run("y"), lambda: engine.run("y", deadline_s=1.0), lambda: engine.submit("y"), engine.counters,
             engine.lanes, engine.drain, engine.close, handle.cancel, handle.result, lambda: next(engine.stream("y")))
    for call in calls:
        try:
            call()
        except BadRequestError as error:
            assert "forked" in str(error), error
        else:
            os._exit(3)
    for call in (lambda: lane.poll(0, 1), lambda: lane.progress(1), lambda: lane.closed, lane.counters):
        try:
            call()
        except _core.CoreError as error:
            assert "forked" in str(error), error
        else:
            os._exit(4)
    sys.exit(0)
handle._lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert handle.result().outcome == "finished"
engine.close()
"""


INTERRUPTED = """
import _thread, random, signal, sys, threading, time
from interleave_rt import Engine
from interleave_rt.backends.scripted import Script, ScriptedBackend

signal.signal(signal.SIGINT, signal.default_int_handler)
engine = Engine(ScriptedBackend(Script(generator_ms=2, critic_ms=2, min_steps=6, max_steps=6, accept_prob=0.5)))
main, rng, strikes, going = threading.main_thread().ident, random.Random(1), 0, True
ready = threading.Event()


def strike():
    ready.wait()
    while going:
        time.sleep(rng.uniform(0.0005, 0.006))
        signal.pthread_kill(main, signal.SIGINT)


def disturbed(handle):
    global strikes
    while True:
        try:
            for event in handle:
                pass
            return
        except KeyboardInterrupt:
            strikes += 1


wanted = [engine.run("x", seed=seed).canonical() for seed in range(5)]
handles = [engine.submit("x", seed=seed) for seed in range(5)]
threading.Thread(target=strike, daemon=True).start()
while True:
    try:
        ready.set()  # in here: an interrupt before would end this program
        for handle in handles:
            disturbed(handle)
        going = False
        time.sleep(0.05)
        break
    except KeyboardInterrupt:
        strikes += 1
assert [handle.result().canonical() for handle in handles] == wanted
print("strikes", strikes)
assert strikes > 5
"""


@pytest.mark.parametrize("script", [INTERRUPTED, FORKED], ids=["Ctrl-C at any moment loses no event", "fork"])
def test_in_a_process_of_its_own(script, tmp_path):
    python(script, cwd=tmp_path)
