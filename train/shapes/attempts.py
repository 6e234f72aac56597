"""The attempt cache: pictures of the generator with the oracle's reading, for the critic to learn from.

They are attempts at plans, at refined prompts and at single edits.
"""

from __future__ import annotations

import io
import logging
import pickle
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interleave_rt.files import write_file
from interleave_rt.worlds.shapes.language import (
    STYLES,
    Request,
    explicit,
    grounded,
    misread,
    narrative,
    parse,
    rewrite,
    spoken,
)
from interleave_rt.worlds.shapes.oracle import TOLERANCE, read_batch
from interleave_rt.worlds.shapes.scene import (
    Scene,
    Thing,
    Transition,
    random_layout,
    random_transition,
    render,
)

from ..record import write_config
from .generator import Studio, load_generator

__all__ = ["ROUNDS", "Attempt", "collect", "load_attempts", "make_attempts", "save_attempts"]

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
ROUNDS = 25
"""What `make_attempts` collects when nobody says otherwise: some 12,000 attempts."""
_DOUBTFUL = (TOLERANCE - 0.02, TOLERANCE + 0.02)
"""Errors of a picture's worst cell, around the oracle's tolerance, of which nobody can see which side they are on."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One picture of the generator: what was asked, from what, and what the oracle sees."""

    step: Transition
    original: str
    rewritten: str
    before_image: Pixels | None
    image: Pixels
    seen: Scene
    clean: bool

    @property
    def right(self) -> bool:
        """Whether the picture is exactly what was asked for."""
        return self.clean and self.seen == self.step.after


_CLASSES = {made.__name__: made for made in (Attempt, Transition, Scene, Thing)}


class _Reader(pickle.Unpickler):
    """Knows these classes and arrays, and nothing else; their modules had other names in earlier versions."""

    def find_class(self, module: str, name: str) -> Any:
        """The class of a name in the file."""
        if module.startswith("interleave_rt.") and name in _CLASSES:
            return _CLASSES[name]
        if module.partition(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"[attempts] the file holds {module}.{name}: it is no attempt cache")


def save_attempts(path: Path, attempts: list[Attempt]) -> None:
    """Write attempts, complete or not at all."""
    write_file(path, pickle.dumps(attempts))


def load_attempts(path: Path) -> list[Attempt]:
    """Read attempts that `save_attempts` wrote, here or in an earlier version.

    Raises:
        pickle.UnpicklingError: The file holds anything else.
    """
    attempts: list[Attempt] = _Reader(io.BytesIO(path.read_bytes())).load()
    return attempts


@dataclass(slots=True)
class _Task:
    """One picture to make."""

    original: str
    rewritten: str
    image: Pixels | None
    scene: Scene | None


def _attempt(studio: Studio, tasks: list[_Task], seed: int) -> list[Attempt | None]:
    """Make the pictures; None where the prompt means nothing on its source."""
    results: list[Attempt | None] = [None] * len(tasks)
    for edits in (False, True):
        rows = [i for i, task in enumerate(tasks) if (task.image is not None) == edits]
        if not rows:
            continue
        sources = np.stack([image for i in rows if (image := tasks[i].image) is not None]) if edits else None
        images = studio.paint([tasks[i].rewritten for i in rows], sources, seed)
        for i, image, reading in zip(rows, images, read_batch(images), strict=True):
            task = tasks[i]
            step = parse(task.scene, task.original)
            if step is not None:
                results[i] = Attempt(
                    step, task.original, task.rewritten, task.image, image, reading.scene, reading.clean
                )
    return results


