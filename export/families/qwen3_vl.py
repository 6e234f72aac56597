"""Qwen3-VL as planner or critic: its graphs, what the manifest says of it, and its proofs.

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

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen3VLForConditionalGeneration
from transformers.masking_utils import AttentionMaskInterface

from interleave_rt.pack.manifest import VlmRole

from ..graph import GraphSpec, export_graph
from ..proof.checks import Comparison, Parity, deviation, picture, worst
from ..proof.invariance import decode_invariance, decoder_invariance, thread_invariance
from ..proof.sessions import DecoderRunner, Floats, Ints, RowInput, open_session
from ..recipe import VlmRecipe
from ..storage import HalfReport
from ..weights import Weights, quiet_libraries

__all__ = [
    "NEEDED",
    "VlmChain",
    "VlmPrompt",
    "VlmShape",
    "decoder_spec",
    "decoder_trace",
    "hf_generate",
    "make_prompts",
    "patchify",
    "vision_spec",
]

NEEDED = ("config.json", "model.safetensors")

_OPSET = 24  # the first one with TensorScatter and with Attention as used here
_NAME = "interleave_rt_kv"
_ROPE_ROWS = 1024
_NEW_TOKENS = 24
_TOKENS = 64


_REQUESTS = (
    "Draw a small red circle at the top left on a blue background, then add a large green star.",
    "Make a yellow canvas with a black ring in the center and a brown square below it.",
    "add a large orange triangle at the right",
    "Move it to the left, please.",
)


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


def describe(model: Qwen3VLForConditionalGeneration, recipe: VlmRecipe) -> dict[str, Any]:
    """What the manifest says of the role, but for its files."""
    shape = VlmShape.of(model)
    vision = model.config.vision_config
    generation = model.generation_config
    ends = generation.eos_token_id
    side = int(vision.num_position_embeddings**0.5) * vision.patch_size
    length = min(recipe.cache_length, int(model.config.text_config.max_position_embeddings))
    sampled = bool(generation.do_sample)
    return {
        "architecture": {
            "layers": shape.layers,
            "hidden": shape.hidden,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "vocab": shape.vocab,
            "deepstack_levels": shape.deepstack_levels,
            "image_token_id": shape.image_token_id,
            "eos_token_ids": list(ends) if isinstance(ends, (list, tuple)) else [ends],
            "pad_token_id": generation.pad_token_id,
        },
        "vision_config": {
            "patch_size": vision.patch_size,
            "merge_size": vision.spatial_merge_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            # one grid is all that the tiny encoders have seen
            "min_pixels": side * side,
            "max_pixels": side * side,
            "max_pixels_many": min(384 * 384, side * side),
            "many": 5,
        },
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
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }


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


@dataclass(frozen=True, slots=True)
class VlmPrompt:
    """One prompt of a vision-language model: token ids (images expanded), positions, and the images as patches."""

    ids: Ints
    positions: Ints
    pixel_values: Floats
    grids: Ints
    images: tuple[npt.NDArray[np.uint8], ...]

    @property
    def next_position(self) -> int:
        """M-rope position of the first answer token."""
        return int(self.positions.max()) + 1


def patchify(image: npt.NDArray[np.uint8], patch: int, merge: int, frames: int) -> tuple[Floats, Ints]:
    """Pixels to patches in Qwen-VL order (merge blocks first) and the grid [1, 3]; mean and std 0.5."""
    height, width = image.shape[0] // patch, image.shape[1] // patch
    planar = image.astype(np.float32).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)
    blocks = planar.reshape(3, height // merge, merge, patch, width // merge, merge, patch)
    blocks = blocks.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
    repeated = np.repeat(blocks, frames, axis=5)
    values = np.ascontiguousarray(repeated.reshape(height * width, 3 * frames * patch * patch))
    return values, np.array([[1, height, width]], np.int64)


def make_prompts(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Any,
    templates: list[str],
    seed: int,
    image_sides: tuple[int, int],
) -> list[VlmPrompt]:
    """One prompt for every template and request; `<image>` in a template is an image of these sides."""
    rng = np.random.default_rng(seed)
    prompts = []
    for template in templates:
        for request in _REQUESTS:
            text = template
            for field in ("{text_input}", "{original_instruction}", "{rewritten_prompt}", "{request}"):
                text = text.replace(field, request)
            if "<image>" not in text and request == _REQUESTS[-1]:
                text = f"<image>{text}"
            prompts.append(_prompt(model, tokenizer, text, rng, image_sides))
    return prompts


def _prompt(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Any,
    text: str,
    rng: np.random.Generator,
    sides: tuple[int, int],
) -> VlmPrompt:
    vision = model.config.vision_config
    content: list[dict[str, str]] = []
    pieces = text.split("<image>")
    for number, piece in enumerate(pieces):
        if number:
            content.append({"type": "image"})
        if piece:
            content.append({"type": "text", "text": piece})
    message = [{"role": "user", "content": content if len(pieces) > 1 else text}]
    chat = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    raw = tokenizer(chat, add_special_tokens=False).input_ids
    images = tuple(picture(rng, *sides) for _ in pieces[1:])
    sizes = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    patches = [patchify(image, *sizes) for image in images]
    tokens = sides[0] * sides[1] // (vision.patch_size * vision.spatial_merge_size) ** 2
    pad = model.config.image_token_id
    ids = np.array([t for token in raw for t in ([token] * tokens if token == pad else [token])], np.int64)
    grids = np.concatenate([grid for _, grid in patches]) if patches else np.zeros((0, 3), np.int64)
    positions, _ = model.model.get_rope_index(
        torch.from_numpy(ids)[None],
        torch.from_numpy((ids == pad).astype(np.int64))[None],
        image_grid_thw=torch.from_numpy(grids) if patches else None,
    )
    width = 3 * vision.temporal_patch_size * vision.patch_size**2
    values = np.concatenate([value for value, _ in patches]) if patches else np.zeros((0, width), np.float32)
    return VlmPrompt(ids, np.ascontiguousarray(positions[:, 0].numpy()), values, grids, images)


class VlmChain:
    """Planner or critic: vision graph, then the decoder graph, one sequence at a time.

    Answers go through the decode graph where there is one, as in the native runtime; `fused=False`: not even then.
    """

    def __init__(self, directory: Path, image_token_id: int, *, fused: bool = True) -> None:
        self._vision = open_session(directory / "vision.onnx")
        self._decoder = open_session(directory / "decoder.onnx")
        decode = directory / "decode_graph.onnx"
        self._decode = open_session(decode) if fused and decode.is_file() else None
        self._image = image_token_id

    def row(self, prompt: VlmPrompt) -> RowInput:
        """The decoder's input for a prompt: its images encoded and laid at their places."""
        runner = DecoderRunner(self._decoder, 1, 1)
        count = len(prompt.ids)
        visual = np.zeros((count, runner.hidden), np.float32)
        deepstack = np.zeros((runner.levels, count, runner.hidden), np.float32)
        places = np.flatnonzero(prompt.ids == self._image)
        start, patch = 0, 0
        for grid in prompt.grids:
            patches = int(grid.prod())
            feed = {"pixel_values": prompt.pixel_values[patch : patch + patches], "grid_thw": grid[None]}
            outputs = self._vision.run(None, feed)
            where = places[start : start + len(outputs[0])]
            visual[where] = outputs[0]
            if runner.levels:
                deepstack[:, where] = outputs[1]
            start, patch = start + len(where), patch + patches
        return RowInput(prompt.ids, prompt.positions, visual, deepstack)

    def generate(self, prompt: VlmPrompt, tokens: int) -> tuple[list[int], Floats]:
        """So many greedy tokens and the logits that chose them, [tokens, vocab]."""
        row = self.row(prompt)
        runner = DecoderRunner(self._decoder, 1, len(prompt.ids) + tokens, self._decode)
        logits = runner.step({0: row}, len(prompt.ids))[0]
        found, rows = [int(logits.argmax())], [logits]
        while len(found) < tokens:
            logits = runner.answer({0: (found[-1], prompt.next_position + len(found) - 1)})[0]
            found.append(int(logits.argmax()))
            rows.append(logits)
        return found, np.stack(rows)


