"""Finds the ONNX Runtime library inside its installed wheel and hands it to the core, without importing it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from interleave_rt import _core
from interleave_rt.errors import BadPackError, from_code

__all__ = ["find_library", "load_runtime"]

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
_lock = threading.Lock()
_loaded: list[ctypes.CDLL] = []  # at most one; kept, for ONNX Runtime cannot be unloaded


def installed_distributions() -> list[str]:
    """Which of the distributions that share one directory are installed."""
    found = []
    for name in _DISTRIBUTIONS:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def find_library(installed: Callable[[], list[str]] = installed_distributions) -> Path:
    """The shared library of the one installed ONNX Runtime.

    Raises:
        BadPackError: None is installed, or two are and overwrite each other; with the commands that mend it.
    """
    names = installed()
    if len(names) > 1:
        raise BadPackError(
            "[onnxruntime] onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
            hint="pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'interleave-rt[cpu]'   (or [cuda])",
        )
    missing = BadPackError(
        "[onnxruntime] no ONNX Runtime is installed",
        hint="pip install 'interleave-rt[cpu]'   or   pip install 'interleave-rt[cuda]'",
    )
    spec = importlib.util.find_spec("onnxruntime") if names else None
    if spec is None or not spec.submodule_search_locations:
        raise missing
    for folder in spec.submodule_search_locations:
        for pattern in ("libonnxruntime.so*", "libonnxruntime*.dylib"):
            for path in sorted(Path(folder, "capi").glob(pattern)):
                return path
    raise BadPackError(
        f"[onnxruntime] {names[0]} is installed, but its shared library is not in {spec.submodule_search_locations[0]}",
        hint=f"pip install --force-reinstall {names[0]}",
    )


def load_runtime() -> str:
    """Loads the library once a process and gives its API to the core; returns its version."""
    with _lock:
        if not _loaded:
            path = find_library()
            # Read by ONNX Runtime when it is loaded: later is too late.
            os.environ["ORT_DISABLE_TELEMETRY"] = "1"
            try:
                library = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
                address = ctypes.cast(library.OrtGetApiBase, ctypes.c_void_p).value
            except (OSError, AttributeError) as error:
                raise BadPackError(f"[onnxruntime] {path} cannot be loaded: {error}") from None
            try:
                _core.load_runtime(address or 0)
            except _core.CoreError as error:
                raise from_code(*error.args) from None
            _loaded.append(library)
    return _core.runtime_version()
