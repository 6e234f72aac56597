"""FLUX.2-klein from its own files: the text encoder written, transformer and codec traced without their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import Qwen3Config

from interleave_rt.errors import BadPackError
from interleave_rt.pack.manifest import GeneratorRole

from ..checkpoint import Checkpoint, said
from ..hollow import export_hollow, fill_hollow
from ..pipeline import Pipeline, default, hollow
from ..proof.checks import Comparison
from ..written import Precision, head_precision
from . import qwen3_text
from .flow import drawn_invariance
from .flux2 import denoising, drawing_specs, generator_trace, places, token_pixels

__all__ = ["Klein", "describe", "invariance", "open_parts", "stored_as", "texts", "weights", "write"]

_DISTILLED_STEPS = 4
_SMALLEST, _LARGEST = 64, 2048  # pixels of a side: the pipeline refuses smaller pictures to start from
_BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")
_CODEC = {
    "vae_encoder": ("vae.encoder.", "vae.quant_conv."),
    "vae_decoder": ("vae.decoder.", "vae.post_quant_conv."),
}


@dataclass(frozen=True, slots=True)
class Klein:
    """A pipeline, read but for its weights.

    Args:
        pipeline: Its folder.
        text: The text encoder's checkpoint.
        words: Its configuration: how a prompt's words are read.
        taps: Layers of the text encoder that are read.
        transformer: The denoiser without weights, with the checkpoint that has them.
        vae: The codec likewise; its statistics are there.
    """

    pipeline: Pipeline
    text: Checkpoint
    words: Qwen3Config
    taps: tuple[int, ...]
    transformer: tuple[Any, Checkpoint]
    vae: tuple[Any, Checkpoint]


def open_parts(pipeline: Pipeline) -> Klein:
    """Everything that is read before weights are.

    Raises:
        BadPackError: A component is missing, or not as it is written and traced here.
    """
    text = pipeline.component("text_encoder", "Qwen3ForCausalLM")
    transformer = hollow(pipeline, "transformer", Flux2Transformer2DModel)
    vae = hollow(pipeline, "vae", AutoencoderKLFlux2)
    words, taps = (
        qwen3_text.configuration(text),
        default(Flux2KleinPipeline.__call__, "text_encoder_out_layers"),
    )
    told, codec = transformer[0].config, vae[0].config
    wide = words.hidden_size * len(taps)
    why = ""
    if max(taps) > words.num_hidden_layers:
        why = f"the text encoder has {words.num_hidden_layers} layers, the pipeline reads layer {max(taps)}"
    elif told.joint_attention_dim != wide:
        why = f"the transformer reads {told.joint_attention_dim} numbers of a word, {len(taps)} layers say {wide}"
    elif told.in_channels != 4 * codec.latent_channels or tuple(codec.patch_size) != (2, 2):
        why = (
            f"the transformer reads {told.in_channels} channels, the codec packs {4 * codec.latent_channels}"
        )
    elif told.guidance_embeds:
        why = "the transformer takes guidance as an input"
    if why:
        raise BadPackError(
            f"[export] {pipeline.directory} cannot be exported: {why}",
            hint="its components are of different models, or it is no FLUX.2-klein",
        )
    for name in ("bn.running_mean", "bn.running_var"):
        vae[1].need(name, told.in_channels)
        setattr(vae[0].bn, name[3:], torch.from_numpy(vae[1].read(name)))
    return Klein(pipeline, text, words, taps, transformer, vae)


def weights(klein: Klein) -> dict[str, tuple[Checkpoint, dict[str, tuple[int, ...]]]]:
    """Of every part: whose weights they are, their names and shapes."""
    found = {"text_encoder": (klein.text, qwen3_text.weights(klein.words, klein.taps))}
    for part, (module, checkpoint, names) in _traced(klein).items():
        shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
        found[part] = checkpoint, {name: shapes[name] for name in names.values()}
    return found


def stored_as(part: str, name: str, precision: Precision) -> Precision:
    """How a matrix is stored in a pack of this precision; what is not of a block keeps 8 bits in int4 packs."""
    if part == "text_encoder":
        return qwen3_text.stored_as(name, precision)
    return precision if name.startswith(_BLOCKS) else head_precision(precision)


def texts(klein: Klein) -> tuple[Path, None]:
    """The folder of the tokenizer, whose own chat template is used.

    Raises:
        BadPackError: It fills prompts up before their beginning.
    """
    folder = klein.pipeline.directory / "tokenizer"
    if said(folder / "tokenizer_config.json").get("padding_side", "right") != "right":
        raise BadPackError(
            f"[export] the tokenizer of {folder} pads before a prompt",
            hint='set "padding_side": "right" if the model was trained so',
        )
    return folder, None


def describe(klein: Klein) -> dict[str, Any]:
    """What the manifest says of the role, but for its files and its tokenizer."""
    told, pixels = klein.transformer[0].config, token_pixels(klein.vae[0])
    call, distilled = Flux2KleinPipeline.__call__, bool(klein.pipeline.index.get("is_distilled", False))
    side = 128 * pixels // 2  # the pipeline's own default: 128 latents, two of them a token's side
    guidance = {} if distilled else {"guidance": {"scale": default(call, "guidance_scale")}}
    return {
        "family": "flux2",
        **guidance,
        "max_sequence_length": default(call, "max_sequence_length"),
        "scheduler": {
            "shift": "flux2_empirical",
            **klein.pipeline.flow_schedule()[1],
            "num_inference_steps": _DISTILLED_STEPS if distilled else default(call, "num_inference_steps"),
        },
        "image": {
            "width": side,
            "height": side,
            "multiple_of": pixels,
            "min": _SMALLEST,
            "max": _LARGEST,
        },
        "latent_channels": told.in_channels,
        "text_dim": told.joint_attention_dim,
        "token_pixels": pixels,
        "reference_time": default(Flux2KleinPipeline._prepare_image_ids, "scale"),
    }


def write(klein: Klein, folder: Path, *, precision: Precision) -> None:
    """Writes the graph of every part, `PART.onnx`, with its weights beside it."""
    qwen3_text.write(klein.text, klein.words, folder / "text_encoder.onnx", klein.taps, precision=precision)
    traced = _traced(klein)
    for module, _ in (klein.transformer, klein.vae):
        fill_hollow(module)
    with generator_trace():
        for part, spec in drawing_specs(klein.transformer[0], klein.vae[0]).items():
            _, checkpoint, names = traced[part]
            stored = partial(stored_as, part, precision=precision)
            export_hollow(spec, folder / f"{part}.onnx", checkpoint, names, stored)


def _traced(klein: Klein) -> dict[str, tuple[Any, Checkpoint, Mapping[str, str]]]:
    """Of every traced part: its module, whose weights it has, and what the checkpoint calls its parameters."""
    names = {f"model.{name}": name for name, _ in klein.transformer[0].named_parameters()}
    codec = {f"vae.{name}": name for name, _ in klein.vae[0].named_parameters()}
    return {
        "transformer": (*klein.transformer, names),
        **{
            part: (*klein.vae, {own: name for own, name in codec.items() if own.startswith(prefixes)})
            for part, prefixes in _CODEC.items()
        },
    }


def invariance(folder: Path, role: GeneratorRole, seed: int) -> list[Comparison]:
    """The transformer over batches, without and with a picture to start from; the others, called for one, over threads."""
    rng = np.random.default_rng(seed)
    length, pixels = role.max_sequence_length, role.token_pixels
    feeds = []
    for rows, columns, references in ((4, 5, 0), (3, 4, 1)):
        grids = [places(time * role.reference_time, rows, columns) for time in range(references + 1)]
        feeds.append(denoising(role, rng, role.slots, length, np.concatenate(grids)))
    ids = rng.integers(8, 250, (1, length))
    mask = (np.arange(length)[None] < length // 3).astype(np.int64)
    alone: dict[str, dict[str, Any]] = {
        "text_encoder": {"input_ids": ids, "attention_mask": mask},
        "vae_encoder": {"image": rng.random((1, 3, 4 * pixels, 6 * pixels), dtype=np.float32) * 2 - 1},
        "vae_decoder": {"latents": rng.standard_normal((1, 4, 5, role.latent_channels), dtype=np.float32)},
    }
    return drawn_invariance(folder, feeds, alone, slots=role.slots)
