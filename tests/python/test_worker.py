"""The text worker: what it does to the process's switch interval, and how fast it answers beside busy Python."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from interleave_rt import BadRequestError, Engine, _core
from interleave_rt.backends import tokenizer_worker
from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.backends.tokenizer_worker import SwitchInterval, TokenizerWorker
from interleave_rt.config import EngineConfig

MS = 1000


def now_ms() -> float:
    return round(sys.getswitchinterval() * MS, 3)


def engine(interval: float | None) -> Engine:
    return Engine(ScriptedBackend(Script()), EngineConfig(switch_interval_ms=interval))


@pytest.fixture(autouse=True)
def interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def test_an_engine_shortens_the_interval_while_it_lives():
    with engine(1.0):
        assert now_ms() == 1.0
    assert now_ms() == 5.0


def test_the_shortest_wish_counts_and_the_last_engine_puts_it_back():
    first, second = engine(2.0), engine(0.5)
    assert now_ms() == 0.5
    second.close()
    assert now_ms() == 2.0
    third = engine(3.0)
    assert now_ms() == 2.0
    first.close()
    assert now_ms() == 3.0
    third.close()
    assert now_ms() == 5.0
    third.close()  # again: no effect
    assert now_ms() == 5.0


def test_none_leaves_it_alone():
    with engine(None):
        assert now_ms() == 5.0


def test_it_is_never_lengthened():
    sys.setswitchinterval(0.00025)
    with engine(1.0):
        assert now_ms() == 0.25
    assert now_ms() == 0.25


def test_what_somebody_else_sets_meanwhile_stays():
    with engine(1.0):
        sys.setswitchinterval(0.003)
        with engine(0.5):
            assert now_ms() == 3.0
    assert now_ms() == 3.0


def test_values_that_python_does_not_keep_exactly_do_not_drift():
    sys.setswitchinterval(0.0002)  # 199 us: cut, not rounded
    before = sys.getswitchinterval()
    for _ in range(50):
        SwitchInterval.hold(0.00012345678)
        assert sys.getswitchinterval() < before
        SwitchInterval.release(0.00012345678)
        assert sys.getswitchinterval() == before


@pytest.mark.parametrize("value", [0, -1, 1e9, float("nan"), "1"])
def test_a_senseless_interval_is_refused(value):
    with pytest.raises(BadRequestError, match="switch_interval_ms"):
        EngineConfig(switch_interval_ms=value)


def test_many_engines_come_and_go_in_threads():
    def live(index: int) -> None:
        for turn in range(20):
            value = 0.0001 * (1 + (index + turn) % 5)
            SwitchInterval.hold(value)
            SwitchInterval.release(value)

    threads = [threading.Thread(target=live, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert now_ms() == 5.0


class Failing(ScriptedBackend):
    """Its texts cannot be encoded."""

    error: BaseException

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        raise self.error


@pytest.mark.parametrize("error", [SystemExit("it gives up"), OSError("no file \udcff"), KeyError("x")])
def test_whatever_an_encoder_raises_fails_its_text_and_no_other(error):
    backend = Failing(Script())
    backend.error = error
    with Engine(backend) as engine:
        for text in ("one", "two"):
            with pytest.raises(_core.CoreError, match=type(error).__name__):
                engine._core.encode_latencies_us([text])


class Hanging(ScriptedBackend):
    """One of its texts takes until it is let go."""

    begun: threading.Event
    let_go: threading.Event

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        if job.text == "stuck":
            self.begun.set()
            self.let_go.wait(60)
        core.finish_text(job.id, np.array([1]))


def test_a_text_that_hangs_keeps_neither_others_nor_close_waiting(monkeypatch):
    monkeypatch.setattr(tokenizer_worker, "_LOOK_S", 0.05)
    monkeypatch.setattr(tokenizer_worker, "_STUCK_S", 0.2)
    backend = Hanging(Script())
    backend.begun, backend.let_go = threading.Event(), threading.Event()
    told = []
    with Engine(backend) as engine:
        core = engine._core

        def hang() -> None:
            try:
                core.encode_latencies_us(["stuck"])
            except _core.CoreError as error:
                told.append(error.args[0])

        hangs = threading.Thread(target=hang)
        hangs.start()
        assert backend.begun.wait(30)
        assert len(core.encode_latencies_us(["other", "another"])) == 2
        assert hangs.is_alive()
    hangs.join(10)  # it was told that the engine is closed
    assert told == ["cancelled"]
    backend.let_go.set()


def test_the_thread_ends_with_the_core():
    with engine(None) as whole:
        other = _core.Engine(whole.config.for_core())
        worker = TokenizerWorker(other, whole.backend)
        worker.start()
        other.close()
        worker._thread.join(10)
        assert not worker._thread.is_alive()
