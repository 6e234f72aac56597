"""The vision graph of a vision-language model of the Qwen3-VL family: one image a call, any grid.

The library's own modelling code is traced; it takes the grid-dependent tables ready-made, and they are computed here
with tensor operations alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from .graph import GraphSpec
from .vlm import VlmShape

__all__ = ["vision_spec"]

_OPSET = 24


class _WholeImage:
    """Sequence boundaries of a call with one image: a single segment, whatever its length."""

    def __init__(self, length: Any) -> None:
        self._length = length

    def __getitem__(self, _: Any) -> _WholeImage:
        return self

    def __sub__(self, _: Any) -> _WholeImage:
        return self

    def tolist(self) -> list[Any]:
        return [self._length]


class _Vision(nn.Module):
    """The vision encoder for one image; the grid-dependent tables are computed in the graph."""

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__()
        self.visual = model.model.visual
        self.merge = model.config.vision_config.spatial_merge_size

    def forward(self, pixel_values: Tensor, grid_thw: Tensor) -> tuple[Tensor, ...]:
        count = pixel_values.shape[0]
        row, column = self._places(count, grid_thw[0, 2])
        taps, weights = self._resampling(row, column, grid_thw[0, 1], grid_thw[0, 2])
        features = self.visual(
            pixel_values,
            grid_thw=grid_thw,
            interp_indices=taps,
            interp_weights=weights,
            position_ids=torch.stack([row, column], dim=-1),
            cu_seqlens=_WholeImage(count),
            max_seqlen=count,
        )
        embeds = features.pooler_output
        levels = features.deepstack_features
        return (embeds, torch.stack(list(levels))) if levels else (embeds,)

    def _places(self, count: Any, width: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of every patch: patches come in merge x merge blocks."""
        merge = self.merge
        index = torch.arange(count)
        blocks = width // merge
        block = index // (merge * merge)
        row = block // blocks * merge + index // merge % merge
        column = block % blocks * merge + index % merge
        return row, column

    def _resampling(
        self, row: Tensor, column: Tensor, height: Tensor, width: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Bilinear taps into the learned square table of positions, corners aligned."""
        side = self.visual.num_grid_per_side
        row_taps, row_weights = self._axis(row, height, side)
        column_taps, column_weights = self._axis(column, width, side)
        taps = (row_taps[:, :, None] * side + column_taps[:, None, :]).reshape(-1, 4)
        return taps, (row_weights[:, :, None] * column_weights[:, None, :]).reshape(-1, 4)

    @staticmethod
    def _axis(index: Tensor, size: Tensor, side: int) -> tuple[Tensor, Tensor]:
        source = index.float() * (side - 1) / (size - 1).clamp(min=1)
        floor = source.floor()
        fraction = source - floor
        low = floor.long()
        taps = torch.stack([low, low + 1], dim=1).clamp(max=side - 1)
        return taps, torch.stack([1 - fraction, fraction], dim=1)


def vision_spec(model: Qwen3VLForConditionalGeneration) -> GraphSpec:
    """The vision graph of `model`: one image a call, any grid."""
    shape = VlmShape.of(model)
    outputs = ["embeds", "deepstack"] if shape.deepstack_levels else ["embeds"]
    grid = (2 * shape.merge_size, 3 * shape.merge_size)
    return GraphSpec(
        module=_Vision(model).eval(),
        sample=(torch.zeros(grid[0] * grid[1], shape.patch_values), torch.tensor([[1, *grid]])),
        inputs=["pixel_values", "grid_thw"],
        outputs=outputs,
        dynamic=({0: "patches"}, {}),
        opset=_OPSET,
    )
