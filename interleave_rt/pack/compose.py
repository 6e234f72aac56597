"""Packs of models that lie elsewhere: written from role specifications, and checked against what they named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.files import MAX_TEXT_BYTES, Staged, read_file, saving

from .load import Pack
from .manifest import MANIFEST_NAME, FileEntry, hash_file
from .spec import RoleSpec

__all__ = ["check_places", "folder_sha256", "write_pack"]


def write_pack(
    out: Path, specs: Mapping[str, str | RoleSpec | None], *, name: str, prompts: Path | None = None
) -> Pack:
    """Writes a pack without weights: `pack.json`, and the prompts where some are given.

    Folders are named by absolute paths, with the sha256 of what they hold.

    Args:
        out: A folder that is not there yet, or is empty.
        specs: `planner`, `generator` and `critic`, as `RoleSpec.parse` reads them.
        name: Of the pack.
        prompts: Folder of `narrative.txt`, `guidance.txt` and `critic.txt`, or some of them.

    Raises:
        BadRequestError: A role is missing or wrong, or `out` cannot be used.
        BadPackError: A folder is not there.
    """
    pack = Pack.of_roles(name, **specs)
    places = {role: folder_sha256(role, spec) for role, spec in _folders(pack).items()}
    with saving(out):
        if out.is_dir() and any(out.iterdir()):
            raise BadRequestError(f"[pack new] {out} is not empty", hint="choose a new folder")
    made = Staged(out, MANIFEST_NAME)
    try:
        texts = {
            f"prompts/{source.name}": read_file(source, MAX_TEXT_BYTES, what="pack new")
            for source in (sorted(prompts.glob("*.txt")) if prompts else ())
        }
        files = {
            file: FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())
            for file, data in texts.items()
        }
        told = {"files": files, "prompts": "prompts" if files else None, "places": places}
        manifest = pack.manifest.model_copy(update=told)
        text = json.dumps(
            manifest.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False
        )
        for file, data in texts.items():
            made.write(file, data)
        made.write(MANIFEST_NAME, text + "\n")
        made.commit(())
    except BaseException:
        made.discard()
        raise
    return Pack(out.resolve(), manifest, out.resolve() / "prompts" if files else None)


def check_places(pack: Pack) -> None:
    """Compares the folders that a pack names with what they held when it was written.

    Raises:
        BadPackError: Naming the first that is missing or differs.
    """
    for role, spec in _folders(pack).items():
        found, wanted = folder_sha256(role, spec), pack.manifest.places.get(role)
        if wanted is not None and found != wanted:
            files = " (or a LoRA file)" if spec.loras else ""
            raise BadPackError(
                f"[pack verify] the {role}'s folder {spec.place}{files} has changed since the pack was written",
                hint="put its files back, or write the pack again with `interleave-rt pack new`",
            )


def folder_sha256(role: str, spec: RoleSpec) -> str:
    """sha256 over the names and contents of all files in a role's folder, and of its LoRA files, in hex.

    Raises:
        BadPackError: It is no folder, it is empty, or a file cannot be read.
    """
    folder = Path(spec.place)
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    if not files:
        raise BadPackError(
            f"[{role}] there are no files in {folder}", hint="name the folder that holds the models"
        )
    named = [(file.relative_to(folder).as_posix(), file) for file in files]
    for text in spec.loras:
        whole, head = Path(text), Path(text.rpartition(":")[0])
        lora = head if not whole.exists() and head.exists() else whole
        inside = sorted(one for one in lora.rglob("*") if one.is_file()) if lora.is_dir() else [lora]
        named += [(f"lora {text}", file) for file in inside]
    digest = hashlib.sha256()
    try:
        for name, file in named:
            digest.update(f"{name}\0{hash_file(file)}\n".encode())
    except OSError as error:
        raise BadPackError(
            f"[{role}] {file} cannot be read: {error.strerror or error}",
            hint="make it readable for this user",
        ) from None
    return digest.hexdigest()


def _folders(pack: Pack) -> dict[str, RoleSpec]:
    return {role: spec for role, spec in pack.elsewhere.items() if spec.is_folder}
