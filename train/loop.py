"""The one training loop: budget, learning rate, checkpoints and records. A part gives it batches, a loss and measures."""

from __future__ import annotations

import logging
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import load_state, save_state
from .optim import Ema, Optimizers, decay
from .record import Record

__all__ = ["Part", "Run", "train"]

log = logging.getLogger(__name__)

_SMOOTHING = 0.02  # weight of the newest loss in the average that is logged


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How one part is trained.

    Args:
        out: Folder of its weights, checkpoint and record.
        arguments: What it was called with, for the record.
        iterations: Length of the run; the learning rate follows it (see `optim.decay`).
        minutes: It ends early after this time; `resume` goes on.
        every: Iterations between two checkpoints, each with its measures.
        log_every: Iterations between two losses in the record; None: as `every`.
        resume: Go on from the last checkpoint, where there is one.
        clip: Largest norm of the gradients; None leaves them as they are.
    """

    out: Path
    arguments: Mapping[str, Any]
    iterations: int
    every: int
    warmup: int
    hold: float
    floor: float = 0.03
    clip: float | None = 1.0
    log_every: int | None = None
    minutes: float | None = None
    resume: bool = False


class Part(ABC):
    """A model in training. The constructor seeds torch before anything is drawn from it."""

    name: str
    module: nn.Module
    """All that a checkpoint keeps, auxiliary heads included."""
    optimizers: Optimizers
    ema: Ema[Any] | None = None
    """Follows its model after every update, where a part sets it in `begin`."""

    def __init__(self, seed: int, offset: int) -> None:
        torch.manual_seed(seed)
        self.rng = random.Random(seed + offset)

    def begin(self) -> None:  # noqa: B027
        """Called once, after the checkpoint was read and before the first batch."""

    @abstractmethod
    def loss(self, iteration: int) -> tuple[Tensor, Tensor]:
        """The loss of the next batch, and what is logged of it."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Figures for the record, by their names in it."""

    def save(self) -> None:  # noqa: B027
        """Write the weights so far, beside a checkpoint."""

    @abstractmethod
    def finish(self) -> None:
        """Write the weights that are kept."""

    def measure_finished(self) -> dict[str, float]:
        """Figures of the finished model."""
        return self.measure()


def train(part: Part, run: Run) -> dict[str, float]:
    """Train a part to the end of its budget; returns the figures of the finished model."""
    done = load_state(run.out, part.module, part.optimizers, part.rng) if run.resume else 0
    record = Record(run.out, run.arguments, done)
    part.begin()
    ends = math.inf if run.minutes is None else time.monotonic() + 60 * run.minutes
    average = 0.0
    while done < run.iterations and time.monotonic() < ends:
        loss, shown = part.loss(done)
        part.optimizers.step(loss, decay(done, run.iterations, run.warmup, run.hold, run.floor), run.clip)
        if part.ema is not None:
            part.ema.update()
        average += _SMOOTHING * (float(shown.detach()) - average)
        done += 1
        if done % (run.log_every or run.every) == 0:
            log.info("%s %d/%d loss %.4f", part.name, done, run.iterations, average)
            record.log(done, loss=average)
        if done % run.every == 0:
            measured = part.measure()
            log.info("%s %d/%d %s", part.name, done, run.iterations, measured)
            record.log(done, **measured)
            save_state(run.out, part.module, part.optimizers, part.rng, done)
            part.save()
    if done < run.iterations:
        log.info("%s stops after %g minutes", part.name, run.minutes)
        save_state(run.out, part.module, part.optimizers, part.rng, done)
    part.finish()
    result = part.measure_finished()
    log.info("%s done %s", part.name, result)
    record.log(done, **result)
    record.close()
    return result
