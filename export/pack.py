"""A pack from its models: graphs, tokenizers, templates, the proofs, and the manifest that names and hashes all."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from interleave_rt.errors import BadPackError
from interleave_rt.files import write_file
from interleave_rt.pack.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    FileEntry,
    GeneratorRole,
    Manifest,
    VlmRole,
    hash_file,
)
from interleave_rt.pack.tokens import check_token_bytes, special_token_ids, token_bytes

from .families import find_family
from .graph import DATA_SUFFIX
from .proof.checks import Comparison, Parity, machine
from .recipe import GeneratorRecipe, Recipe, VlmRecipe
from .weights import Weights

__all__ = [
    "PARITY",
    "Progress",
    "build_roles",
    "list_files",
    "load_models",
    "prove_invariance",
    "prove_parity",
    "read_roles",
    "verdict_tokens",
    "write_json",
    "write_manifest",
    "write_report",
    "write_token_bytes",
]

PARITY = "parity.json"
Progress = Callable[[str], None]
Role = VlmRole | GeneratorRole


def load_models(weights: Weights, recipe: Recipe) -> dict[str, Any]:
    """The PyTorch model of every role."""
    return {name: find_family(role.family).load(weights, name) for name, role in recipe.roles.items()}


def build_roles(
    out: Path, weights: Weights, models: Mapping[str, Any], recipe: Recipe, progress: Progress
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Write graphs, tokenizers and templates into `out`.

    Returns:
        What the manifest says of every role, nothing of it proved yet; what the storage of each graph did.
    """
    described = {
        name: find_family(role.family).describe(models[name], role) for name, role in recipe.roles.items()
    }
    progress("writing texts")
    vocabularies = {
        name: found["architecture"]["vocab"] if "architecture" in found else None
        for name, found in described.items()
    }
    tokenizers = _write_tokenizers(out, weights, vocabularies)
    roles, storage = {}, {}
    for name, role in recipe.roles.items():
        progress(f"graphs of {name}")
        parts = {}
        for part, report in find_family(role.family).export(models[name], out / name, role):
            file = f"{name}/{part}.onnx"
            storage[file] = {
                "halved": report.halved,
                "shared": report.shared,
                "inexact": list(report.inexact),
                "bytes": report.bytes_after,
            }
            data = {"data": [file + DATA_SUFFIX]} if (out / (file + DATA_SUFFIX)).is_file() else {}
            precision = "fp32" if report.inexact else "fp16-weights"
            parts[part] = {"file": file, **data, "precision": precision, "batch_invariant": False}
        roles[name] = _role(out, name, role, parts, tokenizers[name], weights) | described[name]
        if isinstance(role, VlmRecipe) and role.declines:
            roles[name]["declines"] = list(role.declines)
        if isinstance(role, VlmRecipe) and role.verdict_threshold is not None:
            table = token_bytes(Tokenizer.from_file(str(weights.tokenizer_files(name)[0])))
            roles[name]["verdict_tokens"] = verdict_tokens(table)
            roles[name]["verdict_threshold"] = role.verdict_threshold
    return roles, storage


def read_roles(raw: Mapping[str, dict[str, Any]]) -> dict[str, Role]:
    """The roles as the manifest will have them."""
    return {
        name: (VlmRole if "architecture" in role else GeneratorRole).model_validate(role)
        for name, role in raw.items()
    }


def _role(
    out: Path,
    name: str,
    recipe: VlmRecipe | GeneratorRecipe,
    parts: dict[str, Any],
    tokenizer: str,
    weights: Weights,
) -> dict[str, Any]:
    """The files of a role. The oldest family of a kind keeps its parts as fields: so the first readers know them."""
    kind = VlmRole if isinstance(recipe, VlmRecipe) else GeneratorRole
    oldest = recipe.family == next(iter(kind.families))
    texts: dict[str, Any] = {}
    if kind is VlmRole:
        for template, file in weights.template_files(name).items():
            (out / name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, out / name / f"{template}.txt")
        texts = {
            "token_bytes": f"{tokenizer}/token_bytes.json",
            "templates": {template: f"{name}/{template}.txt" for template in weights.template_files(name)},
        }
    return {
        "runtime": "native",
        **(parts if oldest else {"family": recipe.family, "parts": parts}),
        "tokenizer": f"{tokenizer}/tokenizer.json",
        "chat_template": f"{tokenizer}/chat_template.jinja",
        **texts,
    }


