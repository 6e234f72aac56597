"""How an engine is set up: limits, threads and devices. Requests carry their own options (`Options`)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .cgroups import cpu_quota
from .checks import one_of, switch, whole, within
from .errors import BadRequestError
from .placement import RESIDENCIES, Residency, bytes_of

_MOST = 1_000_000_000
_MOST_THREADS = 1024


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits and resources of one engine; every queue and cache has a bound.

    Args:
        max_live: Requests that run at once, those included that have ended and were not read to their end.
        max_queued: Requests that wait beyond those; one more is refused with `OverloadedError`.
        batching: Several sequences in one planner or critic step at once, images in generator micro-batches.
        image_bytes: Bytes of raw images that the engine holds. From half of it on, requests beside each other
            wait for room: only the one goes on whose reader waits for it, or, up to three quarters, the oldest.
            A picture that is read may take the store beyond the limit, by what its request needs alone.
        record_bytes: Bytes of the pictures in the record of one request (`Result.calls`: what roles outside the graphs have
            answered). Beyond that the oldest are dropped from it; their hashes are kept.
        text_cache: Encoded texts that are kept.
        max_unforgotten: Ended requests whose trace was not taken yet; one more submission is refused with
            `OverloadedError`.
        lane_grace_s: How long a request waits for a role whose lane is gone, before it fails.
        vision_cache: Pictures whose features planner and critic keep, each.
        latent_cache: Source pictures whose latents the generator keeps.
        threads: CPU threads in all; None: the cores that this process may use.
        generator_threads: Of the generator; None: a share of `threads`.
        vlm_threads: Of planner and critic; None: a share of `threads`.
        providers: ONNX Runtime execution providers in order of preference; None: the pack's own.
        max_image_pixels: Pixels of an input image.
        critic_slowdown: How many times as long a verdict takes while an image is made on the same device (a
            calibration); None: learned from finished calls.
        generator_rate: Speed of the generator, of its own alone, while a verdict is written on the same device; None:
            learned.
        draft_tokens: Tokens of answers that a step of planner or critic guesses from what was said before and verifies
            at once; 0: none. No result changes: it is done where the pack's graphs are proved to give equal bits
            however they are called, and with `batching`.
        constrained: Answers of planner and critic follow a grammar while they are decoded: `on` (an error without
            llguidance), `off`, or `auto`: where llguidance is installed. It can change a result, where an answer
            would not have been readable in full; `Result.pack["constrained"]` says which it was.
        max_memory: Of each device that roles in PyTorch run on, e.g. `12GB`: what it may hold. The quickest
            `residency` that keeps to it is chosen, by prediction. None: what is free.
        residency: Which weights of such roles are on their device at once: one of `placement.RESIDENCIES`, from
            `keep` (all) to `stream` (some layers). None: `keep`, or with `max_memory` whichever is the quickest.
        switch_interval_ms: While the engine lives, a Python thread that computes gives the GIL to one that
            waits after this long (Python's own: 5), because texts are encoded in Python and lanes wait for
            them. It holds for the whole process (`sys.setswitchinterval`), is only ever shortened, and is put
            back by `close`. None leaves it alone.

    Example:
        >>> EngineConfig(threads=2).budget()
        ThreadBudget(generator=1, vlm=1, separate=True, why='')
    """

    max_live: int = 8
    max_queued: int = 64
    batching: bool = True
    image_bytes: int = 1 << 30
    record_bytes: int = 256 << 20
    text_cache: int = 4096
    max_unforgotten: int = 1024
    lane_grace_s: float = 10.0
    vision_cache: int = 64
    latent_cache: int = 32
    threads: int | None = None
    generator_threads: int | None = None
    vlm_threads: int | None = None
    providers: Sequence[str] | None = None
    max_image_pixels: int = 16_000_000
    critic_slowdown: float | None = None
    generator_rate: float | None = None
    draft_tokens: int = 15
    constrained: Literal["auto", "on", "off"] = "auto"
    max_memory: str | int | None = None
    residency: Residency | None = None
    switch_interval_ms: float | None = 1.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_live", 1, _MOST),
            ("max_queued", 0, _MOST),
            ("image_bytes", 1 << 20, 1 << 50),
            ("record_bytes", 0, 1 << 50),
            ("text_cache", 1, _MOST),
            ("max_unforgotten", 1, _MOST),
            ("vision_cache", 1, _MOST),
            ("latent_cache", 1, _MOST),
            ("draft_tokens", 0, _MOST),
            ("threads", 1, _MOST_THREADS),
            ("generator_threads", 1, _MOST_THREADS),
            ("vlm_threads", 1, _MOST_THREADS),
            ("max_image_pixels", 1, _MOST),
        ):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole(f"[EngineConfig] {name}", value, low, high))
        one_of("[EngineConfig] constrained", self.constrained, ("auto", "on", "off"))
        switch("[EngineConfig] batching", self.batching)
        if self.residency is not None:
            one_of("[EngineConfig] residency", self.residency, RESIDENCIES)
        if self.max_memory is not None:
            bytes_of(self.max_memory)
        within("[EngineConfig] lane_grace_s", self.lane_grace_s, 0, 1e9)
        if self.switch_interval_ms is not None:
            within("[EngineConfig] switch_interval_ms", self.switch_interval_ms, 0.01, 1000)
        if self.critic_slowdown is not None:
            within("[EngineConfig] critic_slowdown", self.critic_slowdown, 1, 1e9)
        rate = self.generator_rate
        if rate is not None and not (isinstance(rate, int | float) and 0.0 < rate <= 1.0):
            raise BadRequestError(
                f"[EngineConfig] generator_rate is {rate!r}: give a number over 0, at most 1, or None"
            )

    def for_core(self) -> dict[str, Any]:
        """What scheduler and driver are told."""
        names = (
            *("max_live", "max_queued", "image_bytes", "text_cache", "max_unforgotten"),
            *("critic_slowdown", "generator_rate"),
        )
        told = {name: getattr(self, name) for name in names}
        return {**told, "lane_grace_us": round(self.lane_grace_s * 1e6)}

    def budget(self) -> ThreadBudget:
        """Threads of the lanes, and whether they can count as separate devices."""
        cores = self.threads or usable_cores()
        vlm = self.vlm_threads or max(1, min(cores // 4, cores - (self.generator_threads or 1)))
        generator = self.generator_threads or max(1, cores - vlm)
        return ThreadBudget(generator, vlm, separate=generator + vlm <= cores)


@dataclass(frozen=True, slots=True)
class ThreadBudget:
    """CPU threads of the generator, and of planner and critic, which share theirs; `why` says how they were found."""

    generator: int
    vlm: int
    separate: bool
    why: str = ""

    def __str__(self) -> str:
        return f"{self.generator}+{self.vlm}" + (f": {self.why}" if self.why else "")

    @property
    def generator_device(self) -> str:
        """Equal device names mean that lanes slow each other."""
        return "cpu:0" if self.separate else "cpu"

    @property
    def vlm_device(self) -> str:
        """The device of planner and critic."""
        return "cpu:1" if self.separate else "cpu"


def usable_cores() -> int:
    """Cores that this process may use: its affinity where the system tells, else all, within the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))
