"""Where the trained parts lie in a weights directory, and loading them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interleave_rt.errors import BadPackError, BadRequestError

if TYPE_CHECKING:
    from diffusers import Flux2KleinPipeline
    from transformers import Qwen3VLForConditionalGeneration

__all__ = ["Weights"]

_TEMPLATES = {"planner": ("narrative", "guidance"), "critic": ("critic",)}
_NEEDED = {
    "generator": (
        "vae/config.json",
        "transformer/config.json",
        "text_encoder/config.json",
        "model_index.json",
    ),
    "planner": ("config.json", "model.safetensors"),
    "critic": ("config.json", "model.safetensors"),
    "tokenizer": ("tokenizer.json", "chat_template.jinja"),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A checked weights directory.

    Layout: `generator/` (a Flux2KleinPipeline), `planner/` and `critic/` (Qwen3-VL models), `tokenizer/` shared by
    all three, and the prompt templates in `templates/` or in a directory of their own.
    """

    directory: Path
    templates: Path

    @classmethod
    def find(cls, directory: Path, templates: Path | None = None) -> Weights:
        """Check that every part is there.

        Raises:
            BadRequestError: when `directory` is no directory.
            BadPackError: naming the first part or file that is missing.
        """
        if not directory.is_dir():
            raise BadRequestError(
                f"[export] {directory} is not a directory",
                hint="give the directory that training wrote with --weights",
            )
        for part, files in _NEEDED.items():
            for file in files:
                if not (directory / part / file).is_file():
                    raise BadPackError(
                        f"[export] {directory} has no {part}/{file}",
                        hint=f"train the {part} first, or copy it there (interleave-rt train shapes --help)",
                    )
        found = templates or _default_templates(directory)
        for names in _TEMPLATES.values():
            for name in names:
                if not (found / f"{name}.txt").is_file():
                    raise BadPackError(
                        f"[export] {found} has no template {name}.txt",
                        hint="give the directory with narrative.txt, guidance.txt and critic.txt with --templates",
                    )
        return cls(directory, found)

    def template_files(self, role: str) -> dict[str, Path]:
        """Template name to file, for planner or critic."""
        return {name: self.templates / f"{name}.txt" for name in _TEMPLATES[role]}

    @property
    def tokenizer_json(self) -> Path:
        """The tokenizer that the three roles share."""
        return self.directory / "tokenizer" / "tokenizer.json"

    @property
    def chat_template(self) -> Path:
        """The chat template that the three roles share."""
        return self.directory / "tokenizer" / "chat_template.jinja"

    def tokenizer(self) -> Any:
        """The tokenizer as the libraries use it."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.directory / "tokenizer")

    def vlm(self, role: str) -> Qwen3VLForConditionalGeneration:
        """Planner or critic in float32."""
        import torch
        from transformers import Qwen3VLForConditionalGeneration

        with _no_progress_bars():
            model = Qwen3VLForConditionalGeneration.from_pretrained(
                self.directory / role, dtype=torch.float32
            )
        return model.eval()

    def pipeline(self) -> Flux2KleinPipeline:
        """The generator in float32."""
        import torch
        from diffusers import Flux2KleinPipeline

        with _no_progress_bars():
            pipeline = Flux2KleinPipeline.from_pretrained(self.directory / "generator", dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        for part in (pipeline.vae, pipeline.transformer, pipeline.text_encoder):
            part.eval()
        return pipeline


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
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
    return own if own.is_dir() else Path(__file__).resolve().parent.parent / "train" / "shapes" / "templates"
