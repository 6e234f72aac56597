"""The vision tower of planner and critic: taught to read cells before either learns to talk.

Reading is what the two have in common and what takes longest when it is learned through a language model. Here every
merged token says what its own cell holds, straight from the tower; the head that says it is thrown away.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interleave_rt.worlds.shapes.scene import CELLS, Scene, drawn, random_scene, random_transition

from ..checkpoint import load_state, save_state
from ..optim import Optimizers, decay
from ..record import Record
from .augmentation import weathered
from .models import TokenIds, build_vlm
from .tokenizer import load_tokenizer
from .vlm import CellHead, batched_vision, cell_labels, pixel_patches

__all__ = ["open_eyes", "train_eyes"]

log = logging.getLogger(__name__)

_WEIGHTS = "eyes.pt"


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
    images = np.stack([weathered(image, rng) for image in drawn(scenes, rng)])
    return pixel_patches(images), torch.tensor([cell_labels(scene) for scene in scenes])


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


def open_eyes(model: Any, weights: Path) -> None:
    """Give a model the tower that `train_eyes` saved, and keep it as it is: training on words would blur it."""
    model.model.visual.load_state_dict(torch.load(weights / _WEIGHTS, weights_only=True))
    model.model.visual.requires_grad_(False)


def train_eyes(
    out: Path,
    *,
    tokenizer_dir: Path,
    iterations: int = 1000,
    batch: int = 48,
    seed: int = 0,
    resume: bool = False,
    every: int = 250,
) -> dict[str, float]:
    """Train the tower and save its weights as `eyes.pt` under `out`."""
    torch.manual_seed(seed)
    rng = random.Random(seed + 2)
    model = build_vlm(TokenIds.of(load_tokenizer(tokenizer_dir)))
    vision = model.config.vision_config
    reader = _Reader(model.model.visual, vision.out_hidden_size, len(vision.deepstack_visual_indexes))
    optimizers = Optimizers(
        [reader], lambda name, w: w.ndim >= 2 and "heads." not in name and "pos_embed" not in name
    )
    start = load_state(out, reader, optimizers, rng) if resume else 0
    record = Record(out, {"iterations": iterations, "batch": batch, "seed": seed}, start)
    average = 0.0
    with batched_vision():
        for iteration in range(start, iterations):
            pixels, labels = _batch(rng, batch)
            loss = sum((CellHead.loss(x, labels) for x in reader.read(pixels, batch)), torch.zeros(()))
            optimizers.step(loss, decay(iteration, iterations, warmup=50, hold=0.4))
            average += 0.02 * (float(loss.detach()) - average)
            if (iteration + 1) % every == 0:
                measured = _measure(reader)
                log.info("eyes %d/%d loss %.4f %s", iteration + 1, iterations, average, measured)
                record.log(iteration + 1, loss=average, **measured)
                save_state(out, reader, optimizers, rng, iteration + 1)
        result = _measure(reader)
    torch.save(model.model.visual.state_dict(), out / _WEIGHTS)
    record.close()
    log.info("eyes done %s", result)
    return result
