"""`interleave-rt examples`: requests that are known to work with a pack."""

from __future__ import annotations

from interleave_rt.shown import shown

from . import options as shared


def examples(
    pack: shared.Pack = None,
    json_: shared.AsJson = False,
) -> int:
    """List requests that work with a pack.

    One a line; only its pack.json is read.

    Exit codes: 0 listed (or the pack names none), 2 bad request, 3 bad pack.
    """
    from interleave_rt.pack import load_pack

    found = load_pack(pack, verify=False)
    if json_:
        shared.print_json({"pack": found.name, "examples": found.examples})
    elif found.examples:
        print("\n".join(shown(example) for example in found.examples))
    else:
        print(shown(f"The pack {found.name!r} names no examples."))
    return 0
