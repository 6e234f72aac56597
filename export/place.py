"""Where a pack is written: room on the disk, a folder that appears when all is in it, what every role has."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.files import swap_folders, write_file
from interleave_rt.pack.manifest import MANIFEST_NAME

from .checkpoint import chat_template
from .recipe import Recipe
from .storage import DATA_SUFFIX
from .written import Precision, exact, stored_bytes

__all__ = [
    "check_place",
    "data_bytes",
    "describe_parts",
    "new_pack",
    "recipe_of",
    "understood_role",
    "write_tokenizer",
]

_Role = TypeVar("_Role", bound=BaseModel)
_TEXTS = 64 << 20  # room for graphs and tokenizer


@contextlib.contextmanager
def new_pack(out: Path, data: int) -> Iterator[Path]:
    """An empty folder, which is put in the place of `out` when the block has ended well.

    Args:
        out: A new or empty folder, or a pack, which is replaced.
        data: Bytes of the weights that will be written.

    Raises:
        BadRequestError: `out` is something else, has no room, or cannot be written.
    """
    check_place(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _need_room(out.parent, data + _TEXTS)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            fresh = Path(scratch) / "pack"
            fresh.mkdir()
            yield fresh
            swap_folders(fresh, out)
    except OSError as error:
        raise BadRequestError(
            f"[export] {out} was not written: {error}", hint="make room, or choose another --out"
        ) from None


def check_place(out: Path) -> None:
    """Refuses what is neither new, nor an empty folder, nor a pack.

    Raises:
        BadRequestError: `out` is something else.
    """
    if out.exists() and not (out.is_dir() and ((out / MANIFEST_NAME).is_file() or not any(out.iterdir()))):
        raise BadRequestError(
            f"[export] {out} exists and is not a pack", hint="give an empty or new directory with --out"
        )


def _need_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BadRequestError(
            f"[export] the pack takes about {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free",
            hint="make room, choose another --out, or a smaller --precision",
        )


def data_bytes(weights: Mapping[str, tuple[int, ...]], stored_as: Callable[[str], Precision]) -> int:
    """What the weights of a part take in its file.

    Args:
        weights: Their names and shapes.
        stored_as: Precision of a matrix; vectors are float32, and what has more axes is not quantised.
    """

    def stored(name: str) -> Precision:
        axes = len(weights[name])
        if axes < 2:
            return "fp32"
        return stored_as(name) if axes == 2 else exact(stored_as(name))

    return sum(stored_bytes(shape[0], prod(shape[1:]), stored(name)) for name, shape in weights.items())


def write_tokenizer(source: Path, folder: Path, template: str | None = None) -> dict[str, str]:
    """Copies a checkpoint's tokenizer and its chat template, or writes another one; what the manifest says of them.

    Raises:
        BadPackError: One of them is missing.
    """
    file = source / "tokenizer.json"
    if not file.is_file():
        raise BadPackError(
            f"[export] {source} has no tokenizer.json",
            hint="save its fast tokenizer: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    shutil.copyfile(file, folder / "tokenizer.json")
    write_file(folder / "chat_template.jinja", chat_template(source) if template is None else template)
    return {
        "tokenizer": f"{folder.name}/tokenizer.json",
        "chat_template": f"{folder.name}/chat_template.jinja",
    }


def describe_parts(role: str, parts: Iterable[str], precision: Precision) -> dict[str, Any]:
    """What the manifest says of graphs with their weights beside them, nothing of it proved yet."""
    return {
        part: {
            "file": f"{role}/{part}.onnx",
            "data": [f"{role}/{part}.onnx{DATA_SUFFIX}"],
            "precision": "fp16-weights" if precision == "fp16" else precision,
            "batch_invariant": False,
        }
        for part in parts
    }


def understood_role(kind: type[_Role], raw: Mapping[str, Any], source: Path) -> _Role:
    """A role as the manifest will have it.

    Raises:
        BadPackError: It has a value that no manifest may have.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BadPackError(
            f"[export] {source} cannot be exported: {f'{place}: ' if place else ''}{first['msg']}",
            hint="correct it in the files of the checkpoint, or run that on PyTorch: torch:FOLDER",
        ) from None


def recipe_of(role: str, source: Path, config: Mapping[str, Any], out: Path) -> Recipe:
    """Name, origin and licence of a pack with one role."""
    name = str(config.get("_name_or_path") or source.resolve().name)
    return Recipe(
        name=out.absolute().name,
        version="1",
        description=f"{role} from {name}",
        license=_license(source),
        source=name,
    )


def _license(source: Path) -> str:
    """As the head of the model card says it."""
    card = source / "README.md"
    if card.is_file():
        for line in card.read_text(encoding="utf-8", errors="replace").split("---")[:2][-1].splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "license" and value.strip():
                return value.strip()
    return "that of the checkpoint"
