"""`interleave-rt examples`: requests that are known to work with a pack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["examples"]


def examples(
    pack: Annotated[
        Path | None, typer.Option(help="Folder of a pack. Default: the embedded one, which draws shapes.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """List requests that work with a pack, one a line; only its pack.json is read.

    Exit codes: 0 listed (or the pack names none), 2 bad request, 3 bad pack.
    """
    from interleave_rt.pack import load_pack

    found = load_pack(pack, verify=False)
    if json_:
        print(json.dumps({"pack": found.name, "examples": found.examples}, ensure_ascii=False))
    elif found.examples:
        print("\n".join(found.examples))
    else:
        print(f"The pack {found.name!r} names no examples.")
    return 0
