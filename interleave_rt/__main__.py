"""`python -m interleave_rt` is the command `interleave-rt`."""

from __future__ import annotations

from .cli import command

if __name__ == "__main__":
    command()
