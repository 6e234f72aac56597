"""Append-only journals with a checksum a line, pictures by content, and counts that add up."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.files import saving, write_file
from interleave_rt.pack.images import encode_png, load_image

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["Counts", "Journal", "Pictures", "count", "key_of", "picture_name"]

_SUM_BYTES = 8
_SYNC_S = 1.0  # what a loss of power may cost; a process that is killed loses nothing


def key_of(*parts: Any) -> str:
    """The name of an item: a hash of plain data, 32 hexadecimal digits."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def picture_name(pixels: Pixels) -> str:
    """A picture's name: a hash of its size and pixels, 32 hexadecimal digits."""
    pixels = np.ascontiguousarray(pixels)
    told = f"{pixels.shape[1]}x{pixels.shape[0]}:".encode()
    return hashlib.blake2b(told + pixels.tobytes(), digest_size=16).hexdigest()


class Journal:
    """One line an item; safe for threads, and for one process at a time.

    Args:
        path: Of the file; made if it is not there.

    Raises:
        BadRequestError: It cannot be used, a line before the last is damaged, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, dict[str, Any]] = {}
        self._mutex = threading.Lock()
        self._synced = time.monotonic()
        with saving(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadRequestError(
                    f"[data] {path} is being written by another run",
                    hint="wait for it, or use another folder",
                ) from None
            self._size = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def _read(self) -> int:
        """Fills `lines`; cuts off a last line that was not written to its end. Returns the size."""
        data = self.path.read_bytes()
        taken = 0
        for number, raw in enumerate(data.splitlines(keepends=True), 1):
            line = _parsed(raw)
            if line is None:
                if taken + len(raw) < len(data):
                    raise BadRequestError(
                        f"[data] {self.path}, line {number}, is damaged",
                        hint="delete that line: its item is made again",
                    )
                with saving(self.path):
                    os.ftruncate(self._file, taken)
                break
            self.lines[line["key"]] = line
            taken += len(raw)
        return taken

    def add(self, key: str, outcome: str, **told: Any) -> dict[str, Any]:
        """Appends a line; a key that is there already may only follow a failure.

        Raises:
            BadRequestError: It cannot be written; the journal is what it was.
        """
        line = {"key": key, "outcome": outcome, **told}
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        data = text.encode("utf-8", "replace")
        raw = b"%s %s\n" % (_sum(data), data)
        with self._mutex:
            if self.lines.get(key, {}).get("outcome", "failed") != "failed":
                raise InterleaveError(f"[data] {self.path.name} has {key} already")
            with saving(self.path):
                try:
                    _write_all(self._file, raw)
                except OSError:
                    os.ftruncate(self._file, self._size)
                    raise
            self._size += len(raw)
            self.lines[key] = line
            now = time.monotonic()
            if now - self._synced > _SYNC_S:
                os.fsync(self._file)
                self._synced = now
        return line

    def get(self, key: str) -> dict[str, Any] | None:
        """The line of an item; None where it has none, or only a failure."""
        line = self.lines.get(key)
        return None if line is None or line["outcome"] == "failed" else line

    def close(self) -> None:
        """Lets another process write."""
        with self._mutex:
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
                self._file = -1


def _write_all(file: int, raw: bytes) -> None:
    """In one write; a part of it is no line, and only a full disk takes just a part."""
    if os.write(file, raw) != len(raw):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM_BYTES).hexdigest().encode()


def _parsed(raw: bytes) -> dict[str, Any] | None:
    found, _, data = raw.partition(b" ")
    if not raw.endswith(b"\n") or found != _sum(data[:-1]):
        return None
    line: dict[str, Any] = json.loads(data)
    return line


class Pictures:
    """Pictures by content: PNG files in a folder, written once.

    Args:
        folder: Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a picture lies."""
        return self.folder / name[:2] / f"{name}.png"

    def put(self, pixels: Pixels) -> str:
        """Keeps a picture; returns its name."""
        name = picture_name(pixels)
        place = self.path(name)
        if not place.exists():
            with saving(place):
                place.parent.mkdir(parents=True, exist_ok=True)
            write_file(place, encode_png(pixels))
        return name

    def get(self, name: str) -> Pixels:
        """The picture of a name.

        Raises:
            BadRequestError: It is missing, or is another one.
        """
        place = self.path(name)
        if not place.exists():
            raise BadRequestError(
                f"[data] the picture {place} is missing",
                hint="put it back, or delete the lines of trajectories.log that name it: they are made again",
            )
        pixels = load_image(place)
        if picture_name(pixels) != name:
            raise BadRequestError(f"[data] {place} is not the picture that it was", hint="put it back")
        return pixels


class Counts(dict[str, int]):
    """How many items a stage had, and what became of them: `in`, then `kept`, `dropped: RULE`, `unreadable`, `failed`."""

    def check(self, stage: str) -> None:
        """Raises `InterleaveError` where they do not add up."""
        if self["in"] != sum(number for name, number in self.items() if name != "in"):
            raise InterleaveError(f"[data] the counts of {stage} do not add up: {dict(self)}")


def count(items: Iterable[str], lines: Mapping[str, Mapping[str, Any]]) -> Counts:
    """What became of these items, by their lines; one without a line is left out of the sum, so that `check` fails."""
    keys = list(dict.fromkeys(items))
    found: Counter[str] = Counter()
    for key in keys:
        if (line := lines.get(key)) is not None:
            rule = f": {line['rule']}" if line["outcome"] == "dropped" else ""
            found[line["outcome"] + rule] += 1
    return Counts({"in": len(keys), "kept": found.pop("kept", 0), **dict(sorted(found.items()))})
