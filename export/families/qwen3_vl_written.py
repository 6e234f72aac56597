"""Qwen3-VL's decoder written node by node from a checkpoint: one graph for prompts and for answers.

The arithmetic is said with ONNX Runtime's fused operators. `GroupQueryAttention` works over the cached tokens only,
however long the cache is, and in place. On the CPU it takes several tokens of one row, or one token of several rows:
prompts go row by row, answers together (`prefill_rows` of the manifest says so).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from transformers import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextRotaryEmbedding,
    Qwen3VLVisionModel,
    Qwen3VLVisionRotaryEmbedding,
)

from interleave_rt.pack.manifest import VlmRole

from ..checkpoint import Checkpoint
from ..graph import DATA_SUFFIX
from ..hollow import export_hollow, fill_hollow
from ..proof.census import takes_census
from ..proof.checks import Comparison, picture
from ..proof.invariance import thread_invariance
from ..proof.written import written_census, written_invariance
from ..written import FUSED, GraphWriter, Precision, WeightFile, head_precision
from .qwen3_layers import LayerShape, LayerWriter
from .qwen3_vl import architecture, cache_names, rope_axes, vision, vision_spec
from .qwen3_vl_proof import patchify

__all__ = [
    "TextShape",
    "architecture",
    "configuration",
    "invariance",
    "stored_as",
    "vision",
    "weights",
    "write",
]

_PREFIX = "model.language_model"
_VISION = "model.visual."


@dataclass(frozen=True, slots=True)
class TextShape(LayerShape):
    """The numbers of a decoder, from the configuration of the libraries (`Qwen3VLConfig`)."""

    levels: int
    image_token: int
    tied: bool

    @classmethod
    def read(cls, config: Any, checkpoint: Checkpoint) -> TextShape:
        """Refuses what the graph would get wrong."""
        return cls.of(
            config.text_config,
            levels=len(config.vision_config.deepstack_visual_indexes),
            image_token=config.image_token_id,
            tied=bool(config.tie_word_embeddings) or "lm_head.weight" not in checkpoint.tensors,
        )

    def all_weights(self) -> dict[str, tuple[int, ...]]:
        """Every weight of the decoder, and its shape."""
        found = self.weights(_PREFIX, self.layers)
        return found if self.tied else found | {"lm_head.weight": (self.vocab, self.hidden)}


def configuration(checkpoint: Checkpoint) -> Qwen3VLConfig:
    """As the library reads it."""
    with checkpoint.understood():
        config = Qwen3VLConfig.from_dict(dict(checkpoint.config))
        TextShape.read(config, checkpoint)
    return config


def weights(config: Any, checkpoint: Checkpoint) -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of the weights of every part."""
    visual = _visual(config)
    return {
        "decoder": TextShape.read(config, checkpoint).all_weights(),
        "vision": {f"{_VISION}{name}": tuple(one.shape) for name, one in visual.named_parameters()},
    }


def stored_as(name: str, precision: Precision) -> Precision:
    """How a matrix is stored in a pack of this precision."""
    return precision if name.startswith(f"{_PREFIX}.layers.") else head_precision(precision)


def write(
    checkpoint: Checkpoint, config: Any, folder: Path, *, precision: Precision, cache_length: int
) -> None:
    """Writes `decoder.onnx` and `vision.onnx`, with their weights beside them; the contract is in export/README.md.

    The decoder is written node by node, the vision encoder traced from the library's own code.
    """
    write_decoder(checkpoint, config, folder / "decoder.onnx", precision=precision, cache_length=cache_length)
    visual = _visual(config)
    fill_hollow(visual)
    spec = vision_spec(SimpleNamespace(model=SimpleNamespace(visual=visual), config=config))
    names = {f"visual.{name}": f"{_VISION}{name}" for name, _ in visual.named_parameters()}
    export_hollow(spec, folder / "vision.onnx", checkpoint, names, lambda name: stored_as(name, precision))


def write_decoder(
    checkpoint: Checkpoint, config: Any, path: Path, *, precision: Precision, cache_length: int
) -> None:
    """The decoder alone."""
    shape = TextShape.read(config, checkpoint)
    with WeightFile(path.with_name(path.name + DATA_SUFFIX)) as file:
        model = _Decoder(checkpoint, file, shape, precision).model(config.text_config, cache_length)
    onnx.save(model, path)


def invariance(folder: Path, role: VlmRole, seed: int) -> list[Comparison]:
    """The decoder over chunks of prompts and batches of answers, the vision encoder over threads."""
    told, size = role.architecture, role.vision_config
    rng = np.random.default_rng(seed)
    block = size.patch_size * size.merge_size
    feeds = []
    for rows, columns in ((2, 3), (4, 4)):
        image = picture(rng, rows * block, columns * block)
        values, grid = patchify(image, size.patch_size, size.merge_size, size.temporal_patch_size)
        feeds.append({"pixel_values": values, "grid_thw": grid})
    decoder, slots, chunk = folder / "decoder.onnx", role.slots, role.prefill_chunk
    if takes_census(decoder):
        proved = written_census(decoder, slots=slots, chunk=chunk)
    else:
        proved = written_invariance(
            decoder,
            slots=slots,
            chunk=chunk,
            length=role.cache_length,
            image=told.image_token_id,
            seed=seed,
        )
    return [
        proved,
        thread_invariance(folder / "vision.onnx", feeds),
    ]


