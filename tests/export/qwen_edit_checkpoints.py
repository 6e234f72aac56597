"""Small Qwen-Image-Edit-2511 checkpoints in the shape of the published ones: a Qwen2.5-VL of the real vocabulary with
windows in its vision encoder, heads of 128 with rotary axes of 16, 56 and 56, `zero_cond_t`, 16 channels of latents,
bfloat16 in shards. Their codec halves a side twice, not three times: it is most of what an export and a picture take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import qwen3_vl_checkpoints as words
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from tiny import scramble
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from interleave_rt.backends.torch.processors import load_processor

SEEN, ENCODED = 96 * 96, 64 * 64
"""Areas of a picture for the text encoder and for the codec; published: 384 x 384 and 1024 x 1024."""


def tokenizer() -> PreTrainedTokenizerFast:
    """As of the language models."""
    return PreTrainedTokenizerFast(
        tokenizer_object=words.tokenizer(),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="right",
    )


def scheduler(**told: Any) -> FlowMatchEulerDiscreteScheduler:
    """With the settings of Qwen-Image."""
    settings = {
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": True,
        "base_shift": 0.5,
        "max_shift": 0.9,
        "base_image_seq_len": 256,
        "max_image_seq_len": 8192,
        "shift_terminal": 0.02,
        "time_shift_type": "exponential",
    }
    return FlowMatchEulerDiscreteScheduler(**(settings | told))


def pipeline(*, seed: int = 1, zero_cond_t: bool = True) -> QwenImageEditPlusPipeline:
    """Random weights of unit gain; norms, biases and the codec's statistics keep away from their neutral values."""
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": words.ROWS,
                "hidden_size": 128,
                "intermediate_size": 192,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "max_position_embeddings": 4096,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
                "bos_token_id": None,
                "eos_token_id": words.CONTROL["<|im_end|>"],
            },
            vision_config={
                "depth": 2,
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_heads": 2,
                "out_hidden_size": 128,
                "patch_size": 14,
                "window_size": 56,
                "fullatt_block_indexes": [1],
            },
            tie_word_embeddings=True,
            image_token_id=words.CONTROL["<|image_pad|>"],
            video_token_id=words.CONTROL["<|video_pad|>"],
            vision_start_token_id=words.CONTROL["<|vision_start|>"],
            vision_end_token_id=words.CONTROL["<|vision_end|>"],
        )
    )
    generator = torch.Generator().manual_seed(seed)
    vae = AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=16,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=(0.2 * torch.randn(16, generator=generator)).tolist(),
        latents_std=(0.5 + torch.rand(16, generator=generator)).tolist(),
    )
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=64,
        out_channels=16,
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=2,
        joint_attention_dim=128,
        axes_dims_rope=(16, 56, 56),
        zero_cond_t=zero_cond_t,
    )
    for offset, part in enumerate((encoder, transformer, vae)):
        scramble(part, seed + offset)
    with torch.no_grad():
        for name, weight in vae.named_parameters():
            if name.endswith("gamma"):
                weight.copy_(1 + 0.1 * torch.randn(weight.shape, generator=generator))
        vae.decoder.conv_out.weight.mul_(0.6)  # pictures without much that is cut off
        _sharpen(transformer)
    return QwenImageEditPlusPipeline(
        scheduler=scheduler(),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer(),
        processor=None,
        transformer=transformer,
    )


def _sharpen(transformer: QwenImageTransformer2DModel) -> None:
    """Random attention looks at everything alike: here pictures depend on words and on sources, as they should."""
    for name, weight in transformer.named_parameters():
        if name.endswith(("norm_k.weight", "norm_added_k.weight", "to_v.weight", "add_v_proj.weight")):
            weight.mul_(3)
        elif name.endswith("_mod.1.bias"):
            gates = weight.view(6, -1)[[2, 5]]
            weight.view(6, -1)[[2, 5]] = gates + 1
        elif name == "proj_out.weight":
            weight.mul_(2)


def save(folder: Path, *, seed: int = 1, **told: Any) -> Path:
    """A folder as diffusers writes it."""
    pipeline(seed=seed, **told).to(torch.bfloat16).save_pretrained(folder, max_shard_size="1MB")
    processor = folder / "processor"
    tokenizer().save_pretrained(processor)
    (processor / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"shortest_edge": 3136, "longest_edge": 12_845_056},
                "patch_size": 14,
                "temporal_patch_size": 2,
                "merge_size": 2,
                "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711],
                "image_processor_type": "Qwen2VLImageProcessor",
                "processor_class": "Qwen2VLProcessor",
            }
        )
    )
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def load(folder: Path) -> Any:
    """The checkpoint in float32, by the library."""
    loaded = QwenImageEditPlusPipeline.from_pretrained(
        folder, dtype=torch.float32, processor=load_processor(folder / "processor")
    )
    loaded.set_progress_bar_config(disable=True)
    return loaded
