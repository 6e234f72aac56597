"""The decoder graph of a vision-language model of the Qwen3-VL family.

The library's own modelling code is traced. What is swapped for the time of the trace: the cache (a `TensorScatter` on
fixed-size buffers), the attention function (ONNX `Attention` with an explicit mask), and two data-dependent helpers.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen3VLForConditionalGeneration
from transformers.masking_utils import AttentionMaskInterface

from .graph import GraphSpec

__all__ = ["VlmShape", "decoder_spec", "decoder_trace"]

_OPSET = 24  # the first one with TensorScatter and with Attention as used here
_NAME = "interleave_rt_kv"


@dataclass(frozen=True, slots=True)
class VlmShape:
    """The numbers that callers of the graphs need; keys of `architecture` in pack.json."""

    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    vocab: int
    deepstack_levels: int
    image_token_id: int
    merge_size: int
    patch_values: int

    @classmethod
    def of(cls, model: Qwen3VLForConditionalGeneration) -> VlmShape:
        """Read from a model's configuration."""
        text, vision = model.config.text_config, model.config.vision_config
        return cls(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            kv_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            vocab=text.vocab_size,
            deepstack_levels=len(vision.deepstack_visual_indexes),
            image_token_id=model.config.image_token_id,
            merge_size=vision.spatial_merge_size,
            patch_values=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        )


class _SlotCache:
    """What the attention layers see as their cache: writes go to `past_len` of fixed-size buffers."""

    def __init__(self, keys: Sequence[Tensor], values: Sequence[Tensor], past_len: Tensor) -> None:
        self.keys, self.values = list(keys), list(values)
        self._past_len = past_len

    def get_seq_length(self, *_: Any) -> int:
        return 0

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys[layer] = self._scatter(self.keys[layer], key)
        self.values[layer] = self._scatter(self.values[layer], value)
        return self.keys[layer], self.values[layer]

    def _scatter(self, buffer: Tensor, chunk: Tensor) -> Tensor:
        return torch.onnx.ops.symbolic(
            "TensorScatter",
            [buffer, chunk, self._past_len],
            {"axis": 2},
            dtype=buffer.dtype,
            shape=buffer.shape,
            version=_OPSET,
        )