def _visual(config: Any) -> Qwen3VLVisionModel:
    """The vision encoder without weights."""
    with torch.device("meta"):
        made = Qwen3VLVisionModel._from_config(config.vision_config)
    made.rotary_pos_emb = Qwen3VLVisionRotaryEmbedding(config.vision_config)
    return made.eval()


class _Decoder:
    def __init__(
        self, checkpoint: Checkpoint, weights: WeightFile, shape: TextShape, precision: Precision
    ) -> None:
        self._graph = GraphWriter(checkpoint, weights)
        self._shape, self._precision = shape, precision

    def model(self, text: Any, cache_length: int) -> onnx.ModelProto:
        """The graph for caches of this length."""
        graph, shape = self._graph, self._shape
        self._lengths()
        layers = LayerWriter(graph, shape, _PREFIX, self._precision, self._attend)
        self._rope(text, layers)
        table = graph.table(f"{_PREFIX}.embed_tokens.weight", precision=head_precision(self._precision))
        residual = self._with_pictures(graph.rows(table, "input_ids", out="embedded"))
        x = layers.first(residual)
        graph.op("Unsqueeze", "last_index", graph.sizes(1, 2), out="last_index.column")
        for index in range(shape.layers):
            seen = self._level(index) if index < shape.levels else ""
            # The other tokens of the last layer are read by nobody: a prompt is done with them a layer earlier.
            wanted = self._last if index == shape.layers - 1 else str
            x, residual = layers.layer(index, x, residual, extra=seen, wanted=wanted)
        last = graph.op("Squeeze", x, graph.sizes(1), out="last_hidden")
        if shape.tied:
            graph.times_table(last, table, out="logits")
        else:
            graph.linear(last, "lm_head.weight", out="logits", precision=head_precision(self._precision))

        f32, i64 = TensorProto.FLOAT, TensorProto.INT64
        cache = ["b", shape.kv_heads, cache_length, shape.head_dim]
        return graph.model(
            "decoder",
            [
                ("input_ids", i64, ["b", "s"]),
                ("position_ids", i64, [3, "b", "s"]),
                ("past_len", i64, ["b"]),
                ("last_index", i64, ["b"]),
                ("visual_embeds", f32, ["b", "s", shape.hidden]),
                ("deepstack", f32, [shape.levels, "b", "s", shape.hidden]),
                *((name, f32, cache) for name in cache_names(shape.layers, "past")),
            ],
            [
                ("logits", f32, ["b", shape.vocab]),
                *((name, f32, cache) for name in cache_names(shape.layers, "present")),
            ],
        )

    def _lengths(self) -> None:
        """What the attention is told of the cache: the last position of every row, and the longest row."""
        graph = self._graph
        sizes = graph.op("Shape", "input_ids", out="chunk.shape", start=1, end=2)
        chunk = graph.op("Squeeze", sizes, out="chunk")
        end = graph.op("Add", "past_len", chunk, out="ends")
        last = graph.op("Sub", end, graph.constant("one", np.int64(1)), out="lasts.int64")
        graph.op("Cast", last, out="lasts", to=TensorProto.INT32)
        longest = graph.op("ReduceMax", end, out="longest.int64", keepdims=0)
        graph.op("Cast", longest, out="longest", to=TensorProto.INT32)

    def _rope(self, text: Any, layers: LayerWriter) -> None:
        rope = Qwen3VLTextRotaryEmbedding(text)
        graph = self._graph
        positions = graph.op("Cast", "position_ids", out="positions.float", to=TensorProto.FLOAT)
        axes = graph.constant("rope.axis", rope_axes(rope).numpy())
        chosen = graph.op("Gather", positions, axes, out="positions.chosen", axis=0)
        layers.tables(graph.op("Transpose", chosen, out="positions", perm=[1, 2, 0]), rope)

    def _with_pictures(self, embedded: str) -> str:
        graph = self._graph
        mark = graph.constant("image_token", np.int64(self._shape.image_token))
        places = graph.op("Equal", "input_ids", mark, out="is_image")
        column = graph.op("Unsqueeze", places, graph.sizes(2), out="is_image.column")
        return graph.op("Where", column, "visual_embeds", embedded, out="hidden")

    def _last(self, x: str) -> str:
        """Of [b, s, ...] the last token of every row, [b, 1, ...]."""
        return self._graph.op("GatherND", x, "last_index.column", out=f"{x}.last", batch_dims=1)

    def _level(self, index: int) -> str:
        """What a level of the vision encoder adds to a layer."""
        graph = self._graph
        level = graph.constant(f"level.{index}", np.int64(index))
        return graph.op("Gather", "deepstack", level, out=f"layer.{index}.seen", axis=0)

    def _attend(self, index: int, query: str, key: str, value: str) -> str:
        """Over the cached tokens, in place."""
        shape = self._shape
        return self._graph.many(
            "GroupQueryAttention",
            *(query, key, value, f"past_k.{index}", f"past_v.{index}", "lasts", "longest"),
            out=[f"layer.{index}.attention", f"present_k.{index}", f"present_v.{index}"],
            domain=FUSED,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.head_dim**-0.5,
        )[0]
