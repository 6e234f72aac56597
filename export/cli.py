"""`python -m interleave_rt.export shapes --weights DIR --out PACK [--verify-only]`, and `... int8|fp8 --pack DIR --out PACK`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from interleave_rt.errors import InterleaveError
from interleave_rt.pack import load_pack
from interleave_rt.pack.manifest import Manifest, load_manifest, verify_files
from interleave_rt.shown import for_people, shown

from .families import find_family
from .place import check_place, new_pack
from .proof.checks import Comparison, Parity, all_passed
from .recipe import Recipe, shapes_recipe
from .weights import Weights

__all__ = ["export_shapes", "main"]

_FAILED = 1
Checks = list[Parity | Comparison]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (0 only when every check passed)."""
    parser = argparse.ArgumentParser(prog="python -m interleave_rt.export", description=__doc__)
    worlds = parser.add_subparsers(dest="world", required=True)
    shapes = worlds.add_parser("shapes", help="the pack of the shapes world")
    shapes.add_argument(
        "--weights",
        type=Path,
        required=True,
        help="directory with generator/ planner/ critic/ tokenizer/, as far as --roles needs them",
    )
    shapes.add_argument(
        "--out", type=Path, required=True, help="the pack; an existing one is replaced when all is written"
    )
    shapes.add_argument("--templates", type=Path, help="prompt templates, when not in the weights directory")
    shapes.add_argument("--name", default=shapes_recipe().name, help="name of the pack")
    shapes.add_argument(
        "--roles",
        nargs="+",
        choices=tuple(shapes_recipe().roles),
        default=tuple(shapes_recipe().roles),
        help="write these alone; only their weights are needed. Default: all",
    )
    shapes.add_argument("--seed", type=int, default=0, help="seed of the checks' inputs")
    shapes.add_argument(
        "--decode-graph",
        action="store_true",
        help="write a second graph for one-token steps beside each decoder (faster, twice the weights)",
    )
    shapes.add_argument(
        "--verify-only", action="store_true", help="check an existing pack against the weights"
    )
    for precision in ("int8", "fp8"):
        smaller = worlds.add_parser(
            precision, help=f"a pack with {precision} matrices, from one that is exported already"
        )
        smaller.add_argument("--pack", type=Path, help="the pack to start from; default: the embedded one")
        smaller.add_argument("--out", type=Path, required=True, help="a new directory")
        smaller.add_argument("--seed", type=int, default=0, help="seed of the checks' inputs")
        if precision == "int8":
            smaller.add_argument(
                "--block", type=int, default=32, choices=(16, 32, 64, 128), help="weights with one scale"
            )
    arguments = parser.parse_args(argv)
    console = Console()
    try:
        if arguments.world in ("int8", "fp8"):
            from .quantised import quantised_pack

            source = load_pack(arguments.pack, verify=False).path
            with console.status("reading the pack") as status:
                checks, manifest = quantised_pack(
                    source,
                    arguments.out,
                    precision=arguments.world,
                    block=getattr(arguments, "block", None),
                    seed=arguments.seed,
                    progress=status.update,
                )
        else:
            recipe = shapes_recipe(arguments.name, decode_graph=arguments.decode_graph)
            roles = {name: role for name, role in recipe.roles.items() if name in arguments.roles}
            checks, manifest = export_shapes(
                arguments.weights,
                arguments.out,
                templates=arguments.templates,
                recipe=replace(recipe, roles=roles),
                seed=arguments.seed,
                verify_only=arguments.verify_only,
                console=console,
            )
    except InterleaveError as error:
        lines = [f"error: {for_people(error.message)}", *([f"hint:  {error.hint}"] if error.hint else [])]
        Console(stderr=True).print(shown("\n".join(lines)), markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    _print(console, arguments.out, checks, manifest)
    return 0 if all_passed(checks) else _FAILED


def export_shapes(
    weights_dir: Path,
    out: Path,
    *,
    templates: Path | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    verify_only: bool = False,
    console: Console | None = None,
) -> tuple[Checks, Manifest]:
    """Export (or only check) the shapes pack; returns the checks and the manifest.

    The pack is built beside `out` and moved there at the end, so a reader never sees half of one. It is written even
    when a check fails: the flags in its manifest and its parity.json say so.

    Raises:
        BadRequestError: `weights_dir` is no directory, or `out` holds something that is not a pack.
        BadPackError: a part of the weights is missing, or (with `verify_only`) the pack is wrong.
    """
    recipe = recipe or shapes_recipe()
    needed = {name: find_family(role.family).NEEDED for name, role in recipe.roles.items()}
    weights = Weights.find(weights_dir, needed, templates)
    if verify_only:
        verify_files(out, load_manifest(out))
    else:
        check_place(out)
    from . import pack

    console = console or Console(quiet=True)
    with console.status("loading the weights") as status:
        say = status.update
        models = pack.load_models(weights, recipe)
        if verify_only:
            manifest = load_manifest(out)
            roles = {name: getattr(manifest.roles, name) for name in recipe.roles}
            invariance = pack.prove_invariance(out, roles, seed, say)
            parity = pack.prove_parity(out, weights, models, roles, recipe, seed, say)
            return [*parity, *invariance], manifest
        with new_pack(out, 0) as fresh:
            described, storage = pack.build_roles(fresh, weights, models, recipe, say)
            roles = pack.read_roles(described)
            invariance = pack.prove_invariance(fresh, roles, seed, say)
            parity = pack.prove_parity(fresh, weights, models, roles, recipe, seed, say)
            pack.write_report(fresh, seed, parity, invariance, storage)
            manifest = pack.write_manifest(fresh, recipe, described, invariance)
            verify_files(fresh, manifest)
    return [*parity, *invariance], manifest


def _print(console: Console, out: Path, checks: Checks, manifest: Manifest) -> None:
    table = Table(title=f"{manifest.name} {manifest.version}: {out}")
    for column in ("part", "check", "found", "allowed", ""):
        table.add_column(column, justify="right" if column in ("found", "allowed") else "left")
    for check in checks:
        verdict = "[green]pass[/green]" if check.passed else "[red]FAIL[/red]"
        if isinstance(check, Parity):
            table.add_row(check.part, check.metric, f"{check.value:.3g}", f"{check.limit:.3g}", verdict)
        else:
            metric = f"bit-equal over {', '.join(check.kinds)}"
            table.add_row(check.part, metric, f"{check.different}/{check.compared}", "0", verdict)
    console.print(table)
    size = sum(entry.size for entry in manifest.files.values())
    console.print(f"{len(manifest.files)} files, {size / 1e6:.2f} MB")
    for check in checks:
        if isinstance(check, Comparison) and not check.passed:
            console.print(
                f"{check.part}: differs by {check.largest:.2g}, first at {check.first}", style="red"
            )
