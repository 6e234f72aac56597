"""The one training loop: budget, learning rate, checkpoints and records. A part gives it batches, a loss and measures."""

from __future__ import annotations

import logging
import math
import random
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import load_state, save_state
from .optim import Ema, Optimizers, decay
from .record import Record

__all__ = ["Part", "Schedule", "train"]

log = logging.getLogger(__name__)

_SMOOTHING = 0.02  # weight of the newest loss in the average that is logged


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a part is trained when nobody says otherwise.

    Args:
        iterations: Length of the run; the learning rate follows it (`warmup`, `hold`, `floor`: see `optim.decay`).
        every: Iterations between two checkpoints, each with its measures.
        log_every: Iterations between two losses in the record; None: as `every`.
        clip: Largest norm of the gradients; None leaves them as they are.
    """

    iterations: int
    every: int
    warmup: int
    hold: float
    floor: float = 0.03
    clip: float | None = 1.0
    log_every: int | None = None


class Part(ABC):
    """A model in training. The constructor seeds torch before anything is drawn from it."""

    name: str
    schedule: Schedule
    module: nn.Module
    """All that a checkpoint keeps, auxiliary heads included."""
    optimizers: Optimizers
    ema: Ema[Any] | None = None
    """Follows its model after every update, where a part sets it in `begin`."""

    def __init__(self, out: Path, seed: int, offset: int, **arguments: Any) -> None:
        self.out = out
        self.arguments = {"out": out, "seed": seed, **arguments}
        """For the record."""
        torch.manual_seed(seed)
        self.rng = random.Random(seed + offset)

    def running(self) -> AbstractContextManager[None]:
        """What holds while it is trained and measured."""
        return nullcontext()

    def begin(self) -> None:  # noqa: B027
        """Called once, before a checkpoint is read: what follows the model is made here. Draws nothing at random."""

    def start(self) -> None:  # noqa: B027
        """Called once where a run does not go on from a checkpoint: draws what there must be before the first batch."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights, optimisers, `ema` and random numbers: drawn, and not yet learned."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take back what `state` gave."""

    @abstractmethod
    def loss(self, iteration: int, iterations: int) -> tuple[Tensor, Tensor]:
        """The loss of the next batch of so many, and what is logged of it."""

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


def train(
    part: Part,
    *,
    iterations: int | None = None,
    every: int | None = None,
    minutes: float | None = None,
    anneal: bool = False,
    resume: bool = False,
) -> dict[str, float]:
    """Train a part to the end of its budget; returns the figures of the finished model.

    Args:
        part: What is trained.
        iterations: Instead of the schedule's.
        every: Instead of the schedule's.
        minutes: It ends early after this time; `resume` goes on.
        anneal: The learning rate falls with these minutes, too: what they leave is finished, though not reproducible.
        resume: Go on from the last checkpoint, where there is one: with the same weights, to the bit, as a run that
            was never interrupted.
    """
    schedule, out = part.schedule, part.out
    iterations, every = iterations or schedule.iterations, every or schedule.every
    budget = {
        "iterations": iterations,
        "every": every,
        "minutes": minutes,
        "anneal": anneal,
        "resume": resume,
    }
    part.begin()
    done, state = load_state(out, part.module, part.optimizers, part.rng) if resume else (0, {})
    # Becomes a tensor that is seldom looked at: every look waits for the device.
    average: Tensor | float = 0.0
    if done:
        average = state["average"]
        part.restore(state["part"])
        if part.ema is not None:
            part.ema.load_state_dict(state["ema"])
    else:
        part.start()
    record = Record(out, part.arguments | budget, done)

    def keep() -> None:
        ema = None if part.ema is None else part.ema.state_dict()
        more = {"average": float(average), "part": part.state(), "ema": ema}
        save_state(out, part.module, part.optimizers, part.rng, done, more)

    begins = time.monotonic()
    ends = math.inf if minutes is None else begins + 60 * minutes

    def rate(done: int) -> float:
        told = schedule.warmup, schedule.hold, schedule.floor
        factor = decay(done, iterations, *told)
        if not anneal or minutes is None:
            return factor
        passed = int(iterations * (time.monotonic() - begins) / (60 * minutes))
        return min(factor, decay(max(passed, schedule.warmup), iterations, *told))

    with part.running():
        while done < iterations and time.monotonic() < ends:
            loss, shown = part.loss(done, iterations)
            part.optimizers.step(loss, rate(done), schedule.clip)
            if part.ema is not None:
                part.ema.update()
            average = average + _SMOOTHING * (shown.detach().double() - average)
            done += 1
            if done % (schedule.log_every or every) == 0:
                log.info("%s %d/%d loss %.4f", part.name, done, iterations, float(average))
                record.log(done, loss=float(average))
            if done % every == 0:
                measured = part.measure()
                log.info("%s %d/%d %s", part.name, done, iterations, measured)
                record.log(done, **measured)
                keep()
                part.save()
        if done < iterations:
            log.info("%s stops after %s minutes", part.name, minutes)
            keep()
        part.finish()
        result = part.measure_finished()
    log.info("%s done %s", part.name, result)
    record.log(done, **result)
    record.close()
    return result
