"""Files: read under a limit, and written whole or not at all. Everything that is saved goes through here."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from .errors import BadRequestError, InterleaveError
from .shown import shown

__all__ = [
    "Staged",
    "check_file",
    "check_folder",
    "read_file",
    "read_json",
    "read_text",
    "replacing",
    "saving",
    "shown_path",
    "swap_folders",
    "sync",
    "write_file",
]

MAX_TEXT_BYTES = 4 << 20  # templates, prompts, schemas
_PIECE = 1 << 20
MAX_JSON_BYTES = 64 << 20  # results, calibrations, token tables

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2
_AT_FDCWD = -100
_MOST_STRANGERS = 1000  # files of other people's that move along with a folder


def read_file(
    path: str | os.PathLike[str],
    limit: int,
    *,
    what: str,
    error: type[InterleaveError] = BadRequestError,
    hint: str | None = None,
) -> bytes:
    """All of a regular file.

    Its size is not asked for: devices and pipes have none, and a file may grow. They are refused, and no more than
    one byte over the limit is ever read.

    Args:
        path: Of the file; links to it are followed.
        limit: Bytes at most.
        what: How errors call it, e.g. `image`.
        error: What is raised.
        hint: What to do where it cannot be read.

    Raises:
        InterleaveError: `error`, naming the file and what is wrong with it.
    """
    try:
        # A pipe without a writer would be waited for here.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise error(f"[{what}] {shown_path(path)} is no regular file", hint="name a file")
            data = bytearray()  # in pieces: a read of so many bytes at once takes room for all of them
            while len(data) <= limit and (piece := file.read(min(_PIECE, limit + 1 - len(data)))):
                data += piece
    except (OSError, ValueError) as caught:  # the second for names that no system takes
        said = getattr(caught, "strerror", None) or caught
        raise error(f"[{what}] {shown_path(path)} cannot be read: {said}", hint=hint) from None
    if len(data) > limit:
        raise error(f"[{what}] {shown_path(path)} has more than {limit} bytes", hint="that is the limit")
    return bytes(data)


def read_text(
    path: str | os.PathLike[str],
    limit: int = MAX_TEXT_BYTES,
    *,
    what: str,
    error: type[InterleaveError] = BadRequestError,
    hint: str | None = None,
) -> str:
    """`read_file` of a text in UTF-8."""
    data = read_file(path, limit, what=what, error=error, hint=hint)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as caught:
        raise error(
            f"[{what}] {shown_path(path)} cannot be read: {caught}", hint=hint or "save it as UTF-8"
        ) from None


def read_json(
    path: str | os.PathLike[str],
    limit: int = MAX_JSON_BYTES,
    *,
    what: str,
    error: type[InterleaveError] = BadRequestError,
    hint: str | None = None,
) -> Any:
    """`read_file` of a JSON document."""
    text = read_text(path, limit, what=what, error=error, hint=hint)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as caught:
        said = "it is nested too deeply" if isinstance(caught, RecursionError) else caught
        raise error(f"[{what}] {shown_path(path)} cannot be read: {said}", hint=hint) from None


@contextmanager
def saving(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the system says against writing is a `BadRequestError` about this place."""
    try:
        yield
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadRequestError(
            f"[save] {shown_path(path)} cannot be written: {said}",
            hint="make room, or choose another output folder",
        ) from None


