"""The four graphs of a FLUX.2-klein pipeline: text encoder, transformer, VAE encoder and VAE decoder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.models.transformers import transformer_flux2
from torch import Tensor, nn
from transformers import Qwen3ForCausalLM

from .graph import GraphSpec

__all__ = ["generator_specs", "generator_trace"]

_OPSET = 23
_PACK = 2  # latents are packed in 2x2 blocks


@contextlib.contextmanager
def generator_trace() -> Iterator[None]:
    """Rope tables in float32 for the time of the trace: float64 kernels would be 81 slow nodes for nothing."""
    dtype_of = transformer_flux2.maybe_adjust_dtype_for_device
    transformer_flux2.maybe_adjust_dtype_for_device = lambda _dtype, _device: torch.float32
    try:
        yield
    finally:
        transformer_flux2.maybe_adjust_dtype_for_device = dtype_of


class _TextEncoder(nn.Module):
    def __init__(self, model: Qwen3ForCausalLM, layers: Sequence[int]) -> None:
        super().__init__()
        self.model = model.model
        self.layers = tuple(layers)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        position = torch.arange(input_ids.shape[1])[None].expand(input_ids.shape[0], -1)
        states = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position,
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        return torch.cat([states[layer] for layer in self.layers], dim=-1)


class _Transformer(nn.Module):
    def __init__(self, model: Flux2Transformer2DModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        img_ids: Tensor,
        txt_ids: Tensor,
    ) -> Tensor:
        velocity: Tensor = self.model(
            hidden_states=hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            img_ids=img_ids.float(),
            txt_ids=txt_ids.float(),
            guidance=None,
            return_dict=False,
        )[0]
        return velocity


class _Codec(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, vae: AutoencoderKLFlux2) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("mean", vae.bn.running_mean.detach().clone())
        self.register_buffer("std", torch.sqrt(vae.bn.running_var.detach() + vae.config.batch_norm_eps))


class _VaeEncoder(_Codec):
    def forward(self, image: Tensor) -> Tensor:
        latents = self.vae.encode(image, return_dict=False)[0].mode()
        b, c, h, w = latents.shape
        blocks = latents.view(b, c, h // _PACK, _PACK, w // _PACK, _PACK).permute(0, 2, 4, 1, 3, 5)
        packed: Tensor = blocks.reshape(b, h // _PACK, w // _PACK, c * _PACK * _PACK)
        return (packed - self.mean) / self.std


class _VaeDecoder(_Codec):
    def forward(self, latents: Tensor) -> Tensor:
        packed = latents * self.std + self.mean
        b, h, w, c = packed.shape
        blocks = packed.reshape(b, h, w, c // (_PACK * _PACK), _PACK, _PACK).permute(0, 3, 1, 4, 2, 5)
        image: Tensor = self.vae.decode(
            blocks.reshape(b, c // (_PACK * _PACK), h * _PACK, w * _PACK), return_dict=False
        )[0]
        return image


def token_pixels(pipeline: Flux2KleinPipeline) -> int:
    """Pixels of a side of one packed latent token."""
    return int(_PACK * 2 ** (len(pipeline.vae.config.block_out_channels) - 1))


def generator_specs(pipeline: Flux2KleinPipeline, layers: Sequence[int]) -> dict[str, GraphSpec]:
    """Part name to graph; export them inside `generator_trace()`.

    `layers` are the hidden states of the text encoder that are concatenated (9, 18, 27 for FLUX.2-klein).
    """
    channels = pipeline.transformer.config.in_channels
    text_dim = pipeline.transformer.config.joint_attention_dim
    b, n, t = 2, 6, 5
    pixels = token_pixels(pipeline)
    return {
        "text_encoder": GraphSpec(
            module=_TextEncoder(pipeline.text_encoder, layers).eval(),
            sample=(torch.zeros(b, t, dtype=torch.long), torch.ones(b, t, dtype=torch.long)),
            inputs=["input_ids", "attention_mask"],
            outputs=["prompt_embeds"],
            dynamic=({0: "b", 1: "t"}, {0: "b", 1: "t"}),
            opset=_OPSET,
        ),
        "transformer": GraphSpec(
            module=_Transformer(pipeline.transformer).eval(),
            sample=(
                torch.zeros(b, n, channels),
                torch.zeros(b, t, text_dim),
                torch.full((b,), 0.5),
                torch.zeros(n, 4, dtype=torch.long),
                torch.zeros(t, 4, dtype=torch.long),
            ),
            inputs=["hidden_states", "encoder_hidden_states", "timestep", "img_ids", "txt_ids"],
            outputs=["velocity"],
            dynamic=({0: "b", 1: "n"}, {0: "b", 1: "t"}, {0: "b"}, {0: "n"}, {0: "t"}),
            opset=_OPSET,
        ),
        "vae_encoder": GraphSpec(
            module=_VaeEncoder(pipeline.vae).eval(),
            sample=(torch.zeros(b, 3, 2 * pixels, 3 * pixels),),
            inputs=["image"],
            outputs=["latents"],
            dynamic=({0: "b", 2: "H", 3: "W"},),
            opset=_OPSET,
        ),
        "vae_decoder": GraphSpec(
            module=_VaeDecoder(pipeline.vae).eval(),
            sample=(torch.zeros(b, 2, 3, channels),),
            inputs=["latents"],
            outputs=["image"],
            dynamic=({0: "b", 1: "rows", 2: "columns"},),
            opset=_OPSET,
        ),
    }
