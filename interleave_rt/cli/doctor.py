"""`interleave-rt doctor`: what this machine has, what is wrong with it, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, MaxMemory, print_json

FAULTS = 1  # exit code: something will not work


def doctor(
    pack: Annotated[
        Path | None, typer.Option(help="Folder of a pack to check. Default: the embedded one.")
    ] = None,
    max_memory: MaxMemory = None,
    json_: AsJson = False,
) -> int:
    """Say what this machine has and lacks.

    Looks at platform, processor, memory, GPUs, libraries and a pack; says what is wrong and what to do.

    Exit codes: 0 nothing wrong, 1 something will not work.
    """
    from interleave_rt.doctor import examine
    from interleave_rt.placement import table

    found = examine(pack, max_memory)
    faults = sum(one.state == "fault" for one in found)
    if json_:
        print_json({"faults": faults, "findings": [one.as_dict() for one in found], "memory": table()})
        return FAULTS if faults else 0
    width = max(len(one.name) for one in found)
    for one in found:
        sign = {"ok": " ", "note": "-", "fault": "!"}[one.state]
        print(f"{sign} {one.name:<{width}}  {one.said}")
        if one.mend:
            print(f"  {'':<{width}}  -> {one.mend}")
    print("\nMemory of models that run on a card (GiB; a prompt of 8,192 tokens, pictures of 1024 x 1024):")
    for row in table():
        critic = f", {row['with_critic']} with a 2B critic" if row.get("with_critic") else ""
        print(
            f"  {row['model']:<22}{row['precision']:<6}{row['need_gib']:>6}  card: {row['card'] or 'none'}{critic}"
        )
    print("nothing is wrong" if not faults else f"{faults} fault{'' if faults == 1 else 's'} (lines with !)")
    return FAULTS if faults else 0
