"""From PyTorch weights to a pack: ONNX graphs, manifest, and the proofs that come with them.

Needs the extras `export` and `cpu`. The command is `python -m interleave_rt.export shapes`; see README.md beside this
file for what the graphs look like.
"""

from __future__ import annotations

from .cli import export_shapes

__all__ = ["export_shapes"]
