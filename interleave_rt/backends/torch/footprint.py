"""What a model will need on its device, from its configuration and the heads of its files: nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadPackError
from interleave_rt.placement import Demand, Part

from .checkpoint import PIPELINE_INDEX, TYPES, read_json, tensors_of, weight_files
from .families import FamilySettings, settings_for

__all__ = ["Work", "demand_of"]

_HALF = 2  # float16 and bfloat16, whose norms and rotations are computed in float32
# Scaled to a megapixel before it is encoded, whatever size it has.
_MEGAPIXEL_SOURCES = ("QwenImageEditPlusPipeline",)
_WITHOUT_LAYERS = ("visual", "vision", "multi_modal_projector")


@dataclass(frozen=True, slots=True)
class Work:
    """How large the calls of a model are; None: as its own files say.

    Args:
        side: Of a square picture in pixels; one of the same size is its source.
        prompt: Tokens of a prompt beside its pictures.
        answer: Tokens of an answer at most.
        pictures: Whose features and patches planner and critic keep.
    """

    side: int | None = None
    prompt: int = 1024
    answer: int = 4096
    pictures: int = 8


def demand_of(
    directory: Path, dtype: str, device: str, roles: tuple[str, ...], work: Work, settings: Any = None
) -> Demand:
    """Of a generator (`settings` as of `TorchGenerator`), or of a planner, a critic, or both in one.

    Raises:
        BadPackError: A file is missing or cannot be read.
    """
    if "generator" in roles:
        return _of_pipeline(directory, TYPES[dtype], dtype, work, settings)
    config = read_json(directory, "config.json", "a transformers model of text and pictures")
    return Demand(roles, (_of_vlm(directory, config, dtype, work, host=device == "cpu"),))


def _of_vlm(directory: Path, config: Mapping[str, Any], dtype: str, work: Work, *, host: bool) -> Part:
    width, text, vision = TYPES[dtype], config.get("text_config", config), config.get("vision_config", {})
    patches, tokens = _picture_tokens(directory, vision, work.side or 1024)
    levels = 1 + len(vision.get("deepstack_visual_indexes", ()))
    features = work.pictures * tokens * text.get("hidden_size", 0) * levels * width
    if host:  # pictures cut into patches are kept in host memory
        features += (
            work.pictures * patches * 3 * 4 * _patch(vision) ** 2 * vision.get("temporal_patch_size", 1)
        )
    # Of a critic's prompt two beginnings are kept: up to its first picture, and up to its second.
    context = work.prompt + 2 * tokens + work.answer
    kept = context + (work.prompt + tokens) + (work.prompt + 2 * tokens)
    state = features + kept * _token_bytes(text, width)
    step = max(
        _language_step(text, tokens + work.prompt, width) + text.get("vocab_size", 0) * (width + 4),
        _vision_step(vision, patches, width),
    )
    return _part(directory, dtype, step, state)


def _of_pipeline(directory: Path, width: int, dtype: str, work: Work, given: Any) -> Demand:
    index = read_json(directory, PIPELINE_INDEX, "a diffusers pipeline")
    kind = str(index.get("_class_name"))
    settings = settings_for(kind, {}, directory, given)
    made = work.side**2 if work.side else settings.width * settings.height
    pixels = made, 0 if settings.sources == "none" else 1 << 20 if kind in _MEGAPIXEL_SOURCES else made
    encoders: list[Part] = []
    rest: list[Part] = []
    for name in index:
        folder = directory / name
        if not (folder / "config.json").is_file() or not weight_files(folder):
            continue
        config = read_json(folder, "config.json", "a part of a pipeline")
        if is_encoder(name):
            encoders.append(_part(folder, dtype, _encoder_step(config, width, settings)))
        else:
            rest.append(_part(folder, dtype, _picture_step(config, width, settings, pixels)))
    if not encoders and not rest:
        raise BadPackError(f"[torch] {directory} has no weights (*.safetensors)", hint="copy the whole model")
    return Demand(("generator",), tuple(_joined(parts) for parts in (encoders, rest) if parts))


def is_encoder(component: str) -> bool:
    """Whether a component of a pipeline has done its work before the first denoising step."""
    return component.startswith(("text_encoder", "image_encoder"))


def _joined(parts: Sequence[Part]) -> Part:
    """Parts that are there together and work one after the other."""
    return Part(
        sum(part.weights for part in parts),
        sum(part.state for part in parts),
        max(part.workspace for part in parts),
        sum(part.layers for part in parts),
        max(part.layer for part in parts),
    )


def _part(folder: Path, dtype: str, workspace: float, state: float = 0.0) -> Part:
    sizes = dict(tensors_of(folder, dtype))
    autoencoder = any(name.startswith("decoder.") for name in sizes)
    layers = [
        size
        for name, size in sizes.items()
        if not autoencoder and not any(word in name.split(".") for word in _WITHOUT_LAYERS)
    ]
    weights = sum(sizes.values())
    return Part(weights, state, workspace or 0.1 * weights, sum(layers), max(layers, default=0))


def _token_bytes(text: Mapping[str, Any], width: int) -> float:
    """Keys and values of a token."""
    heads = text.get("num_attention_heads", 0)
    size = int(text.get("head_dim") or text.get("hidden_size", 0) // max(1, heads))
    return (
        2.0
        * width
        * int(text.get("num_hidden_layers", 0))
        * int(text.get("num_key_value_heads", heads))
        * size
    )


def _language_step(text: Mapping[str, Any], tokens: int, width: int) -> float:
    """The largest tensors at once of a block over so many tokens: attention, or the gated feed-forward."""
    hidden, inner = text.get("hidden_size", 0), text.get("intermediate_size", 0)
    heads = text.get("num_attention_heads", 0)
    query = heads * (text.get("head_dim") or hidden // max(1, heads))
    norm = 2 * hidden * 4 / width if width == _HALF else 0
    return float(width * tokens * (2 * hidden + max(3 * inner, 6 * query, norm)))


def _vision_step(vision: Mapping[str, Any], patches: int, width: int) -> float:
    hidden, inner = vision.get("hidden_size", 0), vision.get("intermediate_size", 0)
    return float(width * patches * (2 * hidden + max(2 * inner, 8 * hidden)))


def _patch(vision: Mapping[str, Any]) -> int:
    return int(vision.get("patch_size", 14))


def _picture_tokens(directory: Path, vision: Mapping[str, Any], side: int) -> tuple[int, int]:
    """Patches of a picture, and what becomes of them in a prompt; as large as the processor lets pictures be."""
    pixels = side * side
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (directory / name).is_file():
            told = read_json(directory, name, "a processor")
            told = told.get("image_processor", told)
            size = told.get("size") or {}
            most = size.get("longest_edge") or told.get("max_pixels")
            least = size.get("shortest_edge") or told.get("min_pixels")
            if most and most > 1 << 13:  # pixels of an area; of others a side
                pixels = min(max(pixels, least or 0), most)
            break
    patches = max(1, round(pixels / _patch(vision) ** 2))
    return patches, patches // int(vision.get("spatial_merge_size", 1)) ** 2


def _encoder_step(config: Mapping[str, Any], width: int, settings: FamilySettings) -> float:
    """The states of all layers are kept for the denoiser, and a head that nobody asks computes its logits."""
    text = config.get("text_config", config)
    tokens = int(settings.arguments.get("max_sequence_length", 512))
    vision = config.get("vision_config", {})
    if vision:  # it sees the source as well, at 384 x 384
        tokens += 2 * (384 // (_patch(vision) * int(vision.get("spatial_merge_size", 1)))) ** 2
    hidden, layers = text.get("hidden_size", 0), text.get("num_hidden_layers", 0)
    head = any("LM" in name or "Conditional" in name for name in config.get("architectures") or ())
    logits = tokens * text.get("vocab_size", 0) * width if head else 0
    return float(tokens * width * (layers + 1) * hidden + max(logits, _language_step(text, tokens, width)))


def _picture_step(
    config: Mapping[str, Any], width: int, settings: FamilySettings, pixels: tuple[int, int]
) -> float:
    """`pixels`: of the picture that is made, and of its source."""
    # Of an autoencoder the blocks at full size; so many tensors at once were measured.
    if "dim_mult" in config:  # of films: its convolutions pad copies in three dimensions
        return 11.0 * width * float(config["base_dim"] * config["dim_mult"][0]) * max(pixels)
    if channels := config.get("decoder_block_out_channels") or config.get("block_out_channels"):
        return 4.0 * width * float(channels[min(1, len(channels) - 1)]) * max(pixels)
    hidden = float(config.get("num_attention_heads", 0) * config.get("attention_head_dim", 0))
    tokens = sum(pixels) / 256 + int(settings.arguments.get("max_sequence_length", 512))
    return width * tokens * hidden * (10.0 + 5.0 * float(config.get("mlp_ratio", 4.0)))
