"""What the generator learns from: edits with pictures before and after, and the words that ask for them.

Like captions of real data, some kinds of words come with wrong pictures: how often is fixed by `MISLABELLED`. The
generator learns these shares, so plain explicit prompts nearly always work, others often fail, and a retry can help.
Training begins with clean lessons, for wording that needs the picture is hardly learned from these, and ends with
these.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interleave_rt.worlds.shapes.language import STYLES, explicit, grounded, misunderstood
from interleave_rt.worlds.shapes.oracle import read_batch
from interleave_rt.worlds.shapes.scene import (
    CELLS,
    EMPTY,
    EVERY_OPERATION,
    GRID,
    SIDE,
    Layout,
    Scene,
    Transition,
    arranged,
    random_layout,
    random_transition,
    render,
    render_batch,
)

from .vae import TOKENS, decode_tokens, encode_tokens
from .vlm import cell_labels

__all__ = ["MISLABELLED", "Lesson", "Lessons"]

MISLABELLED = {"plain": 0.0, "corner": 0.4, "row": 0.3, "relation": 0.35, "attribute": 0.25}
"""Share of lessons whose picture is wrong, by the kind of words."""

_GROUNDED_SHARE = 0.55
_CLEAN_GROUNDED_SHARE = 0.4
_SHARES = (0.2, 0.26, 0.09, 0.13, 0.1, 0.09, 0.13)
"""Of the operations: drawing from nothing has no picture to help, and every sequence begins with it."""
_STYLE_SHARES = (0.6, 0.2, 0.2)
_CHANGED_WEIGHT = 10.0
_PER_CELL = int((TOKENS // CELLS) ** 0.5)


class Painter(Protocol):
    """What makes pictures here: the studio with the weights so far."""

    vae: object

    def paint(
        self, prompts: list[str], sources: npt.NDArray[np.uint8] | None, seed: int
    ) -> npt.NDArray[np.uint8]:
        """Pictures uint8 [n, 96, 96, 3]."""


@dataclass(slots=True)
class Lesson:
    """A batch: prompts, tokens of source and target float32 [n, 36, c], loss weights [n, 36], and which are edits.

    `labels` says what the target shows at every token, int64 [n, 36, 5] (`vlm.cell_labels`); `share` how
    often a lesson of this kind is wrong, float32 [n], and `wrong` whether this one is, bool [n].
    """

    prompts: list[str]
    source: Tensor
    target: Tensor
    weight: Tensor
    edits: Tensor
    labels: Tensor
    share: Tensor
    wrong: Tensor

    def noise(self) -> Tensor:
        """Noise for the targets, float32 [n, 36, c], standard normal, that belongs to their choices.

        Whether the lesson is wrong is told by the whole picture's sum in channel 1: otherwise a sampler of few steps
        would paint the average of right and wrong. Where in its cell a small thing sits that stands alone is told by
        nothing: it is found while sampling, and that is what takes several steps.
        """
        noise = torch.randn_like(self.target)
        count, side = len(noise), _PER_CELL * GRID
        low = torch.where(self.wrong, 0.0, self.share)
        high = torch.where(self.wrong, self.share, 1.0)
        level = (low + (high - low) * torch.rand(count).to(noise.device)).clamp(1e-4, 1 - 1e-4)
        wanted = torch.special.ndtri(level)
        noise[..., 1] += ((wanted - noise[..., 1].sum(1) / side) / side)[:, None]
        return noise


def _token_weight(before: Scene | None, after: Scene, touched: tuple[int, ...]) -> Tensor:
    """Weights of the 36 tokens: those of cells that change count more."""
    cells = torch.ones(CELLS)
    cells[list(touched)] = _CHANGED_WEIGHT
    if before is not None and before.background == after.background:
        changed = [i for i in range(CELLS) if before.cells[i] != after.cells[i]]
        cells[changed] = _CHANGED_WEIGHT
    return _per_token(cells / cells.mean())


def _per_token(cells: Tensor) -> Tensor:
    """Values of the nine cells [9, ...] as those of the 36 tokens [36, ...]."""
    grid = cells.view(GRID, GRID, *cells.shape[1:])
    grid = grid.repeat_interleave(_PER_CELL, 0).repeat_interleave(_PER_CELL, 1)
    return grid.reshape(TOKENS, *cells.shape[1:])


_RING = ("steps", "_tokens", "_weights", "_labels", "_next")


class Lessons:
    """A ring of edits, each with its right outcome and a wrong one."""

    def __init__(
        self, painter: Painter, rng: random.Random, size: int, channels: int = 32, device: str = "cpu"
    ) -> None:
        self._painter, self._rng, self._size = painter, rng, size
        self.steps: list[Transition] = []
        self._tokens = torch.zeros(3, size, TOKENS, channels, device=device)  # source, right, wrong
        self._weights = torch.zeros(2, size, TOKENS, device=device)
        self._labels = torch.zeros(2, size, TOKENS, 5, dtype=torch.long, device=device)
        self._next = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {name: getattr(self, name) for name in _RING}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        for name in _RING:
            value = state[name]
            setattr(self, name, value.to(self._tokens.device) if isinstance(value, Tensor) else value)

    def _own(self, count: int) -> tuple[list[Transition], list[Layout], npt.NDArray[np.uint8]]:
        """Steps whose source picture the generator made itself (only those that it got right)."""
        rng = self._rng
        first = [random_transition(rng, most=4, every=True) for _ in range(count)]
        steps: list[Transition] = []
        layouts: list[Layout] = []
        sources = []
        for edits in (False, True):
            group = [step for step in first if (step.before is not None) == edits]
            if not group:
                continue
            befores = [step.before for step in group if step.before is not None]
            pictures = (
                render_batch(befores, [random_layout(scene, rng) for scene in befores]) if edits else None
            )
            made = self._painter.paint([explicit(step) for step in group], pictures, rng.randrange(2**31))
            for step, image, reading in zip(group, made, read_batch(made), strict=True):
                if reading.clean and reading.scene == step.after and step.after.occupied:
                    steps.append(random_transition(rng, scene=step.after, every=True))
                    layouts.append(reading.layout)
                    sources.append(image)
        return steps, layouts, np.stack(sources) if sources else np.zeros((0, SIDE, SIDE, 3), np.uint8)

    def grow(self, count: int, own: bool = False) -> None:
        """Replace the oldest lessons by `count` new ones; with `own`, on pictures that the generator makes now."""
        rng, vae = self._rng, self._painter.vae
        if own:
            steps, layouts, pictures = self._own(count)
            if not steps:
                return
        else:
            kinds = rng.choices(EVERY_OPERATION, _SHARES, k=count)
            steps = [random_transition(rng, kind) for kind in kinds]
            layouts = [EMPTY if step.before is None else random_layout(step.before, rng) for step in steps]
            pictures = np.stack(
                [
                    render(step.after, random_layout(step.after, rng))
                    if step.before is None
                    else render(step.before, layout)
                    for step, layout in zip(steps, layouts, strict=True)
                ]
            )
        source = encode_tokens(vae, pictures)
        if not own and rng.random() < 0.4:  # a picture that has been through the codec before
            source = encode_tokens(vae, decode_tokens(vae, source))
        wrong = [misunderstood(step) for step in steps]
        rows = [(self._next + i) % self._size for i in range(len(steps))]
        self._next += len(steps)
        outcomes = ([step.after for step in steps], wrong)
        for kind, scenes in enumerate(outcomes):
            after = [
                arranged(step.before, layout, scene, rng)
                for step, layout, scene in zip(steps, layouts, scenes, strict=True)
            ]
            self._tokens[1 + kind, rows] = encode_tokens(vae, render_batch(scenes, after))
            for row, step, scene in zip(rows, steps, scenes, strict=True):
                self._weights[kind, row] = _token_weight(step.before, scene, step.touched).to(
                    self._weights.device
                )
                self._labels[kind, row] = _per_token(torch.tensor(cell_labels(scene))).to(self._labels.device)
        self._tokens[0, rows] = source
        for row, step in zip(rows, steps, strict=True):
            if row < len(self.steps):
                self.steps[row] = step
            else:
                self.steps.append(step)

    def _words(self, step: Transition, rng: random.Random, grounded_share: float) -> tuple[str, float]:
        """A prompt for a step, and how often its picture is wrong."""
        if rng.random() < grounded_share:
            text = grounded(step, rng)
            if text is not None:
                return text, MISLABELLED["relation" if step.operation == "add" else "attribute"]
        style = rng.choices(range(len(STYLES)), _STYLE_SHARES)[0]
        if step.operation == "ground":  # it has no place to name
            style = 0
        return explicit(step, style), MISLABELLED[STYLES[style]]

    def draw(self, rng: random.Random, batch: int, clean: bool = False) -> Lesson:
        """A random batch; a `clean` one has no wrong pictures, and fewer words that need the picture."""
        rows = [rng.randrange(len(self.steps)) for _ in range(batch)]
        steps = [self.steps[row] for row in rows]
        grounded_share = _CLEAN_GROUNDED_SHARE if clean else _GROUNDED_SHARE
        words = [self._words(step, rng, grounded_share) for step in steps]
        kinds = [int(not clean and rng.random() < share) for _, share in words]
        chosen = [1 + kind for kind in kinds]
        return Lesson(
            [text for text, _ in words],
            self._tokens[0, rows],
            self._tokens[chosen, rows],
            self._weights[kinds, rows],
            torch.tensor([step.before is not None for step in steps], device=self._tokens.device),
            self._labels[kinds, rows],
            torch.tensor([0.0 if clean else share for _, share in words], device=self._tokens.device),
            torch.tensor(kinds, dtype=torch.bool, device=self._tokens.device),
        )
