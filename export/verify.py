"""The proofs of a pack: parity with PyTorch and batch invariance, of every graph in it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .chain import GeneratorChain, places, words
from .checks import Comparison, Parity
from .invariance import batch_invariance, decode_invariance, decoder_invariance, thread_invariance
from .parity import generator_parity, vlm_parity
from .samples import patchify, picture
from .sessions import DECODE_FILE
from .shapes import ShapesRecipe
from .weights import Weights

if TYPE_CHECKING:
    from diffusers import Flux2KleinPipeline
    from transformers import Qwen3VLForConditionalGeneration

__all__ = ["generator_feeds", "machine", "prove_invariance", "prove_parity"]

Progress = Callable[[str], None]


def prove_parity(
    pack: Path,
    weights: Weights,
    pipeline: Flux2KleinPipeline,
    vlms: Mapping[str, Qwen3VLForConditionalGeneration],
    recipe: ShapesRecipe,
    seed: int,
    progress: Progress,
) -> list[Parity]:
    """Every graph against its PyTorch module, and whole answers and images against the libraries."""
    progress("parity of generator")
    found = generator_parity(pipeline, recipe, pack, seed)
    tokenizer = weights.tokenizer()
    for role, model in vlms.items():
        progress(f"parity of {role}")
        templates = [file.read_text(encoding="utf-8") for file in weights.template_files(role).values()]
        found += vlm_parity(role, model, tokenizer, templates, pack, seed)
    return found


def prove_invariance(
    pack: Path,
    configs: Mapping[str, Any],
    recipe: ShapesRecipe,
    seed: int,
    progress: Progress,
) -> list[Comparison]:
    """Every graph over the ways of batching it that the runtime may choose; `configs`: of planner and critic."""
    rng = np.random.default_rng(seed)
    progress("batch invariance of generator")
    found = _generator(pack / "generator", recipe, rng)
    for role, config in configs.items():
        progress(f"batch invariance of {role}")
        vision = config.vision_config
        side = int(vision.num_position_embeddings**0.5) * vision.patch_size
        feeds = []
        for _ in range(2):
            values, grid = patchify(picture(rng, side, side), vision)
            feeds.append({"pixel_values": values, "grid_thw": grid})
        found.append(thread_invariance(pack / role / "vision.onnx", feeds))
        found.append(
            decoder_invariance(
                pack / role / "decoder.onnx",
                slots=recipe.slots,
                chunk=recipe.prefill_chunk,
                length=recipe.cache_of(role),
                image=config.image_token_id,
                seed=seed,
            )
        )
        fused = pack / role / DECODE_FILE
        if fused.is_file():
            decoder = pack / role / "decoder.onnx"
            length = recipe.cache_of(role)
            found.append(decode_invariance(decoder, fused, slots=recipe.slots, length=length, seed=seed))
    return found


def generator_feeds(
    directory: Path, recipe: ShapesRecipe, rng: np.random.Generator
) -> dict[str, list[dict[str, Any]]]:
    """Seeded inputs of the generator's graphs, with a row for every slot; the transformer's without and with a source."""
    chain = GeneratorChain(directory, recipe)
    batch, length, side = (
        recipe.generator_slots,
        recipe.max_sequence_length,
        recipe.image_side // chain.token_pixels,
    )
    text_dim = int(chain.sessions["transformer"].get_inputs()[1].shape[2])
    lengths = rng.integers(3, length + 1, (batch, 1))
    text = {
        "input_ids": rng.integers(8, 250, (batch, length)),
        "attention_mask": (np.arange(length)[None] < lengths).astype(np.int64),
    }
    denoise: list[dict[str, Any]] = []
    for references in (0, 1):
        where = np.concatenate([places(0, side, side), *[places(10, side, side)] * references])
        denoise.append(
            {
                "hidden_states": rng.standard_normal((batch, len(where), chain.channels), dtype=np.float32),
                "encoder_hidden_states": rng.standard_normal((batch, length, text_dim), dtype=np.float32),
                "timestep": rng.random(batch, dtype=np.float32),
                "img_ids": where,
                "txt_ids": words(length),
            }
        )
    size = (recipe.image_side, recipe.image_side)
    image = {"image": rng.random((batch, 3, *size), dtype=np.float32) * 2 - 1}
    latents = {"latents": rng.standard_normal((batch, side, side, chain.channels), dtype=np.float32)}
    return {"text_encoder": [text], "transformer": denoise, "vae_encoder": [image], "vae_decoder": [latents]}


def _generator(directory: Path, recipe: ShapesRecipe, rng: np.random.Generator) -> list[Comparison]:
    shared = {"transformer": ("img_ids", "txt_ids")}
    return [
        batch_invariance(
            directory / f"{part}.onnx", feeds, slots=recipe.generator_slots, shared=shared.get(part, ())
        )
        for part, feeds in generator_feeds(directory, recipe, rng).items()
    ]


def machine() -> dict[str, str]:
    """The processor that the proof of batch invariance ran on."""
    flags: set[str] = set()
    model = platform.processor() or "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags = set(value.split())
            elif key.strip() == "model name":
                model = value.strip()
    wide = [name for name in ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile") if name in flags]
    return {"architecture": platform.machine(), "processor": model, "instructions": " ".join(wide)}
