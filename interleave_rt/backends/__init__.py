"""What executes the three roles.

`native`: the graphs of a pack in C++ lanes; `outside`: any `Roles` in Python; `scripted`: made-up ones; `mixed`: several
of these together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from interleave_rt import _core
from interleave_rt.config import EngineConfig
from interleave_rt.request import Options

__all__ = ["Backend"]


class Backend(Protocol):
    """What an `Engine` asks of the thing that runs the roles.

    `encodes` names the roles whose texts it turns into token ids; `image_sides` are the sides that input pictures are
    brought to, as `load_image` takes them, None: any. `max_text_bytes`: no longer text of a request can be read.
    """

    @property
    def encodes(self) -> Sequence[str]: ...

    @property
    def image_sides(self) -> tuple[int, int] | None: ...

    @property
    def max_text_bytes(self) -> int | None: ...

    @property
    def declines(self) -> Sequence[str]:
        """How its planner's words begin where it cannot do what is asked: such an answer makes a request `declined`."""

    @property
    def references(self) -> int:
        """Pictures of the story that its generator starts from at most; 0: it draws from the text alone."""

    def info(self) -> Mapping[str, str]:
        """What results say of it: name, version, lossless."""

    def check(self, options: Options, pictures: int) -> None:
        """Raises `BadRequestError` for options, or a number of input pictures, that the roles cannot serve."""

    def attach(self, core: _core.Engine, config: EngineConfig) -> None:
        """Adds one lane or more of each role."""

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        """Does one text job: called by the tokenizer worker, ends with `finish_text` or `fail_text`."""

    def take_calls(self, request: int) -> Mapping[str, Any]:
        """What the calls of a request that has ended have answered, by `record.call_key`; the backend forgets it.

        None of those that would give the same bits again.
        """

    def detach(self) -> None:
        """Called once the core is closed: ends what `attach` has begun in Python."""
