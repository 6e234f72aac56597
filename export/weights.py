"""Where the trained parts lie in a weights directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.worlds.shapes.language import TEMPLATES

__all__ = ["Weights", "quiet_libraries"]

_TEMPLATES = {"planner": ("narrative", "guidance"), "critic": ("critic",)}
_TOKENIZER = ("tokenizer.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class Weights:
    """A checked weights directory.

    Layout: a folder for every role; a tokenizer in `ROLE/tokenizer/` or in `ROLE/`, or for roles without one in
    `tokenizer/`; the prompt templates in `templates/` or in a directory of their own.
    """

    directory: Path
    templates: Path

    @classmethod
    def find(
        cls, directory: Path, needed: Mapping[str, tuple[str, ...]], templates: Path | None = None
    ) -> Weights:
        """Check that every part is there.

        Args:
            directory: What training wrote.
            needed: The files that every role's folder must have.
            templates: Where the prompt templates are, when not in `directory`.

        Raises:
            BadRequestError: when `directory` is no directory.
            BadPackError: naming the first part or file that is missing.
        """
        if not directory.is_dir():
            raise BadRequestError(
                f"[export] {directory} is not a directory",
                hint="give the directory that training wrote with --weights",
            )
        found = cls(directory, templates or _default_templates(directory))
        for role, files in needed.items():
            for file in files:
                found._need(role, f"{role}/{file}")
        for role in needed:
            folder = found.tokenizer_folder(role).relative_to(directory)
            for file in _TOKENIZER:
                found._need(folder.parts[0], f"{folder}/{file}")
            for name in _TEMPLATES.get(role, ()):
                if not (found.templates / f"{name}.txt").is_file():
                    raise BadPackError(
                        f"[export] {found.templates} has no template {name}.txt",
                        hint="give the directory with narrative.txt, guidance.txt and critic.txt with --templates",
                    )
        return found

    def template_files(self, role: str) -> dict[str, Path]:
        """Template name to file; a generator has none."""
        return {name: self.templates / f"{name}.txt" for name in _TEMPLATES.get(role, ())}

    def tokenizer_folder(self, role: str) -> Path:
        """Where the tokenizer of a role is: its own, else the one that roles share."""
        for folder in (self.directory / role / "tokenizer", self.directory / role):
            if (folder / _TOKENIZER[0]).is_file():
                return folder
        return self.directory / "tokenizer"

    def tokenizer_files(self, role: str) -> tuple[Path, Path]:
        """`tokenizer.json` and the chat template of a role."""
        folder = self.tokenizer_folder(role)
        return folder / _TOKENIZER[0], folder / _TOKENIZER[1]

    def tokenizer(self, role: str) -> Any:
        """The tokenizer of a role as the libraries use it."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.tokenizer_folder(role))

    def _need(self, part: str, file: str) -> None:
        if not (self.directory / file).is_file():
            raise BadPackError(
                f"[export] {self.directory} has no {file}",
                hint=f"train the {part} first, or copy it there (interleave-rt train shapes --help)",
            )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """The libraries draw bars for loads of a few milliseconds."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in (diffusers_logging, transformers_logging):
            library.enable_progress_bar()


def _default_templates(directory: Path) -> Path:
    own = directory / "templates"
    return own if own.is_dir() else TEMPLATES
