"""Lanes from any `Roles`: plan, generate and judge run in Python threads, in whatever framework or place they like."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from interleave_rt import _core
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadRequestError, InterleaveError, from_code
from interleave_rt.request import Options, Request
from interleave_rt.wire import PlanStep

from . import Backend

if TYPE_CHECKING:
    from interleave_rt.roles.base import Roles

__all__ = ["OutsideBackend"]

Role = Literal["planner", "generator", "critic"]
ROLES: tuple[Role, ...] = ("planner", "generator", "critic")

_log = logging.getLogger("interleave_rt")
_POLL_MS = 50


class OutsideBackend:
    """Runs the calls of an engine on `roles`, which must be safe to call from `capacity` threads a role.

    A method of the roles may take these keyword arguments, and is given them if it does: `cancelled`, a callable
    that says whether the call should be given up (it may then raise anything, or return anything); of `plan` also
    `on_step`, to be called with each step as soon as it can be read.

    Args:
        roles: The three models; see `interleave_rt.roles.base.Roles`.
        capacity: Calls of one role at once.
        device: Lanes with equal names slow each other.
        serves: The roles that get a lane here.
        beside: A backend that adds its own lanes as well. A role that both serve runs on either.
        lossless: `bitwise` where equal calls give equal bits, else `replay`.
        lease_s: When the worker's threads are silent for that long, their calls are lost and run again elsewhere.
        longest_call_s: A call that takes longer counts as hung: its lease is no longer kept.
        name: For results and messages.

    Example:
        >>> from interleave_rt import Engine
        >>> from interleave_rt.backends.scripted import Script
        >>> from interleave_rt.roles.scripted import ScriptedRoles
        >>> with Engine(OutsideBackend(ScriptedRoles(Script(max_steps=1, min_steps=1)))) as engine:
        ...     engine.run("a circle").outcome
        'finished'
    """

    def __init__(
        self,
        roles: Roles,
        *,
        capacity: int = 1,
        device: str = "outside",
        serves: Sequence[Role] = ROLES,
        beside: Backend | None = None,
        lossless: Literal["bitwise", "replay"] = "bitwise",
        lease_s: float = 10.0,
        longest_call_s: float = 600.0,
        name: str = "outside",
    ) -> None:
        if capacity < 1:
            raise BadRequestError(f"[OutsideBackend] capacity is {capacity}: give 1 or more")
        if unknown := sorted(set(serves) - set(ROLES)):
            raise BadRequestError(f"[OutsideBackend] {unknown[0]!r} is no role: {', '.join(ROLES)}")
        self.roles, self.capacity, self.device, self.serves = roles, capacity, device, tuple(serves)
        self.beside, self.lossless, self.name = beside, lossless, name
        self.lease_s, self.longest_call_s = lease_s, longest_call_s
        self._crews: list[_Crew] = []

    def info(self) -> Mapping[str, str]:
        """Name and promise; the weaker promise of the two where another backend works beside this one."""
        beside = dict(self.beside.info()) if self.beside else {"version": "0"}
        bitwise = self.lossless == "bitwise" and beside.get("lossless", "bitwise") == "bitwise"
        return {**beside, "name": self.name, "lossless": "bitwise" if bitwise else "replay"}

    def check(self, options: Options) -> None:
        """What the backend beside this one refuses; the roles refuse call by call."""
        if self.beside:
            self.beside.check(options)

    def attach(self, core: _core.Engine, config: EngineConfig) -> None:
        """Adds a lane for each role that is served, and starts its threads; they end with the engine."""
        if self.beside:
            self.beside.attach(core, config)
        try:
            for role in self.serves:
                lane = _core.add_external_lane(
                    core, role, self.capacity, self.device, f"{self.name} {role}", self.lease_s,
                    self.lossless == "bitwise",
                )  # fmt: skip
                self._crews.append(_Crew(lane, self.roles, self.capacity, self.lease_s, self.longest_call_s))
        except _core.CoreError as error:
            raise from_code(*error.args) from None

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        """Texts of the backend beside this one: roles get theirs as they are."""
        if self.beside:
            self.beside.encode(core, job)
        else:
            core.fail_text(job.id, "internal", "[OutsideBackend.encode] outside roles need no encodings")

    def detach(self) -> None:
        """Waits a moment for the threads; one that hangs in its role is left behind."""
        for crew in self._crews:
            crew.join()
        self._crews.clear()
        if self.beside:
            self.beside.detach()


class _Crew:
    """The threads of one lane, and the one that keeps the leases of their calls."""

    def __init__(
        self, lane: _core.ExternalLane, roles: Roles, capacity: int, lease_s: float, longest_call_s: float
    ) -> None:
        self._lane, self._roles = lane, roles
        self._pause_s, self._longest_call_s = lease_s / 4, longest_call_s
        self._begun: dict[int, float] = {}  # calls under way
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(capacity)]
        self._threads.append(threading.Thread(target=self._keep_leases, daemon=True))
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Once the lane is closed."""
        for thread in self._threads:
            thread.join(timeout=1.0)

    def _keep_leases(self) -> None:
        while not self._lane.closed:
            now = time.monotonic()
            for call, begun in list(self._begun.items()):
                if now - begun <= self._longest_call_s:
                    self._lane.progress(call)
            # In short pieces: an engine that is closed must not wait for the next sign of life.
            until = now + self._pause_s
            while not self._lane.closed and time.monotonic() < until:
                time.sleep(min(0.02, self._pause_s))

    def _work(self) -> None:
        while not self._lane.closed:
            calls, _ = self._lane.poll(_POLL_MS, 1)
            for call in calls:
                self._begun[call["id"]] = time.monotonic()
                try:
                    self._run(call)
                finally:
                    del self._begun[call["id"]]

    def _run(self, call: Mapping[str, Any]) -> None:
        key: int = call["id"]

        def cancelled() -> bool:
            return not self._lane.wanted(key)

        try:
            if not cancelled():
                finish = getattr(self, f"_{call['role']}")(call, cancelled)
                if not cancelled():
                    finish()
                    return
        except Exception as error:  # noqa: BLE001 - whatever a role raises is the end of its call
            if not cancelled():
                _log.debug("a call failed outside", exc_info=True)
                code, said = "backend_failed", f"{type(error).__name__}: {error}"
                if isinstance(error, InterleaveError):
                    code, said = error.code, error.message
                said = said.encode(
                    "utf-8", "replace"
                ).decode()  # a path in it may hold bytes that are no text
                try:
                    self._lane.fail(key, code, f"[{call['role']}] {said}")
                except (TypeError, _core.CoreError):  # a code of the role's own
                    self._lane.fail(key, "backend_failed", f"[{call['role']}] {said}")
                return
        self._lane.cancelled(key)

    def _planner(self, call: Mapping[str, Any], cancelled: Callable[[], bool]) -> Callable[[], bool]:
        def on_step(step: PlanStep) -> None:
            self._lane.step_closed(call["id"], step.as_dict())

        request = Request(call["prompt"], tuple(call["images"]))
        more = _accepted(self._roles.plan, cancelled=cancelled, on_step=on_step)
        steps, truncated = self._roles.plan(request, call["max_steps"], call["seed"], call["retry"], **more)
        return lambda: self._lane.finish_plan(call["id"], [step.as_dict() for step in steps], truncated)

    def _generator(self, call: Mapping[str, Any], cancelled: Callable[[], bool]) -> Callable[[], bool]:
        sizes = {name: call[name] for name in ("width", "height", "denoising_steps")}
        more = _accepted(self._roles.generate, cancelled=cancelled)
        (source,) = call["images"]
        made = self._roles.generate(call["prompt"], source, call["seed"], Options(**sizes), **more)
        return lambda: self._lane.finish_image(call["id"], np.ascontiguousarray(made, dtype=np.uint8))

    def _critic(self, call: Mapping[str, Any], cancelled: Callable[[], bool]) -> Callable[[], bool]:
        before, after = call["images"]
        texts = call["original_prompt"], call["prompt"]
        more = _accepted(self._roles.judge, cancelled=cancelled)
        verdict = self._roles.judge(before, after, *texts, call["seed"], call["retry"], **more)
        return lambda: self._lane.finish_verdict(call["id"], None if verdict is None else verdict.as_dict())


def _accepted(method: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Those of the offered arguments that the method has a name for."""
    names = inspect.signature(method).parameters
    return {name: value for name, value in offered.items() if name in names}
