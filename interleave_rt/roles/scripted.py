"""The pure functions that the scripted lanes answer with, as plain roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from interleave_rt import _core
from interleave_rt.backends.scripted import Script
from interleave_rt.request import Options, Request
from interleave_rt.wire import PlanStep, Verdict

from .base import SharedRules

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["ScriptedRoles"]


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
    ) -> tuple[Sequence[PlanStep], bool]:
        """As `Roles.plan`."""
        steps, truncated = self._roles.plan(request.marked_text, request.mode, max_steps, seed)
        return [PlanStep.from_dict(step) for step in steps], truncated

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
