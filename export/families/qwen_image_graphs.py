"""Qwen-Image-Edit as generator: the graphs of its denoiser, of its codec and of the encoder of pictures that its text
encoder looks at. The library's own code would bake sizes of pictures into them: the denoiser gets position ids instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor, nn
from torch.nn import functional

from interleave_rt.pack.manifest import GeneratorRole

from ..graph import GraphSpec, swapped
from ..proof.sessions import Ints
from .flow import OPSET, drawing_graphs
from .flux2 import rope_tables

__all__ = [
    "denoising",
    "drawing_specs",
    "places",
    "still_codec",
    "still_trace",
    "token_pixels",
    "vision_spec",
    "words",
]

_PACK = 2  # latents are packed in 2x2 blocks


class _Vision(nn.Module):
    """The encoder of one picture. Patches stay in their order: which of them share a window is said by a mask."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixel_values: Tensor, grid_thw: Tensor) -> Tensor:
        visual = self.visual
        merge = visual.spatial_merge_size
        index = torch.arange(pixel_values.shape[0])
        block, blocks = index // (merge * merge), grid_thw[0, 2] // merge
        row = block // blocks * merge + index // merge % merge
        column = block % blocks * merge + index % merge
        side = visual.window_size // merge // visual.patch_size * merge
        rows, columns = row // side, column // side
        near = (rows[:, None] == rows[None]) & (columns[:, None] == columns[None])
        x = visual.patch_embed(pixel_values)
        tables = self._tables(torch.stack([row, column], dim=-1))
        for number, layer in enumerate(visual.blocks):
            mask = None if number in visual.fullatt_block_indexes else near
            x = x + self._attention(layer.attn, layer.norm1(x), tables, mask)
            x = x + layer.mlp(layer.norm2(x))
        found: Tensor = visual.merger(x)
        return found

    def _tables(self, places: Tensor) -> tuple[Tensor, Tensor]:
        rope = self.visual.rotary_pos_emb
        angles = (places[..., None].float() * torch.tensor(rope.inv_freq.tolist())).flatten(1)
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        return angles.cos(), angles.sin()

    @staticmethod
    def _attention(layer: Any, x: Tensor, tables: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        cos, sin = tables
        query, key, value = layer.qkv(x).reshape(-1, 3, layer.num_heads, layer.head_dim).unbind(1)
        query, key = (one * cos + _half_turned(one) * sin for one in (query, key))
        query, key, value = (one.transpose(0, 1)[None] for one in (query, key, value))
        seen = functional.scaled_dot_product_attention(query, key, value, mask, scale=layer.scaling)
        found: Tensor = layer.proj(seen[0].transpose(0, 1).flatten(1))
        return found


def _half_turned(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat([-x[..., half:], x[..., :half]], dim=-1)


class _Transformer(nn.Module):
    """The denoiser. Tokens of time 0 are noise; those of a source, where `zero_cond_t` says so, are modulated as clean."""

    swap: Tensor

    def __init__(self, model: QwenImageTransformer2DModel) -> None:
        super().__init__()
        self.model = model
        # A product with a matrix of 0, 1 and -1 swaps neighbours, exactly and faster than slices do.
        pairs = np.kron(np.eye(model.config.attention_head_dim // 2), [[0.0, 1.0], [-1.0, 0.0]])
        self.register_buffer("swap", torch.tensor(pairs.tolist()))

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
    ) -> Tensor:
        model = self.model
        rope = SimpleNamespace(theta=model.pos_embed.theta, axes_dim=model.pos_embed.axes_dim)
        tables = [
            (self.swap, *(table[None, :, None] for table in rope_tables(rope, ids)))
            for ids in (txt_ids, img_ids)
        ]
        x, text = model.img_in(hidden_states), model.txt_in(model.txt_norm(encoder_hidden_states))
        now = model.time_text_embed(timestep, x)
        clean = model.time_text_embed(timestep[:1] * 0, x) if model.zero_cond_t else None
        source = (img_ids[:, 0] > 0)[None, :, None]
        for layer in model.transformer_blocks:
            image = _modulation(layer.img_mod(now))
            if clean is not None:
                both = zip(_modulation(layer.img_mod(clean)), image, strict=True)
                image = [torch.where(source, still, moving) for still, moving in both]
            x, text = self._layer(layer, x, text, image, _modulation(layer.txt_mod(now)), tables)
        velocity: Tensor = model.proj_out(model.norm_out(x, now))
        return velocity

    @staticmethod
    def _layer(
        layer: Any, x: Tensor, text: Tensor, of_x: Any, of_text: Any, tables: Any
    ) -> tuple[Tensor, Tensor]:
        moved = layer.img_norm1(x) * (1 + of_x[1]) + of_x[0]
        moved_text = layer.txt_norm1(text) * (1 + of_text[1]) + of_text[0]
        seen, seen_text = _joint_attention(layer.attn, moved, moved_text, tables)
        x, text = x + of_x[2] * seen, text + of_text[2] * seen_text
        x = x + of_x[5] * layer.img_mlp(layer.img_norm2(x) * (1 + of_x[4]) + of_x[3])
        text = text + of_text[5] * layer.txt_mlp(layer.txt_norm2(text) * (1 + of_text[4]) + of_text[3])
        return x, text


def _turned(x: Tensor, swap: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [b, s, heads, width], whose pairs are neighbours."""
    return x * cos + (x @ swap) * sin


def _modulation(of: Tensor) -> list[Tensor]:
    """Shift, scale and gate of attention, then those of the wide layer."""
    return list(of.unsqueeze(1).chunk(6, dim=-1))


def _joint_attention(layer: Any, x: Tensor, text: Tensor, tables: Any) -> tuple[Tensor, Tensor]:
    """Of words and tokens over all of both, words first."""
    width = layer.inner_dim // layer.heads

    def projected(words: nn.Module, tokens: nn.Module, norms: Any) -> Tensor:
        parts = []
        for at, (project, of) in enumerate(((words, text), (tokens, x))):
            part = project(of).unflatten(-1, (-1, width))
            parts.append(_turned(norms[at](part), *tables[at]) if norms else part)
        return torch.cat(parts, dim=1).transpose(1, 2)

    query = projected(layer.add_q_proj, layer.to_q, (layer.norm_added_q, layer.norm_q))
    key = projected(layer.add_k_proj, layer.to_k, (layer.norm_added_k, layer.norm_k))
    value = projected(layer.add_v_proj, layer.to_v, ())
    seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    count = text.shape[1]
    return layer.to_out[0](seen[:, count:]), layer.to_add_out(seen[:, :count])


class _Codec(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean))
        self.register_buffer("std", torch.tensor(vae.config.latents_std))


class _VaeEncoder(_Codec):
    def forward(self, image: Tensor) -> Tensor:
        vae = self.vae
        moments = vae.quant_conv(vae.encoder(image.unsqueeze(2)))[:, : vae.config.z_dim, 0]
        latents = (moments.permute(0, 2, 3, 1) - self.mean) / self.std
        b, h, w, c = latents.shape
        blocks = latents.reshape(b, h // _PACK, _PACK, w // _PACK, _PACK, c).permute(0, 1, 3, 5, 2, 4)
        packed: Tensor = blocks.reshape(b, h // _PACK, w // _PACK, c * _PACK * _PACK)
        return packed


class _VaeDecoder(_Codec):
    def forward(self, latents: Tensor) -> Tensor:
        vae = self.vae
        b, h, w, c = latents.shape
        blocks = latents.reshape(b, h, w, c // (_PACK * _PACK), _PACK, _PACK).permute(0, 1, 4, 2, 5, 3)
        plain = blocks.reshape(b, h * _PACK, w * _PACK, c // (_PACK * _PACK)) * self.std + self.mean
        image: Tensor = vae.decoder(vae.post_quant_conv(plain.permute(0, 3, 1, 2).unsqueeze(2)))
        return image[:, :, 0].clamp(-1, 1)


def token_pixels(vae: AutoencoderKLQwenImage) -> int:
    """Pixels of a side of one packed latent token."""
    return int(_PACK * 2 ** len(vae.temperal_downsample))


def still_codec(vae: AutoencoderKLQwenImage) -> None:
    """Leaves of a codec of films what a single picture needs: of a convolution the weights of the last moment."""
    for layer in vae.modules():
        if isinstance(layer, QwenImageCausalConv3d):
            layer.weight = nn.Parameter(layer.weight[:, :, -1], requires_grad=False)


@contextlib.contextmanager
def still_trace() -> Iterator[None]:
    """Convolutions of such a codec, for the time of a trace: what lies before the first moment is 0."""

    def flat(layer: Any, x: Tensor, _before: Any = None) -> Tensor:
        margins = layer._padding[2], layer._padding[0]
        return functional.conv2d(x[:, :, 0], layer.weight, layer.bias, layer.stride[1:], margins).unsqueeze(2)

    with swapped(QwenImageCausalConv3d, forward=flat):
        yield


def drawing_specs(
    transformer: QwenImageTransformer2DModel, vae: AutoencoderKLQwenImage
) -> dict[str, GraphSpec]:
    """Part name to graph, of denoiser and codec; trace the codec inside `still_trace()`, after `still_codec()`."""
    return drawing_graphs(
        _Transformer(transformer),
        _VaeEncoder(vae),
        _VaeDecoder(vae),
        channels=transformer.config.in_channels,
        words=transformer.config.joint_attention_dim,
        pixels=token_pixels(vae),
        axes=3,
    )


def vision_spec(visual: Any) -> GraphSpec:
    """The graph of the encoder of pictures: one picture a call, any grid."""
    side, config = 2 * visual.spatial_merge_size, visual.config
    values = config.in_channels * config.temporal_patch_size * config.patch_size**2
    inputs = [
        ("pixel_values", torch.zeros(side * side, values), {0: "p"}),
        ("grid_thw", torch.tensor([[1, side, side]]), {}),
    ]
    return GraphSpec(_Vision(visual).eval(), inputs, ["embeds"], OPSET)


def places(time: int, rows: int, columns: int) -> Ints:
    """Position ids [rows * columns, 3] of a picture's tokens: its number, row and column counted from its middle."""
    axes = (
        np.array([time]),
        np.arange(rows) - (rows - rows // 2),
        np.arange(columns) - (columns - columns // 2),
    )
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def words(count: int, sides: Any) -> Ints:
    """Position ids [count, 3] of a prompt's tokens, behind pictures of these sides, in tokens."""
    first = max(max(rows // 2, columns // 2) for rows, columns in sides)
    return np.repeat(np.arange(first, first + count)[:, None], 3, axis=1)


def denoising(
    role: GeneratorRole, rng: np.random.Generator, batch: int, length: int, sides: Any
) -> dict[str, Any]:
    """Random inputs of the denoiser: a picture and sources of these sides, and a prompt."""
    where = np.concatenate([places(number, *side) for number, side in enumerate(sides)])
    return {
        "hidden_states": rng.standard_normal((batch, len(where), role.latent_channels), dtype=np.float32),
        "encoder_hidden_states": rng.standard_normal((batch, length, role.text_dim), dtype=np.float32),
        "timestep": rng.random(batch, dtype=np.float32),
        "img_ids": where,
        "txt_ids": words(length, sides),
    }
