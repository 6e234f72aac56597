"""The pure functions that the scripted lanes answer with, as plain roles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from interleave_rt import _core
from interleave_rt.backends.apart import never
from interleave_rt.backends.scripted import Script
from interleave_rt.errors import BadRequestError
from interleave_rt.request import Options, Request
from interleave_rt.wire import Verdict, WrittenPlan

from .base import SharedRules

if TYPE_CHECKING:
    from interleave_rt.request import Pixels


class ScriptedRoles(SharedRules):
    """Answers of a script, without its latencies."""

    def __init__(self, script: Script) -> None:
        self._roles = _core.ScriptedRoles(asdict(script))

    def plan(
        self,
        request: Request,
        max_steps: int,
        seed: int,
        retry: int,  # noqa: ARG002
    ) -> WrittenPlan:
        """As `Roles.plan`."""
        return WrittenPlan.from_dict(self._roles.plan(request.marked_text, request.mode, max_steps, seed))

    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:
        """As `Roles.generate`."""
        before = 0 if source is None else self.hash_of(source)
        size = options.width, options.height
        return self._roles.generate(prompt, before, seed, *size, options.denoising_steps)

    def judge(
        self,
        before: Pixels | None,
        after: Pixels,
        original_prompt: str,
        prompt: str,
        seed: int,
        retry: int,  # noqa: ARG002
    ) -> Verdict | None:
        """As `Roles.judge`."""
        before_hash = 0 if before is None else self.hash_of(before)
        verdict = self._roles.judge(original_prompt, prompt, before_hash, self.hash_of(after), seed)
        return None if verdict is None else Verdict.from_dict(verdict)


class ScriptedRole:
    """One scripted role with its latency, as a stand-in for a model: `--critic scripted,critic_ms=200,seed=3`.

    Args:
        role: `planner`, `generator` or `critic`.
        script: Fields of `Script`.

    Raises:
        BadRequestError: The script has no such field.
    """

    def __init__(self, role: str, **script: Any) -> None:
        unknown = sorted(set(script) - set(Script.__dataclass_fields__))
        if unknown:
            raise BadRequestError(
                f"[{role}] scripted roles have no option {unknown[0]!r}",
                hint="options are " + ", ".join(Script.__dataclass_fields__),
            )
        self._role, self._script = role, Script(**script)
        self._roles = ScriptedRoles(self._script)

    def info(self) -> Mapping[str, str]:
        """Equal calls give equal bits."""
        capacity = getattr(self._script, f"{self._role}_cap")
        said = {"name": "scripted", "lossless": "bitwise", "identity": repr(self._script)}
        return {**said, "capacity": str(capacity), "device": f"scripted {self._role}"}

    def plan(self, *arguments: Any, cancelled: Callable[[], bool] = never) -> WrittenPlan:
        """As `Roles.plan`, after `planner_ms`."""
        self._pause(self._script.planner_ms, cancelled)
        return self._roles.plan(*arguments)

    def generate(self, *arguments: Any, cancelled: Callable[[], bool] = never) -> Pixels:
        """As `Roles.generate`, after `generator_ms`."""
        self._pause(self._script.generator_ms, cancelled)
        return self._roles.generate(*arguments)

    def judge(self, *arguments: Any, cancelled: Callable[[], bool] = never) -> Verdict | None:
        """As `Roles.judge`, after `critic_ms`."""
        self._pause(self._script.critic_ms, cancelled)
        return self._roles.judge(*arguments)

    def _pause(self, milliseconds: float, cancelled: Callable[[], bool]) -> None:
        until = time.monotonic() + milliseconds / 1000
        while (left := until - time.monotonic()) > 0 and not cancelled():
            time.sleep(min(left, 0.02))
