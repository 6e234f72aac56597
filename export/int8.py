"""From a pack to the same pack with int8 matrices: `python -m interleave_rt.export int8`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.pack.manifest import (
    MANIFEST_NAME,
    Manifest,
    VlmRole,
    hash_file,
    load_manifest,
    verify_files,
)

from .checks import Comparison, Parity
from .int8_weights import BLOCK, store_int8
from .pack import PARITY, PARTS, write_json
from .sessions import DecoderRunner, Floats, Ints, RowInput, open_session
from .shapes import ShapesRecipe
from .verify import generator_feeds, machine, prove_invariance

__all__ = ["int8_pack"]

# 1 - cosine, allowed between outputs with and without int8 weights: far less than a mistake makes.
_APART = 0.05
_TOKENS = 64
_MEASURED = ("decoder", "text_encoder", "transformer")  # a decode graph reads the decoder's cache

Progress = Callable[[str], None]


def int8_pack(
    source: Path, out: Path, *, block: int = BLOCK, seed: int = 0, progress: Progress = lambda _: None
) -> tuple[list[Parity | Comparison], Manifest]:
    """Write `out`, the pack `source` with the matrices of its graphs as int8; returns the checks and the manifest.

    Proved again: batch invariance of every graph, which decides what may be batched. Measured: how far the outputs
    of each changed graph (but a decode graph) are from those of the source's. What that does to answers only an
    evaluation says.

    Raises:
        BadRequestError: `out` exists and is not an empty directory.
        BadPackError: `source` is no pack, is damaged, lacks a role, or has no graph with a matrix.
    """
    manifest = load_manifest(source)
    verify_files(source, manifest)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequestError(f"[export] {out} is not an empty directory", hint="give a new one with --out")
    recipe = _recipe_of(manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        fresh = Path(scratch) / "pack"
        shutil.copytree(source, fresh)
        changed = _rewrite(source, fresh, block, progress)
        roles = {name: getattr(manifest.roles, name) for name in ("planner", "critic")}
        configs = {name: _config_of(role) for name, role in roles.items()}
        invariance = prove_invariance(fresh, configs, recipe, seed, progress)
        parity = [
            _distance(source, fresh, name, manifest, recipe, seed)
            for name in changed
            if name.split("/")[1] in _MEASURED
        ]
        write_json(
            fresh / PARITY,
            {
                "format_version": 1,
                "seed": seed,
                "machine": machine(),
                "parity": [check.as_dict() for check in parity],
                "invariance": [check.as_dict() for check in invariance],
                "weights": {name: {"int8": count, "block": block} for name, count in changed.items()},
            },
        )
        _write_manifest(source, fresh, set(changed), {check.part: check.passed for check in invariance})
        written = load_manifest(fresh)
        verify_files(fresh, written)
        fresh.rename(out)  # an empty directory gives way
    return [*parity, *invariance], written


def _rewrite(source: Path, fresh: Path, block: int, progress: Progress) -> dict[str, int]:
    """Graphs with int8 matrices, and how many matrices each has."""
    changed = {}
    for role, parts in PARTS.items():
        for part in parts:
            file = source / role / f"{part}.onnx"
            if file.is_file():
                progress(f"int8 weights of {role}/{part}")
                if count := store_int8(file, fresh / role / f"{part}.onnx", block):
                    changed[f"{role}/{part}"] = count
    if not changed:
        raise BadPackError(f"[export] no graph of {source} multiplies with a constant matrix")
    return changed


def _write_manifest(source: Path, fresh: Path, changed: set[str], invariant: dict[str, bool]) -> None:
    raw = json.loads((source / MANIFEST_NAME).read_text(encoding="utf-8"))
    for role, parts in PARTS.items():
        for part in parts:
            entry = raw["roles"][role].get(part)
            if entry:
                entry["batch_invariant"] = invariant.get(f"{role}/{part}", False)
                if f"{role}/{part}" in changed:
                    entry["precision"] = "int8"
    raw["exporter"]["proved_on"] = " ".join(machine().values())
    raw["parity"] = PARITY
    raw["files"] = {
        name: {"size": (fresh / name).stat().st_size, "sha256": hash_file(fresh / name)}
        for name in sorted({*raw["files"], PARITY})
    }
    write_json(fresh / MANIFEST_NAME, raw)


def _recipe_of(manifest: Manifest) -> ShapesRecipe:
    """What the proofs need to know of a pack."""
    roles = manifest.roles
    if roles.planner is None or roles.critic is None or roles.generator is None:
        raise BadPackError(
            f"[export] {manifest.name} lacks a role", hint="int8 takes packs with all three roles"
        )
    return ShapesRecipe(
        name=manifest.name,
        max_sequence_length=roles.generator.max_sequence_length,
        image_side=roles.generator.image.width,
        inference_steps=roles.generator.scheduler.num_inference_steps,
        cache_length=roles.planner.cache_length,
        critic_cache_length=roles.critic.cache_length,
        slots=roles.planner.slots,
        prefill_chunk=roles.planner.prefill_chunk,
        generator_slots=roles.generator.slots,
    )


def _config_of(role: VlmRole) -> Any:
    """The part of a model's configuration that the proofs read, from its manifest."""
    vision = role.vision_config
    return SimpleNamespace(
        image_token_id=role.architecture.image_token_id,
        vision_config=SimpleNamespace(
            patch_size=vision.patch_size,
            spatial_merge_size=vision.merge_size,
            temporal_patch_size=vision.temporal_patch_size,
            num_position_embeddings=vision.max_pixels // vision.patch_size**2,
        ),
    )


def _distance(
    source: Path, out: Path, name: str, manifest: Manifest, recipe: ShapesRecipe, seed: int
) -> Parity:
    """Largest 1 - cosine between the outputs of a graph in both packs: along a text of the pack's, or seeded inputs."""
    rng = np.random.default_rng(seed)
    files = [root / f"{name}.onnx" for root in (source, out)]
    role, part = name.split("/")
    if part == "decoder":
        ids = _text(source, manifest, role)
        outputs = [_logits(file, ids) for file in files]
    else:
        feeds = generator_feeds(source / role, recipe, rng)[part]
        sessions = [open_session(file) for file in files]
        outputs = [np.concatenate([s.run(None, feed)[0].ravel() for feed in feeds])[None] for s in sessions]
    a, b = (np.asarray(item, np.float64) for item in outputs)
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return Parity(name, "1 - cosine beside the pack's own", float(1 - cosine.min()), _APART)


def _text(source: Path, manifest: Manifest, role: str) -> Ints:
    """The first tokens of a role's templates and of requests that work, [at most 64]."""
    found: VlmRole = getattr(manifest.roles, role)
    texts = [(source / file).read_text(encoding="utf-8") for file in found.templates.values()]
    tokenizer = Tokenizer.from_file(str(source / found.tokenizer))
    ids = tokenizer.encode("\n".join([*texts, *manifest.examples]), add_special_tokens=False).ids
    return np.array([i for i in ids if i != found.architecture.image_token_id][:_TOKENS], np.int64)


def _logits(file: Path, ids: Ints) -> Floats:
    """Logits [tokens, vocab] along a text."""
    runner = DecoderRunner(open_session(file), 1, len(ids))
    nothing = np.zeros((len(ids), runner.hidden), np.float32)
    deepstack = np.zeros((runner.levels, len(ids), runner.hidden), np.float32)
    row = RowInput(ids, np.tile(np.arange(len(ids)), (3, 1)), nothing, deepstack)
    return np.concatenate([runner.step({0: row.part(i, i + 1)}, 1) for i in range(len(ids))])
