"""The one-token graph of a vision-language decoder, beside the graph of `qwen3_vl.py` for prompts.

A decoding step is mostly the cost of its nodes and of reading the weights. This graph says the same arithmetic with
ONNX Runtime's fused operators: one product for query, key and value, `GroupQueryAttention` (rotary embedding inside,
the cache in place, over the cached tokens only), residual and norm in one node, one product for
gate and up. It reads text tokens only, whose three m-rope positions are equal: there the m-rope is the plain one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from interleave_rt.errors import BadPackError

from ..graph import save_graph
from ..storage import HalfReport, store_half
from ..written import FUSED, Nodes
from .qwen3_vl import VlmShape, cache_names

__all__ = ["decode_model", "export_decode_graph"]

_HEAD_MULTIPLE = 16  # of the fused operator's rotary embedding


class _Nodes(Nodes):
    """Nodes with the weights of a model, as float32."""

    def linear(self, x: str, out: str, *weights: Tensor) -> str:
        """One product for matrices that share their input; results side by side."""
        columns = np.concatenate([_array(weight) for weight in weights]).T
        return self.op("MatMul", x, self.constant(f"{out}.weight", columns), out=out)

    def norm(self, x: str, norm: Any, out: str) -> str:
        weight = self.constant(f"{out}.norm", _array(norm.weight))
        epsilon = float(norm.variance_epsilon)
        return self.op("RMSNormalization", x, weight, out=out, axis=-1, epsilon=epsilon)

    def head_norm(self, x: str, heads: int, norm: Any) -> str:
        """The norm of every head of [b, 1, heads * head_dim]."""
        width = len(norm.weight)
        split = self.op("Reshape", x, self.sizes(0, heads, width), out=f"{x}.split")
        normed = self.norm(split, norm, f"{x}.normed")
        return self.op("Reshape", normed, self.sizes(0, 1, heads * width), out=f"{x}.joined")

    def add_norm(self, x: str, skip: str, norm: Any, out: str) -> tuple[str, str]:
        """The norm of a sum, and the sum."""
        weight = self.constant(f"{out}.norm", _array(norm.weight))
        names, epsilon = [f"{out}.normed", "", "", f"{out}.sum"], float(norm.variance_epsilon)
        kind = "SkipSimplifiedLayerNormalization"
        self.many(kind, x, skip, weight, out=names, domain=FUSED, epsilon=epsilon)
        return names[0], names[3]


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = tensor.detach().float().numpy()
    return found


def _rope_tables(language: Any, positions: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines and sines [positions, head_dim / 2] of text tokens, from the model's own module."""
    where = torch.arange(positions)[None, None].expand(3, 1, positions)
    with torch.no_grad():
        cos, sin = language.rotary_emb(torch.zeros(1, positions, 1), where)
    half = cos.shape[-1] // 2
    return _array(cos[0, :, :half]), _array(sin[0, :, :half])


def _layer(nodes: _Nodes, layer: Any, index: int, x: str, residual: str, following: Any) -> tuple[str, str]:
    """One layer from its normed input to the normed input of what follows."""
    name = f"layer.{index}"
    attention, mlp = layer.self_attn, layer.mlp
    config = attention.config
    qkv = nodes.linear(
        x, f"{name}.qkv", attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight
    )
    heads, shared, width = config.num_attention_heads, config.num_key_value_heads, attention.head_dim
    sizes = nodes.sizes(heads * width, shared * width, shared * width)
    parts = [f"{name}.{kind}" for kind in ("q", "k", "v")]
    nodes.many("Split", qkv, sizes, out=parts, axis=-1)
    query = nodes.head_norm(parts[0], heads, attention.q_norm)
    key = nodes.head_norm(parts[1], shared, attention.k_norm)
    cache = [f"past_k.{index}", f"past_v.{index}", "past_len", "total_length"]
    nodes.many(
        "GroupQueryAttention",
        *(query, key, parts[2], *cache, "cos", "sin", "position_ids"),
        out=[f"{name}.attention", f"present_k.{index}", f"present_v.{index}"],
        domain=FUSED,
        num_heads=heads,
        kv_num_heads=shared,
        scale=float(attention.scaling),
        do_rotary=1,
    )
    out = nodes.linear(f"{name}.attention", f"{name}.out", attention.o_proj.weight)
    normed, total = nodes.add_norm(residual, out, layer.post_attention_layernorm, f"{name}.middle")
    both = nodes.linear(normed, f"{name}.gate_up", mlp.gate_proj.weight, mlp.up_proj.weight)
    halves = nodes.many("Split", both, out=[f"{name}.gate", f"{name}.up"], axis=-1, num_outputs=2)
    gate = nodes.op("QuickGelu", halves[0], out=f"{name}.silu", domain=FUSED, alpha=1.0)
    wide = nodes.op("Mul", gate, halves[1], out=f"{name}.wide")
    down = nodes.linear(wide, f"{name}.down", mlp.down_proj.weight)
    return nodes.add_norm(total, down, following, f"{name}.end")