def _write_tokenizers(out: Path, weights: Weights, vocabularies: Mapping[str, int | None]) -> dict[str, str]:
    """Each role's tokenizer, equal ones once; returns the folder of every role's.

    `vocabularies`: rows of a model's logits, for which the bytes of every token are written; None: not asked for.
    """
    folders: dict[str, str] = {}
    written: dict[tuple[bytes, bytes], tuple[str, int | None]] = {}
    for role, size in vocabularies.items():
        source, template = weights.tokenizer_files(role)
        key = source.read_bytes(), template.read_bytes()
        folder, known = written.get(key, ("", None))
        if folder and size in (None, known):
            folders[role] = folder
            continue
        folders[role] = folder = f"{role}/tokenizer" if written else "tokenizer"
        written.setdefault(key, (folder, size))
        (out / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / folder / "tokenizer.json")
        shutil.copyfile(template, out / folder / "chat_template.jinja")
        if size is not None:
            write_token_bytes(out / folder, size)
    return folders


def write_token_bytes(folder: Path, size: int) -> list[bytes]:
    """The bytes of every token beside `tokenizer.json`, checked against it; `size`: rows of the model's logits."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    table = token_bytes(tokenizer, size)
    check_token_bytes(table, tokenizer)
    encoded = [base64.b64encode(item).decode("ascii") for item in table]
    special = special_token_ids(tokenizer)
    write_json(folder / "token_bytes.json", {"format_version": 1, "tokens": encoded, "special": special})
    return table


def verdict_tokens(table: list[bytes]) -> dict[str, list[int]]:
    """Ids of the tokens that spell a boolean, of JSON or of Python, with or without a space before it."""
    found = {
        word: [
            index
            for index, item in enumerate(table)
            if item.strip() in (word.encode(), word.title().encode())
        ]
        for word in ("true", "false")
    }
    if not all(found.values()):
        raise BadPackError(
            "[export] the tokenizer has no single token for true or for false, so p(success) cannot be read",
            hint="train the tokenizer on answers that contain both booleans",
        )
    return found


def _proof_order(roles: Iterable[str]) -> list[str]:
    return sorted(roles, key=lambda name: name != "generator")


def prove_parity(
    pack: Path,
    weights: Weights,
    models: Mapping[str, Any],
    roles: Mapping[str, Role],
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> list[Parity]:
    """Every graph against its PyTorch module, and whole answers and images against the libraries."""
    found: list[Parity] = []
    for name in _proof_order(roles):
        progress(f"parity of {name}")
        family = find_family(roles[name].family)
        found += family.parity(models[name], pack / name, roles[name], weights, recipe.roles[name], seed)
    return found


def prove_invariance(
    pack: Path, roles: Mapping[str, Role], seed: int, progress: Progress
) -> list[Comparison]:
    """Every graph over the ways of batching it that the runtime may choose."""
    found = []
    for name in _proof_order(roles):
        progress(f"batch invariance of {name}")
        found += find_family(roles[name].family).invariance(pack / name, roles[name], seed)
    return found


def write_report(
    out: Path, seed: int, parity: Sequence[Parity], invariance: Sequence[Comparison], weights: dict[str, Any]
) -> None:
    """What was proved, on which processor, and how the weights are stored: `parity.json`."""
    write_json(
        out / PARITY,
        {
            "format_version": 1,
            "seed": seed,
            "machine": machine(),
            "parity": [check.as_dict() for check in parity],
            "invariance": [check.as_dict() for check in invariance],
            "weights": weights,
        },
    )


def write_manifest(
    out: Path, recipe: Recipe, roles: Mapping[str, dict[str, Any]], proved: Sequence[Comparison] = ()
) -> Manifest:
    """Write `pack.json` over the files that lie in `out`; a part whose batch invariance was not proved has none."""
    flags = {check.part: check.passed for check in proved}
    for name, role in roles.items():
        for part, entry in role.get("parts", role).items():
            if isinstance(entry, dict) and "batch_invariant" in entry:
                entry["batch_invariant"] = flags.get(f"{name}/{part}", False)
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
        "files": list_files(out, files),
        "examples": list(recipe.examples),
        "exporter": _versions()
        | {"proved_on": " ".join(machine().values()) if proved else ""}
        | _methods(proved),
        "parity": PARITY if (out / PARITY).is_file() else None,
    }
    manifest = Manifest.model_validate(raw)
    write_json(out / MANIFEST_NAME, raw)
    return manifest


def _methods(proved: Iterable[Comparison]) -> dict[str, str]:
    """What was proved of every part's batch invariance, and for which provider, as the manifest says it."""
    return {
        f"proof of {check.part}": f"{'bit-equal' if check.passed else 'differs'} by {check.method}, CPUExecutionProvider"
        for check in proved
    }


def list_files(out: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and sha256 of these files, but for the manifest itself."""
    return {
        name: FileEntry(size=(out / name).stat().st_size, sha256=hash_file(out / name)).model_dump()
        for name in names
        if name != MANIFEST_NAME
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in (
        "interleave-rt",
        *["torch", "transformers", "diffusers", "onnx", "onnxscript", "onnxruntime"],
    ):
        try:
            found[package.replace("-", "_")] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package.replace("-", "_")] = "source tree"
    return found


def write_json(path: Path, value: Any) -> None:
    """JSON for people and machines: one space of indentation, a newline at the end."""
    write_file(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