def _onnx_attention(
    _module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention with the query heads that share a key head folded into the sequence.

    Besides saving the repetition of keys, no matrix of a one-token call has a single row: ONNX Runtime's kernel for
    that case rounds differently (no fused multiply-add), and a token's bits would depend on its chunk.
    """
    batch, heads, tokens, width = query.shape
    shared = heads // key.shape[1]
    if shared > 1:
        query = query.reshape(batch, key.shape[1], shared * tokens, width)
        mask = mask.repeat(1, 1, shared, 1)
    else:
        query = torch.cat([query, query], dim=2)
        mask = mask.repeat(1, 1, 2, 1)
    out = torch.onnx.ops.symbolic(
        "Attention",
        [query, key, value, mask],
        {"scale": float(scaling)},
        dtype=query.dtype,
        shape=query.shape,
        version=_OPSET,
    )
    out = out.reshape(batch, heads, tokens, width) if shared > 1 else out[:, :, :tokens]
    return out.transpose(1, 2), None


def _rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary embedding of [b, heads, s, d] by half tables [b, s, d / 2]."""
    rotated = [
        torch.onnx.ops.symbolic(
            "RotaryEmbedding", [x, cos, sin], {}, dtype=x.dtype, shape=x.shape, version=_OPSET
        )
        for x in (query, key)
    ]
    return rotated[0], rotated[1]


def _half_tables(rope: Any) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The multimodal rope with one gather: which of time, height and width turns a frequency is fixed."""
    half = rope.inv_freq.shape[0]
    probe = torch.arange(3.0)[:, None, None, None].repeat(1, 1, 1, half)
    axis = rope.recomposition_frequencies(probe)[0, 0, :half].long()

    def tables(_hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids.float().index_select(0, axis).permute(1, 2, 0) * rope.inv_freq
        return angles.cos() * rope.attention_scaling, angles.sin() * rope.attention_scaling

    return tables


def _norm(norm: Any) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        return torch.onnx.ops.symbolic(
            "RMSNormalization",
            [x, norm.weight],
            {"axis": -1, "epsilon": float(norm.variance_epsilon)},
            dtype=x.dtype,
            shape=x.shape,
            version=_OPSET,
        )

    return forward


@contextlib.contextmanager
def _swapped(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes and put back what was there, the difference between own and inherited included."""
    missing = object()
    before = {name: vars(owner).get(name, missing) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


@contextlib.contextmanager
def decoder_trace(model: Qwen3VLForConditionalGeneration) -> Iterator[None]:
    """Swap parts of `model` for what its decoder graph needs; put all back at the end.

    Attention and mask for the cache in slots; deepstack for a plain addition; norms and rope, which are the same
    arithmetic, for single nodes (a decoding step is mostly the cost of its nodes).
    """
    language = model.model.language_model
    modelling = sys.modules[type(language.layers[0].self_attn).__module__]
    before = language.config._attn_implementation
    with contextlib.ExitStack() as stack:
        for registry, function in (
            (AttentionInterface, _onnx_attention),
            (AttentionMaskInterface, lambda *_, **__: None),
        ):
            registry.register(_NAME, function)
            stack.callback(registry._global_mapping.pop, _NAME)
        stack.callback(language.set_attn_implementation, before)
        language.set_attn_implementation(_NAME)
        stack.enter_context(
            _swapped(language, _deepstack_process=lambda hidden, _mask, level: hidden + level)
        )
        for module in language.modules():
            if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                stack.enter_context(_swapped(module, forward=_norm(module)))
        if language.rotary_emb.rope_type == "default":
            stack.enter_context(_swapped(language.rotary_emb, forward=_half_tables(language.rotary_emb)))
            stack.enter_context(_swapped(modelling, apply_rotary_pos_emb=_rotate))
        yield


class _Decoder(nn.Module):
    """The decoder as the contract of export/README.md wants it."""

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__()
        self.language = model.model.language_model
        self.head = model.lm_head
        self.image_token_id = model.config.image_token_id
        self.levels = len(model.config.vision_config.deepstack_visual_indexes)

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        past_len: Tensor,
        last_index: Tensor,
        visual_embeds: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        deepstack, cache = (rest[0], rest[1:]) if self.levels else (None, rest)
        half = len(cache) // 2
        slots = _SlotCache(cache[:half], cache[half:], past_len)
        length = cache[0].shape[2]
        position = past_len[:, None] + torch.arange(input_ids.shape[1])[None]
        mask = (torch.arange(length)[None, None] <= position[:, :, None])[:, None]
        is_image = (input_ids == self.image_token_id)[:, :, None]
        hidden = self.language(
            inputs_embeds=torch.where(is_image, visual_embeds, self.language.embed_tokens(input_ids)),
            position_ids=position_ids,
            attention_mask=mask,
            past_key_values=slots,
            visual_pos_masks=None if deepstack is None else is_image[:, :, 0],
            deepstack_visual_embeds=None if deepstack is None else list(deepstack.unbind(0)),
        ).last_hidden_state
        index = last_index[:, None, None].expand(-1, 1, hidden.shape[2])
        logits = self.head(hidden.gather(1, index))[:, 0]
        return (logits, *slots.keys, *slots.values)


def cache_names(layers: int, prefix: str) -> list[str]:
    """Names of the cache tensors, keys first: ``past_k.0``, ... ``past_v.0``, ..."""
    return [f"{prefix}_{kind}.{layer}" for kind in "kv" for layer in range(layers)]


def decoder_spec(model: Qwen3VLForConditionalGeneration) -> GraphSpec:
    """The decoder graph of `model`; export it inside `decoder_trace(model)`."""
    shape = VlmShape.of(model)
    b, s, length = 2, 3, 16
    cache = [torch.zeros(b, shape.kv_heads, length, shape.head_dim) for _ in range(2 * shape.layers)]
    sample = [
        torch.zeros(b, s, dtype=torch.long),
        torch.zeros(3, b, s, dtype=torch.long),
        torch.tensor([1, 2]),
        torch.tensor([2, 1]),
        torch.zeros(b, s, shape.hidden),
    ]
    dynamic: list[dict[int, str]] = [{0: "b", 1: "s"}, {1: "b", 2: "s"}, {0: "b"}, {0: "b"}, {0: "b", 1: "s"}]
    inputs = ["input_ids", "position_ids", "past_len", "last_index", "visual_embeds"]
    rest: list[Tensor] = []
    rest_dynamic: list[dict[int, str]] = []
    if shape.deepstack_levels:
        inputs.append("deepstack")
        rest.append(torch.zeros(shape.deepstack_levels, b, s, shape.hidden))
        rest_dynamic.append({1: "b", 2: "s"})
    rest += cache
    rest_dynamic += [{0: "b", 2: "L"}] * len(cache)
    return GraphSpec(
        module=_Decoder(model).eval(),
        sample=(*sample, *rest),
        inputs=[*inputs, *cache_names(shape.layers, "past")],
        outputs=["logits", *cache_names(shape.layers, "present")],
        dynamic=(*dynamic, tuple(rest_dynamic)),
        opset=_OPSET,
    )