def _check(language: Any, shape: VlmShape) -> None:
    """Refuse what this graph would get wrong."""
    biased = [
        name
        for name, module in language.layers.named_modules()
        if isinstance(module, nn.Linear) and module.bias is not None
    ]
    why = ""
    if shape.head_dim % _HEAD_MULTIPLE:
        why = f"its heads have {shape.head_dim} values, not a multiple of {_HEAD_MULTIPLE}"
    elif language.config.hidden_act != "silu":
        why = f"its activation is {language.config.hidden_act}, not silu"
    elif biased:
        why = f"layers.{biased[0]} has a bias"
    if why:
        raise BadPackError(
            f"[export] no decode graph for this model: {why}", hint="export without --decode-graph"
        )


def decode_model(model: Qwen3VLForConditionalGeneration, positions: int) -> onnx.ModelProto:
    """The decode graph of `model` for positions 0 .. `positions` - 1; weights as float32.

    Raises:
        BadPackError: where the fused operator cannot compute what this model does.
    """
    shape = VlmShape.of(model)
    language = model.model.language_model
    _check(language, shape)
    nodes = _Nodes()
    for name, rope in zip(("cos", "sin"), _rope_tables(language, positions), strict=True):
        nodes.op("Constant", out=name, value=numpy_helper.from_array(np.ascontiguousarray(rope)))
    table = nodes.constant("embedding", _array(language.embed_tokens.weight))
    residual = nodes.op("Gather", table, "input_ids", out="embedded", axis=0)
    layers = list(language.layers)
    x = nodes.norm(residual, layers[0].input_layernorm, "first")
    following = [*(layer.input_layernorm for layer in layers[1:]), language.norm]
    for index, (layer, after) in enumerate(zip(layers, following, strict=True)):
        x, residual = _layer(nodes, layer, index, x, residual, after)
    nodes.nodes[-1].output[3] = ""  # nobody reads the last sum
    nodes.linear(x, "logits", model.lm_head.weight)

    f32, i64, i32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
    cache = ["b", shape.kv_heads, "L", shape.head_dim]
    inputs: list[tuple[str, int, list[Any]]] = [
        ("input_ids", i64, ["b", 1]),
        ("position_ids", i64, ["b", 1]),
        ("past_len", i32, ["b"]),
        ("total_length", i32, []),
        *((name, f32, cache) for name in cache_names(shape.layers, "past")),
    ]
    outputs: list[tuple[str, int, list[Any]]] = [
        ("logits", f32, ["b", 1, shape.vocab]),
        *((name, f32, cache) for name in cache_names(shape.layers, "present")),
    ]
    return nodes.model("decode", inputs, outputs)


def export_decode_graph(
    model: Qwen3VLForConditionalGeneration, path: Path, positions: int, *, external: bool | None = None
) -> HalfReport:
    """Write the decode graph of `model` with its weights stored as float16; returns what that storage did."""
    made = decode_model(model, positions)
    report = store_half(made)
    save_graph(made, path, external=external)
    return report
