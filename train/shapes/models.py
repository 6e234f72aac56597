"""The architectures: the same as the real roles', a thousand times smaller."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3VLConfig, Qwen3VLForConditionalGeneration

__all__ = [
    "PROMPT_TOKENS",
    "TEXT_LAYERS",
    "TokenIds",
    "build_text_encoder",
    "build_transformer",
    "build_vlm",
    "deepened",
    "klein_scheduler",
]

PROMPT_TOKENS = 32
"""Padded length of a generator prompt."""
TEXT_LAYERS = (1, 2)
"""Hidden states of the text encoder that condition the transformer."""
_HEAD = 32


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Ids of the tokens that the models' configurations name."""

    size: int
    pad: int
    end: int
    vision_start: int
    vision_end: int
    image: int
    video: int

    @classmethod
    def of(cls, tokenizer: Any) -> TokenIds:
        """Look the ids up in a tokenizer."""
        names = (
            "<|endoftext|>",
            "<|im_end|>",
            "<|vision_start|>",
            "<|vision_end|>",
            "<|image_pad|>",
            "<|video_pad|>",
        )
        return cls(len(tokenizer), *(tokenizer.convert_tokens_to_ids(name) for name in names))


def build_text_encoder(ids: TokenIds) -> Any:
    """The generator's text encoder: 2 layers of 128."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=ids.size,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=_HEAD,
            max_position_embeddings=512,
            pad_token_id=ids.pad,
            bos_token_id=None,
            eos_token_id=ids.end,
            tie_word_embeddings=True,
        )
    )


def build_transformer(latent_channels: int, text_width: int = 128, blocks: tuple[int, int] = (2, 4)) -> Any:
    """The denoiser: 4 heads of 32; `blocks`: double and single ones."""
    return Flux2Transformer2DModel(
        patch_size=1,
        in_channels=latent_channels * 4,
        num_layers=blocks[0],
        num_single_layers=blocks[1],
        attention_head_dim=_HEAD,
        num_attention_heads=4,
        joint_attention_dim=text_width * len(TEXT_LAYERS),
        timestep_guidance_channels=64,
        mlp_ratio=3.0,
        axes_dims_rope=(_HEAD // 4,) * 4,
        guidance_embeds=False,
    )


def klein_scheduler() -> Any:
    """The scheduler with the settings of FLUX.2-klein."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
        time_shift_type="exponential",
    )


def build_vlm(
    ids: TokenIds,
    *,
    layers: int = 4,
    width: int = 128,
    vision_layers: int = 2,
    patch: int = 16,
    deepstack: tuple[int, ...] = (0,),
) -> Any:
    """Planner or critic: a Qwen3-VL that sees a picture of 6x6 patches (96x96) as 3x3 merged tokens, one a cell.

    `deepstack`: vision layers whose features go into the first text layers.
    """
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": ids.size,
            "hidden_size": width,
            "intermediate_size": width * 3,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": _HEAD,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "pad_token_id": ids.pad,
            "bos_token_id": None,
            "eos_token_id": ids.end,
        },
        vision_config={
            "depth": vision_layers,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": width,
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": list(deepstack),
        },
        image_token_id=ids.image,
        video_token_id=ids.video,
        vision_start_token_id=ids.vision_start,
        vision_end_token_id=ids.vision_end,
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids.end
    model.generation_config.pad_token_id = ids.pad
    model.generation_config.do_sample = False
    return model


def encode_prompts(encoder: Any, tokens: Tensor, pad: int) -> Tensor:
    """Conditioning of the transformer from padded prompts int64 [n, 32], as Flux2KleinPipeline makes it."""
    states = encoder.model(
        input_ids=tokens, attention_mask=(tokens != pad).long(), output_hidden_states=True, use_cache=False
    ).hidden_states
    return torch.cat([states[layer] for layer in TEXT_LAYERS], -1)


def deepened(model: Any, layers: int) -> Any:
    """The same model with more text layers, which do nothing yet: it answers as before, and has more room to learn.

    A new layer is a copy of the one before it whose two branches add nothing, because their last matrices are zero (after
    arXiv 2401.02415); the new ones are spread evenly. A model that is as deep already, or deeper, stays as it is.
    """
    text, language = model.config.text_config, model.model.language_model
    before = text.num_hidden_layers
    layers = max(layers, before)
    grown = []
    for index, layer in enumerate(language.layers):
        grown.append(layer)
        for _ in range((index + 1) * layers // before - index * layers // before - 1):
            new = copy.deepcopy(layer)
            nn.init.zeros_(new.self_attn.o_proj.weight)
            nn.init.zeros_(new.mlp.down_proj.weight)
            grown.append(new)
    for index, layer in enumerate(grown):
        layer.self_attn.layer_idx = index  # its place in the cache of keys and values
    language.layers = nn.ModuleList(grown)
    text.num_hidden_layers = layers
    return model
