"""Random weights made where they are used: billions of them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import init_empty_weights

__all__ = ["random_model"]


def random_model(build: Callable[[], Any], device: str, dtype: torch.dtype, seed: int = 0) -> Any:
    """A model of transformers or diffusers with random weights of unit gain, so that values stay finite.

    Args:
        build: Makes it; its parameters take no memory meanwhile. Buffers, such as the frequencies of rotary positions,
            are computed as always.
        device: Where the weights are made.
        dtype: Of the weights.
        seed: Of the weights.
    """
    source = torch.Generator(device).manual_seed(seed)
    with init_empty_weights(include_buffers=False):
        model = build()
    made: dict[int, tuple[Any, torch.nn.Parameter]] = {}  # with the old one, whose id is the key
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is None:
                continue
            if id(old) not in made:
                made[id(old)] = old, _random(old.shape, name, device, dtype, source)
            module._parameters[name] = made[id(old)][1]
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    if not hasattr(
        model, "get_input_embeddings"
    ):  # diffusers casts all of a part; transformers keeps its frequencies
        torch.nn.Module.to(model, dtype=dtype)
    return model.to(device).eval()


def _random(
    shape: torch.Size, name: str, device: str, dtype: torch.dtype, source: torch.Generator
) -> torch.nn.Parameter:
    if len(shape) > 1:
        values = torch.empty(shape, device=device, dtype=dtype)
        values.normal_(0.0, shape[1:].numel() ** -0.5, generator=source)
    else:
        values = torch.full(shape, float("bias" not in name), device=device, dtype=dtype)
    return torch.nn.Parameter(values, requires_grad=False)
