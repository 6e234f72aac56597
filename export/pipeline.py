"""A generator in the layout of diffusers: `model_index.json` and a folder for every component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadPackError, BadRequestError

from .checkpoint import Checkpoint, said

__all__ = ["Pipeline"]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The folder of a pipeline.

    Args:
        directory: The folder.
        index: What `model_index.json` says.
    """

    directory: Path
    index: Mapping[str, Any]

    @classmethod
    def open(cls, directory: Path) -> Pipeline:
        """Reads the index alone.

        Raises:
            BadRequestError: There is no such folder.
            BadPackError: It is no pipeline.
        """
        if not directory.is_dir():
            raise BadRequestError(
                f"[export] {directory} is not a directory", hint="give the folder of a diffusers pipeline"
            )
        index = said(directory / "model_index.json")
        if "_class_name" not in index:
            raise BadPackError(
                f"[export] {directory} has no model_index.json that names a pipeline",
                hint="give the folder of a generator in the layout of diffusers",
            )
        return cls(directory, index)

    @property
    def kind(self) -> str:
        """The pipeline's class."""
        return str(self.index["_class_name"])

    def component(self, name: str, kind: str) -> Checkpoint:
        """A component with weights.

        Args:
            name: Of its folder.
            kind: The class that it must be of.

        Raises:
            BadPackError: It is of another class, or as of `Checkpoint.open`.
        """
        named = self.index.get(name)
        found = named[-1] if isinstance(named, list) and named else None
        if found != kind:
            raise BadPackError(
                f"[export] the {name} of {self.directory} is {found}; {self.kind} has {kind} here",
                hint="copy the checkpoint again",
            )
        return Checkpoint.open(self.directory / name)

    def scheduler(self) -> dict[str, Any]:
        """What the scheduler's file says.

        Raises:
            BadPackError: There is no such file.
        """
        file = "scheduler/scheduler_config.json"
        found = said(self.directory / file)
        if not found:
            raise BadPackError(
                f"[export] {self.directory} has no {file}", hint="copy it from the checkpoint too"
            )
        return found
