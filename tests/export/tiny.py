"""Random-weight models of the embedded architectures, and a small tokenizer: what the export tests export."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT_TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
CORPUS = [
    "draw a small red circle at the top left on a blue background. add a large green star.",
    '<think> the star is there </think><answer>{"previous_step_success": true, "refine_prompt": null}</answer>',
    'true false "previous_step_success": true, "previous_step_success": false, "refine_prompt": "add a small ring"',
    '{"step_number": 1, "step_name": "draw", "instruction": "put", "prompt": "add a ring", "auxiliary_text": "None"}',
    "put a ring left of the diamond; recolour the triangle to yellow, remove the square, move it below",
]

EMBEDDED = {"vocab": 1200, "patch": 16}
"""Sizes of the embedded planner and critic that are not the defaults here."""


def build_tokenizer(vocab: int = 500) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a few hundred tokens, with the special tokens of Qwen-VL."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def scramble(module: nn.Module, seed: int, gain: float = 1.0) -> None:
    """Random weights of unit gain that are exactly float16; norms and biases keep away from their neutral values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                fan = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * gain / fan**0.5)
            else:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
            weight.copy_(weight.half().float())


def build_vlm(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    vocab: int = 1000,
    layers: int = 4,
    vision_layers: int = 2,
    deepstack: tuple[int, ...] = (0,),
    patch: int = 8,
) -> Qwen3VLForConditionalGeneration:
    """Qwen3-VL: text `layers` x 128, vision `vision_layers` x 128, merge 2."""
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": vocab,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 1024,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "pad_token_id": ids["<|endoftext|>"],
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": vision_layers,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 128,
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": list(deepstack),
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config).eval()
    scramble(model, seed, gain=1.5)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model


def build_pipeline(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    vocab: int = 1000,
    channels: tuple[int, ...] = (16, 24, 32, 64),
    blocks: tuple[int, int] = (2, 4),
) -> Flux2KleinPipeline:
    """FLUX.2-klein: VAE with 8 latent channels, transformer 4 x 32 of double and single blocks, Qwen3 2 x 128."""
    torch.manual_seed(seed)
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=48,
    )
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=32,
        num_layers=blocks[0],
        num_single_layers=blocks[1],
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=256,
        timestep_guidance_channels=64,
        mlp_ratio=3.0,
        axes_dims_rope=(8, 8, 8, 8),
        guidance_embeds=False,
    )
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocab,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    for part, offset in ((vae, 0), (transformer, 1), (text_encoder, 2)):
        part.eval()
        scramble(part, seed + offset)
    generator = torch.Generator().manual_seed(seed + 3)
    with torch.no_grad():
        vae.bn.running_mean.copy_((0.1 * torch.randn(32, generator=generator)).half().float())
        vae.bn.running_var.copy_((0.5 + torch.rand(32, generator=generator)).half().float())
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, time_shift_type="exponential"
    )
    return Flux2KleinPipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    )


def write_weights(directory: Path, seed: int = 0, *, small: bool = False) -> Path:
    """A weights directory as training leaves it: generator/, planner/, critic/, tokenizer/, templates/.

    `small`: fewer layers of everything, for tests that only need the kinds of nodes.
    """
    print(f"tiny weights, seed {seed}")
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(directory / "tokenizer")
    pipeline = (
        build_pipeline(tokenizer, seed=seed + 10, channels=(16, 32), blocks=(1, 1))
        if small
        else build_pipeline(tokenizer, seed=seed + 10, vocab=EMBEDDED["vocab"])
    )
    pipeline.save_pretrained(directory / "generator")
    for number, role in enumerate(("planner", "critic")):
        size = {"layers": 1, "vision_layers": 1} if small else EMBEDDED
        build_vlm(tokenizer, seed=seed + 20 + number, **size).save_pretrained(directory / role)
    templates = directory / "templates"
    templates.mkdir()
    texts = {
        "narrative": "Plan: {text_input}",
        "guidance": "Go on: {text_input}",
        "critic": "{rewritten_prompt}<image><image>",
    }
    for name, text in texts.items():
        (templates / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return directory
