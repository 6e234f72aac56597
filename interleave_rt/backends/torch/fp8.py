"""Weights in FP8 (E4M3) with a scale for each row, for cards whose matrix units take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Fp8Linear", "multiply", "to_fp8"]

_MOST = 448.0  # the largest number of E4M3


def multiply(values: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """`values` [..., in] by a weight [out, in]; with a `scale` [out] in float32 the weight is E4M3.

    Values are then rounded to E4M3 with a scale for each row, too. Not where there is one row: it takes as long as the
    weights take to be read, and a compiler makes one kernel of reading, widening and multiplying.
    """
    if scale is None:
        return torch.nn.functional.linear(values, weight)
    rows = values.reshape(-1, values.shape[-1])
    if rows.shape[0] == 1 or not values.is_cuda:
        wide = torch.nn.functional.linear(rows, weight.to(values.dtype))
        return (wide * scale.to(values.dtype)).reshape(*values.shape[:-1], -1)
    largest = rows.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / _MOST
    small = (rows.float() / largest).clamp(-_MOST, _MOST).to(weight.dtype)
    out = torch._scaled_mm(  # noqa: SLF001 - the only name that this product has
        small, weight.t(), scale_a=largest, scale_b=scale[None], out_dtype=values.dtype, use_fast_accum=True
    )
    return out.reshape(*values.shape[:-1], -1)


class Fp8Linear(torch.nn.Module):
    """A linear layer with its weight in FP8."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        largest = linear.weight.detach().abs().amax(1).float().clamp(min=1e-12) / _MOST
        small = (linear.weight.detach() / largest[:, None].to(linear.weight.dtype)).clamp(-_MOST, _MOST)
        self.register_buffer("weight", small.to(torch.float8_e4m3fn))
        self.register_buffer("scale", largest)
        self.bias = linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        out = multiply(values, self.weight, self.scale)
        return out if self.bias is None else out + self.bias


def to_fp8(module: torch.nn.Module, wanted: Callable[[str, Any], bool]) -> int:
    """Puts the linear layers that are `wanted` (by name and layer) into FP8, in place; returns how many there were.

    Sides of a weight must be multiples of 16.
    """
    found = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear)
        and layer.in_features % 16 == 0
        and layer.out_features % 16 == 0
        and wanted(name, layer)
    ]
    for name, layer in found:
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, Fp8Linear(layer))
    return len(found)
