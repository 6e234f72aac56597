"""Qwen2.5-VL as text encoder, written node by node: the states behind its last layer, for a prompt with pictures.

A prompt has as many tokens as it has: nothing is padded. Its pictures are features that the vision encoder made of
them; its tokens have positions of their own in time, rows and columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding

from ..checkpoint import Checkpoint
from ..graph import DATA_SUFFIX
from ..written import GraphWriter, Precision, WeightFile, head_precision
from .qwen3_layers import LayerShape, LayerWriter

__all__ = ["shape_of", "weights", "write"]


def shape_of(text: Any) -> LayerShape:
    """The numbers of the decoder, from the library's configuration of it.

    Raises:
        BadPackError: It has a part that is not written here.
    """
    return LayerShape.of(text, biased=True, head_norms=False)


def weights(text: Any, prefix: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that are read; `prefix` of their names, without the last dot."""
    shape = shape_of(text)
    return shape.weights(prefix, shape.layers)


def write(checkpoint: Checkpoint, config: Any, prefix: str, path: Path, *, precision: Precision) -> None:
    """Writes the graph, with its weights beside it; the contract is in export/README.md."""
    with WeightFile(path.with_name(path.name + DATA_SUFFIX)) as file:
        model = _model(GraphWriter(checkpoint, file), config, prefix, precision)
    onnx.save(model, path)


def _model(graph: GraphWriter, config: Any, prefix: str, precision: Precision) -> onnx.ModelProto:
    text = config.text_config
    shape = shape_of(text)

    def attend(index: int, query: str, key: str, value: str) -> str:
        return graph.op(
            "Attention", query, key, value, out=f"layer.{index}.attention", is_causal=1,
            q_num_heads=shape.heads, kv_num_heads=shape.kv_heads, scale=shape.head_dim**-0.5,
        )  # fmt: skip

    layers = LayerWriter(graph, shape, prefix, precision, attend)
    rope = Qwen2_5_VLRotaryEmbedding(text)
    axes = np.repeat(np.arange(len(rope.mrope_section)) % 3, rope.mrope_section)
    positions = graph.op("Cast", "position_ids", out="positions.float", to=TensorProto.FLOAT)
    chosen = graph.op("Gather", positions, graph.constant("rope.axis", axes), out="positions.chosen", axis=0)
    layers.tables(graph.op("Transpose", chosen, out="positions", perm=[1, 2, 0]), rope)
    table = graph.table(f"{prefix}.embed_tokens.weight", precision=head_precision(precision))
    x = _with_pictures(graph, graph.rows(table, "input_ids", out="embedded"), config.image_token_id)
    residual, x = x, layers.first(x)
    for index in range(shape.layers):
        x, residual = layers.layer(index, x, residual, last=index + 1 == shape.layers)
    graph.op("Identity", x, out="prompt_embeds")
    f32, i64 = TensorProto.FLOAT, TensorProto.INT64
    return graph.model(
        "text_encoder",
        [
            ("input_ids", i64, ["b", "t"]),
            ("position_ids", i64, [3, "b", "t"]),
            ("image_embeds", f32, ["m", shape.hidden]),
        ],
        [("prompt_embeds", f32, ["b", "t", shape.hidden])],
    )


def _with_pictures(graph: GraphWriter, embedded: str, token: int) -> str:
    """The rows of `image_embeds`, in their order, in the places of picture tokens."""
    is_image = graph.op("Equal", "input_ids", graph.constant("image_token", np.int64(token)), out="is_image")
    counted = graph.op("Cast", is_image, out="is_image.int64", to=TensorProto.INT64)
    upto = graph.op("CumSum", counted, graph.constant("axis", np.int64(1)), out="images.upto")
    behind = graph.op("Sub", upto, graph.constant("one", np.int64(1)), out="images.behind")
    number = graph.op("Max", behind, graph.constant("zero", np.int64(0)), out="images.number")
    features = graph.op("Gather", "image_embeds", number, out="images.features", axis=0)
    column = graph.op("Unsqueeze", is_image, graph.sizes(2), out="is_image.column")
    return graph.op("Where", column, features, embedded, out="hidden")
