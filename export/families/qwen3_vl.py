"""Qwen3-VL as planner or critic: its graphs, and what the manifest says of it; its proofs are in `qwen3_vl_proof`.

The library's own modelling code is traced. What is swapped for the time of the decoder's trace: the cache (a
`TensorScatter` on fixed-size buffers), the attention function (ONNX `Attention` with an explicit mask), and two
data-dependent helpers. The vision graph takes one image a call, any grid; its grid-dependent tables are computed with
tensor operations alone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen3VLForConditionalGeneration
from transformers.masking_utils import AttentionMaskInterface

from ..checkpoint import area_limits, image_sizes
from ..graph import GraphSpec, export_graph, op, parameters, swapped
from ..recipe import VlmRecipe
from ..storage import HalfReport
from ..weights import Weights, quiet_libraries
from .qwen3_vl_proof import invariance, outputs, parity

__all__ = [
    "NEEDED",
    "VlmShape",
    "architecture",
    "cache_names",
    "decoder_spec",
    "decoder_trace",
    "describe",
    "export",
    "invariance",
    "load",
    "outputs",
    "parity",
    "rope_axes",
    "vision",
    "vision_spec",
]

NEEDED = ("config.json", "model.safetensors")

_OPSET = 24  # the first one with TensorScatter and with Attention as used here
_NAME = "interleave_rt_kv"
_ROPE_ROWS = 1024


def load(weights: Weights, role: str) -> Qwen3VLForConditionalGeneration:
    """Planner or critic in float32."""
    with quiet_libraries():
        model = Qwen3VLForConditionalGeneration.from_pretrained(weights.directory / role, dtype=torch.float32)
    return model.eval()


def export(
    model: Qwen3VLForConditionalGeneration, folder: Path, recipe: VlmRecipe
) -> Iterator[tuple[str, HalfReport]]:
    """Writes the graphs into `folder`; says of each what its storage did."""
    with decoder_trace(model):
        path = folder / "decoder.onnx"
        yield path.stem, export_graph(decoder_spec(model), path, external=recipe.external_data)
    if recipe.decode_graph:
        from .qwen3_decode import export_decode_graph

        path = folder / "decode_graph.onnx"
        longest = int(model.config.text_config.max_position_embeddings)
        rows = min(longest, max(recipe.cache_length, _ROPE_ROWS))
        yield path.stem, export_decode_graph(model, path, rows, external=recipe.external_data)
    path = folder / "vision.onnx"
    yield path.stem, export_graph(vision_spec(model), path, external=recipe.external_data)


def architecture(config: Any) -> dict[str, int]:
    """`architecture` of the manifest, and how many positions there are."""
    text = config.text_config
    return {
        "layers": text.num_hidden_layers,
        "hidden": text.hidden_size,
        "kv_heads": text.num_key_value_heads,
        "head_dim": text.head_dim,
        "vocab": text.vocab_size,
        "deepstack_levels": len(config.vision_config.deepstack_visual_indexes),
        "image_token_id": config.image_token_id,
        "max_position_embeddings": text.max_position_embeddings,
    }


def vision(config: Any) -> dict[str, int]:
    """`vision_config` of the manifest, but for what the preprocessor says."""
    found = config.vision_config
    return {
        "patch_size": found.patch_size,
        "merge_size": found.spatial_merge_size,
        "temporal_patch_size": found.temporal_patch_size,
    }


def describe(model: Qwen3VLForConditionalGeneration, recipe: VlmRecipe) -> dict[str, Any]:
    """What the manifest says of the role, but for its files."""
    told = architecture(model.config)
    generation = model.generation_config
    ends = generation.eos_token_id
    length = min(recipe.cache_length, told.pop("max_position_embeddings"))
    sampled = bool(generation.do_sample)
    return {
        "architecture": {
            **told,
            "eos_token_ids": list(ends) if isinstance(ends, (list, tuple)) else [ends],
            "pad_token_id": generation.pad_token_id,
        },
        "vision_config": vision(model.config) | _images(model.config),
        "generation": {
            "temperature": (generation.temperature or 1.0) if sampled else 0.0,
            "top_k": (generation.top_k or 0) if sampled else 0,
            "top_p": (generation.top_p or 1.0) if sampled else 1.0,
            "max_new_tokens": min(recipe.max_new_tokens, length - 1),
        },
        "verdict_tokens": None,
        "cache_length": length,
        "slots": recipe.slots,
        "prefill_chunk": recipe.prefill_chunk,
        "providers": ["CPUExecutionProvider"],
        "parameters": parameters(model),
    }


def _images(config: Any) -> dict[str, Any]:
    """As the preprocessor beside the weights says; models without one have seen images of one size alone."""
    told = image_sizes(Path(config._name_or_path)) if config._name_or_path else None
    if told is not None:
        return told
    seen = config.vision_config
    pixels = int(seen.num_position_embeddings) * seen.patch_size**2
    return {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], **area_limits(pixels, pixels)}


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
        return op(_OPSET, "TensorScatter", buffer, chunk, self._past_len, axis=2)


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
    out = op(_OPSET, "Attention", query, key, value, mask, scale=float(scaling))
    out = out.reshape(batch, heads, tokens, width) if shared > 1 else out[:, :, :tokens]
    return out.transpose(1, 2), None


def _rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary embedding of [b, heads, s, d] by half tables [b, s, d / 2]."""
    return op(_OPSET, "RotaryEmbedding", query, cos, sin), op(_OPSET, "RotaryEmbedding", key, cos, sin)


