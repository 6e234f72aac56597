"""What flow-matching generators share: the interfaces of the graphs that draw, and the proof of how they may be batched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..graph import GraphSpec
from ..proof.census import batch_census, takes_census
from ..proof.checks import Comparison
from ..proof.invariance import batch_invariance, thread_invariance

__all__ = ["BATCH", "OPSET", "WORDS", "drawing_graphs", "drawn_invariance"]

OPSET = 23
BATCH, WORDS = 2, 5
"""Of the examples that are traced."""
_TOKENS = 6


def drawing_graphs(
    transformer: nn.Module,
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    channels: int,
    words: int,
    pixels: int,
    axes: int,
) -> dict[str, GraphSpec]:
    """Part name to graph, of the parts that read no words.

    Args:
        transformer: Gives the velocity of noise.
        encoder: Of the codec, to packed latents.
        decoder: Of the codec, from them.
        channels: Of a latent token.
        words: Width of a prompt's states.
        pixels: Of a side of a token.
        axes: Of a token's position.
    """
    noisy = [
        ("hidden_states", torch.zeros(BATCH, _TOKENS, channels), {0: "b", 1: "n"}),
        ("encoder_hidden_states", torch.zeros(BATCH, WORDS, words), {0: "b", 1: "t"}),
        ("timestep", torch.full((BATCH,), 0.5), {0: "b"}),
        ("img_ids", torch.zeros(_TOKENS, axes, dtype=torch.long), {0: "n"}),
        ("txt_ids", torch.zeros(WORDS, axes, dtype=torch.long), {0: "t"}),
    ]
    image = ("image", torch.zeros(BATCH, 3, 2 * pixels, 3 * pixels), {0: "b", 2: "H", 3: "W"})
    latents = ("latents", torch.zeros(BATCH, 2, 3, channels), {0: "b", 1: "rows", 2: "columns"})
    made = {
        "transformer": (transformer, noisy, "velocity"),
        "vae_encoder": (encoder, [image], "latents"),
        "vae_decoder": (decoder, [latents], "image"),
    }
    return {
        part: GraphSpec(module.eval(), inputs, [output], OPSET)
        for part, (module, inputs, output) in made.items()
    }


def drawn_invariance(
    folder: Path, feeds: Sequence[dict[str, Any]], alone: Mapping[str, dict[str, Any]], *, slots: int
) -> list[Comparison]:
    """The transformer over batches of up to `slots` rows; the other parts, which are called for one, over threads.

    Args:
        folder: Of the graphs, `PART.onnx`.
        feeds: Inputs of the transformer, `slots` rows each.
        alone: An input of every other part, by its name.
        slots: Rows at most.
    """
    transformer, shared = folder / "transformer.onnx", ("img_ids", "txt_ids")
    if takes_census(transformer):
        found = [batch_census(transformer, feeds[-1], slots=slots, shared=shared)]
    else:
        found = [batch_invariance(transformer, feeds, slots=slots, shared=shared)]
    for part, feed in alone.items():
        path = folder / f"{part}.onnx"
        found.append(
            batch_census(path, feed, slots=1) if takes_census(path) else thread_invariance(path, [feed])
        )
    return found
