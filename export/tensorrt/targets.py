"""What engines are built for, by which library, and whether this machine can build them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from interleave_rt.backends.engines import LIBRARIES, card_sm, installed_version
from interleave_rt.errors import BadPackError, BadRequestError

from .graphs import EnginePrecision

__all__ = ["TARGETS", "Target", "choose", "load_library"]


@dataclass(frozen=True, slots=True)
class Target:
    """A compute capability.

    Args:
        name: As in `sm86`.
        library: Python module that builds for it.
        precisions: That its matrix units have.
        cards: Examples.
    """

    name: str
    library: str
    precisions: tuple[EnginePrecision, ...]
    cards: str


TARGETS = {
    target.name: target
    for target in (
        Target("sm86", "tensorrt_rtx", ("fp16", "int8"), "RTX 30, A10, A40"),
        Target("sm89", "tensorrt_rtx", ("fp16", "int8", "fp8"), "RTX 40, L4, L40"),
        Target("sm120", "tensorrt_rtx", ("fp16", "int8", "fp8"), "RTX 50, RTX PRO"),
        Target("sm90", "tensorrt", ("fp16", "int8", "fp8"), "H100, H200, H800"),
    )
}


def choose(name: str, precision: str) -> Target:
    """The target of this name.

    Raises:
        BadRequestError: There is none, or it has no matrix units of this precision.
    """
    target = TARGETS.get(name)
    if target is None:
        raise BadRequestError(
            f"[engines] there is no target {name!r}; there are {', '.join(TARGETS)}",
            hint="the compute capability of a card: nvidia-smi --query-gpu=compute_cap --format=csv",
        )
    if precision not in target.precisions:
        able = [other.name for other in TARGETS.values() if precision in other.precisions]
        where = f", or a target that has it: {', '.join(able)}" if able else ""
        raise BadRequestError(
            f"[engines] {name} ({target.cards}) has no {precision}; it has {', '.join(target.precisions)}",
            hint=f"choose one of these as --precision{where}",
        )
    return target


def load_library(target: Target) -> tuple[Any, str]:
    """The module that builds for a target, and its version.

    Raises:
        BadPackError: It is missing, is another version than ONNX Runtime's provider asks for, or cannot build here.
    """
    library = LIBRARIES[target.library]
    version = installed_version(target.library)
    if version is None:
        raise BadPackError(
            f"[engines] {target.name} needs {library.name}, which is not installed", hint=library.install
        )
    if not version.startswith(library.series):
        raise BadPackError(
            f"[engines] {library.name} {version} is installed; ONNX Runtime's provider asks for {library.series}x",
            hint=library.install,
        )
    if library.needs_card and card_sm() != target.name:
        found = card_sm()
        raise BadPackError(
            f"[engines] {library.name} chooses its kernels by timing them on the card: {target.name} is wanted, "
            + (f"{found} is here" if found else "there is no card here"),
            hint="run this command on that machine; --plan-only writes its graphs and its plan here",
        )
    try:
        return importlib.import_module(target.library), version
    except (ImportError, OSError) as error:
        raise BadPackError(
            f"[engines] {library.name} {version} cannot be loaded: {error}", hint=library.install
        ) from None
