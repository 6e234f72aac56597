"""From a pack to the same pack with int8 or fp8 matrices: `python -m interleave_rt.export int8`, `... fp8`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import onnx

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.files import saving, swap_folders
from interleave_rt.pack.manifest import MANIFEST_NAME, ROLES, Manifest, load_manifest, verify_files

from .families import find_family
from .graph import save_graph
from .pack import PARITY, Progress, Role, list_files, prove_invariance, write_json, write_report
from .proof.checks import Comparison, Parity, cosine_gap, machine
from .storage import BLOCK, FP8_BLOCK, quantise, quantise_fp8

__all__ = ["quantised_pack"]

_Quantiser = Callable[[onnx.ModelProto], tuple[onnx.ModelProto, int]]

# 1 - cosine, allowed between outputs with and without these weights: far less than a mistake makes.
_APART = 0.05


def quantised_pack(
    source: Path,
    out: Path,
    *,
    precision: Literal["int8", "fp8"] = "int8",
    block: int | None = None,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> tuple[list[Parity | Comparison], Manifest]:
    """Write `out`, the pack `source` with quantised matrices in its graphs; returns the checks and the manifest.

    Proved again: batch invariance of every graph, which decides what may be batched. Measured: how far the outputs
    of changed graphs are from those of the source's. What that does to answers only an evaluation says.

    Args:
        source: A pack.
        out: Where to.
        precision: Of the matrices. int8 rounds activations as well; fp8 (E4M3) is how weights are stored, and the graph
            computes in float32 with what they have become.
        block: int8 weights that share a scale; default: 32.
        seed: Of the checks' inputs.
        progress: Told what is done.

    Raises:
        BadRequestError: `out` exists and is not an empty directory.
        BadPackError: `source` is no pack, is damaged, or has no graph with a matrix.
    """
    size = FP8_BLOCK if precision == "fp8" else block or BLOCK
    quantiser = quantise_fp8 if precision == "fp8" else partial(quantise, block=size)
    manifest = load_manifest(source)
    verify_files(source, manifest)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequestError(f"[export] {out} is not an empty directory", hint="give a new one with --out")
    roles: dict[str, Role] = {
        name: role for name in ("planner", "critic", "generator") if (role := getattr(manifest.roles, name))
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        fresh = Path(scratch) / "pack"
        shutil.copytree(source, fresh)
        changed = _rewrite(source, fresh, roles, quantiser, progress)
        invariance = prove_invariance(fresh, roles, seed, progress)
        parity = []
        for name in changed:
            role, part = name.split("/")
            outputs = [
                find_family(roles[role].family).outputs(
                    root / role, part, roles[role], manifest.examples, seed
                )
                for root in (source, fresh)
            ]
            if outputs[0] is not None and outputs[1] is not None:
                gap = cosine_gap(outputs[0], outputs[1])
                parity.append(Parity(name, "1 - cosine beside the pack's own", gap, _APART))
        weights = {name: {precision: count, "block": size} for name, count in changed.items()}
        write_report(fresh, seed, parity, invariance, weights)
        _write_manifest(
            source, fresh, precision, set(changed), {check.part: check.passed for check in invariance}
        )
        written = load_manifest(fresh)
        verify_files(fresh, written)
        with saving(out):
            swap_folders(fresh, out)
    return [*parity, *invariance], written


def _rewrite(
    source: Path, fresh: Path, roles: dict[str, Role], quantiser: _Quantiser, progress: Progress
) -> dict[str, int]:
    """Graphs with quantised matrices, and how many each has."""
    changed = {}
    for name, role in roles.items():
        for part, entry in role.parts.items():
            progress(f"weights of {name}/{part}")
            made, count = quantiser(onnx.load(source / entry.file))
            if count:
                save_graph(made, fresh / entry.file, external=bool(entry.data) or None, check=False)
                changed[f"{name}/{part}"] = count
    if not changed:
        raise BadPackError(f"[export] no graph of {source} multiplies with a constant matrix")
    return changed


def _write_manifest(
    source: Path, fresh: Path, precision: str, changed: set[str], invariant: dict[str, bool]
) -> None:
    raw = json.loads((source / MANIFEST_NAME).read_text(encoding="utf-8"))
    for name in ROLES:
        role = raw["roles"].get(name) or {}
        for part, entry in role.get("parts", role).items():
            if isinstance(entry, dict) and "file" in entry:
                entry["batch_invariant"] = invariant.get(f"{name}/{part}", False)
                if f"{name}/{part}" in changed:
                    entry["precision"] = precision
    raw.setdefault("exporter", {})["proved_on"] = " ".join(machine().values())
    raw["parity"] = PARITY
    raw["files"] = list_files(fresh, sorted({*raw["files"], PARITY}))
    write_json(fresh / MANIFEST_NAME, raw)
