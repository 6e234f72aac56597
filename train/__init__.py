"""Training of the models that interleave-rt ships, and of the roles of real checkpoints."""

from __future__ import annotations

__all__: list[str] = []
