"""Assembling a pack: graphs, tokenizer, templates, and the manifest that names and hashes them."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from interleave_rt.errors import BadPackError
from interleave_rt.pack.manifest import FORMAT_VERSION, MANIFEST_NAME, Manifest, hash_file
from interleave_rt.pack.tokens import check_token_bytes, special_token_ids, token_bytes

from .sessions import DECODE_FILE
from .shapes import ShapesRecipe
from .weights import Weights

if TYPE_CHECKING:
    from diffusers import Flux2KleinPipeline
    from transformers import Qwen3VLForConditionalGeneration

__all__ = ["PARITY", "PARTS", "build_graphs", "write_json", "write_manifest", "write_texts"]

log = logging.getLogger(__name__)

PROVIDERS = ["CPUExecutionProvider"]
PARITY = "parity.json"
_ROPE_ROWS = 1024
PARTS = {
    "planner": ("decoder", "decode_graph", "vision"),
    "critic": ("decoder", "decode_graph", "vision"),
    "generator": ("text_encoder", "transformer", "vae_encoder", "vae_decoder"),
}


def build_graphs(
    out: Path,
    pipeline: Flux2KleinPipeline,
    vlms: Mapping[str, Qwen3VLForConditionalGeneration],
    recipe: ShapesRecipe,
    progress: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Export every graph into `out`; returns what the float16 storage of each file did."""
    from .decode import export_decode_graph
    from .generator import generator_specs, generator_trace
    from .graph import export_graph
    from .vision import vision_spec
    from .vlm import decoder_spec, decoder_trace

    reports = {}
    for role, model in vlms.items():
        progress(f"graphs of {role}")
        with decoder_trace(model):
            reports[f"{role}/decoder.onnx"] = export_graph(decoder_spec(model), out / role / "decoder.onnx")
        if recipe.decode_graph:
            file = f"{role}/{DECODE_FILE}"
            reports[file] = export_decode_graph(model, out / file, _rope_length(role, model, recipe))
        reports[f"{role}/vision.onnx"] = export_graph(vision_spec(model), out / role / "vision.onnx")
    with generator_trace():
        for part, spec in generator_specs(pipeline, recipe.text_layers).items():
            progress(f"graph of generator: {part}")
            reports[f"generator/{part}.onnx"] = export_graph(spec, out / "generator" / f"{part}.onnx")
    return {
        name: {"halved": r.halved, "shared": r.shared, "inexact": list(r.inexact), "bytes": r.bytes_after}
        for name, r in reports.items()
    }


def write_texts(out: Path, weights: Weights, vocab: int) -> None:
    """Tokenizer, chat template, token bytes (for the `vocab` rows of the models' logits) and prompt templates."""
    (out / "tokenizer").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights.tokenizer_json, out / "tokenizer" / "tokenizer.json")
    shutil.copyfile(weights.chat_template, out / "tokenizer" / "chat_template.jinja")
    tokenizer = Tokenizer.from_file(str(weights.tokenizer_json))
    table = token_bytes(tokenizer, vocab)
    check_token_bytes(table, tokenizer)
    encoded = [base64.b64encode(item).decode("ascii") for item in table]
    write_json(
        out / "tokenizer" / "token_bytes.json",
        {"format_version": 1, "tokens": encoded, "special": special_token_ids(tokenizer)},
    )
    for role in ("planner", "critic"):
        (out / role).mkdir(parents=True, exist_ok=True)
        for name, file in weights.template_files(role).items():
            shutil.copyfile(file, out / role / f"{name}.txt")


def verdict_tokens(table: list[bytes]) -> dict[str, list[int]]:
    """Ids of the tokens that spell a boolean, with or without a space before it."""
    found = {
        word: [index for index, item in enumerate(table) if item.strip() == word.encode()]
        for word in ("true", "false")
    }
    if not all(found.values()):
        raise BadPackError(
            "[export] the tokenizer has no single token for true or for false, so p(success) cannot be read",
            hint="train the tokenizer on answers that contain both booleans",
        )
    return found


def _cache_length(role: str, model: Qwen3VLForConditionalGeneration, recipe: ShapesRecipe) -> int:
    return min(recipe.cache_of(role), int(model.config.text_config.max_position_embeddings))


def _rope_length(role: str, model: Qwen3VLForConditionalGeneration, recipe: ShapesRecipe) -> int:
    """Rows of the decode graph's tables: a cache longer than the role's own must do for the proofs."""
    longest = int(model.config.text_config.max_position_embeddings)
    return min(longest, max(recipe.cache_of(role), _ROPE_ROWS))


