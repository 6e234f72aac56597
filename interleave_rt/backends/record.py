"""What calls have answered: kept under everything that a call depends on, so that a run can be gone through again."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interleave_rt import _core
from interleave_rt.errors import BadRequestError, CancelledError, InterleaveError
from interleave_rt.files import read_json, write_file
from interleave_rt.pack.images import encode_png, load_image
from interleave_rt.wire import Verdict, WrittenPlan

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["CallStore", "Calls", "DroppedPicture", "call_key", "hash_of", "key_of"]

MAX_BYTES = 2 << 30
_MOST_TAKEN = 4096  # requests of which a call may still be under way


@dataclass(slots=True)
class DroppedPicture:
    """What is left of a picture that went when a record grew too big.

    Args:
        hash: As `Attempt.image_hash`.
        call: Which step's and attempt's it was, for messages.
        again: Its call was made once more, and gave another picture: which one an attempt got is not known any more.
    """

    hash: int
    call: str
    again: bool = False


def hash_of(picture: Pixels | DroppedPicture) -> int:
    """The content hash of a picture, of one that was dropped too."""
    return picture.hash if isinstance(picture, DroppedPicture) else _core.hash_pixels(picture)


def call_key(role: str, images: Sequence[Pixels | DroppedPicture | None], **told: Any) -> str:
    """The name of a call: equal for calls that ask the same thing of a role; 32 hexadecimal digits.

    Args:
        role: `planner`, `generator` or `critic`.
        images: What the call sees, in order; None: no picture.
        told: Everything else that its answer depends on: names of `_DEPENDS`.
    """
    seen = [None if image is None else f"{hash_of(image):016x}" for image in images]
    values = [told[name] for name in _DEPENDS[role]]
    text = json.dumps([role, seen, values], ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


_DEPENDS = {
    "planner": ("prompt", "mode", "max_steps", "seed", "retry"),
    "generator": ("prompt", "seed", "width", "height", "denoising_steps"),
    "critic": ("original_prompt", "prompt", "seed", "retry"),
}


def key_of(call: Mapping[str, Any]) -> str:
    """`call_key` of a call that a lane has handed out."""
    told = {name: call[name] for name in _DEPENDS[call["role"]]}
    return call_key(call["role"], call["images"], **told)


class CallStore:
    """Answers in a folder, for runs that come later: a call that has one is not made again.

    One call at a time is made for a key; who asks meanwhile waits for its answer. Safe for threads; two processes
    may use one folder. The oldest answers go when `max_bytes` are exceeded.

    Args:
        folder: Made if it is not there. Pictures lie in it as PNG files, all else as JSON.
        max_bytes: Of all files together.

    Raises:
        BadRequestError: The folder cannot be used.
    """

    def __init__(self, folder: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes = Path(folder), max_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._bytes = sum(file.stat().st_size for file in self._files())
        except OSError as error:
            raise BadRequestError(
                f"[record] {self.folder} cannot be used: {error.strerror or error}",
                hint="give a folder that can be written",
            ) from None
        self._lock = threading.Condition()
        self._makers: dict[str, Callable[[], bool]] = {}  # who makes the call of a key
        self.reused, self.kept = 0, 0

    def begin(self, key: str, cancelled: Callable[[], bool]) -> tuple[Any, bool] | None:
        """The answer of a call, and whether its generator has cut the prompt.

        None: there is none, the caller makes the call and says `end`.

        Waits while another caller that is still wanted makes the same call.

        Args:
            key: Of the call and of the roles that answer it.
            cancelled: Whether the caller is not wanted any more; also who the caller is.

        Raises:
            CancelledError: The caller was not wanted any more while it waited.
        """
        with self._lock:
            while (maker := self._makers.get(key)) is not None and not maker():
                if cancelled():
                    raise CancelledError("[record] given up while another call was waited for")
                self._lock.wait(0.02)
            self._makers[key] = cancelled
        found = self._read(key)
        if found is not None:
            self._leave(key, cancelled)
            with self._lock:
                self.reused += 1
        return found

    def end(self, key: str, cancelled: Callable[[], bool], answer: tuple[Any, bool] | None) -> None:
        """The call has been made by this caller; `answer` as of `begin`, None: it has none worth keeping."""
        try:
            if answer is not None:
                self._write(key, *answer)
        finally:
            self._leave(key, cancelled)

    def _leave(self, key: str, cancelled: Callable[[], bool]) -> None:
        with self._lock:
            if self._makers.get(key) is cancelled:
                del self._makers[key]
            self._lock.notify_all()

    def _read(self, key: str) -> tuple[Any, bool] | None:
        path = self.folder / f"{key}.json"
        try:
            raw = read_json(path, what="record")
            kind = raw["kind"]
            if kind == "image":
                return load_image(self.folder / f"{key}.png"), raw.get("prompt_cut") is True
            if kind == "plan":
                return WrittenPlan.from_dict(raw), False
            verdict = raw["verdict"]
            return None if verdict is None else Verdict.from_dict(verdict), False
        except (KeyError, TypeError, InterleaveError):
            return None  # none, or somebody else's: the call is made again

    def _write(self, key: str, answer: Any, cut: bool) -> None:
        if isinstance(answer, WrittenPlan):
            told: dict[str, Any] = {"kind": "plan", **answer.as_dict()}
        elif answer is None or isinstance(answer, Verdict):
            told = {"kind": "verdict", "verdict": None if answer is None else answer.as_dict()}
        else:
            told = {"kind": "image", "prompt_cut": cut}
            self._save(f"{key}.png", encode_png(answer))
        self._save(f"{key}.json", json.dumps(told, ensure_ascii=False).encode("utf-8", "replace"))
        with self._lock:
            self.kept += 1
            if self._bytes > self.max_bytes:
                self._make_room()

    def _save(self, name: str, data: bytes) -> None:
        write_file(self.folder / name, data)
        with self._lock:
            self._bytes += len(data)

    def _make_room(self) -> None:
        files = []
        for file in self._files():
            with suppress(OSError):  # another process may have removed it
                status = file.stat()
                files.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files, key=lambda one: one[0]):
            if total <= self.max_bytes * 3 // 4:
                break
            total -= size
            file.unlink(missing_ok=True)
        self._bytes = total

    def _files(self) -> list[Path]:
        return [file for file in self.folder.iterdir() if file.suffix in (".json", ".png") and file.is_file()]


class Calls:
    """The answers of the requests under way, until their results take them. Thread-safe.

    Args:
        max_bytes: Of the pictures of one request. Beyond that its oldest ones go: a `DroppedPicture` takes their place.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._of: dict[int, dict[str, Any]] = {}
        self._names: dict[int, dict[str, str]] = {}  # of the pictures that are kept, the oldest first
        self._told: dict[int, dict[str, list[Any]]] = {}
        self._taken: dict[int, None] = {}  # a call may outlive its request: nothing is kept of it

    def told(self, request: int, key: str) -> list[Any]:
        """What the engine has heard of a call before its end: its run may be lost, and the next must not contradict it.

        The steps of a plan, a verdict, or that a prompt was cut; the caller adds to it.
        """
        with self._lock:
            if request in self._taken:
                return []
            return self._told.setdefault(request, {}).setdefault(key, [])

    def find(self, request: int, key: str) -> tuple[Any] | None:
        """The answer that a call of the request has had, in a tuple."""
        with self._lock:
            kept = self._of.get(request, {})
            known = key in kept and not isinstance(kept[key], DroppedPicture)
            return (kept[key],) if known else None

    def first(self, request: int, key: str, answer: Any, call: str) -> Any:
        """Keeps the answer if it is the call's first, and returns the first: calls that are equal get it again.

        To be called before the engine hears of the answer, so that no result can come earlier. `call` is what messages
        call it.
        """
        with self._lock:
            if request in self._taken:
                return answer
            kept = self._of.setdefault(request, {})
            first = kept.setdefault(key, answer)
            if isinstance(first, DroppedPicture):
                first.again = first.again or hash_of(answer) != first.hash
                return answer
            if first is answer and isinstance(answer, np.ndarray):
                self._names.setdefault(request, {})[key] = call
                self._make_room(request)
            return first

    def _make_room(self, request: int) -> None:
        kept, names = self._of[request], self._names[request]
        excess = sum(kept[key].nbytes for key in names) - self._max_bytes
        for key in list(names)[:-1]:  # the newest has only just been made
            if excess <= 0:
                break
            excess -= kept[key].nbytes
            kept[key] = DroppedPicture(hash_of(kept[key]), names.pop(key))

    def take(self, request: int) -> Mapping[str, Any]:
        """The answers of a request that has ended; it keeps none."""
        with self._lock:
            self._taken[request] = None
            while len(self._taken) > _MOST_TAKEN:
                del self._taken[next(iter(self._taken))]
            self._told.pop(request, None)
            self._names.pop(request, None)
            return self._of.pop(request, {})
