"""Endless batches of examples, drawn ahead by other processes where there are any: the same batches whatever their number."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import signal
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

__all__ = ["Stream"]

Item = TypeVar("Item")
Made = TypeVar("Made")

_TOGETHER = 6
"""Batches whose examples are drawn together, so that those of similar length can share a batch."""
_AHEAD = 3
"""Groups that are asked for ahead, for each worker."""

_make_group: Callable[[int], list[Any]]


def _begin(make: Callable[[int], list[Any]]) -> None:
    global _make_group  # noqa: PLW0603
    _make_group = make
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run, and the workers with it


def _group(number: int) -> bytes:
    # Plain bytes: tensors that go through a queue by themselves hold a file descriptor each.
    return pickle.dumps(_make_group(number))


class Stream(Generic[Item, Made]):
    """Batches by the number of the iteration: each a function of the seed and that number, and of nothing else.

    Args:
        draw: Makes one example from a source of random numbers.
        length: What examples of a batch should have alike.
        pack: Makes a batch of examples.
        seed: Of everything that is drawn.
        batch: Examples in a batch.
        workers: Processes that draw ahead; 0: this one draws, when asked. They are forked by `start`, at the latest
            with the first `at`; that has to come before a card is in use.
    """

    def __init__(
        self,
        draw: Callable[[random.Random], Item],
        length: Callable[[Item], int],
        pack: Callable[[list[Item]], Made],
        *,
        seed: str,
        batch: int,
        workers: int = 0,
    ) -> None:
        self._draw, self._length, self._pack = draw, length, pack
        self._seed, self._batch, self._workers = seed, batch, workers
        self._pool: Any = None
        self._asked: deque[tuple[int, Any]] = deque()
        self._now: tuple[int, list[Made]] = (-1, [])

    def _make(self, number: int) -> list[Made]:
        rng, size = random.Random(f"{self._seed}/{number}"), self._batch
        items = sorted((self._draw(rng) for _ in range(_TOGETHER * size)), key=self._length)
        groups = [items[i : i + size] for i in range(0, len(items), size)]
        rng.shuffle(groups)
        return [self._pack(group) for group in groups]

    def start(self) -> None:
        """Fork the workers."""
        if self._workers and self._pool is None:
            self._pool = multiprocessing.get_context("fork").Pool(self._workers, _begin, (self._make,))

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
            self._pool = None
            self._asked.clear()

    def _fetch(self, number: int) -> list[Made]:
        self.start()
        if self._pool is None:
            return self._make(number)
        if self._asked and self._asked[0][0] != number:
            self._asked.clear()
        begin = self._asked[-1][0] + 1 if self._asked else number
        for wanted in range(begin, number + _AHEAD * self._workers + 1):
            self._asked.append((wanted, self._pool.apply_async(_group, (wanted,))))
        found: list[Made] = pickle.loads(self._asked.popleft()[1].get())  # noqa: S301 - our own processes
        return found

    def at(self, iteration: int) -> Made:
        """The batch of an iteration, from 0 on."""
        number, place = divmod(iteration, _TOGETHER)
        if self._now[0] != number:
            self._now = number, self._fetch(number)
        return self._now[1][place]
