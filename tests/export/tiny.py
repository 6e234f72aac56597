"""Random-weight models of the embedded architectures, in the embedded pack's tokens: what the export tests export."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from interleave_rt.train.shapes.models import (
    TokenIds,
    build_text_encoder,
    build_transformer,
    klein_scheduler,
)
from interleave_rt.train.shapes.models import build_vlm as untrained_vlm
from interleave_rt.train.shapes.vae import build_vae
from torch import nn
from transformers import PreTrainedTokenizerFast

from interleave_rt.pack import EMBEDDED as PACK

EMBEDDED = {"patch": 16}
"""Sizes of the embedded planner and critic that are not the defaults here."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The embedded pack's: byte-level BPE with the special tokens of Qwen-VL."""
    folder = PACK / "tokenizer"
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return fast


def scramble(module: nn.Module, seed: int, gain: float = 1.0) -> None:
    """Random weights of unit gain that are exactly float16; norms and biases keep away from their neutral values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                fan = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * gain / fan**0.5)
            else:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
            weight.copy_(weight.half().float())


def build_vlm(tokenizer: Any, *, seed: int, patch: int = 8, **sizes: Any) -> Any:
    """Qwen3-VL with a vocabulary of 1200; `sizes` as of the training's own."""
    model = untrained_vlm(replace(TokenIds.of(tokenizer), size=1200), patch=patch, **sizes).eval()
    scramble(model, seed, gain=1.5)
    return model


def build_pipeline(
    tokenizer: Any,
    *,
    seed: int,
    widths: tuple[int, ...] = (16, 24, 32, 64),
    blocks: tuple[int, int] = (2, 4),
) -> Flux2KleinPipeline:
    """FLUX.2-klein: the generator of the training, without its training."""
    torch.manual_seed(seed)
    vae = build_vae(widths).eval()
    transformer = build_transformer(8, blocks=blocks).eval()
    text_encoder = build_text_encoder(replace(TokenIds.of(tokenizer), size=1200)).eval()
    for offset, part in enumerate((vae, transformer, text_encoder)):
        scramble(part, seed + offset)
    generator = torch.Generator().manual_seed(seed + 3)
    with torch.no_grad():
        vae.bn.running_mean.copy_((0.1 * torch.randn(32, generator=generator)).half().float())
        vae.bn.running_var.copy_((0.5 + torch.rand(32, generator=generator)).half().float())
    return Flux2KleinPipeline(
        scheduler=klein_scheduler(),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    )


def write_weights(directory: Path, seed: int = 0, *, small: bool = False) -> Path:
    """A weights directory as training leaves it: generator/, planner/, critic/, tokenizer/, templates/.

    `small`: fewer layers of everything, for tests that only need the kinds of nodes.
    """
    print(f"tiny weights, seed {seed}")
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(directory / "tokenizer")
    size = {"widths": (16, 32), "blocks": (1, 1)} if small else {}
    build_pipeline(tokenizer, seed=seed + 10, **size).save_pretrained(directory / "generator")
    for number, role in enumerate(("planner", "critic")):
        size = {"layers": 1, "vision_layers": 1} if small else EMBEDDED
        build_vlm(tokenizer, seed=seed + 20 + number, **size).save_pretrained(directory / role)
    (directory / "templates").mkdir()
    for file in ("planner/narrative.txt", "planner/guidance.txt", "critic/critic.txt"):
        shutil.copy(PACK / file, directory / "templates")
    return directory
