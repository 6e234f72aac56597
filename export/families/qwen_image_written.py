"""Qwen-Image-Edit from its own files: the text encoder written, its eyes, denoiser and codec traced without their weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageEditPlusPipeline, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionRotaryEmbedding,
)

from interleave_rt.errors import BadPackError
from interleave_rt.pack.manifest import GeneratorRole

from ..checkpoint import Checkpoint, Floats, image_sizes
from ..graph import GraphSpec
from ..hollow import export_hollow, fill_hollow
from ..pipeline import Pipeline, default, hollow
from ..proof.checks import Comparison
from ..written import Precision, head_precision
from . import qwen2_5_vl_text
from .flow import drawn_invariance
from .qwen_image_graphs import denoising, drawing_specs, still_codec, still_trace, token_pixels, vision_spec

__all__ = ["QwenEdit", "describe", "invariance", "open_parts", "stored_as", "texts", "weights", "write"]

_STEPS = 40  # of the published checkpoint's own example; the pipeline's 50 are those of its elder
_NEGATIVE = " "
_SMALLEST, _LARGEST = 64, 2048  # pixels of a side
_WHOLE = 32  # sides that the pipeline gives to pictures are multiples of so many pixels
_CODEC = {
    "vae_encoder": ("encoder.", "quant_conv."),
    "vae_decoder": ("decoder.", "post_quant_conv."),
}


@dataclass(frozen=True, slots=True)
class QwenEdit:
    """A pipeline, read but for its weights.

    Args:
        pipeline: Its folder.
        rules: The library's own pipeline, without components: what it does with prompts and pictures.
        text: The text encoder's checkpoint.
        words: Its configuration.
        prefixes: Of the names of its weights, of the decoder and of its eyes, as its version of the library has them.
        visual: Its eyes without weights.
        transformer: The denoiser likewise, with the checkpoint that has them.
        vae: The codec likewise.
    """

    pipeline: Pipeline
    rules: QwenImageEditPlusPipeline
    text: Checkpoint
    words: Qwen2_5_VLConfig
    prefixes: tuple[str, str]
    visual: Any
    transformer: tuple[Any, Checkpoint]
    vae: tuple[Any, Checkpoint]


@dataclass(frozen=True, slots=True)
class _LastMoment(Checkpoint):
    """A codec of films as one of pictures: of weights with an axis of time, what belongs to its end."""

    whole: Checkpoint

    @classmethod
    def of(cls, whole: Checkpoint) -> _LastMoment:
        flat = {
            name: replace(one, shape=(*one.shape[:2], *one.shape[3:])) if len(one.shape) == 5 else one
            for name, one in whole.tensors.items()
        }
        return cls(whole.directory, whole.config, flat, whole)

    def pieces(self, name: str) -> Iterator[Floats]:
        shape = self.whole.tensors[name].shape
        for piece in self.whole.pieces(name):
            if len(shape) == 5:
                yield np.ascontiguousarray(piece.reshape(-1, *shape[1:])[:, :, -1]).reshape(len(piece), -1)
            else:
                yield piece


def open_parts(pipeline: Pipeline) -> QwenEdit:
    """Everything that is read before weights are.

    Raises:
        BadPackError: A component is missing, or not as it is written and traced here.
    """
    text = pipeline.component("text_encoder", "Qwen2_5_VLForConditionalGeneration")
    transformer = hollow(pipeline, "transformer", QwenImageTransformer2DModel)
    vae, films = hollow(pipeline, "vae", AutoencoderKLQwenImage)
    rules = QwenImageEditPlusPipeline(
        scheduler=None, vae=None, text_encoder=None, tokenizer=None, processor=None, transformer=None
    )
    with text.understood():
        words = Qwen2_5_VLConfig.from_dict(dict(text.config))
        shape = qwen2_5_vl_text.shape_of(words.text_config)
        with torch.device("meta"):
            visual = Qwen2_5_VisionTransformerPretrainedModel._from_config(words.vision_config)
        visual.rotary_pos_emb = Qwen2_5_VLVisionRotaryEmbedding(words.vision_config)
    told, pixels = transformer[0].config, token_pixels(vae)
    why = ""
    if told.joint_attention_dim != shape.hidden:
        why = f"the transformer reads {told.joint_attention_dim} numbers of a word, the text encoder says {shape.hidden}"
    elif told.in_channels != 4 * vae.config.z_dim or 4 * told.out_channels != told.in_channels:
        why = f"the transformer reads {told.in_channels} channels, the codec packs {4 * vae.config.z_dim}"
    elif told.guidance_embeds or told.use_additional_t_cond or told.use_layer3d_rope:
        why = "the transformer takes more than pictures, words and the time of a step"
    elif _WHOLE % pixels:
        why = f"a token is {pixels} pixels wide, pictures are scaled to multiples of {_WHOLE}"
    elif image_sizes(pipeline.directory / "processor") is None:
        why = "its processor says nothing of pictures (processor/preprocessor_config.json)"
    if why:
        raise BadPackError(
            f"[export] {pipeline.directory} cannot be exported: {why}",
            hint="its components are of different models, or it is no Qwen-Image-Edit of 2509 or later",
        )
    still_codec(vae)
    nested = "model.language_model.norm.weight" in text.tensors
    prefixes = ("model.language_model", "model.visual") if nested else ("model", "visual")
    codec = (vae, _LastMoment.of(films))
    return QwenEdit(pipeline, rules, text, words, prefixes, visual.eval(), transformer, codec)


def weights(edit: QwenEdit) -> dict[str, tuple[Checkpoint, dict[str, tuple[int, ...]]]]:
    """Of every part: whose weights they are, their names and shapes."""
    found = {"text_encoder": (edit.text, qwen2_5_vl_text.weights(edit.words.text_config, edit.prefixes[0]))}
    for part, (spec, checkpoint, names) in _traced(edit).items():
        shapes = {name: tuple(weight.shape) for name, weight in spec.module.named_parameters()}
        found[part] = checkpoint, {source: shapes[own] for own, source in names.items()}
    return found


def stored_as(part: str, name: str, precision: Precision) -> Precision:
    """How a matrix is stored in a pack of this precision; what is not of a block keeps 8 bits in int4 packs."""
    inner = {"text_encoder": ".layers.", "transformer": "transformer_blocks."}.get(part)
    return precision if inner is not None and inner in name else head_precision(precision)


def texts(edit: QwenEdit) -> tuple[Path, str]:
    """The folder of the tokenizer, and the pipeline's own words around a prompt and its pictures as a chat template."""
    before, behind = (json.dumps(part) for part in edit.rules.prompt_template_encode.split("{}"))
    template = (
        f"{{{{ {before} }}}}"
        "{%- set seen = namespace(count=0) -%}{%- set content = messages[-1].content -%}"
        "{%- for part in ([{'type': 'text', 'text': content}] if content is string else content) -%}"
        "{%- if part.type == 'image' -%}{%- set seen.count = seen.count + 1 -%}"
        "{{ 'Picture ' ~ seen.count ~ ': <|vision_start|><|image_pad|><|vision_end|>' }}"
        "{%- else -%}{{ part.text }}{%- endif -%}{%- endfor -%}"
        f"{{{{ {behind} }}}}"
    )
    return edit.pipeline.directory / "processor", template


