"""Engines of TensorRT: which card and library a part of a pack was built for, and whether they are here."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib import metadata

from interleave_rt.errors import BadPackError
from interleave_rt.pack import Pack
from interleave_rt.pack.manifest import GeneratorRole, VlmRole

__all__ = ["LIBRARIES", "Library", "card_sm", "installed_version", "require_engines"]

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


@dataclass(frozen=True, slots=True)
class Library:
    """A library that builds and runs engines.

    Args:
        name: As its makers write it.
        packages: Python packages that bring it.
        series: How the versions begin that ONNX Runtime's provider runs.
        provider: The execution provider that runs its engines.
        needs_card: Builds on the card alone that the engine is for.
        install: What to do where it is missing.
    """

    name: str
    packages: tuple[str, ...]
    series: str
    provider: str
    needs_card: bool
    install: str


LIBRARIES = {
    "tensorrt_rtx": Library(
        name="TensorRT-RTX",
        packages=("tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
        series="1.",
        provider="NvTensorRTRTXExecutionProvider",
        needs_card=False,
        install="pip install 'interleave-rt[engines]'",
    ),
    "tensorrt": Library(
        name="TensorRT",
        packages=("tensorrt-cu13", "tensorrt-cu12", "tensorrt"),
        series="10.",
        provider="TensorrtExecutionProvider",
        needs_card=True,
        install="pip install 'interleave-rt[tensorrt]' --extra-index-url https://pypi.nvidia.com",
    ),
}
"""By the module's name."""


def installed_version(library: str) -> str | None:
    """Version of the installed package of a library; None: there is none."""
    for package in LIBRARIES[library].packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def card_sm() -> str | None:
    """Compute capability of the first CUDA device that this process may use, as `sm90`; None: there is none."""
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        failed = (
            cuda.cuInit(0)
            or cuda.cuDeviceGet(ctypes.byref(device), 0)
            or cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
            or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        )
    except (OSError, AttributeError):
        return None
    return None if failed else f"sm{major.value}{minor.value}"


def require_engines(pack: Pack, role: VlmRole | GeneratorRole) -> None:
    """Lets a role's engines be opened, or says why not.

    Raises:
        BadPackError: An engine is for another card or another version of its library than are here; the hint is the
            command that builds it anew.
    """
    for part in role.parts.values():
        engine = part.engine
        if engine is None:
            continue
        library = LIBRARIES[engine.library]
        card, version = card_sm(), installed_version(engine.library)
        if card == engine.target and version == engine.version:
            continue
        wanted = f"{engine.target} and {library.name} {engine.version}"
        raise BadPackError(
            f"[engines] {part.file} of {pack.path} was built for {wanted}; here are {card or 'no card'} and "
            + (f"{library.name} {version}" if version else f"no {library.name}"),
            hint=f"build it anew: interleave-rt pack engines FOLDER-OF-{engine.source} --target {card or engine.target} "
            f"--precision {engine.precision} --out NEW-FOLDER"
            + ("" if version else f"   after: {library.install}"),
        )
