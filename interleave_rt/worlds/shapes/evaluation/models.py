"""The roles of a pack as an evaluation needs them: many plans at once, single pictures, whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np

from interleave_rt import _core
from interleave_rt.backends.native import NativeBackend, generator_config, vlm_config
from interleave_rt.backends.ort import load_runtime
from interleave_rt.config import EngineConfig, usable_cores
from interleave_rt.engine import Engine
from interleave_rt.errors import BadPackError, InterleaveError, from_code
from interleave_rt.pack import Pack
from interleave_rt.pack.images import load_image
from interleave_rt.request import Options, Request
from interleave_rt.roles.answers import read_plan
from interleave_rt.types import PlanStep, Result
from interleave_rt.worlds.shapes.scene import SIDE, Pixels

__all__ = ["Models", "NativeModels", "Plan"]

T = TypeVar("T")
Look = Callable[[int, "Result | InterleaveError"], T]

AT_ONCE = 8  # requests of whole sequences
_MOST_STEPS = 25
_MOST_THREADS = 4  # for one call: more do not help models this small


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as it could be read."""

    steps: tuple[PlanStep, ...]
    truncated: bool = False


class Models(Protocol):
    """What the rows ask for."""

    def plan(self, requests: Sequence[Request], seed: int) -> list[Plan | None]:
        """Plans without any picture; None where the answer could not be read twice, or the planner failed."""

    def paint(self, prompt: str, source: Pixels | None, seed: int, denoising_steps: int = 0) -> Pixels:
        """One picture, uint8 [height, width, 3]; 0 steps are the pack's default. Raises `InterleaveError`."""

    def run_all(self, cases: Sequence[tuple[Request, Options]], look: Look[T]) -> Iterator[T]:
        """`look(i, result or error)` of every case in order; several run at once, and `look` in their threads."""


class NativeModels:
    """A pack's graphs, loaded when first asked for.

    Raises:
        BadPackError: It lacks a role, or does not make pictures of the size of this world.
    """

    def __init__(self, pack: Pack) -> None:
        if pack.image_size != (SIDE, SIDE):
            size = "no pictures" if pack.image_size is None else "pictures of {}x{}".format(*pack.image_size)
            raise BadPackError(
                f"[eval] the pack {pack.name!r} makes {size}; those of this world have {SIDE}x{SIDE} pixels",
                hint="choose a pack that was trained in this version's world",
            )
        self.pack = pack
        self._backend = NativeBackend(pack)
        load_runtime()
        # Single calls have the machine to themselves, so no role has to leave threads to another one.
        threads = min(_MOST_THREADS, usable_cores())
        self._config = EngineConfig(generator_threads=threads, vlm_threads=threads)

    @cached_property
    def _planner(self) -> _core.NativeVlm:
        role = self.pack.manifest.roles.planner
        assert role is not None  # NativeBackend has looked
        config = vlm_config(self.pack, role, self._config)
        return _loaded(lambda: _core.NativeVlm(config, config.slots))  # so many answers at once

    @cached_property
    def _generator(self) -> _core.NativeGenerator:
        role = self.pack.manifest.roles.generator
        assert role is not None
        return _loaded(lambda: _core.NativeGenerator(generator_config(self.pack, role, self._config)))

    @cached_property
    def _engine(self) -> Engine:
        return Engine.load(self.pack, max_live=AT_ONCE)

    def plan(self, requests: Sequence[Request], seed: int) -> list[Plan | None]:
        """As `Models.plan`; the seeds are those of an engine's request with this seed."""
        found: list[Plan | None] = [None] * len(requests)
        for retry in (0, 1):
            rows = [i for i, plan in enumerate(found) if plan is None]
            for i, plan in zip(rows, self._plans([requests[i] for i in rows], seed, retry), strict=True):
                found[i] = plan
        return found

    def _plans(self, requests: Sequence[Request], seed: int, retry: int) -> list[Plan | None]:
        call_seed = _core.seed_of(seed, _core.SeedRule.counter, "plan", 0, 0, retry)
        questions = {}
        for i, request in enumerate(requests):
            try:
                ids = self._backend.texts.plan(request.mode, request.marked_text, len(request.images))
            except InterleaveError:
                continue
            questions[i] = (ids, [load_image(image) for image in request.images], call_seed, retry)
        found: list[Plan | None] = [None] * len(requests)
        try:
            answers = dict(zip(questions, self._planner.answers(list(questions.values())), strict=True))
        except _core.CoreError:
            if len(requests) > 1:  # one of them cannot be answered: the others can, alone
                return [self._plans([request], seed, retry)[0] for request in requests]
            return found
        for i, answer in answers.items():
            steps, truncated = read_plan(answer.text, requests[i].mode, _MOST_STEPS)
            if steps:
                found[i] = Plan(tuple(steps), truncated)
        return found

    def paint(self, prompt: str, source: Pixels | None, seed: int, denoising_steps: int = 0) -> Pixels:
        """As `Models.paint`."""
        ids, mask = self._backend.texts.generate(prompt)
        try:
            made = self._generator.generate(ids, mask, source, seed, 0, 0, denoising_steps)
        except _core.CoreError as error:
            raise from_code(*error.args) from None
        image: Pixels = np.asarray(made, np.uint8)
        return image

    def run_all(self, cases: Sequence[tuple[Request, Options]], look: Look[T]) -> Iterator[T]:
        """As `Models.run_all`."""
        engine = self._engine  # loaded before there are threads

        def one(index: int) -> T:
            request, options = cases[index]
            try:
                result = engine.run(request, options=options)
            except InterleaveError as error:
                return look(index, error)
            return look(index, result)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(one, range(len(cases)))

    def __enter__(self) -> NativeModels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine: Engine | None = self.__dict__.get("_engine")
        if engine is not None:
            engine.close()


def _loaded(make: Callable[[], T]) -> T:
    try:
        return make()
    except _core.CoreError as error:
        raise from_code(*error.args) from None
