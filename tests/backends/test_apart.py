"""A role in a process of its own: the same answers as in this one, and what is left when that process goes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

import pytest

from interleave_rt import Engine, Options
from interleave_rt.backends.apart import RoleApart
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.pack import choose_pack
from interleave_rt.pack.spec import RoleSpec
from interleave_rt.runtimes import open_role

SCRIPT = "planner_ms=6,first_step_ms=2,generator_ms=2,critic_ms=2,verdict_ms=1,min_steps=2,max_steps=3,accept_prob=0.5"


def alone(role: str = "generator", script: str = SCRIPT) -> RoleApart:
    return RoleApart(open_role, role, RoleSpec.parse(f"scripted,{script}"))


def process_of(role: RoleApart) -> Any:
    return role._child._process  # noqa: SLF001 - to end it as the system would


def canonical_of(process: str) -> list[object]:
    line = f"scripted,{SCRIPT},process={process}"
    with Engine.load(choose_pack(None, planner=line, generator=line, critic=line)) as engine:
        return [engine.run(f"wish {seed}", seed=seed).canonical() for seed in range(5)]


def test_results_are_those_of_roles_in_this_process() -> None:
    assert canonical_of("own") == canonical_of("shared")


def test_a_call_that_is_not_wanted_any_more_ends_early() -> None:
    role = alone(script="generator_ms=60000,denoise_steps=10000")
    began = time.monotonic()
    try:
        role.generate("a circle", None, 1, Options(), cancelled=lambda: time.monotonic() > began + 0.2)
    except BackendFailedError:
        pass
    finally:
        role.close()
    assert time.monotonic() - began < 30


def test_a_process_that_is_killed_fails_its_call_and_the_next_call_gets_another() -> None:
    role = alone(script="generator_ms=500")

    def kill_once() -> bool:
        if process_of(role).pid == first:
            with contextlib.suppress(ProcessLookupError):  # it has been waited for since
                os.kill(first, signal.SIGKILL)
        return False

    try:
        first = process_of(role).pid
        with pytest.raises(BackendFailedError, match="process ended with -9 during the call"):
            role.generate("a circle", None, 1, Options(), cancelled=kill_once)
        picture = role.generate("a circle", None, 1, Options(), cancelled=kill_once)
        assert picture.ndim == 3
        assert process_of(role).pid != first
    finally:
        role.close()


def test_closing_ends_the_process_and_is_harmless_twice() -> None:
    role = alone()
    role.close()
    role.close()
    assert process_of(role).poll() == 0


@pytest.mark.parametrize(
    ("option", "said"), [("accept_prob=7", "give 0..1"), ("no_such_option=1", "no_such_option")]
)
def test_what_cannot_be_opened_is_the_same_error_as_in_this_process(option: str, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        alone(script=option)


def test_a_place_that_is_neither_is_refused() -> None:
    line = "scripted,process=both"
    with pytest.raises(BadRequestError, match="give shared or own"):
        Engine.load(choose_pack(None, generator=line))
