"""Random models a thousand times smaller than the real ones, saved as those are downloaded.

    python tests/backends/torch/checkpoints.py FOLDER

writes FOLDER/vlm, FOLDER/klein and FOLDER/qwen_edit, e.g. for `benchmarks/torch_lanes.py --generator torch:FOLDER/klein`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    Flux2KleinPipeline,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from interleave_rt.train.shapes.models import (
    TokenIds,
    build_text_encoder,
    build_transformer,
    build_vlm,
    klein_scheduler,
)
from interleave_rt.train.shapes.vae import build_vae
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from interleave_rt.synthetic.roles import embedded_tokenizer as tokenizer

VOCABULARY = 1200


def token_ids() -> TokenIds:
    return replace(TokenIds.of(tokenizer()), size=VOCABULARY)


def scramble(module: torch.nn.Module, seed: int, gain: float = 1.0) -> None:
    """Random weights of unit gain; norms and biases keep away from their neutral values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                fan = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * gain / fan**0.5)
            else:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))


def save_klein(folder: Path, seed: int = 5) -> Path:
    """FLUX.2-klein-shaped, with a settings file: its text encoder has 2 layers, and its pictures 64 pixels."""
    vae = build_vae((16, 32)).eval()
    transformer = build_transformer(8, blocks=(1, 1)).eval()
    text_encoder = build_text_encoder(token_ids()).eval()
    for offset, part in enumerate((vae, transformer, text_encoder)):
        scramble(part, seed + offset)
    pipeline = Flux2KleinPipeline(
        scheduler=klein_scheduler(),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer(),
        transformer=transformer,
        is_distilled=True,
    )
    pipeline.save_pretrained(folder)
    unit = pipeline.vae_scale_factor * 2
    settings = {
        "width": 64,
        "height": 64,
        "multiple_of": unit,
        "max_side": 128,
        "arguments": {"text_encoder_out_layers": [1, 2], "max_sequence_length": 32},
    }
    (folder / "interleave_settings.json").write_text(json.dumps(settings))
    return folder


def save_image_processor(folder: Path, *, kind: str, patch: int, pixels: int) -> None:
    """What a processor of Qwen's needs beside its tokenizer: pictures keep about `pixels` pixels."""
    made = Qwen2VLImageProcessorPil(
        patch_size=patch,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"shortest_edge": pixels, "longest_edge": pixels},
    )
    made.save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "processor_class": kind}))


def save_qwen_edit(folder: Path, seed: int = 9) -> Path:
    """Qwen-Image-Edit-2511-shaped: its text encoder sees the source picture."""
    ids = token_ids()
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": VOCABULARY,
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "max_position_embeddings": 4096,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
                "pad_token_id": ids.pad,
                "bos_token_id": None,
                "eos_token_id": ids.end,
            },
            vision_config={
                "depth": 1,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 2,
                "patch_size": 14,
                "out_hidden_size": 64,
                "fullatt_block_indexes": [0],
            },
            image_token_id=ids.image,
            video_token_id=ids.video,
            vision_start_token_id=ids.vision_start,
            vision_end_token_id=ids.vision_end,
        )
    ).eval()
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    ).eval()
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=64,
        axes_dims_rope=(8, 12, 12),
        zero_cond_t=True,
    ).eval()
    for offset, part in enumerate((encoder, vae, transformer)):
        scramble(part, seed + offset)
    whole = QwenImageEditPlusPipeline(
        scheduler=klein_scheduler(),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer(),
        processor=None,
        transformer=transformer,
    )
    whole.save_pretrained(folder)
    processor = folder / "processor"
    tokenizer().save_pretrained(processor)
    save_image_processor(processor, kind="Qwen2VLProcessor", patch=14, pixels=56 * 56)
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "interleave_settings.json").write_text(
        json.dumps({"steps": 2, "width": 64, "height": 64, "multiple_of": 32, "max_side": 128})
    )
    return folder


def save_vlm(folder: Path, seed: int = 21) -> Path:
    """Qwen3-VL-shaped; its answers are noise."""
    model = build_vlm(token_ids(), layers=2, vision_layers=1, patch=8).eval()
    scramble(model, seed, gain=1.5)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    save_image_processor(folder, kind="Qwen3VLProcessor", patch=8, pixels=48 * 48)
    return folder


def save_llava(folder: Path, seed: int = 31) -> Path:
    """LLaVA-shaped: no positions in three dimensions, and its prompt is read in one piece."""
    ids = token_ids()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        ),
        text_config=LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=2048,
            bos_token_id=None,
            pad_token_id=ids.pad,
            eos_token_id=ids.end,
        ),
        image_token_index=ids.image,
        vision_feature_layer=-1,
    )
    model = LlavaForConditionalGeneration(config).eval()
    scramble(model, seed, gain=1.5)
    model.save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images,
        tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<|image_pad|>",
        num_additional_image_tokens=1,
        chat_template=tokenizer().chat_template,
    )
    processor.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    for name, save in (("vlm", save_vlm), ("klein", save_klein), ("qwen_edit", save_qwen_edit)):
        print(save(Path(sys.argv[1]) / name))
