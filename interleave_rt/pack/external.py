"""Which files an ONNX graph reads: found in its bytes, as the `onnx` package is not needed to run one."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from interleave_rt.errors import BadPackError

__all__ = ["find_data"]

# Fields of the messages of onnx.proto that lead to a tensor, and the message that each holds.
_LEADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_COMPILED = b"EPContext"
_DEEPEST = 100


def find_data(path: Path) -> tuple[str, ...]:
    """Names of the files that a graph reads, as it spells them: relative to its own folder.

    They hold weights (external data), or what a provider has compiled (EPContext nodes) and the graph behind that.

    Raises:
        BadPackError: The file names such files, and is no ONNX model.
        OSError: It cannot be read.
    """
    if path.stat().st_size == 0:
        return ()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # Without these words there is no such name.
        if data.find(b"location") < 0 and data.find(_COMPILED) < 0:
            return ()
        try:
            return tuple(dict.fromkeys(_locations(data, 0, len(data), "model", 0)))
        except (LookupError, ValueError):
            raise BadPackError(
                f"[verify_files] {path} is no ONNX model", hint="copy it again, or export the pack again"
            ) from None


def _locations(data: mmap.mmap, at: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    leads = _LEADS[message]
    if message == "node":
        yield from _compiled(data, at, end)
    for field, first, last in _fields(data, at, end):
        kind = leads.get(field)
        if kind == "entry":
            pair = {number: bytes(data[a:b]) for number, a, b in _fields(data, first, last)}
            if pair.get(1) == b"location":
                yield pair.get(2, b"").decode("utf-8")
        elif kind is not None:
            yield from _locations(data, first, last, kind, depth + 1)


def _compiled(data: mmap.mmap, at: int, end: int) -> Iterator[str]:
    """The files of a node that stands for a compiled graph: what was compiled, unless it is inside, and from what."""
    fields = list(_fields(data, at, end))
    if all(field != 4 or data[first:last] != _COMPILED for field, first, last in fields):
        return
    attributes = {}
    for field, first, last in fields:
        if field == 5:
            found = {number: slice(a, b) for number, a, b in _fields(data, first, last)}
            attributes[data[found[1]]] = found
    inside = attributes.get(b"embed_mode", {3: slice(0, 0)})
    names = [b"onnx_model_filename"]
    if 3 not in inside or data[inside[3]] == b"\0":
        names.append(b"ep_cache_context")
    for name in names:
        # ONNX Runtime leaves them empty where there is no such file, as of a graph that it was given in memory.
        if name in attributes and (file := data[attributes[name][4]]):
            yield file.decode("utf-8")


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of the fields of a message; those of a fixed length are passed over."""
    while at < end:
        key, at = _number(data, at)
        wire = key & 7
        if wire == 0:
            _, after = _number(data, at)
            yield key >> 3, at, after
            at = after
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _number(data, at)
            if at + length > end:
                raise ValueError("cut off")
            yield key >> 3, at, at + length
            at += length
        else:
            raise ValueError("no such field")
    if at != end:
        raise ValueError("cut off")


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("no number")