def _walk(studio: Studio, requests: list[Request], rng: random.Random) -> list[Attempt]:
    """Carry out plans side by side: each step as planned, then (where wrong) in explicit words; go on from the last."""
    found: list[Attempt] = []
    now: dict[int, Attempt | None] = dict.fromkeys(range(len(requests)))
    for number in range(max(len(request.steps) for request in requests)):
        tasks, owners = [], []
        for i, last in now.items():
            if number < len(requests[i].steps):
                prompt = requests[i].steps[number].prompt
                assert prompt is not None
                image, scene = (None, None) if last is None else (last.image, last.seen)
                tasks.append(_Task(prompt, prompt, image, scene))
                owners.append(i)
        if not tasks:
            break
        first = _attempt(studio, tasks, rng.randrange(2**31))
        for i, attempt in zip(owners, first, strict=True):
            if attempt is None:
                del now[i]
            else:
                found.append(attempt)
                now[i] = attempt
        wrong = {i: last for i in owners if (last := now.get(i)) is not None and not last.right}
        again = []
        for last in wrong.values():
            words = rewrite(last.step, last.rewritten, rng)
            if rng.random() < 0.3:
                words = explicit(last.step, rng.randrange(len(STYLES)))
            if rng.random() < 0.1 and last.step.before is not None:  # rewritten wrongly
                words = explicit(misread(last.step, rng), rng.randrange(len(STYLES)))
            again.append(_Task(last.original, words, last.before_image, last.step.before))
        if again:
            for i, attempt in zip(wrong, _attempt(studio, again, rng.randrange(2**31)), strict=True):
                if attempt is not None:
                    found.append(attempt)
                    if attempt.right or rng.random() < 0.5:
                        now[i] = attempt
    return found


def _single(studio: Studio, count: int, rng: random.Random) -> list[Attempt]:
    """Unrelated edits of drawn scenes, mostly in grounded words."""
    tasks = []
    for _ in range(count):
        step = random_transition(rng, every=True)
        words = (grounded(step, rng) if rng.random() < 0.75 else None) or explicit(step)
        image = None if step.before is None else render(step.before, random_layout(step.before, rng))
        tasks.append(_Task(words, words, image, step.before))
    return [attempt for attempt in _attempt(studio, tasks, rng.randrange(2**31)) if attempt is not None]


def _plain(found: list[Attempt]) -> list[Attempt]:
    """Without the doubtful ones: a critic that learns from these learns to doubt right pictures again and again."""
    errors = [reading.worst_rmse for reading in read_batch(np.stack([attempt.image for attempt in found]))]
    low, high = _DOUBTFUL
    return [attempt for attempt, error in zip(found, errors, strict=True) if not low < error < high]


def collect(studio: Studio, rounds: int, rng: random.Random, width: int = 96) -> list[Attempt]:
    """Attempts of several rounds of plans and single edits."""
    found: list[Attempt] = []
    doubtful = 0
    for number in range(rounds):
        requests: list[Request] = []
        while len(requests) < width:
            request = rng.choice((narrative, spoken))(rng)
            if request.split == "train" and request.scenes:
                requests.append(request)
        made = _walk(studio, requests, rng) + _single(studio, width, rng)
        found += (plain := _plain(made))
        doubtful += len(made) - len(plain)
        if number % 5 == 0:
            right = float(np.mean([attempt.right for attempt in found]))
            told = number + 1, rounds, len(found), right, doubtful
            log.info("attempts, round %d/%d: %d attempts, %.3f right; %d doubtful", *told)
    return found


def make_attempts(
    out: Path, *, generator_dir: Path, rounds: int = ROUNDS, width: int = 96, seed: int = 0
) -> dict[str, float]:
    """Collect attempts of the saved generator into the file `out`, in random order."""
    write_config(out.with_suffix(""), dict(locals()))
    rng = random.Random(seed + 31)
    attempts = collect(load_generator(generator_dir), rounds, rng, width)
    rng.shuffle(attempts)
    save_attempts(out, attempts)
    as_planned = [a.right for a in attempts if a.original == a.rewritten]
    refined = [a.right for a in attempts if a.original != a.rewritten]
    result = {
        "attempts": float(len(attempts)),
        "as planned": float(np.mean(as_planned or [False])),
        "refined": float(np.mean(refined or [False])),
    }
    log.info("attempts done %s", result)
    return result