def describe(edit: QwenEdit) -> dict[str, Any]:
    """What the manifest says of the role, but for its files and its tokenizer."""
    told, pixels, rules = edit.transformer[0].config, token_pixels(edit.vae[0]), edit.rules
    vision, skipped = edit.words.vision_config, rules.prompt_template_encode_start_idx
    side = rules.default_sample_size * pixels // 2
    call = QwenImageEditPlusPipeline.__call__
    return {
        "family": "qwen_image",
        "guidance": {"scale": default(call, "true_cfg_scale"), "negative": _NEGATIVE, "rescale": True},
        "max_sequence_length": skipped + rules.tokenizer_max_length,
        "scheduler": {**_schedule(edit.pipeline), "num_inference_steps": _STEPS},
        "image": {"width": side, "height": side, "multiple_of": pixels, "min": _SMALLEST, "max": _LARGEST},
        "latent_channels": told.in_channels,
        "text_dim": told.joint_attention_dim,
        "token_pixels": pixels,
        "reference_time": 1,
        "conditioning": {
            "vision_config": {
                "patch_size": vision.patch_size,
                "merge_size": vision.spatial_merge_size,
                "temporal_patch_size": vision.temporal_patch_size,
                **(image_sizes(edit.pipeline.directory / "processor") or {}),
            },
            "image_token_id": edit.words.image_token_id,
            "skip": skipped,
            "seen_area": pipeline_qwenimage_edit_plus.CONDITION_IMAGE_SIZE,
            "encoded_area": pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE,
        },
    }


