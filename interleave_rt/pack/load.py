"""Packs on disk: found, checked, and described."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from interleave_rt.errors import BadPackError

from .manifest import ROLES, Manifest, load_manifest, verify_files

__all__ = ["EMBEDDED", "Pack", "load_pack"]

EMBEDDED = Path(__file__).parent.parent / "packs" / "shapes"


@dataclass(frozen=True, slots=True)
class Pack:
    """A directory of models with its manifest; made by `load_pack`."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The pack's name."""
        return self.manifest.name

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that it carries."""
        return tuple(role for role in ROLES if getattr(self.manifest.roles, role) is not None)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height that are made by default."""
        generator = self.manifest.roles.generator
        return (generator.image.width, generator.image.height) if generator else None

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
        }


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
    if not folder.is_dir():
        if path is None:
            raise BadPackError(
                f"[load_pack] this installation carries no embedded pack ({folder})",
                hint="install a wheel of interleave-rt, or pass the directory of a pack",
            )
        raise BadPackError(
            f"[load_pack] {folder} is not a directory", hint="pass the folder that holds pack.json"
        )
    manifest = load_manifest(folder)
    if verify:
        verify_files(folder, manifest)
    return Pack(folder.resolve(), manifest)
