"""How an engine is set up: limits, threads and devices. Requests carry their own options (`types.Options`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import BadRequestError

__all__ = ["EngineConfig", "ThreadBudget", "usable_cores"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits and resources of one engine; every queue and cache has a bound.

    Args:
        max_live: Requests that run at once.
        max_queued: Requests that wait beyond those; one more is refused with `OverloadedError`.
        batching: Several sequences in one planner or critic step (S8), images in generator micro-batches.
        image_bytes: Bytes of raw images that the engine holds.
        text_cache: Encoded texts that are kept.
        threads: CPU threads in all; None: the cores that this process may use.
        generator_threads: Of the generator; None: a share of `threads`.
        vlm_threads: Of planner and critic; None: a share of `threads`.
        providers: ONNX Runtime execution providers in order of preference; None: the pack's own.
        max_image_pixels: Pixels of an input image.

    Example:
        >>> EngineConfig(threads=2).budget()
        ThreadBudget(generator=1, vlm=1, separate=True)
    """

    max_live: int = 8
    max_queued: int = 64
    batching: bool = True
    image_bytes: int = 1 << 30
    text_cache: int = 4096
    threads: int | None = None
    generator_threads: int | None = None
    vlm_threads: int | None = None
    providers: Sequence[str] | None = None
    max_image_pixels: int = 16_000_000

    def __post_init__(self) -> None:
        for name, low in (
            ("max_live", 1),
            ("max_queued", 0),
            ("image_bytes", 1 << 20),
            ("text_cache", 1),
            ("threads", 1),
            ("generator_threads", 1),
            ("vlm_threads", 1),
            ("max_image_pixels", 1),
        ):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < low):
                raise BadRequestError(
                    f"[EngineConfig] {name} is {value!r}: a whole number from {low} on is wanted"
                )

    def budget(self) -> ThreadBudget:
        """Threads of the lanes, and whether they can count as separate devices."""
        cores = self.threads or usable_cores()
        vlm = self.vlm_threads or max(1, min(cores // 4, cores - (self.generator_threads or 1)))
        generator = self.generator_threads or max(1, cores - vlm)
        return ThreadBudget(generator, vlm, separate=generator + vlm <= cores)


@dataclass(frozen=True, slots=True)
class ThreadBudget:
    """CPU threads of the generator, and of planner and critic, which share theirs."""

    generator: int
    vlm: int
    separate: bool

    @property
    def generator_device(self) -> str:
        """Equal device names mean that lanes slow each other."""
        return "cpu:0" if self.separate else "cpu"

    @property
    def vlm_device(self) -> str:
        """The device of planner and critic."""
        return "cpu:1" if self.separate else "cpu"


def usable_cores() -> int:
    """Cores that this process may use (its affinity where the system tells, else all)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