def write_file(path: str | os.PathLike[str], data: bytes | str, *, mode: int = 0o666) -> Path:
    """Writes a file in one move: it is the old one or the new one, on disk, at any moment.

    Args:
        path: Of the file, in a folder that exists. A link or a device is refused.
        data: What it holds; text becomes UTF-8, characters that have no encoding become `?`.
        mode: Permissions, within the process's umask.

    Raises:
        BadRequestError: It cannot be written; nothing is left behind.
    """
    with replacing(path) as fresh:
        _write_new(fresh, data, mode)
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`write_file` for what a library writes: gives the name to write to; what is there at the end takes the place of
    `path` (`sync` it first), and after an error nothing is left of it.
    """
    target = Path(path)
    with saving(target):
        _refuse_special(target)
        fresh = target.with_name(f".{target.name[:80]}.{secrets.token_hex(6)}")
        try:
            yield fresh
            os.replace(fresh, target)  # noqa: PTH105 - one call of the system, as the tests count them
        except BaseException:
            with suppress(OSError):
                os.unlink(fresh)  # noqa: PTH108
            raise
        sync(target.parent)


def check_file(path: str | os.PathLike[str]) -> None:
    """Raises `BadRequestError` where a file cannot be written, before the work for it is done; makes its folder."""
    target = Path(path)
    with saving(target):
        _refuse_special(target)
    check_folder(target.parent)


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Makes a folder and proves that files can be written there; raises `BadRequestError` where they cannot."""
    path = Path(folder)
    with saving(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{secrets.token_hex(6)}"
        try:
            _write_new(probe, b"x" * 4096)
        finally:
            with suppress(OSError):
                os.unlink(probe)  # noqa: PTH108
    return path


class Staged:
    """A folder that is filled beside `target` and takes its place as a whole.

    Until `commit` the target is what it was, whatever happens; what was written by then is in `path`, whose name
    begins with the target's and `.partial-`. Where a folder cannot be exchanged (it is the one that somebody works in,
    or a mount, or the system cannot), its files are replaced one by one, and the one that says that they are complete
    is missing meanwhile. What a process that was killed has left in `path` stays: it is the only copy of its work, and
    nobody but its owner knows when it is no longer wanted.

    Args:
        target: The folder; it need not be there. May be a link to one; links in it are not followed.
        mark: The file that says that the folder is complete.

    Raises:
        BadRequestError: Nothing can be written there.
    """

    def __init__(self, target: str | os.PathLike[str], mark: str) -> None:
        self.target, self._mark = Path(target), mark
        with saving(target):
            self._real = Path(os.path.realpath(target))
            if self._real.exists() and not self._real.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._exchanged = _exchangeable(self._real)
            home = self._real.parent if self._exchanged else self._real
            home.mkdir(parents=True, exist_ok=True)
            self.path = home / f"{self._real.name[:200]}.partial-{secrets.token_hex(4)}"
            os.mkdir(self.path)  # noqa: PTH102

    def write(self, name: str, data: bytes | str) -> None:
        """Writes one file, durably; `name` may have a folder in it."""
        place = self.path / name
        with saving(self.target):
            place.parent.mkdir(exist_ok=True)
        write_file(place, data)

    def commit(self, replaces: Collection[str]) -> Path:
        """Puts the folder in its place; returns the target.

        Args:
            replaces: Names of the old folder's files that go; all others stay.

        Raises:
            BadRequestError: It cannot be done; `path` holds everything that was written.
        """
        with saving(self.target):
            staged = _files_of(self.path)
            strangers = self._strangers({*replaces, *staged}) if self._real.exists() else []
            if not (self._exchanged and strangers is not None and self._swap(strangers)):
                self._replace_files(staged, replaces)
        self.discard()
        return self.target

    def discard(self) -> None:
        """Removes what lies beside the target: what was written, or the old folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _strangers(self, known: Collection[str]) -> list[str] | None:
        """Files of the old folder that stay; None where there are folders of somebody else's, or too many files."""
        folders = {os.path.dirname(name) for name in known} - {""}  # noqa: PTH120
        found = []
        with os.scandir(self._real) as listed:
            entries = list(listed)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in folders:
                    return None
                inner = [f"{entry.name}/{name}" for name in os.listdir(entry)]  # noqa: PTH208
            else:
                inner = [entry.name]
            found += [name for name in inner if name not in known]
        return found if len(found) <= _MOST_STRANGERS else None

    def _swap(self, strangers: Collection[str]) -> bool:
        """Moves the folder to its place; False where the system cannot do it at once."""
        try:
            for name in strangers:
                (self.path / name).parent.mkdir(exist_ok=True)
                os.link(self._real / name, self.path / name, follow_symlinks=False)
            for folder in {self.path, *((self.path / name).parent for name in _files_of(self.path))}:
                sync(folder)
            if self._real.exists():
                shutil.copymode(self._real, self.path)
            swap_folders(self.path, self._real)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            for name in strangers:
                with suppress(OSError):
                    os.unlink(self.path / name)  # noqa: PTH108
            return False
        return True

    def _replace_files(self, staged: Collection[str], replaces: Collection[str]) -> None:
        self._real.mkdir(exist_ok=True)
        for name in (self._mark, *(set(replaces) - set(staged))):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self._real / name)  # noqa: PTH108
        sync(self._real)
        for name in sorted(staged, key=lambda name: name == self._mark):
            (self._real / name).parent.mkdir(exist_ok=True)
            write_file(self._real / name, (self.path / name).read_bytes())


def swap_folders(fresh: Path, target: Path) -> None:
    """Puts a folder in the place of another, which is then where the first one was; `target` need not be there.

    One step, so that `target` is the old or the new one at any moment; two where the file system cannot exchange.

    Raises:
        OSError: It cannot be done; the target is what it was.
    """
    if not os.path.lexists(target):
        os.rename(fresh, target)  # noqa: PTH104
    elif not _exchange(fresh, target):
        old = fresh.with_name(f"{fresh.name}.old")
        os.rename(target, old)  # noqa: PTH104
        try:
            os.rename(fresh, target)  # noqa: PTH104
        except OSError:
            os.rename(old, target)  # noqa: PTH104
            raise
        os.rename(old, fresh)  # noqa: PTH104
    sync(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names at once; False where system or file system has no such call."""
    call = _renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(other))


@cache
def _renameat2() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None


def _exchangeable(folder: Path) -> bool:
    """Whether a folder may be put in the place of this one: it is nobody's working place, mount or property."""
    if not folder.exists():
        return True
    here = Path(os.path.realpath(Path.cwd()))
    found, above = folder.stat(), folder.parent.stat()
    return (
        not here.is_relative_to(folder)
        and found.st_dev == above.st_dev
        and found.st_uid == os.geteuid()
        and os.access(folder.parent, os.W_OK)
    )


def _write_new(path: Path, data: bytes | str, mode: int = 0o666) -> None:
    """A file that was not there, durably."""
    rest = memoryview(data.encode("utf-8", "replace") if isinstance(data, str) else data)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        while rest:
            rest = rest[os.write(number, rest) :]
        os.fsync(number)
    finally:
        os.close(number)


def sync(path: Path) -> None:
    """Makes a file, or the names in a folder, durable, where the file system can."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(number)


def _refuse_special(path: Path) -> None:
    """What is there may be replaced by a file: it is one, or nothing."""
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a link or a device: name a regular file")


def _files_of(folder: Path) -> list[str]:
    """Names of all files in a folder and in those that it holds, relative to it."""
    return [
        os.path.relpath(Path(place, name), folder) for place, _, names in os.walk(folder) for name in names
    ]


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path in a message: on one line, and no longer than that."""
    text = shown(os.fsdecode(path)).replace("\n", "\ufffd")
    return text if len(text) <= 200 else f"{text[:100]}...{text[-60:]}"
