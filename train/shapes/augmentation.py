"""Drawings made a little less perfect, as codecs and files leave them."""

from __future__ import annotations

import random

import numpy as np

from interleave_rt.worlds.shapes.scene import Pixels

__all__ = ["augmented"]


def augmented(image: Pixels, rng: random.Random) -> Pixels:
    """The picture with some blur, noise and tint; uint8, any shape [height, width, 3]."""
    noise = np.random.default_rng(rng.randrange(2**31))
    x = image.astype(np.float32)
    if rng.random() < 0.5:
        blurred = sum(np.roll(x, shift, axis) for shift in (-1, 1) for axis in (0, 1)) + x
        x += (blurred / 5 - x) * rng.random() * 0.8
    x += noise.standard_normal(x.shape, dtype=np.float32) * (rng.random() * 8)
    x += (noise.random((1, 1, 3), dtype=np.float32) - 0.5) * 12
    clipped: Pixels = x.clip(0, 255).astype(np.uint8)
    return clipped
