"""`interleave-rt export`: packs of graphs from checkpoints in Hugging Face layout."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from interleave_rt.checks import one_of, whole, within
from interleave_rt.errors import BadRequestError

from .options import check_packages

# As in the export, which is not loaded to show a help text.
_PRECISIONS = ("fp32", "fp16", "bf16", "fp8", "int8", "int4")

_OF_ANSWERS = ("cache_length", "cache_gib", "prompts", "dialect")
_OF_PICTURES = ("steps", "slots", "references")


class ExportedRole(str, Enum):
    """What can be exported."""

    planner = "planner"
    critic = "critic"
    generator = "generator"


class Dialect(str, Enum):
    """In what a checkpoint writes its answers."""

    json = "json"
    python = "python"


def export(
    context: typer.Context,
    role: Annotated[ExportedRole, typer.Argument(help="What the model is to be.", show_choices=True)],
    source: Annotated[
        Path,
        typer.Argument(help="Checkpoint in Hugging Face layout (safetensors); a generator's: of diffusers."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the pack; a pack there is replaced.")],
    precision: Annotated[
        str, typer.Option(metavar="|".join(_PRECISIONS), help="How its matrices are stored.")
    ] = "bf16",
    cache_length: Annotated[int, typer.Option(help="Tokens of a sequence, prompt and answer.")] = 8192,
    cache_gib: Annotated[
        float, typer.Option(help="K/V memory of all sequences together; says how many run at once.")
    ] = 4.0,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Folder of the prompts that the model was trained with. Default: ours."),
    ] = None,
    dialect: Annotated[
        Dialect, typer.Option(help="What the model answers in; only JSON can be constrained.")
    ] = Dialect.json,
    steps: Annotated[
        int | None,
        typer.Option(help="Denoising steps of a generator's picture. Default: what it is made for."),
    ] = None,
    slots: Annotated[int, typer.Option(help="Pictures of a generator that may share a denoising step.")] = 1,
    references: Annotated[
        int, typer.Option(help="Pictures of the story that a generator's picture starts from, at most.")
    ] = 1,
    proof: Annotated[
        bool, typer.Option("--proof/--no-proof", help="Prove batch invariance; without, nothing is batched.")
    ] = True,
) -> int:
    """Write one role of a checkpoint as graphs.

    With everything that the checkpoint says of itself; no more of a model is in memory than a part of one matrix.

    Exit codes: 0 written, 1 written but not batch-invariant, 2 bad request, 3 the checkpoint cannot be used.
    """
    from interleave_rt.pack.manifest import MOST_REFERENCES

    for name in _OF_ANSWERS if role is ExportedRole.generator else _OF_PICTURES:
        said_by = context.get_parameter_source(name)
        if said_by is not None and said_by.name == "COMMANDLINE":
            raise BadRequestError(
                f"[export] --{name.replace('_', '-')} does nothing for a {role.value}", hint="leave it out"
            )
    one_of("[export] --precision", precision, _PRECISIONS)
    whole("[export] --cache-length", cache_length, 16, 1 << 20)
    within("[export] --cache-gib", cache_gib, 0.001, 1 << 20)
    if steps is not None:
        whole("[export] --steps", steps, 1, 1000)
    whole("[export] --slots", slots, 1, 64)
    whole("[export] --references", references, 1, MOST_REFERENCES)
    packages = ["torch", "transformers", "onnx", "onnxscript", "onnxruntime"]
    if role is ExportedRole.generator:
        packages.append("diffusers")
    check_packages("export", packages, extras="cpu,export")
    from rich.console import Console

    from interleave_rt.export.generator import GeneratorSettings, export_generator
    from interleave_rt.export.role import RoleSettings, export_role

    console = Console(stderr=True)
    with console.status("loading the libraries") as status:
        if role is ExportedRole.generator:
            drawing = GeneratorSettings(
                precision=precision, steps=steps, slots=slots, references=references, prove=proof
            )
            checks, manifest = export_generator(source, out, drawing, progress=status.update)
        else:
            settings = RoleSettings(
                precision=precision,
                cache_length=cache_length,
                cache_bytes=int(cache_gib * (1 << 30)),
                prompts=prompts,
                dialect=dialect.value,
                prove=proof,
            )
            checks, manifest = export_role(role.value, source, out, settings, progress=status.update)
    size = sum(entry.size for entry in manifest.files.values())
    print(f"{out}: {role.value}, {precision}, {len(manifest.files)} files, {size / 1e6:.1f} MB")
    for check in checks:
        said = "bit-equal" if check.passed else f"differs, first at {check.first}"
        print(f"  {check.part}: {said} in {check.compared - check.different} of {check.compared} comparisons")
    return 0 if all(check.passed for check in checks) else 1
