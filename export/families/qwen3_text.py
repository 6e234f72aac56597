"""Qwen3 as text encoder, written node by node: the states behind some of its layers, for a padded prompt.

Layers behind the last one that is read are left out, with the head: their weights are not even looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from ..checkpoint import Checkpoint
from ..graph import DATA_SUFFIX
from ..written import GraphWriter, Precision, WeightFile, head_precision
from .qwen3_layers import LayerShape, LayerWriter

__all__ = ["configuration", "stored_as", "weights", "write"]

_PREFIX = "model"


def configuration(checkpoint: Checkpoint) -> Qwen3Config:
    """As the library reads it.

    Raises:
        BadPackError: It cannot be read, or the decoder has a part that is not written here.
    """
    with checkpoint.understood():
        config = Qwen3Config.from_dict(dict(checkpoint.config))
        LayerShape.of(config)
    return config


def weights(config: Any, taps: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that are read."""
    return LayerShape.of(config).weights(_PREFIX, max(taps))


def stored_as(name: str, precision: Precision) -> Precision:
    """How a matrix is stored in a pack of this precision."""
    return precision if name.startswith(f"{_PREFIX}.layers.") else head_precision(precision)


def write(
    checkpoint: Checkpoint, config: Any, path: Path, taps: Sequence[int], *, precision: Precision
) -> None:
    """Writes the graph, with its weights beside it; the contract is in export/README.md.

    Args:
        checkpoint: Whose weights.
        config: Its configuration.
        path: Where to.
        taps: Layers, from 1, behind which states are read; behind the decoder's last one they are normed, as in
            `hidden_states` of the library.
        precision: Of the matrices.
    """
    with WeightFile(path.with_name(path.name + DATA_SUFFIX)) as file:
        model = _model(GraphWriter(checkpoint, file), config, taps, precision)
    onnx.save(model, path)


def _model(graph: GraphWriter, config: Any, taps: Sequence[int], precision: Precision) -> onnx.ModelProto:
    shape = LayerShape.of(config)

    def attend(index: int, query: str, key: str, value: str) -> str:
        return graph.op(
            "Attention", query, key, value, "seen", out=f"layer.{index}.attention",
            q_num_heads=shape.heads, kv_num_heads=shape.kv_heads, scale=shape.head_dim**-0.5,
        )  # fmt: skip

    layers = LayerWriter(graph, shape, _PREFIX, precision, attend)
    _places(graph)
    layers.tables("positions", Qwen3RotaryEmbedding(config))
    table = graph.table(f"{_PREFIX}.embed_tokens.weight", precision=head_precision(precision))
    residual = graph.rows(table, "input_ids", out="embedded")
    x, states = layers.first(residual), []
    for index in range(max(taps)):
        x, residual = layers.layer(index, x, residual, last=index + 1 == max(taps))
        if index + 1 in taps:
            states.append(residual or x)
    graph.op("Concat", *states, out="prompt_embeds", axis=-1)
    ids = TensorProto.INT64
    return graph.model(
        "text_encoder",
        [("input_ids", ids, ["b", "t"]), ("attention_mask", ids, ["b", "t"])],
        [("prompt_embeds", TensorProto.FLOAT, ["b", "t", len(states) * shape.hidden])],
    )


def _places(graph: GraphWriter) -> None:
    """Where every token stands, `positions` [b, t, 1], and what it sees, `seen` [b, 1, t, t]: words before it or itself."""
    whole = graph.op("Shape", "input_ids", out="shape")
    length = graph.op("Squeeze", graph.op("Shape", "input_ids", out="shape.t", start=1, end=2), out="length")
    zero, one = graph.constant("zero", np.int64(0)), graph.constant("one", np.int64(1))
    places = graph.op("Range", zero, length, one, out="places")
    rows = graph.op("Expand", places, whole, out="places.rows")
    column = graph.op("Unsqueeze", rows, graph.sizes(2), out="places.column")
    graph.op("Cast", column, out="positions", to=TensorProto.FLOAT)
    later = graph.op("Unsqueeze", places, graph.sizes(1), out="places.later")
    before = graph.op("LessOrEqual", places, later, out="before")
    words = graph.op("Cast", "attention_mask", out="words", to=TensorProto.BOOL)
    keys = graph.op("Unsqueeze", words, graph.sizes(1, 2), out="words.keys")
    graph.op("And", before, keys, out="seen")
