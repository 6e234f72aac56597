"""The command `interleave-rt`: one file a verb; only verbs that work are listed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from interleave_rt import not_installed

from .signals import Interrupted, signals

__all__ = ["command", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    if why := not_installed():
        print(f"error: {why}", file=sys.stderr)
        return 1
    if args[:1] in (["run"], ["bench"]) and "--json" not in args and sys.stderr and sys.stderr.isatty():
        # The libraries alone may take seconds on a busy machine; the next line is written over this one.
        print("loading", end="\r", file=sys.stderr, flush=True)
    with signals.handled():
        try:
            # Late: a signal that strikes while the libraries are loaded is a clean end, too.
            from .app import execute

            return execute(args)
        except Interrupted as struck:
            signals.end()
            return _ended(struck, as_json="--json" in args)


def _ended(struck: Interrupted, *, as_json: bool) -> int:
    """Says what there is; returns the exit code."""
    said = f"interrupted; {signals.saved or 'nothing was saved'}"
    if as_json:
        error = {"code": "cancelled", "message": said, "hint": None}
        print(json.dumps({"outcome": "failed", "error": error}))
    print(f"error: {said}", file=sys.stderr)
    return struck.exit_code


def command() -> NoReturn:
    """The process `interleave-rt`: it leaves with an exit code, whatever strikes and whoever has stopped to read."""
    code = 1
    try:
        signals.install()
        from .streams import steady, unwritten

        steady()
        code = main()
        code = unwritten() or code
    except Interrupted as struck:
        signals.end()
        code = struck.exit_code
    sys.exit(code)