def _vlm_role(
    role: str, model: Qwen3VLForConditionalGeneration, weights: Weights, recipe: ShapesRecipe
) -> dict[str, Any]:
    from .vlm import VlmShape

    shape = VlmShape.of(model)
    vision = model.config.vision_config
    generation = model.generation_config
    ends = generation.eos_token_id
    side = int(vision.num_position_embeddings**0.5) * vision.patch_size
    length = _cache_length(role, model, recipe)
    sampled = bool(generation.do_sample)
    return {
        "runtime": "native",
        "decoder": {"file": f"{role}/decoder.onnx"},
        **({"decode_graph": {"file": f"{role}/{DECODE_FILE}"}} if recipe.decode_graph else {}),
        "vision": {"file": f"{role}/vision.onnx"},
        "tokenizer": "tokenizer/tokenizer.json",
        "chat_template": "tokenizer/chat_template.jinja",
        "token_bytes": "tokenizer/token_bytes.json",
        "templates": {name: f"{role}/{name}.txt" for name in weights.template_files(role)},
        "architecture": {
            "layers": shape.layers,
            "hidden": shape.hidden,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "vocab": shape.vocab,
            "deepstack_levels": shape.deepstack_levels,
            "image_token_id": shape.image_token_id,
            "eos_token_ids": list(ends) if isinstance(ends, (list, tuple)) else [ends],
            "pad_token_id": generation.pad_token_id,
        },
        "vision_config": {
            "patch_size": vision.patch_size,
            "merge_size": vision.spatial_merge_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            # one grid is all that the tiny encoders have seen
            "min_pixels": side * side,
            "max_pixels": side * side,
            "max_pixels_many": min(384 * 384, side * side),
            "many": 5,
        },
        "generation": {
            "temperature": (generation.temperature or 1.0) if sampled else 0.0,
            "top_k": (generation.top_k or 0) if sampled else 0,
            "top_p": (generation.top_p or 1.0) if sampled else 1.0,
            "max_new_tokens": min(recipe.max_new_tokens, length - 1),
        },
        "verdict_tokens": None,
        "cache_length": length,
        "slots": recipe.slots,
        "prefill_chunk": recipe.prefill_chunk,
        "providers": PROVIDERS,
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }


def _generator_role(pipeline: Flux2KleinPipeline, recipe: ShapesRecipe) -> dict[str, Any]:
    from .generator import token_pixels

    pixels = token_pixels(pipeline)
    side = recipe.image_side
    modules = (pipeline.text_encoder, pipeline.transformer, pipeline.vae)
    return {
        "runtime": "native",
        **{part: {"file": f"generator/{part}.onnx"} for part in PARTS["generator"]},
        "tokenizer": "tokenizer/tokenizer.json",
        "chat_template": "tokenizer/chat_template.jinja",
        "max_sequence_length": recipe.max_sequence_length,
        "pad_token_id": pipeline.tokenizer.pad_token_id,
        "scheduler": {
            "kind": "flow_match_euler",
            "shift": "flux2_empirical",
            "num_inference_steps": recipe.inference_steps,
        },
        "image": {
            "width": side,
            "height": side,
            "multiple_of": pixels,
            "min": pixels,
            "max": max(side, 8 * pixels),
        },
        "latent_channels": pipeline.transformer.config.in_channels,
        "text_dim": pipeline.transformer.config.joint_attention_dim,
        "token_pixels": pixels,
        "reference_time": 10,
        "slots": recipe.generator_slots,
        "providers": PROVIDERS,
        "parameters": sum(weight.numel() for module in modules for weight in module.parameters()),
    }


def write_manifest(
    out: Path,
    weights: Weights,
    pipeline: Flux2KleinPipeline,
    vlms: Mapping[str, Qwen3VLForConditionalGeneration],
    recipe: ShapesRecipe,
    invariant: Mapping[str, bool],
    proved_on: str,
) -> Manifest:
    """Write `pack.json` over the files that lie in `out`.

    `invariant` says which parts may be batched; `proved_on` names the processor that this was proved on.
    """
    roles: dict[str, dict[str, Any]] = {
        role: _vlm_role(role, model, weights, recipe) for role, model in vlms.items()
    }
    table = token_bytes(Tokenizer.from_file(str(weights.tokenizer_json)))
    roles["critic"]["verdict_tokens"] = verdict_tokens(table)
    roles["critic"]["verdict_threshold"] = recipe.verdict_threshold
    roles["generator"] = _generator_role(pipeline, recipe)
    for role, parts in PARTS.items():
        for part in parts:
            if part not in roles[role]:  # the decode graph is an option
                continue
            roles[role][part] |= {
                "precision": "fp16-weights",
                "batch_invariant": invariant.get(f"{role}/{part}", False),
            }
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    raw = {
        "format_version": FORMAT_VERSION,
        "name": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "license": recipe.license,
        "source": recipe.source,
        "lossless": "bitwise",
        "roles": roles,
        "files": {
            name: {"size": (out / name).stat().st_size, "sha256": hash_file(out / name)}
            for name in files
            if name != MANIFEST_NAME
        },
        "examples": list(recipe.examples),
        "exporter": _versions() | {"proved_on": proved_on},
        "parity": PARITY if (out / PARITY).is_file() else None,
    }
    manifest = Manifest.model_validate(raw)
    write_json(out / MANIFEST_NAME, raw)
    return manifest


def _versions() -> dict[str, str]:
    found = {}
    for package in (
        "interleave-rt",
        "torch",
        "transformers",
        "diffusers",
        "onnx",
        "onnxscript",
        "onnxruntime",
    ):
        try:
            found[package.replace("-", "_")] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package.replace("-", "_")] = "source tree"
    return found


def write_json(path: Path, value: Any) -> None:
    """JSON for people and machines: one space of indentation, a newline at the end."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
