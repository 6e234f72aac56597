"""The picture codec of the generator: an AutoencoderKLFlux2 trained on drawings of random scenes."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLFlux2
from torch import Tensor

from interleave_rt.worlds.shapes.oracle import read_batch
from interleave_rt.worlds.shapes.scene import CELLS, SIDE, Scene, drawn, random_scene

from ..checkpoint import save_model
from ..loop import Part, Schedule
from ..optim import Optimizers, round_to_half

__all__ = ["TOKENS", "Vae", "build_vae", "decode_tokens", "encode_tokens"]

log = logging.getLogger(__name__)

LATENT_CHANNELS = 8
TOKENS = 36
"""Flux tokens of a picture: 2x2 a cell."""
_KL_WEIGHT = 1e-4
_WIDTHS = (16, 24, 32, 64)
_AT_ONCE = 64  # pictures in one call


def build_vae(widths: Sequence[int] = _WIDTHS) -> Any:
    """An untrained codec: 96x96 pixels to 8 x 12 x 12 latents, 32 x 6 x 6 after packing (four tokens a cell).

    `widths`: channels of its blocks; each but the last halves the sides.
    """
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=tuple(widths),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=SIDE,
    )
    for module in vae.modules():
        if type(module).__name__ == "ResnetBlock2D":
            torch.nn.init.zeros_(module.conv2.weight)
    return vae


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Pictures uint8 [n, 96, 96, 3] as float32 [n, 3, 96, 96] in -1..1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(x: Tensor) -> npt.NDArray[np.uint8]:
    """The inverse of `to_tensor`, clipped and rounded as the diffusers pipeline does."""
    y = ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(y.permute(0, 2, 3, 1).cpu().numpy())


def _pack(z: Tensor) -> Tensor:
    """Latents [n, c, h, w] to 2x2 blocks [n, 4c, h/2, w/2], as Flux2 packs them."""
    n, c, h, w = z.shape
    return z.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, c * 4, h // 2, w // 2)


def _norm(vae: Any) -> tuple[Tensor, Tensor]:
    mean = vae.bn.running_mean.view(1, -1, 1, 1)
    return mean, torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)


def _encode(vae: Any, images: npt.NDArray[np.uint8]) -> Tensor:
    """Pictures to latents [n, c, h, w], the modes of their posteriors."""
    parts = torch.split(to_tensor(images).to(vae.device), _AT_ONCE)
    return torch.cat([vae.encode(part).latent_dist.mode() for part in parts])


def _decode(vae: Any, z: Tensor) -> npt.NDArray[np.uint8]:
    """Latents [n, c, h, w] to pictures."""
    return np.concatenate([to_pixels(vae.decode(part).sample) for part in torch.split(z, _AT_ONCE)])


@torch.no_grad()
def encode_tokens(vae: Any, images: npt.NDArray[np.uint8]) -> Tensor:
    """Pictures to normalised Flux tokens, float32 [n, 36, 32]."""
    mean, std = _norm(vae)
    return ((_pack(_encode(vae, images)) - mean) / std).flatten(2).permute(0, 2, 1).contiguous()


@torch.no_grad()
def decode_tokens(vae: Any, tokens: Tensor) -> npt.NDArray[np.uint8]:
    """Normalised Flux tokens [n, 36, 32] to pictures uint8 [n, 96, 96, 3]."""
    n, count, channels = tokens.shape
    side = int(count**0.5)
    mean, std = _norm(vae)
    z = tokens.permute(0, 2, 1).reshape(n, channels, side, side) * std + mean
    z = z.reshape(n, channels // 4, 2, 2, side, side).permute(0, 1, 4, 2, 5, 3)
    return _decode(vae, z.reshape(n, channels // 4, 2 * side, 2 * side))


def _scenes(rng: random.Random, count: int) -> list[Scene]:
    return [random_scene(rng, rng.randint(0, CELLS)) for _ in range(count)]


@torch.no_grad()
def measure_vae(vae: Any, scenes: list[Scene]) -> dict[str, float]:
    """Round-trip quality: RMSE in 0..1 and the share of pictures that the oracle still reads as drawn."""
    images = drawn(scenes, random.Random(7))
    vae.eval()
    again = _decode(vae, _encode(vae, images))
    vae.train()
    readings = read_batch(again)
    exact = [
        reading.clean and reading.scene == scene for reading, scene in zip(readings, scenes, strict=True)
    ]
    error = (again.astype(np.float32) - images.astype(np.float32)) / 255
    return {"rmse": float(np.sqrt((error**2).mean())), "exact": float(np.mean(exact))}


@torch.no_grad()
def _fill_statistics(vae: Any, scenes: list[Scene]) -> None:
    """Latent statistics that Flux2 keeps in a batch norm."""
    images = drawn(scenes, random.Random(7))
    vae.eval()
    packed = _pack(_encode(vae, images))
    vae.bn.running_mean.copy_(packed.mean((0, 2, 3)))
    vae.bn.running_var.copy_(packed.var((0, 2, 3)))


class Vae(Part):
    """The codec in training; the figures are its round-trip quality."""

    name = "vae"
    schedule = Schedule(iterations=1500, every=200, warmup=30, hold=0.0, floor=0.02, clip=None)

    def __init__(self, out: Path, *, batch: int = 16, tests: int = 256, seed: int = 0) -> None:
        super().__init__(out, seed, 1, batch=batch, tests=tests)
        self._batch, self._tests = batch, tests
        self.module = build_vae().to(memory_format=torch.channels_last)
        edges = ("encoder.conv_in.", "decoder.conv_out.")
        self.optimizers = Optimizers(
            [self.module],
            lambda name, weight: weight.ndim == 4 and not name.startswith(edges) and "conv_in" not in name,
            adam_lr=3e-3,
            beta2=0.99,
        )
        self._scenes = _scenes(random.Random(99), tests)

    def loss(self, iteration: int, iterations: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Loss of reconstruction and of the latents' size; the first is logged."""
        vae: Any = self.module
        x = to_tensor(drawn(_scenes(self.rng, self._batch), self.rng))
        x = x.contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
        reconstruction = (y - x).abs().mean() + 2 * (y - x).square().mean()
        loss = reconstruction + _KL_WEIGHT * posterior.kl().mean() / (LATENT_CHANNELS * 144)
        return loss, reconstruction

    def measure(self) -> dict[str, float]:
        """As `measure_vae`."""
        return measure_vae(self.module, self._scenes)

    def finish(self) -> None:
        """Fix the latents' statistics and save."""
        vae: Any = self.module
        vae.to(memory_format=torch.contiguous_format)
        round_to_half(vae)
        _fill_statistics(vae, _scenes(random.Random(98), 2 * self._tests))
        round_to_half(vae)
        save_model(vae.eval(), self.out)