def hf_generate(
    model: Qwen3VLForConditionalGeneration, prompt: VlmPrompt, tokens: int
) -> tuple[list[int], Floats]:
    """Greedy tokens of the library's own `generate`, with the logits that chose them, [tokens, vocab]."""
    ids = torch.from_numpy(prompt.ids)[None]
    images: dict[str, Any] = {}
    if len(prompt.grids):
        images = {
            "pixel_values": torch.from_numpy(prompt.pixel_values),
            "image_grid_thw": torch.from_numpy(prompt.grids),
            "mm_token_type_ids": (ids == model.config.image_token_id).long(),
        }
    with torch.no_grad():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **images,
        )
    return out.sequences[0, ids.shape[1] :].tolist(), torch.cat(out.logits).numpy()


def parity(
    model: Qwen3VLForConditionalGeneration,
    folder: Path,
    role: VlmRole,
    weights: Weights,
    recipe: VlmRecipe,  # noqa: ARG001
    seed: int,
) -> list[Parity]:
    """Vision on several grids; logits and greedy tokens of whole prompts against `generate`."""
    name, vision = folder.name, role.vision_config
    sizes = vision.patch_size, vision.merge_size, vision.temporal_patch_size
    block = vision.patch_size * vision.merge_size
    session = open_session(folder / "vision.onnx")
    rng = np.random.default_rng(seed)
    actual, expected = [], []
    for rows, columns in ((3, 3), (2, 4), (5, 2), (1, 1)):
        values, grid = patchify(picture(rng, rows * block, columns * block), *sizes)
        with torch.no_grad():
            reference = model.model.visual(torch.from_numpy(values), grid_thw=torch.from_numpy(grid))
        outputs = session.run(None, {"pixel_values": values, "grid_thw": grid})
        wanted = [reference.pooler_output, *reference.deepstack_features]
        got = [outputs[0], *(outputs[1] if len(outputs) > 1 else [])]
        actual += [item.ravel() for item in got]
        expected += [item.numpy().ravel() for item in wanted]
    results = [deviation(f"{name}/vision", "max abs error", np.concatenate(actual), np.concatenate(expected))]
    side = _side(role)
    texts = [file.read_text(encoding="utf-8") for file in weights.template_files(name).values()]
    prompts = make_prompts(model, weights.tokenizer(name), texts, seed, (side, side))
    references = [hf_generate(model, prompt, _NEW_TOKENS) for prompt in prompts]
    image = role.architecture.image_token_id
    results += _answers(f"{name}/decoder", VlmChain(folder, image, fused=False), prompts, references)
    if "decode_graph" in role.parts:
        results += _answers(f"{name}/decode_graph", VlmChain(folder, image), prompts, references)
    return results


