"""A checkpoint in Hugging Face layout: what its files say, and its weights, read piece by piece.

Nothing is loaded whole: a weight is read in pieces of rows, so that the memory of an export does not grow with the
model. Pickles are not opened: to read one is to run it.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.files import MAX_JSON_BYTES, read_json, read_text

__all__ = ["Checkpoint", "StoredTensor", "area_limits", "chat_template", "image_sizes", "said"]

Floats = npt.NDArray[np.float32]

_STORED: dict[str, type[np.generic]] = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
_STEMS = ("model", "diffusion_pytorch_model")  # of the weight files of transformers and of diffusers
_LIMITS = (("shortest", "min"), ("longest", "max"))
_MANY, _MANY_PIXELS = 5, 384 * 384  # so many pictures of a request have no more pixels each
_PIECE = 32 << 20  # bytes of a weight as float32 that are held at once
_AGAIN = "copy the checkpoint again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a weight lies: `size` bytes from `offset` of `file`, row-major; `kind` as safetensors calls its type."""

    file: Path
    offset: int
    size: int
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with `config.json`, `tokenizer.json` and safetensors, in one file or in shards.

    Args:
        directory: The folder.
        config: What `config.json` says.
        tensors: Every weight by its name.
    """

    directory: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, directory: Path) -> Checkpoint:
        """Reads the configuration and the heads of the weight files.

        Raises:
            BadRequestError: There is no such folder.
            BadPackError: It is no checkpoint of a model, or a file is missing, cut off or of another format.
        """
        if not directory.is_dir():
            raise BadRequestError(
                f"[export] {directory} is not a directory", hint="give the folder of a checkpoint"
            )
        if not (directory / "config.json").is_file():
            pipeline = (directory / "model_index.json").is_file()
            raise BadPackError(
                f"[export] {directory} has no config.json"
                + (": it is a diffusers pipeline, a generator" if pipeline else ""),
                hint="give the folder of a model in Hugging Face layout",
            )
        found: dict[str, StoredTensor] = {}
        for file in _weight_files(directory):
            found |= _head(file)
        return cls(directory, _object(directory / "config.json"), found)

    def json(self, name: str) -> dict[str, Any]:
        """What a file says; nothing where it is not there."""
        return said(self.directory / name)

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """What the libraries say against the configuration, as an error of the checkpoint.

        Raises:
            BadPackError: `config.json` says what they, or the graphs that are written here, have not.
        """
        try:
            yield
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadPackError(
                f"[export] {self.directory / 'config.json'} cannot be used: {error}", hint=_AGAIN
            ) from None

    def images(self) -> dict[str, Any]:
        """Sizes and colours of images as its preprocessor wants them: keys of `vision_config` in a manifest.

        Raises:
            BadPackError: There is no preprocessor, or it says no limits.
        """
        found = image_sizes(self.directory)
        if found is None:
            raise BadPackError(
                f"[export] {self.directory} has no preprocessor_config.json, which says how large its images are",
                hint="copy it from the checkpoint too",
            )
        return found

    def need(self, name: str, *shape: int) -> StoredTensor:
        """A weight of this shape.

        Raises:
            BadPackError: It is missing, of another shape, or of a type that is no plain float.
        """
        found = self.tensors.get(name)
        if found is None:
            raise BadPackError(
                f"[export] {self.directory} has no weight {name}",
                hint="the checkpoint is incomplete, or of another model than its config.json says",
            )
        if found.shape != shape:
            raise BadPackError(
                f"[export] {name} is {list(found.shape)} in {found.file.name}, config.json asks for {list(shape)}",
                hint="weights and config.json are of different models",
            )
        if found.kind not in _STORED:
            raise BadPackError(
                f"[export] {name} is {found.kind} in {found.file.name}; read are {', '.join(_STORED)}",
                hint="give the checkpoint that this one was quantised from",
            )
        return found

    def read(self, name: str) -> Floats:
        """A small weight, whole."""
        found = self.tensors[name]
        return np.concatenate(list(self.pieces(name))).reshape(found.shape)

    def pieces(self, name: str) -> Iterator[Floats]:
        """A weight as [rows, columns], from its first row on, some rows at a time; columns: all axes but the first."""
        found = self.tensors[name]
        rows = found.shape[0]
        columns = math.prod(found.shape[1:])
        kind = np.dtype(_STORED[found.kind])
        at_once = max(1, _PIECE // (4 * columns))
        with found.file.open("rb", buffering=0) as file:
            file.seek(found.offset)
            for first in range(0, rows, at_once):
                count = min(at_once, rows - first) * columns
                data = file.read(count * kind.itemsize)
                if len(data) != count * kind.itemsize:
                    raise BadPackError(f"[export] {found.file} ends within {name}", hint=_AGAIN)
                stored = np.frombuffer(data, kind)
                if found.kind == "BF16":
                    stored = (stored.astype(np.uint32) << 16).view(np.float32)
                yield stored.astype(np.float32, copy=False).reshape(-1, columns)


def chat_template(folder: Path) -> str:
    """The Jinja text of a checkpoint's own template, wherever its version of the libraries put it.

    Raises:
        BadPackError: It has none.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return read_text(file, what="export", error=BadPackError, hint=_AGAIN)
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        found = said(folder / name).get("chat_template")
        if isinstance(found, list):  # several by name
            named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
            found = named.get("default")
        if isinstance(found, str):
            return found
    raise BadPackError(
        f"[export] {folder} has no chat template",
        hint="copy chat_template.jinja (or chat_template.json, tokenizer_config.json) of the checkpoint too",
    )


