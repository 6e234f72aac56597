"""The three models behind one protocol, and the sequential loop that says what a result is.

`native` runs a pack's graphs, `scripted` answers from a script; a further backend is one more file with a `Roles`.
"""

from __future__ import annotations

from .base import Roles

__all__ = ["Roles"]