def rope_axes(rope: Any) -> Tensor:
    """Which of time, height and width (0, 1, 2) turns each frequency of the multimodal rope: [head_dim / 2]."""
    half = rope.inv_freq.shape[0]
    probe = torch.arange(3.0)[:, None, None, None].repeat(1, 1, 1, half)
    axes: Tensor = rope.recomposition_frequencies(probe)[0, 0, :half].long()
    return axes


def _half_tables(rope: Any) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The multimodal rope with one gather."""
    axes = rope_axes(rope)

    def tables(_hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids.float().index_select(0, axes).permute(1, 2, 0) * rope.inv_freq
        return angles.cos() * rope.attention_scaling, angles.sin() * rope.attention_scaling

    return tables


def _norm(norm: Any) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        epsilon = float(norm.variance_epsilon)
        return op(_OPSET, "RMSNormalization", x, norm.weight, axis=-1, epsilon=epsilon)

    return forward


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
        stack.enter_context(swapped(language, _deepstack_process=lambda hidden, _mask, level: hidden + level))
        for module in language.modules():
            if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                stack.enter_context(swapped(module, forward=_norm(module)))
        if language.rotary_emb.rope_type == "default":
            stack.enter_context(swapped(language.rotary_emb, forward=_half_tables(language.rotary_emb)))
            stack.enter_context(swapped(modelling, apply_rotary_pos_emb=_rotate))
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
        index = last_index[:, :, None].expand(-1, -1, hidden.shape[2])
        return (self.head(hidden.gather(1, index)), *slots.keys, *slots.values)


def cache_names(layers: int, prefix: str) -> list[str]:
    """Names of the cache tensors, keys first: ``past_k.0``, ... ``past_v.0``, ..."""
    return [f"{prefix}_{kind}.{layer}" for kind in "kv" for layer in range(layers)]


def decoder_spec(model: Qwen3VLForConditionalGeneration) -> GraphSpec:
    """The decoder graph of `model`; export it inside `decoder_trace(model)`."""
    shape = VlmShape.of(model)
    b, s, length = 2, 3, 16
    cache = torch.zeros(b, shape.kv_heads, length, shape.head_dim)
    inputs: list[tuple[str, Tensor, dict[int, str]]] = [
        ("input_ids", torch.zeros(b, s, dtype=torch.long), {0: "b", 1: "s"}),
        ("position_ids", torch.zeros(3, b, s, dtype=torch.long), {1: "b", 2: "s"}),
        ("past_len", torch.tensor([1, 2]), {0: "b"}),
        ("last_index", torch.tensor([[0, 2], [1, 1]]), {0: "b", 1: "k"}),
        ("visual_embeds", torch.zeros(b, s, shape.hidden), {0: "b", 1: "s"}),
    ]
    named = len(inputs)
    if shape.deepstack_levels:
        levels = torch.zeros(shape.deepstack_levels, b, s, shape.hidden)
        inputs.append(("deepstack", levels, {1: "b", 2: "s"}))
    inputs += [(name, cache.clone(), {0: "b", 2: "L"}) for name in cache_names(shape.layers, "past")]
    outputs = ["logits", *cache_names(shape.layers, "present")]
    return GraphSpec(_Decoder(model).eval(), inputs, outputs, _OPSET, variadic=named)


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
    patches = torch.zeros(grid[0] * grid[1], shape.patch_values)
    inputs = [("pixel_values", patches, {0: "patches"}), ("grid_thw", torch.tensor([[1, *grid]]), {})]
    return GraphSpec(_Vision(model).eval(), inputs, outputs, _OPSET)
