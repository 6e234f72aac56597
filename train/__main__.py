"""`python -m interleave_rt.train <world> ...`: one sub-command per thing that can be trained."""

from __future__ import annotations

import sys

from .shapes.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
