"""Shows that a pack gives the sequential loop's results on an execution provider, and keeps the proof for loading.

    python -m interleave_rt.prove --provider cuda

Runs requests through the sequential loop and through three arms of the engine on the same provider, with batching and
without, and compares their canonical results; and, as both could be wrong alike, first steps and pictures of a few
requests with those of the CPU. Where all are equal, a proof is written for this pack on this machine
(`interleave_rt.backends.proof`); where only batching differs, it covers engines with `batching=False`. Prints one
JSON object. Exits with 1 where results differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .backends.ort import load_runtime
from .backends.proof import PROVIDERS, ProofKey, proving, write_proof
from .engine import Engine
from .errors import BadPackError, BadRequestError, InterleaveError
from .pack import Pack, load_pack
from .request import Options, Request
from .roles.native import NativeRoles
from .roles.reference import run_reference

Case = tuple[Request, Options]
_ARMS = ("off", "auto", "depth=3")
_AT_ONCE = 8
_BESIDE_CPU = 4  # requests
_LEVELS = 8.0  # of 255, mean difference of a picture: rounding makes less than one, a stale input tens


def providers_of(name: str) -> tuple[str, ...]:
    """The provider of a short or a full name, and the CPU's behind it.

    Raises:
        BadPackError: The installed ONNX Runtime does not have it; says what to install.
    """
    version = load_runtime()  # first: it switches telemetry off
    import onnxruntime

    wanted, available = PROVIDERS.get(name, name), onnxruntime.get_available_providers()
    if wanted not in available:
        raise BadPackError(
            f"[prove] ONNX Runtime {version} has no {wanted} (it has {', '.join(available)})",
            hint="pip uninstall -y onnxruntime && pip install 'interleave-rt[cuda]'   or   --provider cpu",
        )
    return tuple(dict.fromkeys((wanted, PROVIDERS["cpu"])))


def example_cases(pack: Pack, count: int, seed: int = 1) -> list[Case]:
    """Requests from the examples of a pack, each with another seed.

    Raises:
        BadRequestError: The pack names no examples.
    """
    if not pack.examples:
        raise BadRequestError(f"[prove] {pack.name} names no examples", hint="add some to its pack.json")
    return [
        (Request(pack.examples[i % len(pack.examples)]), Options(seed=seed + i, t_max=(3, 1, 2, 5)[i % 4]))
        for i in range(count)
    ]


def law_one(
    pack: Pack, providers: Sequence[str], cases: Sequence[Case], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The engine against the sequential loop on the same providers; one row an arm and batching.

    Only inside `proving(providers)`, or where they need no proof.
    """
    roles = NativeRoles(pack, providers=providers)
    wanted: list[dict[str, Any]] = []
    for request, options in cases:
        try:
            wanted.append(run_reference(request, options, roles))
        except InterleaveError as error:
            wanted.append({"failed": error.code})
    rows = []
    for batching in (True, False):
        with Engine.load(pack, providers=tuple(providers), batching=batching) as engine:
            for arm in _ARMS:
                found = _run(engine, cases, arm, _AT_ONCE if batching else 1)
                gaps = [difference(f, w) for f, w in zip(found, wanted, strict=True)]
                rows.append(_row(arm, gaps, batching=batching))
                say(json.dumps(rows[-1]))
    return rows


def beside_cpu(pack: Pack, providers: Sequence[str], cases: Sequence[Case]) -> dict[str, Any]:
    """First steps and pictures on these providers against those on the CPU, one row as of `law_one`.

    Providers round differently, so equal bits are not asked for: the first step's prompt must be the same, and its
    picture near.
    """
    theirs, ours = (NativeRoles(pack, providers=names) for names in ((PROVIDERS["cpu"],), providers))
    gaps = []
    for request, options in cases[:_BESIDE_CPU]:
        seed = theirs.seed_of(options, "plan", 0, 0, 0)
        wanted, found = (
            [step.prompt for step in roles.plan(request, options.max_steps, seed, 0).steps[:1]]
            for roles in (theirs, ours)
        )
        gap = None if found == wanted else f"plan: {found!r} instead of {wanted!r}"
        if wanted and wanted[0] is not None:
            source = next(reversed(theirs.inputs(request)), None)
            one, other = (roles.generate(wanted[0], source, seed, options) for roles in (theirs, ours))
            levels = float(np.abs(one.astype(float) - other.astype(float)).mean())
            if not levels <= _LEVELS:
                gap = gap or f"picture: {levels:.1f} levels of 255 apart"
        gaps.append(gap)
    return _row("beside the CPU", gaps, batching=False)


def _row(arm: str, gaps: Sequence[str | None], *, batching: bool) -> dict[str, Any]:
    differing = [gap for gap in gaps if gap]
    return {
        "arm": arm,
        "batching": batching,
        "requests": len(gaps),
        "equal": len(gaps) - len(differing),
        "first_difference": differing[0] if differing else None,
    }


def prove(
    pack: Pack,
    providers: Sequence[str],
    cases: Sequence[Case],
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[dict[str, Any]], Path | None]:
    """The rows of `law_one` and `beside_cpu`, and the proof that they are worth.

    The path is None where they differ, and for the CPU's provider, which needs no proof.
    """
    with proving(providers):
        rows = law_one(pack, providers, cases, say)
        if set(providers) <= {PROVIDERS["cpu"]}:
            return rows, None
        rows.append(beside_cpu(pack, providers, cases))
        say(json.dumps(rows[-1]))
    equal = {
        on: all(0 < row["equal"] == row["requests"] for row in rows if row["batching"] is on)
        for on in (True, False)
    }
    if not equal[False]:
        return rows, None
    return rows, write_proof(ProofKey.of(pack, providers), batching=equal[True], rows=rows)


def canonical(run: Callable[[], Any]) -> dict[str, Any]:
    """What is compared: the canonical result, or the code of the error."""
    try:
        found: dict[str, Any] = run().canonical()
    except InterleaveError as error:
        return {"failed": error.code}
    return found


def difference(found: Any, wanted: Any, path: str = "") -> str | None:
    """Where two canonical results first differ."""
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        pairs = [(f"{path}.{key}", found[key], wanted[key]) for key in found]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(found, wanted, strict=True))]
    else:
        return None if found == wanted else f"{path}: {found!r} instead of {wanted!r}"
    return next((text for place, a, b in pairs if (text := difference(a, b, place))), None)


def _run(engine: Engine, cases: Sequence[Case], arm: str, at_once: int) -> list[dict[str, Any]]:
    found = []
    for start in range(0, len(cases), at_once):
        handles = [
            engine.submit(request, options=replace(options, speculation=arm))
            for request, options in cases[start : start + at_once]
        ]
        for handle in handles:
            found.append(canonical(handle.result))
            handle.close()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m interleave_rt.prove",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--provider", default="cuda", help=f"{', '.join(PROVIDERS)}, or a full name")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pack", help="default: the embedded one")
    arguments = parser.parse_args(argv)
    if arguments.requests < 1:
        parser.error("--requests: at least 1 is wanted")
    try:
        providers = providers_of(arguments.provider)
        pack = load_pack(arguments.pack)
        cases = example_cases(pack, arguments.requests, arguments.seed)
        rows, proof = prove(pack, providers, cases, _say)
    except InterleaveError as error:
        _say(f"error: {error.message}\n{error.hint or ''}")
        return error.exit_code
    print(json.dumps({"provider": providers[0], "law_1": rows, "proof": proof and str(proof)}, indent=2))  # noqa: T201
    return 0 if all(row["requests"] == row["equal"] for row in rows) else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
