"""How long work takes on a device, and what of its memory."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["free", "peak_bytes", "synchronize", "timed", "watch_memory"]


def synchronize(device: str) -> None:
    """Waits for what a card has been told to do."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def timed(
    work: Callable[[], Any], device: str, *, seconds: float = 1.0, most: int = 30, warm: int = 2
) -> float:
    """Milliseconds of `work`, the median of runs that end after `seconds`, or `most` of them; at least three.

    On the CPU, where only the way is tried, there are no more than three. A run begins when the one before it has ended on the device, as in a loop that reads each result.
    """
    if torch.device(device).type == "cpu":
        most, warm = 3, 1
    for _ in range(warm):
        work()
    synchronize(device)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or (len(times) < most and time.perf_counter() - began < seconds):
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def free(device: str) -> None:
    """Gives back memory that nothing uses any more."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


def peak_bytes(device: str) -> int | None:
    """The most memory in use on a card since `watch_memory`; None on the CPU."""
    return torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else None


def watch_memory(device: str) -> None:
    """Begins to watch the peak."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