def _answers(
    part: str, chain: VlmChain, prompts: list[VlmPrompt], references: list[tuple[list[int], Floats]]
) -> list[Parity]:
    """Greedy answers and their logits against those of `generate`."""
    wrong, count, metric, found = 0, 0, "max abs error of logits", []
    for prompt, (tokens, logits) in zip(prompts, references, strict=True):
        ours, our_logits = chain.generate(prompt, len(tokens))
        wrong += int(ours != tokens)
        count += len(tokens)
        same = next((i for i, (a, b) in enumerate(zip(ours, tokens, strict=True)) if a != b), len(tokens))
        found.append(deviation(part, metric, our_logits[: same + 1], logits[: same + 1]))
    detail = f"{len(prompts)} prompts, {sum(len(p.grids) for p in prompts)} images, {count} tokens"
    return [worst(part, metric, found), Parity(part, "prompts with other greedy tokens", wrong, 0, detail)]


def invariance(folder: Path, role: VlmRole, seed: int) -> list[Comparison]:
    """Every graph over the ways of batching it that the runtime may choose."""
    rng = np.random.default_rng(seed)
    vision, side = role.vision_config, _side(role)
    feeds = []
    for _ in range(2):
        values, grid = patchify(
            picture(rng, side, side), vision.patch_size, vision.merge_size, vision.temporal_patch_size
        )
        feeds.append({"pixel_values": values, "grid_thw": grid})
    decoder = folder / "decoder.onnx"
    image, length = role.architecture.image_token_id, role.cache_length
    found = [
        thread_invariance(folder / "vision.onnx", feeds),
        decoder_invariance(
            decoder, slots=role.slots, chunk=role.prefill_chunk, length=length, image=image, seed=seed
        ),
    ]
    if "decode_graph" in role.parts:
        fused = folder / "decode_graph.onnx"
        found.append(decode_invariance(decoder, fused, slots=role.slots, length=length, seed=seed))
    return found


def outputs(
    folder: Path,
    part: str,
    role: VlmRole,
    examples: Sequence[str],
    seed: int,  # noqa: ARG001
) -> Floats | None:
    """What a graph says of a fixed input, [n, size]; None for a part that is not compared by itself.

    Of the decoder: logits along the role's templates and requests that work.
    """
    if part != "decoder":  # a decode graph reads the decoder's cache, the vision graph is mostly convolutions
        return None
    pack = folder.parent
    texts = [(pack / file).read_text(encoding="utf-8") for file in role.templates.values()]
    tokenizer = Tokenizer.from_file(str(pack / role.tokenizer))
    found = tokenizer.encode("\n".join([*texts, *examples]), add_special_tokens=False).ids
    ids = np.array([i for i in found if i != role.architecture.image_token_id][:_TOKENS], np.int64)
    runner = DecoderRunner(open_session(folder / "decoder.onnx"), 1, len(ids))
    nothing = np.zeros((len(ids), runner.hidden), np.float32)
    deepstack = np.zeros((runner.levels, len(ids), runner.hidden), np.float32)
    row = RowInput(ids, np.tile(np.arange(len(ids)), (3, 1)), nothing, deepstack)
    return np.concatenate([runner.step({0: row.part(i, i + 1)}, 1) for i in range(len(ids))])


def _side(role: VlmRole) -> int:
    """Pixels of a side of the largest square image."""
    patch = role.vision_config.patch_size
    return int((role.vision_config.max_pixels // patch**2) ** 0.5) * patch
