"""Roles for the sequential reference loop: a pack's models at batch 1, or a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from interleave_rt import _core

from .backends.native import NativeBackend, generator_config, vlm_config
from .backends.ort import load_runtime
from .backends.scripted import Script
from .config import EngineConfig
from .errors import from_code
from .pack import Pack
from .pack.images import load_image
from .request import Options, Request
from .types import PlanStep, Verdict

if TYPE_CHECKING:
    from .request import Pixels

__all__ = ["NativeRoles", "ScriptedRoles"]


class _Roles:
    def last_input(self, request: Request) -> Pixels | None:
        return load_image(request.images[-1]) if request.images else None

    def hash_of(self, picture: Pixels) -> int:
        return _core.hash_pixels(picture)

    def seed_of(self, options: Options, kind: str, step: int, attempt: int, retry: int) -> int:
        return _core.seed_of(options.seed, getattr(_core.SeedRule, options.seeds), kind, step, attempt, retry)


class NativeRoles(_Roles):
    """The graphs of a pack, called one at a time: no scheduler, no cache, no batch, no early stop.

    Args:
        pack: Whose graphs.
        constrained: As in `EngineConfig`; an engine is compared with a reference of the same setting.
        providers: As in `EngineConfig`.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        constrained: Literal["auto", "on", "off"] = "auto",
        providers: Sequence[str] | None = None,
    ) -> None:
        load_runtime()
        config = EngineConfig(batching=False, constrained=constrained, providers=providers)
        roles = pack.manifest.roles
        assert roles.planner is not None
        assert roles.critic is not None
        assert roles.generator is not None
        try:
            self._planner = _core.NativeVlm(vlm_config(pack, roles.planner, config))
            self._critic = _core.NativeVlm(vlm_config(pack, roles.critic, config))
            self._generator = _core.NativeGenerator(generator_config(pack, roles.generator, config))
        except _core.CoreError as error:
            raise from_code(*error.args) from None
        self._texts = NativeBackend(pack).texts

    def plan(
        self, request: Request, max_steps: int, seed: int, retry: int
    ) -> tuple[Sequence[PlanStep], bool]:
        ids = self._texts.plan(request.mode, request.marked_text, len(request.images))
        images = [load_image(image) for image in request.images]
        answer = self._planner.answer(ids, images, seed, retry)
        scanner = _core.PlanScanner(max_steps, 1 if request.mode == "narrative" else 0)
        scanner.feed(answer.text)
        steps, truncated, _ = scanner.finish()
        return [_plan_step(step) for step in steps], truncated

    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:
        ids, mask = self._texts.generate(prompt)
        size = options.width, options.height
        return self._generator.generate(ids, mask, source, seed, *size, options.denoising_steps)

    def judge(
        self, before: Pixels | None, after: Pixels, original: str, used: str, seed: int, retry: int
    ) -> Verdict | None:
        ids = self._texts.judge(original, used)
        white = np.full_like(after, 255)
        answer = self._critic.answer(ids, [white if before is None else before, after], seed, retry)
        scanner = _core.VerdictScanner()
        scanner.feed(answer.text)
        verdict, start = scanner.finish(), scanner.boolean_started_at()
        if not verdict.readable or start is None:
            return None
        # The verdict token is the last one that begins at or before the boolean's first byte.
        place = max(i for i, offset in enumerate(answer.offsets) if offset <= start)
        return Verdict(verdict.accepted, answer.verdict_p[place], verdict.refined, verdict.reasoning)


class ScriptedRoles(_Roles):
    """The pure functions that the scripted lanes answer with."""

    def __init__(self, script: Script) -> None:
        self._roles = _core.ScriptedRoles(script.core())

    def plan(
        self,
        request: Request,
        max_steps: int,
        seed: int,
        retry: int,  # noqa: ARG002
    ) -> tuple[Sequence[PlanStep], bool]:
        mode = getattr(_core.PlanMode, request.mode)
        steps, truncated = self._roles.plan(request.marked_text, mode, max_steps, seed)
        return [_plan_step(step) for step in steps], truncated

    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:
        before = 0 if source is None else self.hash_of(source)
        size = options.width, options.height
        return self._roles.generate(prompt, before, seed, *size, options.denoising_steps)

    def judge(
        self,
        before: Pixels | None,
        after: Pixels,
        original: str,
        used: str,
        seed: int,
        retry: int,  # noqa: ARG002
    ) -> Verdict | None:
        before_hash = 0 if before is None else self.hash_of(before)
        verdict = self._roles.judge(original, used, before_hash, self.hash_of(after), seed)
        return Verdict(verdict.accepted, verdict.p_success, verdict.refined) if verdict.readable else None


def _plan_step(raw: _core.PlanStep) -> PlanStep:
    return PlanStep(**{name: getattr(raw, name) for name in PlanStep.__dataclass_fields__})
