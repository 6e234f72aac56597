"""`interleave-rt pack engines`: engines of TensorRT and TensorRT-RTX from a pack of graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interleave_rt.checks import one_of

from .options import check_packages

# As in the export, which is not loaded to show a help text.
_TARGETS = ("sm86", "sm89", "sm90", "sm120")
_PRECISIONS = ("fp16", "int8", "fp8")


def engines(
    pack: Annotated[Path, typer.Argument(help="Folder of a pack of graphs.")],
    out: Annotated[Path, typer.Option(help="New folder of the pack of engines.")],
    target: Annotated[str, typer.Option(metavar="|".join(_TARGETS), help="Compute capability of the card.")],
    precision: Annotated[str, typer.Option(metavar="|".join(_PRECISIONS), help="Of the matrices.")] = "fp16",
    plan_only: Annotated[
        bool,
        typer.Option("--plan-only", help="Write the graphs and the plan of each engine, and build nothing."),
    ] = False,
) -> int:
    """Build engines for one kind of card. Experimental: they are built, and none was ever run.

    TensorRT-RTX builds for sm86, sm89 and sm120 on any machine, TensorRT for sm90 on that card alone. An engine runs on
    the card and with the version of the library that it was built for.

    Exit codes: 0 written, 2 bad request, 3 the pack or the library cannot be used.
    """
    one_of("[engines] --target", target, _TARGETS)
    one_of("[engines] --precision", precision, _PRECISIONS)
    check_packages("pack engines", ("torch", "diffusers", "onnx", "onnxruntime"), extras="cpu,export,engines")
    from rich.console import Console

    from interleave_rt.export.tensorrt.engines import export_engines
    from interleave_rt.pack.manifest import ENGINE_STATUS

    console = Console(stderr=True)
    with console.status("reading the pack") as status:
        built = export_engines(
            pack, out, target=target, precision=precision, plan_only=plan_only, progress=status.update
        )
    for one in built:
        took = f"{one.size / 1e6:8.2f} MB {one.seconds:7.1f} s" if one.size else "planned"
        print(f"  {one.plan.part:<24}{one.plan.precision:<6}{took}   1 - cosine of the graph {one.gap:.1e}")
    print(f"{out}: {'plans' if plan_only else 'engines'} for {target}; {ENGINE_STATUS}")
    return 0
