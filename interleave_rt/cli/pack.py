"""`interleave-rt pack`: packs of your own models, shown and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interleave_rt.shown import shown

from .engines import engines
from .options import AsJson, Critic, Generator, Planner, Prompts, print_json

if TYPE_CHECKING:
    from interleave_rt.pack import Pack

pack = typer.Typer(name="pack", help="Make, show and check packs of models.", rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="Folder of the pack.")]


@pack.callback()
def _root() -> None:
    pass


@pack.command()
def new(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    planner: Planner = None,
    generator: Generator = None,
    critic: Critic = None,
    prompts: Prompts = None,
    name: Annotated[str, typer.Option(help="Of the pack. Default: the folder's.")] = "",
    json_: AsJson = False,
) -> int:
    """Write a pack that names models where they lie; no weight is copied.

    A role is RUNTIME:PLACE[,option=value...]: torch:FOLDER (Hugging Face layout), openai:URL#MODEL, native:PACK (the
    role of another pack), scripted.

    Exit codes: 0 written, 2 bad request, 3 a folder or prompt cannot be used.
    """
    from interleave_rt.pack.compose import write_pack
    from interleave_rt.roles.prompts import Prompts as Texts

    if prompts is not None:
        Texts.from_folder(prompts)  # refuses what cannot be used
    specs = {"planner": planner, "generator": generator, "critic": critic}
    made = write_pack(out, specs, name=name or out.resolve().name, prompts=prompts)
    _show(made, json_)
    return 0


@pack.command()
def show(folder: Annotated[Path | None, typer.Argument(help="Folder. Default: the embedded pack.")] = None,
         json_: AsJson = False) -> int:  # fmt: skip
    """Say what a pack holds: its roles, where they run, and what it promises. Only its pack.json is read.

    Exit codes: 0 shown, 3 bad pack.
    """
    from interleave_rt.pack import load_pack

    _show(load_pack(folder, verify=False), json_)
    return 0


@pack.command()
def verify(folder: Annotated[Path | None, typer.Argument(help="Folder. Default: the embedded pack.")] = None,
           json_: AsJson = False) -> int:  # fmt: skip
    """Compare every file of a pack, and the folders that it names, with what they were when it was written.

    Exit codes: 0 all as written, 3 a file is missing or altered.
    """
    from interleave_rt.pack import load_pack
    from interleave_rt.pack.compose import check_places

    found = load_pack(folder)
    check_places(found)
    files, places = len(found.manifest.files), len(found.manifest.places)
    if json_:
        print_json({"pack": found.name, "files": files, "folders": places, "verified": True})
    else:
        print(shown(f"{found.name}: {files} files and {places} folders of models are as they were written"))
    return 0


pack.command()(engines)


def _show(found: Pack, as_json: bool) -> None:
    roles = {role: _described(getattr(found.manifest.roles, role)) for role in found.roles}
    said = {**found.info(), "roles": roles}
    if as_json:
        print_json(said)
        return
    print(shown(f"{found.name} {found.manifest.version}, {found.manifest.lossless}, {found.path}"))
    for role, told in roles.items():
        print(
            shown(f"  {role:<10}{told['runs_on']}")
            + (f", {told['parameters']:,} parameters" if told.get("parameters") else "")
        )
    if found.manifest.description:
        print(shown(f"  {found.manifest.description}"))


def _described(role: Any) -> dict[str, Any]:
    from interleave_rt.pack.spec import RoleSpec

    if isinstance(role, RoleSpec):
        return {"runs_on": str(role), **json.loads(role.model_dump_json())}
    parts = {name: part.precision for name, part in role.parts.items()}
    told = f"native:{role.family} ({', '.join(f'{name} {precision}' for name, precision in parts.items())})"
    return {
        "runs_on": told,
        "runtime": role.runtime,
        "family": role.family,
        "parts": parts,
        "parameters": role.parameters,
    }
