"""A pack's graphs as plain roles at batch 1."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from interleave_rt import _core
from interleave_rt.backends.native import NativeBackend, generator_config, native_role, vlm_config
from interleave_rt.backends.ort import load_runtime
from interleave_rt.config import EngineConfig
from interleave_rt.errors import from_code
from interleave_rt.pack import Pack
from interleave_rt.pack.images import load_image
from interleave_rt.pack.manifest import ROLES, GeneratorRole, VlmRole
from interleave_rt.request import Options, Request
from interleave_rt.wire import Verdict, WrittenPlan

from .answers import read_plan, read_verdict
from .base import SharedRules

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

_Answer = TypeVar("_Answer")


class NativeRoles(SharedRules):
    """The graphs of a pack, called one at a time (threads wait for their turn): no scheduler, no cache, no early stop.

    Args:
        pack: Whose graphs.
        roles: Which of its roles are loaded; the methods of others must not be called.
        constrained: As in `EngineConfig`; an engine is compared with a reference of the same setting.
        providers: As in `EngineConfig`.
        batching: Let `plans` answer several requests at once.
        threads: Of every role; None: as an engine has them.
    """

    def __init__(
        self,
        pack: Pack,
        roles: Sequence[str] = ROLES,
        *,
        constrained: Literal["auto", "on", "off"] = "auto",
        providers: Sequence[str] | None = None,
        batching: bool = False,
        threads: int | None = None,
    ) -> None:
        load_runtime()
        config = EngineConfig(
            batching=batching,
            constrained=constrained,
            providers=providers,
            generator_threads=threads,
            vlm_threads=threads,
        )
        self._texts = NativeBackend(pack, roles).texts
        try:
            if "planner" in roles:
                native = vlm_config(pack, native_role(pack, "planner", VlmRole), config)
                self._planner = _core.NativeVlm(native, native["slots"] if batching else 1)
            if "critic" in roles:
                self._critic = _core.NativeVlm(vlm_config(pack, native_role(pack, "critic", VlmRole), config))
            if "generator" in roles:
                generator = native_role(pack, "generator", GeneratorRole)
                self.references = generator.references
                self._generator = _core.NativeGenerator(
                    generator_config(pack, generator, config, self._texts)
                )
        except _core.CoreError as error:
            raise from_code(*error.args) from None
        self.image_sides = pack.image_sides
        self._turn = threading.Lock()  # the core's roles are not thread-safe, and let go of the GIL

    def plan(self, request: Request, max_steps: int, seed: int, retry: int) -> WrittenPlan:
        """As `Roles.plan`."""
        return self.plans([request], max_steps, seed, retry)[0]

    def plans(self, requests: Sequence[Request], max_steps: int, seed: int, retry: int) -> list[WrittenPlan]:
        """`plan` of every request, all with one seed."""
        questions = [
            (
                self._texts.plan(request.mode, request.marked_text, len(request.images)),
                [load_image(image, sides=self.image_sides) for image in request.images],
                seed,
                retry,
            )
            for request in requests
        ]
        answers = self._call(self._planner.answers, questions)
        return [
            read_plan(answer.text, request.mode, max_steps)
            for answer, request in zip(answers, requests, strict=True)
        ]

    def generate(
        self, prompt: str, source: Pixels | Sequence[Pixels] | None, seed: int, options: Options
    ) -> Pixels:
        """As `Roles.generate`."""
        sources = [] if source is None else [source] if isinstance(source, np.ndarray) else list(source)
        ids, mask, _ = self._texts.generate(prompt)
        size = options.width, options.height
        return self._call(self._generator.generate, ids, mask, sources, seed, *size, options.denoising_steps)

    def judge(
        self, before: Pixels | None, after: Pixels, original_prompt: str, prompt: str, seed: int, retry: int
    ) -> Verdict | None:
        """As `Roles.judge`."""
        ids = self._texts.judge(original_prompt, prompt)
        white = np.full_like(after, 255)
        pictures = [white if before is None else before, after]
        answer = self._call(self._critic.answer, ids, pictures, seed, retry)

        def success_p(start: int) -> float:
            # The verdict token is the last one that begins at or before the boolean's first byte.
            return answer.verdict_p[max(i for i, offset in enumerate(answer.offsets) if offset <= start)]

        return read_verdict(answer.text, success_p)

    def _call(self, ask: Callable[..., _Answer], *given: Any) -> _Answer:
        with self._turn:
            try:
                return ask(*given)
            except _core.CoreError as error:
                raise from_code(*error.args) from None