def image_sizes(folder: Path) -> dict[str, Any] | None:
    """What the preprocessor in a folder says of images, as keys of `vision_config`; None where there is none.

    Raises:
        BadPackError: It says no limits.
    """
    raw = said(folder / "preprocessor_config.json") or said(folder / "processor_config.json").get(
        "image_processor"
    )
    if not isinstance(raw, dict):
        return None
    size = raw.get("size") or {}
    least, most = (size.get(f"{edge}_edge", raw.get(f"{name}_pixels")) for edge, name in _LIMITS)
    if least is None or most is None:
        raise BadPackError(
            f"[export] the preprocessor of {folder} says no limits of an image's pixels",
            hint='it should say "size": {"shortest_edge": ..., "longest_edge": ...}, in pixels of the area',
        )
    return area_limits(least, most) | {name: raw[name] for name in ("image_mean", "image_std") if name in raw}


def area_limits(least: int, most: int) -> dict[str, Any]:
    """The keys of `vision_config` about an image's pixels, which are between these two."""
    return {
        "min_pixels": least,
        "max_pixels": most,
        "max_pixels_many": min(_MANY_PIXELS, most),
        "many": _MANY,
    }


def said(file: Path) -> dict[str, Any]:
    """The JSON object of a file; nothing where it is not there."""
    return _object(file) if file.is_file() else {}


def _object(file: Path) -> dict[str, Any]:
    found = read_json(file, what="export", error=BadPackError, hint=_AGAIN)
    if not isinstance(found, dict):
        raise BadPackError(f"[export] {file} is no JSON object", hint=_AGAIN)
    return found


def _weight_files(directory: Path) -> list[Path]:
    for stem in _STEMS:
        index, whole = directory / f"{stem}.safetensors.index.json", directory / f"{stem}.safetensors"
        if index.is_file():
            return _shards(index)
        if whole.is_file():
            return [whole]
    pickles = sorted([*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.pth")])
    if pickles:
        raise BadPackError(
            f"[export] {directory} has its weights as pickles ({pickles[0].name}), which are not opened",
            hint="save it as safetensors: model.save_pretrained(folder)",
        )
    raise BadPackError(f"[export] {directory} has no {' or '.join(_STEMS)}.safetensors", hint=_AGAIN)


def _shards(index: Path) -> list[Path]:
    named = _object(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise BadPackError(f"[export] {index} names no weights", hint=_AGAIN)
    files = []
    for name in sorted({str(shard) for shard in named.values()}):
        if Path(name).name != name:
            raise BadPackError(f"[export] {index} names {name}, which is outside of its folder", hint=_AGAIN)
        file = index.with_name(name)
        if not file.is_file():
            raise BadPackError(f"[export] {file} is missing: {index.name} names it", hint="copy it too")
        files.append(file)
    return files


def _head(file: Path) -> dict[str, StoredTensor]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(MAX_JSON_BYTES, size - 8):
            raise BadPackError(f"[export] {file} is no safetensors file, or is cut off", hint=_AGAIN)
        head = stream.read(length)
    found = {}
    try:
        entries = json.loads(head)
        for name, entry in entries.items():
            if name != "__metadata__":
                begin, end = (int(place) for place in entry["data_offsets"])
                found[name] = StoredTensor(
                    file,
                    8 + length + begin,
                    end - begin,
                    str(entry["dtype"]),
                    tuple(map(int, entry["shape"])),
                )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadPackError(f"[export] {file} is no safetensors file: {error}", hint=_AGAIN) from None
    for name, tensor in found.items():
        width = np.dtype(_STORED[tensor.kind]).itemsize if tensor.kind in _STORED else None
        wanted = tensor.size if width is None else math.prod(tensor.shape) * width
        if tensor.size != wanted or not 8 + length <= tensor.offset <= size - tensor.size:
            raise BadPackError(f"[export] {file} is cut off within {name}", hint=_AGAIN)
    return found
