"""Packs on disk: found, checked, and described."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.files import shown_path

from .manifest import ROLES, GeneratorRole, Manifest, Roles, load_manifest, verify_files
from .spec import RoleSpec

EMBEDDED = Path(__file__).parent.parent / "packs" / "shapes"


@dataclass(frozen=True, slots=True)
class Pack:
    """A directory of models with its manifest; made by `load_pack`."""

    path: Path
    manifest: Manifest
    prompts: Path | None = None  # what roles elsewhere are asked with; None: the built-in prompts
    declines: tuple[str, ...] = ()  # of the planner of its own in whose place another one stands

    @property
    def name(self) -> str:
        """The pack's name."""
        return self.manifest.name

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that it carries."""
        return tuple(role for role in ROLES if getattr(self.manifest.roles, role) is not None)

    @property
    def elsewhere(self) -> dict[Any, RoleSpec]:
        """The roles that do not run on its own graphs, and where they do."""
        roles = {role: getattr(self.manifest.roles, role) for role in ROLES}
        return {role: spec for role, spec in roles.items() if isinstance(spec, RoleSpec)}

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height that are made by default."""
        generator = self.manifest.roles.generator
        return (
            (generator.image.width, generator.image.height) if isinstance(generator, GeneratorRole) else None
        )

    @property
    def image_sides(self) -> tuple[int, int] | None:
        """Shortest and longest side that its generator works on."""
        generator = self.manifest.roles.generator
        return (generator.image.min, generator.image.max) if isinstance(generator, GeneratorRole) else None

    def with_roles(self, prompts: str | PathLike[str] | None = None, **specs: str | RoleSpec | None) -> Pack:
        """The same pack with some of its roles run elsewhere.

        Args:
            prompts: Folder of the templates that roles elsewhere are asked with; None: those of the pack.
            **specs: `planner`, `generator` and `critic`, as `RoleSpec.parse` reads them; folders are taken from the
                working directory. None leaves a role as it is.

        Example:
            >>> pack = load_pack().with_roles(planner="openai:http://127.0.0.1:8000/v1#m")  # doctest: +SKIP
        """
        given = _given(specs)
        roles = self.manifest.roles.model_copy(update=given)
        folder = self.prompts if prompts is None else Path(prompts).expanduser().resolve()
        declines = getattr(self.manifest.roles.planner, "declines", self.declines)
        return Pack(self.path, self.manifest.model_copy(update={"roles": roles}), folder, declines)

    @classmethod
    def of_roles(cls, name: str = "your models", **specs: str | RoleSpec | None) -> Pack:
        """A pack without files, of roles that all run elsewhere; arguments as of `with_roles`.

        Raises:
            BadRequestError: A role is missing, or is not written as one.
        """
        given = _given(specs)
        for role in ROLES:
            if role not in given:
                raise BadRequestError(
                    f"[pack] no {role} is given", hint=f"say what runs it, e.g. --{role} {_EXAMPLES[role]}"
                )
        manifest = Manifest(
            format_version=1, name=name, version="0", license="of the models", source="", lossless="replay",
            roles=Roles(**given),
        )  # fmt: skip
        return cls(Path.cwd(), manifest)

    @property
    def examples(self) -> tuple[str, ...]:
        """Requests that are known to work with it; none where its manifest names none."""
        return self.manifest.examples

    def info(self) -> dict[str, str]:
        """What results and reports say of it."""
        manifest = self.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "description": manifest.description,
            "license": manifest.license,
            "source": manifest.source,
            "lossless": manifest.lossless,
            "path": str(self.path),
            **{f"{role} runs on": str(spec) for role, spec in self.elsewhere.items()},
        }


_EXAMPLES = {
    "planner": "openai:http://127.0.0.1:8000/v1#MODEL",
    "generator": "torch:FOLDER",
    "critic": "torch:FOLDER",
}


def _given(specs: dict[str, str | RoleSpec | None]) -> dict[str, RoleSpec]:
    for name in specs:
        if name not in ROLES:
            raise BadRequestError(f"[pack] {name!r} is no role", hint=f"roles are {', '.join(ROLES)}")
    read = {
        name: RoleSpec.parse(spec) if isinstance(spec, str) else spec
        for name, spec in specs.items()
        if spec is not None
    }
    return {name: spec.within(Path.cwd()) for name, spec in read.items()}


def load_pack(path: str | PathLike[str] | None = None, *, verify: bool = True) -> Pack:
    """Reads and checks a pack; None is the embedded one.

    Args:
        path: The directory that holds `pack.json`.
        verify: Compare size and sha256 of every file with the manifest.

    Raises:
        BadPackError: Naming the file that is missing or altered.

    Example:
        >>> load_pack().name  # doctest: +SKIP
        'shapes'
    """
    folder = EMBEDDED if path is None else Path(path)
    try:
        is_folder = folder.is_dir()
    except (OSError, ValueError):  # no such name can be
        is_folder = False
    if not is_folder:
        if path is None:
            raise BadPackError(
                f"[load_pack] this installation carries no embedded pack ({folder})",
                hint="install a wheel of interleave-rt, or pass the directory of a pack",
            )
        raise BadPackError(
            f"[load_pack] {shown_path(folder)} is not a directory",
            hint="pass the folder that holds pack.json",
        )
    try:
        str(folder.resolve()).encode()
    except UnicodeEncodeError:
        raise BadPackError(
            f"[load_pack] the name of {shown_path(folder)} is not UTF-8", hint="rename that folder"
        ) from None
    manifest = load_manifest(folder)
    if verify:
        verify_files(folder, manifest)
    folder = folder.resolve()
    pack = Pack(folder, manifest, None if manifest.prompts is None else folder / manifest.prompts)
    there = {role: spec.within(folder) for role, spec in pack.elsewhere.items()}
    roles = manifest.roles.model_copy(update=there)
    return replace(pack, manifest=manifest.model_copy(update={"roles": roles}))


def choose_pack(
    pack: str | PathLike[str] | Pack | None = None,
    *,
    verify: bool = True,
    prompts: str | PathLike[str] | None = None,
    **specs: str | None,
) -> Pack:
    """The pack that is meant: one that is loaded or named, with roles of your own in place of its own.

    Args:
        pack: A `Pack`, a directory, or None: the embedded one, or none at all where `specs` name all three roles.
        verify: As of `load_pack`.
        prompts: As of `Pack.with_roles`.
        **specs: As of `Pack.with_roles`.
    """
    if pack is None and all(specs.get(role) is not None for role in ROLES):
        return Pack.of_roles("your models", **specs).with_roles(prompts)
    chosen = pack if isinstance(pack, Pack) else load_pack(pack, verify=verify)
    return chosen.with_roles(prompts, **specs)
