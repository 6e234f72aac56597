"""From PyTorch weights to a pack: ONNX graphs, manifest, and the proofs that come with them.

Needs the extras `export` and `cpu`. The command is `python -m interleave_rt.export shapes`; see README.md beside this
file for what the graphs look like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cli import export_shapes

__all__ = ["export_shapes"]


def __getattr__(name: str) -> Any:
    if name == "export_shapes":
        from .cli import export_shapes

        return export_shapes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
