"""Small FLUX.2-klein checkpoints in the shape of the published ones: a text encoder read behind its 9th, 18th and 27th
layer, with one more behind these, heads of 128, 32 channels of latents, bfloat16 in shards. Their codec halves a side
twice, not three times: tracing it is most of what an export of them takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qwen3_vl_checkpoints as words
import torch
from diffusers import (
    AutoencoderKLFlux2,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from interleave_rt.train.shapes.models import klein_scheduler
from tiny import scramble
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TEMPLATE = words.TEMPLATE.replace(
    "assistant\n",
    "assistant\n{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
)


def tokenizer() -> PreTrainedTokenizerFast:
    """As of the language models, with the marks of thinking, which are no control tokens."""
    made = words.tokenizer()
    made.add_tokens(["<think>", "</think>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="right"
    )
    fast.chat_template = TEMPLATE
    return fast


def pipeline(*, seed: int = 1, distilled: bool = True) -> Flux2KleinPipeline:
    """Random weights of unit gain; norms, biases and the codec's statistics keep away from their neutral values."""
    text = Qwen3Config(
        vocab_size=words.ROWS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=28,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=128,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=words.CONTROL["<|im_end|>"],
    )
    encoder = Qwen3ForCausalLM(text)
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=128,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=128,
        num_attention_heads=2,
        joint_attention_dim=3 * 32,
        timestep_guidance_channels=256,
        mlp_ratio=3.0,
        axes_dims_rope=(32, 32, 32, 32),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
    )
    for offset, part in enumerate((encoder, transformer, vae)):
        scramble(part, seed + offset)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(0.3)  # pictures without much that is cut off
        vae.bn.running_mean.copy_(0.1 * torch.randn(128, generator=generator))
        vae.bn.running_var.copy_(0.5 + torch.rand(128, generator=generator))
    encoder.tie_weights()
    return Flux2KleinPipeline(
        scheduler=klein_scheduler(),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer(),
        transformer=transformer,
        is_distilled=distilled,
    )


def save(folder: Path, *, seed: int = 1, distilled: bool = True) -> Path:
    """A folder as diffusers writes it."""
    pipeline(seed=seed, distilled=distilled).to(torch.bfloat16).save_pretrained(folder, max_shard_size="1MB")
    return folder


def load(folder: Path) -> Any:
    """The checkpoint in float32, by the library."""
    loaded = Flux2KleinPipeline.from_pretrained(folder, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded
