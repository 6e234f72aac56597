"""Several backends as one: each role where it is served best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interleave_rt import _core
from interleave_rt.config import EngineConfig
from interleave_rt.request import Options

from . import Backend

__all__ = ["MixedBackend"]

_ASKED_FOR = {"plan": "planner", "generate": "generator", "judge": "critic"}


class MixedBackend:
    """Adds the lanes of every backend; a role that two of them serve runs on either.

    Args:
        backends: In the order in which they are attached.
        info: What results say of the whole; the promise is the weakest of all.
        overlaps: Whether generator and critic can work at the same time.
    """

    def __init__(
        self, backends: Sequence[Backend], info: Mapping[str, str] | None = None, *, overlaps: bool = True
    ) -> None:
        self.backends, self._info, self.overlaps = tuple(backends), dict(info or {}), overlaps

    @property
    def encodes(self) -> Sequence[str]:
        """Of all backends."""
        return [role for backend in self.backends for role in backend.encodes]

    @property
    def image_sides(self) -> tuple[int, int] | None:
        """Of the backend that has the generator's graphs."""
        return next((one.image_sides for one in self.backends if one.image_sides), None)

    @property
    def max_text_bytes(self) -> int | None:
        """Of the backend that has the planner's graphs."""
        return next((one.max_text_bytes for one in self.backends if one.max_text_bytes), None)

    def info(self) -> Mapping[str, str]:
        """As given, over what the backends say; the weakest promise."""
        said = [dict(backend.info()) for backend in self.backends]
        bitwise = all(one.get("lossless") == "bitwise" for one in said)
        merged = {name: value for one in reversed(said) for name, value in one.items()}
        return {**merged, **self._info, "lossless": "bitwise" if bitwise else "replay"}

    @property
    def declines(self) -> Sequence[str]:
        """Of the backend that has the planner."""
        return [words for backend in self.backends for words in backend.declines]

    @property
    def references(self) -> int:
        """Of the backend that has the generator."""
        return next((one.references for one in self.backends if one.references != 1), 1)

    def check(self, options: Options, pictures: int) -> None:
        """What one of them refuses is refused."""
        for backend in self.backends:
            backend.check(options, pictures)

    def attach(self, core: _core.Engine, config: EngineConfig) -> None:
        """Attaches each; if one fails, the engine closes the lanes and detaches all."""
        for backend in self.backends:
            backend.attach(core, config)

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        """Texts are encoded for graphs alone: the backend that has the role's graphs is asked."""
        role = _ASKED_FOR[job.kind]
        for backend in self.backends:
            if role in backend.encodes:
                return backend.encode(core, job)
        return core.fail_text(job.id, "internal", f"[MixedBackend.encode] nobody encodes for the {role}")

    def take_calls(self, request: int) -> Mapping[str, Any]:
        """Of all backends together."""
        return {key: answer for one in self.backends for key, answer in one.take_calls(request).items()}

    def detach(self) -> None:
        """Detaches each."""
        for backend in self.backends:
            backend.detach()
