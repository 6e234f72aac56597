"""The vision tower of planner and critic: taught to read cells before either learns to talk.

Reading is what the two have in common and what takes longest when it is learned through a language model. Here every
merged token says what its own cell holds, straight from the tower; the head that says it is thrown away.
"""

from __future__ import annotations

import logging
import random
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interleave_rt.worlds.shapes.scene import CELLS, Scene, drawn, random_scene, random_transition

from ..loop import Part, Schedule
from ..optim import Optimizers
from .augmentation import augmented
from .models import TokenIds, build_vlm
from .tokenizer import load_tokenizer
from .vlm import CellHead, batched_vision, cell_labels, pixel_patches

__all__ = ["Vision", "open_tower"]

log = logging.getLogger(__name__)

_WEIGHTS = "vision.pt"


def _scene(rng: random.Random) -> Scene:
    if rng.random() < 0.3:
        return random_transition(rng).after
    return random_scene(rng, rng.randint(1, CELLS))


class _Reader(nn.Module):
    """Tower and one head for the merged tokens, one for each deepstack level."""

    def __init__(self, visual: Any, width: int, levels: int) -> None:
        super().__init__()
        self.visual = visual
        self.heads = nn.ModuleList(CellHead(width) for _ in range(1 + levels))

    def read(self, pixels: Tensor, count: int) -> list[Tensor]:
        """Logits [count, 9, 33] of the merged tokens and of every deepstack level."""
        grid = torch.tensor([[1, 6, 6]]).expand(count, 3)
        out = self.visual(pixels, grid_thw=grid)
        features = [out.pooler_output, *out.deepstack_features]
        return [head(x.view(count, CELLS, -1)) for head, x in zip(self.heads, features, strict=True)]


def _batch(rng: random.Random, count: int) -> tuple[Tensor, Tensor]:
    scenes = [_scene(rng) for _ in range(count)]
    images = np.stack([augmented(image, rng) for image in drawn(scenes, rng)])
    return pixel_patches(torch.from_numpy(images)), torch.tensor([cell_labels(scene) for scene in scenes])


@torch.no_grad()
def _measure(reader: _Reader, count: int = 256) -> dict[str, float]:
    """Share of occupied cells whose shape, and whose every attribute, is read rightly."""
    pixels, labels = _batch(random.Random(4321), count)
    logits = reader.read(pixels, count)[0]
    occupied = labels[..., 0] < labels[..., 0].max()
    right = CellHead.right(logits, labels)
    return {
        "shape": float(right[..., 0][occupied].float().mean()),
        "cell": float(right.all(-1)[occupied].float().mean()),
    }


def open_tower(model: Any, folder: Path) -> None:
    """Give a model the tower that was saved, and keep it as it is: training on words would blur it."""
    weights = folder / _WEIGHTS
    if not weights.exists():
        weights = folder / "eyes.pt"  # the file's name in earlier versions
    model.model.visual.load_state_dict(torch.load(weights, weights_only=True))
    model.model.visual.requires_grad_(False)


class Vision(Part):
    """The tower in training; its weights are saved as `vision.pt`."""

    name = "vision"
    schedule = Schedule(iterations=1000, every=250, warmup=50, hold=0.4)
    module: _Reader

    def __init__(self, out: Path, *, tokenizer_dir: Path, batch: int = 48, seed: int = 0) -> None:
        super().__init__(out, seed, 2, tokenizer_dir=tokenizer_dir, batch=batch)
        self._batch = batch
        model = build_vlm(TokenIds.of(load_tokenizer(tokenizer_dir)))
        vision = model.config.vision_config
        levels = len(vision.deepstack_visual_indexes)
        self.module = _Reader(model.model.visual, vision.out_hidden_size, levels)
        self.optimizers = Optimizers(
            [self.module], lambda name, w: w.ndim >= 2 and "heads." not in name and "pos_embed" not in name
        )

    def running(self) -> AbstractContextManager[None]:
        """Pictures go through the tower side by side."""
        return batched_vision()

    def loss(self, iteration: int, iterations: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Loss of reading every cell, at every level."""
        pixels, labels = _batch(self.rng, self._batch)
        read = self.module.read(pixels, self._batch)
        loss = sum((CellHead.loss(x, labels) for x in read), torch.zeros(()))
        return loss, loss

    def measure(self) -> dict[str, float]:
        """Shares of shapes and of cells that are read rightly."""
        return _measure(self.module)

    def finish(self) -> None:
        """Save the tower; planner and critic round its weights with their own."""
        torch.save(self.module.visual.state_dict(), self.out / _WEIGHTS)
