"""Random models of the real ones' architectures in any size, saved as those are downloaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from interleave_rt.train.shapes.models import TokenIds, klein_scheduler
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from interleave_rt.synthetic.roles import embedded_tokenizer as tokenizer

VOCABULARY = 1200
HEAD = 64


def token_ids() -> TokenIds:
    """Of that tokenizer, in a vocabulary with some room."""
    return replace(TokenIds.of(tokenizer()), size=VOCABULARY)


def text_config(width: int, layers: int, ids: TokenIds) -> dict[str, Any]:
    """Of a language model with the proportions of Qwen3."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD,
        "num_key_value_heads": max(1, width // HEAD // 2),
        "head_dim": HEAD,
        "max_position_embeddings": 32768,
        "pad_token_id": ids.pad,
        "bos_token_id": None,
        "eos_token_id": ids.end,
    }


def special(ids: TokenIds) -> dict[str, int]:
    """Ids that a model of text and pictures names."""
    return {
        "image_token_id": ids.image,
        "video_token_id": ids.video,
        "vision_start_token_id": ids.vision_start,
        "vision_end_token_id": ids.vision_end,
    }


def save_processor(folder: Path, *, kind: str, patch: int, most: int = 1 << 20) -> None:
    """A processor of Qwen's beside its tokenizer: pictures keep their size up to `most` pixels."""
    tokenizer().save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=patch,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"shortest_edge": 1024, "longest_edge": most},
    ).save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "processor_class": kind}))


def save_vlm(folder: Path, dtype: str, *, width: int = 768, layers: int = 12) -> Path:
    """Qwen3-VL-shaped; its answers are noise."""
    ids = token_ids()
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [12, 10, 10],
        "mrope_interleaved": True,
    }
    model = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config={
                **text_config(width, layers, ids),
                "rope_parameters": rope,
                "tie_word_embeddings": True,
            },
            vision_config={
                "depth": max(2, layers // 2),
                "hidden_size": width // 2,
                "intermediate_size": 2 * width,
                "num_heads": width // 2 // HEAD,
                "patch_size": 16,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "out_hidden_size": width,
                "num_position_embeddings": 2304,
                "deepstack_visual_indexes": [0, 1],
            },
            tie_word_embeddings=True,
            **special(ids),
        )
    )
    model.generation_config.eos_token_id = ids.end
    model.generation_config.do_sample = False
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    save_processor(folder, kind="Qwen3VLProcessor", patch=16)
    return folder


def save_klein(folder: Path, dtype: str, *, width: int = 768, text: tuple[int, int] = (768, 8)) -> Path:
    """FLUX.2-klein-shaped: 2 double and 4 single blocks; `text`: width and layers of its text encoder."""
    channels = 32
    taps = [text[1] // 4, text[1] // 2, text[1] * 3 // 4]
    pipeline = Flux2KleinPipeline(
        scheduler=klein_scheduler(),
        vae=AutoencoderKLFlux2(
            block_out_channels=(32, 64, 128, 128), layers_per_block=1, latent_channels=channels
        ),
        text_encoder=Qwen3ForCausalLM(
            Qwen3Config(**text_config(*text, token_ids()), tie_word_embeddings=True)
        ),
        tokenizer=tokenizer(),
        transformer=Flux2Transformer2DModel(
            patch_size=1,
            in_channels=channels * 4,
            num_layers=2,
            num_single_layers=4,
            attention_head_dim=HEAD,
            num_attention_heads=width // HEAD,
            joint_attention_dim=text[0] * len(taps),
            mlp_ratio=3.0,
            axes_dims_rope=(HEAD // 4,) * 4,
            guidance_embeds=False,
        ),
        is_distilled=True,
    )
    pipeline.to(getattr(torch, dtype)).save_pretrained(folder)
    settings = {"steps": 2, "arguments": {"text_encoder_out_layers": taps, "max_sequence_length": 512}}
    (folder / "interleave_settings.json").write_text(json.dumps(settings))
    return folder


def save_qwen_edit(folder: Path, dtype: str, *, width: int = 512, text: tuple[int, int] = (512, 6)) -> Path:
    """Qwen-Image-Edit-2511-shaped: its text encoder sees the source picture."""
    ids = token_ids()
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]}
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={**text_config(*text, ids), "rope_parameters": rope},
            vision_config={
                "depth": 2,
                "hidden_size": text[0] // 2,
                "intermediate_size": text[0],
                "num_heads": text[0] // 2 // HEAD,
                "patch_size": 14,
                "out_hidden_size": text[0],
                "fullatt_block_indexes": [1],
            },
            **special(ids),
        )
    )
    pipeline = QwenImageEditPlusPipeline(
        scheduler=klein_scheduler(),
        vae=AutoencoderKLQwenImage(
            base_dim=16,
            z_dim=16,
            dim_mult=[1, 2, 4, 4],
            num_res_blocks=1,
            latents_mean=[0.0] * 16,
            latents_std=[1.0] * 16,
        ),
        text_encoder=encoder,
        tokenizer=tokenizer(),
        processor=None,
        transformer=QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=64,
            out_channels=16,
            num_layers=4,
            attention_head_dim=HEAD,
            num_attention_heads=width // HEAD,
            joint_attention_dim=text[0],
            axes_dims_rope=(16, 24, 24),
            zero_cond_t=True,
        ),
    )
    pipeline.to(getattr(torch, dtype)).save_pretrained(folder)
    save_processor(folder / "processor", kind="Qwen2VLProcessor", patch=14)
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "interleave_settings.json").write_text(json.dumps({"steps": 1}))
    return folder


SAVERS = {"vlm": save_vlm, "klein": save_klein, "qwen-edit": save_qwen_edit}
