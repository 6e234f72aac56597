"""The layers of Qwen's decoders written node by node: what a language model and a text encoder have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interleave_rt.errors import BadPackError

from ..written import FUSED, GraphWriter, Precision

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LayerShape", "LayerWriter"]


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The numbers of a decoder, from its configuration in `transformers`."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    wide: int
    vocab: int
    epsilon: float
    biased: bool  # query, key and value have biases
    head_norms: bool  # query and key are normed head by head

    @classmethod
    def of(cls, text: Any, *, biased: bool = False, head_norms: bool = True, **more: Any) -> Self:
        """Refuses what the graph would get wrong; `more`: what a subclass adds.

        Raises:
            BadPackError: The decoder has a part that is not written here.
        """
        why = ""
        if text.hidden_act != "silu":
            why = f"its activation is {text.hidden_act}, not silu"
        elif getattr(text, "attention_bias", False):
            why = "its attention has biases"
        elif text.rope_parameters["rope_type"] in ("dynamic", "longrope"):
            why = (
                f"its rotary embedding is {text.rope_parameters['rope_type']}, which changes with the length"
            )
        elif set(getattr(text, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
            why = "its attention slides over a window"
        if why:
            raise BadPackError(f"[export] no graph of this decoder can be written: {why}")
        return cls(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            wide=text.intermediate_size,
            vocab=text.vocab_size,
            epsilon=float(text.rms_norm_eps),
            biased=biased,
            head_norms=head_norms,
            **more,
        )

    def weights(self, prefix: str, layers: int) -> dict[str, tuple[int, ...]]:
        """The weights of the embedding and of the first layers, and their shapes; the last norm where all are used."""
        inner, shared = self.heads * self.head_dim, self.kv_heads * self.head_dim
        found: dict[str, tuple[int, ...]] = {f"{prefix}.embed_tokens.weight": (self.vocab, self.hidden)}
        if layers == self.layers:
            found[f"{prefix}.norm.weight"] = (self.hidden,)
        for index in range(layers):
            layer = f"{prefix}.layers.{index}"
            found |= {
                f"{layer}.input_layernorm.weight": (self.hidden,),
                f"{layer}.post_attention_layernorm.weight": (self.hidden,),
                f"{layer}.self_attn.q_proj.weight": (inner, self.hidden),
                f"{layer}.self_attn.k_proj.weight": (shared, self.hidden),
                f"{layer}.self_attn.v_proj.weight": (shared, self.hidden),
                f"{layer}.self_attn.o_proj.weight": (self.hidden, inner),
                f"{layer}.mlp.gate_proj.weight": (self.wide, self.hidden),
                f"{layer}.mlp.up_proj.weight": (self.wide, self.hidden),
                f"{layer}.mlp.down_proj.weight": (self.hidden, self.wide),
            }
            for kind, width in zip("qkv", (inner, shared, shared), strict=True):
                if self.biased:
                    found[f"{layer}.self_attn.{kind}_proj.bias"] = (width,)
                if self.head_norms and kind != "v":
                    found[f"{layer}.self_attn.{kind}_norm.weight"] = (self.head_dim,)
        return found


class LayerWriter:
    """Writes layers into a graph.

    Args:
        graph: Where to.
        shape: Of the decoder.
        prefix: Of its weights' names, without the last dot.
        precision: Of its matrices.
        attend: Writes the attention of a layer, `layer.INDEX.attention`: its index, query, key and value
            [b, s, heads * head_dim], the first two turned; returns [b, s, heads * head_dim].
    """

    def __init__(
        self,
        graph: GraphWriter,
        shape: LayerShape,
        prefix: str,
        precision: Precision,
        attend: Callable[[int, str, str, str], str],
    ) -> None:
        self._graph, self._shape, self._prefix = graph, shape, prefix
        self._precision, self._attend = precision, attend

    def tables(self, positions: str, rope: Any) -> None:
        """The values `cos` and `sin` [b, s, head_dim / 2], which the layers read.

        Args:
            positions: float [b, s, 1], or [b, s, head_dim / 2] where frequencies have positions of their own.
            rope: The library's rotary embedding.
        """
        graph = self._graph
        frequencies = graph.constant("rope.frequencies", rope.inv_freq.float().numpy())
        angles = graph.op("Mul", positions, frequencies, out="angles")
        scaled = rope.attention_scaling != 1.0
        for kind, out in (("Cos", "cos"), ("Sin", "sin")):
            found = graph.op(kind, angles, out=f"{out}.plain" if scaled else out)
            if scaled:
                scale = graph.constant("rope.scaling", np.float32(rope.attention_scaling))
                graph.op("Mul", found, scale, out=out)

    def first(self, residual: str) -> str:
        """The normed input of the first layer."""
        return self._graph.norm(residual, self._norm_before(0), out="first", epsilon=self._shape.epsilon)

    def layer(
        self,
        index: int,
        x: str,
        residual: str,
        *,
        extra: str = "",
        last: bool = False,
        wanted: Callable[[str], str] = str,
    ) -> tuple[str, str]:
        """One layer.

        Args:
            index: From 0.
            x: Its normed input.
            residual: The sum behind that.
            extra: Added to the sum before the layer's own last part; "": nothing.
            last: Nothing follows but the end of the decoder or a reader of the sum.
            wanted: Writes the choice of those tokens of [b, s, ...] whose result is read; the layer's key and value
                are those of all tokens, what comes behind its attention is done for the chosen ones alone.

        Returns:
            The normed input of what follows, "" where there is nothing; the sum, "" after the decoder's last layer.
        """
        graph, shape, precision = self._graph, self._shape, self._precision
        name, source = f"layer.{index}", f"{self._prefix}.layers.{index}"
        attention, mlp = f"{source}.self_attn", f"{source}.mlp"
        qkv = [f"{attention}.{kind}_proj.weight" for kind in "qkv"]
        joined = graph.linear(x, *qkv, out=f"{name}.qkv", precision=precision)
        if shape.biased:
            biases = graph.vector(*(f"{attention}.{kind}_proj.bias" for kind in "qkv"))
            joined = graph.op("Add", joined, biases, out=f"{name}.qkv.biased")
        inner, shared = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        parts = [f"{name}.{kind}" for kind in "qkv"]
        graph.many("Split", joined, graph.sizes(inner, shared, shared), out=parts, axis=-1)
        query = self._turned(parts[0], f"{attention}.q_norm.weight", shape.heads)
        key = self._turned(parts[1], f"{attention}.k_norm.weight", shape.kv_heads)
        seen, residual = wanted(self._attend(index, query, key, parts[2])), wanted(residual)
        out = graph.linear(seen, f"{attention}.o_proj.weight", out=f"{name}.out", precision=precision)
        norm = f"{source}.post_attention_layernorm.weight"
        normed, total = graph.add_norm(out, residual, norm, out=f"{name}.middle", epsilon=shape.epsilon)
        both = [f"{mlp}.{kind}_proj.weight" for kind in ("gate", "up")]
        wide = graph.linear(normed, *both, out=f"{name}.gate_up", precision=precision)
        halves = [f"{name}.gate", f"{name}.up"]
        graph.many("Split", wide, out=halves, axis=-1, num_outputs=2)
        gate = graph.op("QuickGelu", halves[0], out=f"{name}.silu", domain=FUSED, alpha=1.0)
        product = graph.op("Mul", gate, halves[1], out=f"{name}.wide")
        down = graph.linear(product, f"{mlp}.down_proj.weight", out=f"{name}.down", precision=precision)
        if extra:
            total = graph.op("Add", total, wanted(extra), out=f"{name}.with_seen")
        end = index + 1 == shape.layers
        if last and not end:
            return "", graph.op("Add", total, down, out=f"{name}.end.sum")
        return graph.add_norm(
            down, total, self._norm_before(index + 1), out=f"{name}.end", epsilon=shape.epsilon, keep=not end
        )

    def _norm_before(self, index: int) -> str:
        """The norm whose result layer `index` reads; after the last one, the head."""
        if index == self._shape.layers:
            return f"{self._prefix}.norm.weight"
        return f"{self._prefix}.layers.{index}.input_layernorm.weight"

    def _turned(self, x: str, norm: str, heads: int) -> str:
        """Query or key [b, s, heads * head_dim], normed where heads are, turned by the rotary embedding."""
        graph, width, joined = self._graph, self._shape.head_dim, x
        if self._shape.head_norms:
            split = graph.op("Reshape", x, graph.sizes(0, 0, heads, width), out=f"{x}.split")
            normed = graph.norm(split, norm, out=f"{x}.normed", epsilon=self._shape.epsilon)
            joined = graph.op("Reshape", normed, graph.sizes(0, 0, heads * width), out=f"{x}.joined")
        return graph.op("RotaryEmbedding", joined, "cos", "sin", out=f"{x}.turned", num_heads=heads)