def _schedule(pipeline: Pipeline) -> dict[str, Any]:
    said, schedule = pipeline.flow_schedule()
    if "shift" in schedule:
        return schedule
    line = [
        [said.get("base_image_seq_len", 256), said.get("base_shift", 0.5)],
        [said.get("max_image_seq_len", 4096), said.get("max_shift", 1.15)],
    ]
    return {**schedule, "shift": "linear", "line": line}


def write(edit: QwenEdit, folder: Path, *, precision: Precision) -> None:
    """Writes the graph of every part, `PART.onnx`, with its weights beside it."""
    qwen2_5_vl_text.write(
        edit.text, edit.words, edit.prefixes[0], folder / "text_encoder.onnx", precision=precision
    )
    for module in (edit.visual, edit.transformer[0], edit.vae[0]):
        fill_hollow(module)
    for part, (spec, checkpoint, names) in _traced(edit).items():
        with still_trace() if part in _CODEC else nullcontext():
            stored = partial(stored_as, part, precision=precision)
            export_hollow(spec, folder / f"{part}.onnx", checkpoint, names, stored)


def _traced(edit: QwenEdit) -> dict[str, tuple[GraphSpec, Checkpoint, Mapping[str, str]]]:
    """Of every traced part: its graph, whose weights it has, and what the checkpoint calls its parameters."""
    (transformer, of_transformer), (vae, of_vae) = edit.transformer, edit.vae
    specs = drawing_specs(transformer, vae)
    last = f"transformer_blocks.{len(transformer.transformer_blocks) - 1}."
    unread = (f"{last}attn.to_add_out.", f"{last}txt_mlp.")  # words are not read behind the last block
    names = [name for name, _ in transformer.named_parameters() if not name.startswith(unread)]
    # A single picture passes no convolution over time.
    codec = [name for name, _ in vae.named_parameters() if ".time_conv." not in name]
    eyes = {f"visual.{name}": f"{edit.prefixes[1]}.{name}" for name, _ in edit.visual.named_parameters()}
    return {
        "vision": (vision_spec(edit.visual), edit.text, eyes),
        "transformer": (specs["transformer"], of_transformer, {f"model.{name}": name for name in names}),
        **{
            part: (specs[part], of_vae, {f"vae.{name}": name for name in codec if name.startswith(of)})
            for part, of in _CODEC.items()
        },
    }


def invariance(folder: Path, role: GeneratorRole, seed: int) -> list[Comparison]:
    """The denoiser over batches, with one and with two sources; the others, called for one, over threads."""
    rng = np.random.default_rng(seed)
    seen, pixels = role.conditioning, role.token_pixels
    assert seen is not None
    vision, length = seen.vision_config, 40
    feeds = [
        denoising(role, rng, role.slots, 11, ((4, 5), (3, 4), (2, 3))),
        denoising(role, rng, role.slots, 9, ((3, 4), (4, 4))),
    ]
    values = 3 * vision.temporal_patch_size * vision.patch_size**2
    rows, columns = 6 * vision.merge_size, 4 * vision.merge_size
    ids = rng.integers(8, 250, (1, length))
    ids[0, 5:17] = seen.image_token_id
    alone: dict[str, dict[str, Any]] = {
        "text_encoder": {
            "input_ids": ids,
            "position_ids": np.tile(np.arange(length), (3, 1, 1)),
            "image_embeds": rng.standard_normal((12, role.text_dim), dtype=np.float32),
        },
        "vision": {
            "pixel_values": rng.standard_normal((rows * columns, values), dtype=np.float32),
            "grid_thw": np.array([[1, rows, columns]]),
        },
        "vae_encoder": {"image": rng.random((1, 3, 4 * pixels, 6 * pixels), dtype=np.float32) * 2 - 1},
        "vae_decoder": {"latents": rng.standard_normal((1, 4, 5, role.latent_channels), dtype=np.float32)},
    }
    return drawn_invariance(folder, feeds, alone, slots=role.slots)
