"""Lanes from any `Roles`: plan, generate and judge run in Python threads, in whatever framework or place they like."""

from __future__ import annotations

import hashlib
import inspect
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from interleave_rt import _core
from interleave_rt.checks import whole
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BackendFailedError, BadRequestError, InterleaveError, from_code
from interleave_rt.pack.manifest import MOST_REFERENCES
from interleave_rt.request import Options, Request
from interleave_rt.wire import PlanStep, Verdict, WrittenPlan

from .record import Calls, CallStore, key_of

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
    `on_step`, to be called with each step as soon as it can be read; of `judge` also `on_verdict`, to be called with
    the verdict's boolean and its p(success) as soon as they are known, while the refined prompt is still written; of
    both `on_answer`, to be called with what the model wrote (bytes) and why it wrote no more (`Span.stop`), for the trace;
    of `generate` `on_cut`, to be called where the prompt is longer than the model reads (`Attempt.prompt_cut`).

    Args:
        roles: The models; see `interleave_rt.roles.base.Roles`. What does not serve a role needs no method for it.
        capacity: Calls of one role at once.
        device: Lanes with equal names slow each other.
        serves: The roles that get a lane here.
        lossless: `bitwise` where equal calls give equal bits, else `replay`. None: what `roles.info()` says under that
            name, and `replay` where it says nothing.
        lease_s: When the worker's threads are silent for that long, their calls are lost and run again elsewhere.
        longest_call_s: A call that takes longer counts as hung: its lease is no longer kept.
        name: For results and messages.
        store: Answers of earlier runs: a call that it holds is not made. The roles must say by `info()["identity"]`
            what their answers depend on.
        declines: How its planner's words begin where it cannot do what is asked; none: what `roles.declines` says.

    Example:
        >>> from interleave_rt import Engine
        >>> from interleave_rt.backends.scripted import Script
        >>> from interleave_rt.roles.scripted import ScriptedRoles
        >>> with Engine(OutsideBackend(ScriptedRoles(Script(max_steps=1, min_steps=1)))) as engine:
        ...     engine.run("a circle").outcome
        'finished'
    """

    encodes = ()
    image_sides = None
    max_text_bytes = None

    def __init__(
        self,
        roles: Roles,
        *,
        capacity: int = 1,
        device: str = "outside",
        serves: Sequence[Role] = ROLES,
        lossless: Literal["bitwise", "replay"] | None = None,
        lease_s: float = 10.0,
        longest_call_s: float = 600.0,
        name: str = "outside",
        store: CallStore | None = None,
        declines: Sequence[str] = (),
    ) -> None:
        if capacity < 1:
            raise BadRequestError(f"[OutsideBackend] capacity is {capacity}: give 1 or more")
        if unknown := sorted(set(serves) - set(ROLES)):
            raise BadRequestError(f"[OutsideBackend] {unknown[0]!r} is no role: {', '.join(ROLES)}")
        self.roles, self.capacity, self.device, self.serves = roles, capacity, device, tuple(serves)
        self.said = said = dict(roles.info()) if hasattr(roles, "info") else {}
        self.identity = said.get("identity", "")
        if store is not None and not self.identity:
            raise BadRequestError(
                f"[OutsideBackend] {name} does not say what its answers depend on, so they cannot be kept in a folder",
                hint='give the roles a method info() with "identity", or leave the folder out',
            )
        self.lossless = lossless or ("bitwise" if said.get("lossless") == "bitwise" else "replay")
        self.name, self.store = name, store
        self.references = getattr(roles, "references", 1) if "generator" in self.serves else 1
        self.declines = (
            checked_words(declines or getattr(roles, "declines", ())) if "planner" in self.serves else ()
        )
        whole(f"[{name}] references", self.references, 0, MOST_REFERENCES)
        self.lease_s, self.longest_call_s = lease_s, longest_call_s
        self._calls = Calls(0)  # until it is attached
        self._crews: list[_Crew] = []

    def info(self) -> Mapping[str, str]:
        """Name and promise; `references` where the generator does not start from just the picture before."""
        said = {"version": "0", "name": self.name, "lossless": self.lossless}
        return said if self.references == 1 else {**said, "references": str(self.references)}

    def check(self, options: Options, pictures: int) -> None:  # noqa: ARG002 - options are refused call by call
        """Raises `BadRequestError` for pictures that the generator would not see."""
        if pictures and self.references == 0:
            raise BadRequestError(
                f"[generator] {self.name} draws from the text alone: it would not see the request's "
                f"picture{'s' if pictures > 1 else ''}",
                hint="leave them out, or use a generator that edits",
            )

    def attach(self, core: _core.Engine, config: EngineConfig) -> None:
        """Adds a lane for each role that is served, and starts its threads; they end with the engine."""
        self._calls = Calls(config.record_bytes)
        try:
            for role in self.serves:
                lane = _core.add_external_lane(
                    core, role, self.capacity, self.device, f"{self.name} {role}", self.lease_s
                )
                self._crews.append(_Crew(lane, self))
        except _core.CoreError as error:
            raise from_code(*error.args) from None

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        """Roles get their texts as they are: whoever asks is mistaken."""
        core.fail_text(job.id, "internal", "[OutsideBackend.encode] outside roles need no encodings")

    def take_calls(self, request: int) -> Mapping[str, Any]:
        """What the calls of a request that has ended have answered, by `call_key`."""
        return self._calls.take(request)

    def detach(self) -> None:
        """Waits a moment for the threads; one that hangs in its role is left behind."""
        for crew in self._crews:
            crew.join()
        self._crews.clear()
        if hasattr(self.roles, "close"):
            self.roles.close()


class _Crew:
    """The threads of one lane, and the one that keeps the leases of their calls."""

    def __init__(self, lane: _core.ExternalLane, backend: OutsideBackend) -> None:
        self._lane, self._roles = lane, backend.roles
        self._calls, self._store = backend._calls, backend.store  # noqa: SLF001 - a part of the backend
        self._identity = f"{backend.name}/{backend.identity}"
        self._pause_s, self._longest_call_s = backend.lease_s / 4, backend.longest_call_s
        self._begun: dict[int, float] = {}  # calls under way
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(backend.capacity)]
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
        number: int = call["id"]

        def cancelled() -> bool:
            return not self._lane.wanted(number)

        try:
            if not cancelled():
                call = {**call, "key": key_of(call)}  # once: it reads every pixel that the call sees
                answer = self._answer(call, cancelled)
                if not cancelled():
                    self._finish(call, answer)
                    return
        except BaseException as error:  # noqa: BLE001 - whatever a role raises is the end of its call, not of the thread
            if not cancelled():
                _log.debug("a call failed outside", exc_info=True)
                code, said = "backend_failed", f"{type(error).__name__}: {error}"
                if isinstance(error, _core.CoreError):
                    code, said = error.args
                elif isinstance(error, InterleaveError):
                    code, said = error.code, error.message + (f" ({error.hint})" if error.hint else "")
                # A path in it may hold bytes that are no text.
                said = said.encode("utf-8", "replace").decode()
                try:
                    self._lane.fail(number, code, f"[{call['role']}] {said}")
                except (TypeError, _core.CoreError):  # a code of the role's own
                    self._lane.fail(number, "backend_failed", f"[{call['role']}] {said}")
                return
        self._lane.cancelled(number)

    def _answer(self, call: Mapping[str, Any], cancelled: Callable[[], bool]) -> Any:
        key = call["key"]
        if (known := self._calls.find(call["request"], key)) is not None:
            return known[0]
        make = getattr(self, f"_{call['role']}")
        told = self._calls.told(call["request"], key)
        # What was heard of a lost run must not be contradicted by an answer of somebody else's.
        if self._store is None or told:
            return make(call, cancelled)
        stored = hashlib.blake2b(f"{self._identity}/{key}".encode(), digest_size=16).hexdigest()
        if (stored_answer := self._store.begin(stored, cancelled)) is not None:
            answer, cut = stored_answer
            if cut:
                told.append(True)
            return answer
        kept = None
        try:
            answer = make(call, cancelled)
            # What a role returns once it is cancelled is anything; what cannot be read may be readable next time.
            unreadable = answer is None or (isinstance(answer, WrittenPlan) and not answer.steps)
            if not unreadable and not cancelled():
                kept = answer, call["role"] == "generator" and bool(told)
        finally:
            self._store.end(stored, cancelled, kept)
        return answer

    def _finish(self, call: Mapping[str, Any], answer: Any) -> None:
        number = call["id"]
        place = f"step {call['step'] + 1}, attempt {call['attempt']}"
        answer = self._calls.first(call["request"], call["key"], answer, place)
        if isinstance(answer, WrittenPlan):
            self._lane.finish_plan(number, answer.as_dict())
        elif call["role"] == "generator":
            if self._calls.told(call["request"], call["key"]):
                self._lane.cut_prompt(number)
            self._lane.finish_image(number, answer)
        else:
            self._lane.finish_verdict(number, None if answer is None else answer.as_dict())

    def _planner(self, call: Mapping[str, Any], cancelled: Callable[[], bool]) -> WrittenPlan:
        # Steps of a run that was lost stand: this one goes on behind them.
        told = self._calls.told(call["request"], call["key"])
        closed = 0

        def on_step(step: PlanStep) -> None:
            nonlocal closed
            closed += 1
            if closed > len(told):
                told.append(step)
            self._lane.step_closed(call["id"], told[closed - 1].as_dict())

        request = Request(call["prompt"], tuple(call["images"]))
        more = accepted(self._roles.plan, cancelled=cancelled, on_step=on_step, on_answer=self._noting(call))
        plan = self._roles.plan(request, call["max_steps"], call["seed"], call["retry"], **more)
        whole, most = (*told, *plan.steps[len(told) :]), call["max_steps"]
        return replace(plan, steps=whole[:most], truncated=plan.truncated or len(whole) > most)

    def _noting(self, call: Mapping[str, Any]) -> Callable[[bytes, str], None]:
        def on_answer(answer: bytes, stop: str) -> None:
            self._lane.wrote(call["id"], answer, stop)

        return on_answer

    def _generator(self, call: Mapping[str, Any], cancelled: Callable[[], bool]) -> Any:
        sizes = {name: call[name] for name in ("width", "height", "denoising_steps")}
        told = self._calls.told(call["request"], call["key"])

        def on_cut() -> None:
            if not told:
                told.append(True)

        more = accepted(self._roles.generate, cancelled=cancelled, on_cut=on_cut)
        *earlier, source = call["images"]
        if earlier:
            source = [*earlier, source]
        made = self._roles.generate(call["prompt"], source, call["seed"], Options(**sizes), **more)
        picture = np.array(made, dtype=np.uint8)  # a copy: the roles may use their buffer again
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise BackendFailedError(
                f"a picture has the shape {list(picture.shape)}: height x width x 3 is wanted"
            )
        return picture

    def _critic(self, call: Mapping[str, Any], cancelled: Callable[[], bool]) -> Verdict | None:
        told = self._calls.told(call["request"], call["key"])

        def on_verdict(accepted: bool, p_success: float) -> None:
            if not told:
                told.append(Verdict(bool(accepted), float(p_success)))
            said = told[0]
            self._lane.verdict_known(call["id"], said.accepted, said.p_success)

        before, after = call["images"]
        texts = call["original_prompt"], call["prompt"]
        more = accepted(
            self._roles.judge, cancelled=cancelled, on_verdict=on_verdict, on_answer=self._noting(call)
        )
        verdict = self._roles.judge(before, after, *texts, call["seed"], call["retry"], **more)
        if not told:
            return verdict
        said: Verdict = told[0]
        if verdict is None or verdict.accepted != said.accepted:
            return said
        return replace(verdict, p_success=said.p_success)


def checked_words(words: Sequence[str]) -> tuple[str, ...]:
    """Beginnings of answers: texts that are not blank, as every answer begins with nothing."""
    told = (words,) if isinstance(words, str) else tuple(words)
    for one in told:
        if not isinstance(one, str) or not one.strip():
            raise BadRequestError(
                f"[planner] declines has {one!r}: give the words with which its refusals begin"
            )
    return told


def accepted(method: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Those of the offered arguments that the method has a name for."""
    names = inspect.signature(method).parameters
    return {name: value for name, value in offered.items() if name in names}
