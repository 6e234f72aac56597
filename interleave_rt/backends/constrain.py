"""Which llguidance constrains answers: its C interface where that passes a self-test, else its Python API, or none."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from interleave_rt import _core
from interleave_rt.errors import BadPackError

__all__ = ["API_VARIABLE", "Constraint", "Setting", "find_constraint", "python_matchers"]

Setting = Literal["auto", "on", "off"]
API_VARIABLE = "INTERLEAVE_RT_LLGUIDANCE_API"
"""Environment variable: `python` keeps the C interface from being used."""

_OLDEST, _TOO_NEW = (1, 7), (2, 0)
_INSTALL = "pip install 'llguidance>=1.7,<2'   (or 'interleave-rt[constrained]'), or set constrained='off'"
_TEST_TOKENS = (b"", b"a", b"b", b"c", b"ab", b"d")
_TEST_GRAMMAR = '%llguidance {"no_forcing": true}\nstart: "a" /[bc]/\n'

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_loaded: list[ctypes.CDLL] = []  # at most one; kept for the process


@dataclass(frozen=True, slots=True)
class Constraint:
    """How answers are constrained; `api` is None where they are not."""

    api: Literal["c", "python"] | None
    version: str = ""

    def __str__(self) -> str:
        """What results say of it."""
        return "off" if self.api is None else f"llguidance {self.version}"


def installed_version() -> str | None:
    """The version of the installed llguidance, without importing it."""
    try:
        return metadata.version("llguidance")
    except metadata.PackageNotFoundError:
        return None


def find_constraint(
    setting: Setting,
    *,
    version: Callable[[], str | None] = installed_version,
    api: str | None = None,
) -> Constraint:
    """What a setting means on this machine.

    Args:
        setting: `off`; `on`: an error where answers cannot be constrained; `auto`: `on` where that is possible.
        version: Tells the installed version.
        api: `c` or `python` alone is tried; None: as the environment says, else both, in this order.

    Raises:
        BadPackError: The setting is `on`, and llguidance is missing, of an unknown version or out of order.
    """
    if setting == "off":
        return Constraint(None)
    try:
        found = _known(version())
        return Constraint(_usable_api(api or os.environ.get(API_VARIABLE)), found)
    except BadPackError as error:
        if setting == "on":
            raise
        level = logging.DEBUG if "not installed" in error.message else logging.WARNING
        _log.log(level, "answers are not constrained: %s", error.message)
        return Constraint(None)


def _known(version: str | None) -> str:
    if version is None:
        raise BadPackError("[constrained] llguidance is not installed", hint=_INSTALL)
    if not _OLDEST <= _numbers(version) < _TOO_NEW:
        raise BadPackError(
            f"[constrained] llguidance {version} is installed, 1.7 to 1.x is wanted", hint=_INSTALL
        )
    return version


def _numbers(version: str) -> tuple[int, int]:
    major, minor = (*version.split("."), "0")[:2]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def _usable_api(wanted: str | None) -> Literal["c", "python"]:
    reasons = []
    for name, attempt in (("c", _load_c), ("python", _test_python)):
        if wanted in (None, "", name):
            try:
                attempt()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not used
                reasons.append(f"{name}: {error.args[-1] if error.args else error!r}")
                _log.warning("llguidance's %s interface is not used: %s", name, error)
            else:
                return "c" if name == "c" else "python"
    raise BadPackError(
        f"[constrained] llguidance cannot be used ({'; '.join(reasons) or f'no interface {wanted!r}'})",
        hint="pip install --force-reinstall 'llguidance>=1.7,<2'",
    )


def _load_c() -> None:
    """Gives the core the functions of the library inside the wheel; it tries them before it keeps them."""
    with _lock:
        if _loaded:
            return
        spec = importlib.util.find_spec("llguidance")
        folders = spec.submodule_search_locations if spec else None
        paths = [path for folder in folders or () for path in sorted(Path(folder).glob("_lib*.so"))]
        if not paths:
            raise BadPackError("no shared library in the package")
        library = ctypes.CDLL(str(paths[0]), mode=os.RTLD_NOW | os.RTLD_LOCAL)
        addresses = [
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
            for name in _core.llguidance_symbols()
        ]
        _core.load_llguidance(addresses)
        _loaded.append(library)


def _test_python() -> None:
    matcher = python_matchers(_TEST_TOKENS, [0], 0)(_TEST_GRAMMAR)
    good = matcher.mask()[0] == 0b0010010 and matcher.accepts(4) and not matcher.accepts(2)
    copy = matcher.deep_copy()
    copy.consume(4)
    if not (good and copy.complete() and not matcher.complete()):
        raise BadPackError("fails the self-test")


class _Tokens:
    """A vocabulary as llguidance's Python API wants it."""

    bos_token_id = None

    def __init__(self, tokens: Sequence[bytes], special: Sequence[int], eos: int) -> None:
        self.eos_token_id = eos
        self.special_token_ids = sorted({*special, eos})
        self.tokens = list(tokens)
        for index in self.special_token_ids:
            self.tokens[index] = b"\xff<%d>" % index

    def __call__(self, text: bytes) -> list[int]:
        """Asked for single bytes only: our grammars force no tokens."""
        return [self._of_byte.get(byte, 0) for byte in bytes(text)]

    @cached_property
    def _of_byte(self) -> dict[int, int]:
        return {token[0]: index for index, token in enumerate(self.tokens) if len(token) == 1}


class _PythonMatcher:
    """What the core asks of a matcher that is written in Python; slower than the C interface, with equal answers."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._size = vocabulary
        self._check()

    def deep_copy(self) -> _PythonMatcher:
        return _PythonMatcher(self._matcher.deep_copy(), self._size)

    def accepts(self, token: int) -> bool:
        return bool(self._matcher.validate_tokens([token]) == 1)

    def consume(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def complete(self) -> bool:
        return bool(self._matcher.is_accepting())

    def mask(self) -> bytes:
        from llguidance import numpy as bitmasks

        bits = bitmasks.allocate_token_bitmask(1, self._size)
        bitmasks.fill_next_token_bitmask(self._matcher, bits, 0)
        self._check()
        return bytes(bits.tobytes())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())


def python_matchers(
    tokens: Sequence[bytes], special: Sequence[int], eos: int
) -> Callable[[str], _PythonMatcher]:
    """Compiles grammars for one vocabulary through llguidance's Python API."""
    from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

    vocabulary = LLTokenizer(TokenizerWrapper(_Tokens(tokens, special, eos)), n_vocab=len(tokens), slices=[])

    def matcher(text: str) -> _PythonMatcher:
        made = LLMatcher(vocabulary, LLMatcher.grammar_from_lark(text), log_level=0)
        return _PythonMatcher(made, len(tokens))

    return matcher
