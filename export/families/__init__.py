"""Families of models: one file each, with the functions of `Family`; their parts are named in `pack.manifest`.

A role of a recipe names its family, and the export calls that file alone. To add one: an entry of `VLM_FAMILIES` or
`GENERATOR_FAMILIES` in `interleave_rt.pack.manifest`, and a file here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from interleave_rt.errors import BadPackError
from interleave_rt.pack.manifest import GENERATOR_FAMILIES, VLM_FAMILIES

from ..proof.checks import Comparison, Parity
from ..proof.sessions import Floats
from ..storage import HalfReport
from ..weights import Weights

__all__ = ["Family", "find_family"]


class Family(Protocol):
    """What a file of this folder offers. `folder` is a role's own in the pack; its graphs are `PART.onnx`."""

    NEEDED: tuple[str, ...]
    """Files that a role's folder of weights must have."""

    def load(self, weights: Weights, role: str) -> Any:
        """The PyTorch model of a role, in float32."""

    def export(self, model: Any, folder: Path, recipe: Any) -> Iterator[tuple[str, HalfReport]]:
        """Writes the graphs into `folder`; yields each part's name and what its storage did."""

    def describe(self, model: Any, recipe: Any) -> dict[str, Any]:
        """What the manifest says of the role, but for its files."""

    def parity(
        self, model: Any, folder: Path, role: Any, weights: Weights, recipe: Any, seed: int
    ) -> list[Parity]:
        """Every graph against its PyTorch module, and whole answers against the library's."""

    def invariance(self, folder: Path, role: Any, seed: int) -> list[Comparison]:
        """Every graph over the ways of batching it that the runtime may choose."""

    def outputs(
        self, folder: Path, part: str, role: Any, examples: Sequence[str], seed: int
    ) -> Floats | None:
        """What a graph says of a fixed input, [n, size]; None for a part that is not compared by itself."""


def find_family(name: str) -> Family:
    """The file of a family.

    Raises:
        BadPackError: There is none of this name; the message lists those that there are.
    """
    known = [*VLM_FAMILIES, *GENERATOR_FAMILIES]
    if name not in known:
        raise BadPackError(
            f"[export] there is no family {name!r}; known are {', '.join(known)}",
            hint="name one of them in the recipe, or add it to interleave_rt.pack.manifest and export/families",
        )
    try:
        return cast("Family", importlib.import_module(f".{name}", __name__))
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise BadPackError(
            f"[export] packs of the family {name!r} are made from a checkpoint alone",
            hint="interleave-rt export generator FOLDER --out PACK --precision ...",
        ) from None
