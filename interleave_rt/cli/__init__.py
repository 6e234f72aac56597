"""The command `interleave-rt`: one file a verb; only verbs that work are listed."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
