"""Whether llguidance constrains answers: where it is installed and its C interface passes a self-test."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from interleave_rt import _core
from interleave_rt.errors import BadPackError

__all__ = ["Constraint", "Setting", "find_constraint"]

Setting = Literal["auto", "on", "off"]
_OLDEST, _TOO_NEW = (1, 7), (2, 0)
_INSTALL = "pip install 'llguidance>=1.7,<2'   (or 'interleave-rt[constrained]'), or set constrained='off'"

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_loaded: list[ctypes.CDLL] = []  # at most one; kept for the process


@dataclass(frozen=True, slots=True)
class Constraint:
    """How answers are constrained: by this version of llguidance, or (None) not at all."""

    version: str | None

    def __str__(self) -> str:
        """What results say of it."""
        return "off" if self.version is None else f"llguidance {self.version}"


def installed_version() -> str | None:
    """The version of the installed llguidance, without importing it."""
    try:
        return metadata.version("llguidance")
    except metadata.PackageNotFoundError:
        return None


def find_constraint(setting: Setting, *, version: Callable[[], str | None] = installed_version) -> Constraint:
    """What a setting means on this machine.

    Args:
        setting: `off`; `on`: an error where answers cannot be constrained; `auto`: `on` where that is possible.
        version: Tells the installed version.

    Raises:
        BadPackError: The setting is `on`, and llguidance is missing, of an unknown version or out of order.
    """
    if setting == "off":
        return Constraint(None)
    try:
        found = _known(version())
        _load()
    except BadPackError as error:
        if setting == "on":
            raise
        level = logging.DEBUG if "not installed" in error.message else logging.WARNING
        _log.log(level, "answers are not constrained: %s", error.message)
        return Constraint(None)
    return Constraint(found)


def _known(version: str | None) -> str:
    if version is None:
        raise BadPackError("[constrained] llguidance is not installed", hint=_INSTALL)
    if not _OLDEST <= _numbers(version) < _TOO_NEW:
        raise BadPackError(
            f"[constrained] llguidance {version} is installed; versions from 1.7 and below 2 are used",
            hint=_INSTALL,
        )
    return version


def _numbers(version: str) -> tuple[int, int]:
    major, minor = (*version.split("."), "0")[:2]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def _load() -> None:
    """Gives the core the functions of the library inside the wheel; it tries them before it keeps them."""
    with _lock:
        if _loaded:
            return
        try:
            library = ctypes.CDLL(str(_library()), mode=os.RTLD_NOW | os.RTLD_LOCAL)
            names = _core.llguidance_symbols()
            _core.load_llguidance(
                [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names]
            )
        except (OSError, AttributeError, _core.CoreError) as error:
            raise BadPackError(
                f"[constrained] llguidance cannot be used: {error.args[-1] if error.args else error!r}",
                hint="pip install --force-reinstall 'llguidance>=1.7,<2'",
            ) from None
        _loaded.append(library)


def _library() -> Path:
    spec = importlib.util.find_spec("llguidance")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).glob("_lib*.so")):
            return path
    raise FileNotFoundError("no shared library in the package")
