"""The generator from its checkpoint: `interleave-rt export generator SOURCE --out PACK`.

As with the other roles (`role.py`), everything that the checkpoint says of itself is taken from its own files, and
what can be refused is refused before a weight is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Protocol, cast

from interleave_rt.errors import BadPackError
from interleave_rt.pack.chat import ChatEncoder
from interleave_rt.pack.manifest import GeneratorRole, Manifest, verify_files

from .checkpoint import Checkpoint, said
from .pack import write_manifest
from .pipeline import Pipeline
from .place import data_bytes, describe_parts, new_pack, recipe_of, understood_role, write_tokenizer
from .proof.checks import Comparison
from .written import Precision

__all__ = ["PIPELINES", "GeneratorSettings", "export_generator"]

PIPELINES = {"Flux2KleinPipeline": "flux2_written", "QwenImageEditPlusPipeline": "qwen_image_written"}
"""`_class_name` of a model_index.json, and the file of `families` that writes it."""

_SEED = 0  # of the proof's inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSettings:
    """What an export is told beyond the checkpoint.

    Args:
        precision: Of the matrices.
        steps: Denoising steps of a picture; None: what the pipeline is made for.
        slots: Pictures that may share a denoising step.
        references: Pictures of the story that one starts from at most, the last one among them.
        prove: Prove batch invariance; without that, pictures are made one after another.
    """

    precision: Precision = "bf16"
    steps: int | None = None
    slots: int = 1
    references: int = 1
    prove: bool = True


class WrittenGenerator(Protocol):
    """What a file of `PIPELINES` offers."""

    def open_parts(self, pipeline: Pipeline) -> Any:
        """Everything that is read before weights are; refuses what cannot be written."""

    def weights(self, parts: Any) -> dict[str, tuple[Checkpoint, dict[str, tuple[int, ...]]]]:
        """Of every part of the manifest: whose weights they are, their names and shapes."""

    def stored_as(self, part: str, name: str, precision: Precision) -> Precision:
        """How the matrix of this name is stored in a pack of this precision."""

    def texts(self, parts: Any) -> tuple[Path, str | None]:
        """The folder of its tokenizer, and its chat template; None: the tokenizer's own."""

    def describe(self, parts: Any) -> dict[str, Any]:
        """What the manifest says of the role, but for its files and its tokenizer."""

    def write(self, parts: Any, folder: Path, *, precision: Precision) -> None:
        """Writes the graph of every part, `PART.onnx`."""

    def invariance(self, folder: Path, role: GeneratorRole, seed: int) -> list[Comparison]:
        """Every graph over the ways of batching it that the runtime may choose."""


def export_generator(
    source: Path,
    out: Path,
    settings: GeneratorSettings | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[Comparison], Manifest]:
    """Writes a pack with this one role; arguments, results and errors as of `export_role`."""
    settings = settings or GeneratorSettings()
    progress("reading the checkpoint")
    pipeline = Pipeline.open(source)
    if pipeline.kind not in PIPELINES:
        raise BadPackError(
            f"[export] {source} is a {pipeline.kind}; supported are {', '.join(PIPELINES)}",
            hint="other generators run on PyTorch or on a server: --generator torch:FOLDER",
        )
    family = cast("WrittenGenerator", import_module(f".families.{PIPELINES[pipeline.kind]}", __package__))
    parts = family.open_parts(pipeline)
    weights = family.weights(parts)
    for checkpoint, shapes in weights.values():
        for name, shape in shapes.items():
            checkpoint.need(name, *shape)
    tokenizer, template = family.texts(parts)
    described = family.describe(parts)
    if settings.steps is not None:
        described["scheduler"]["num_inference_steps"] = settings.steps
    counted = {
        (checkpoint.directory, name): prod(tensor.shape)
        for checkpoint, _ in weights.values()
        for name, tensor in checkpoint.tensors.items()
    }
    size = sum(
        data_bytes(shapes, partial(family.stored_as, part, precision=settings.precision))
        for part, (_, shapes) in weights.items()
    )
    with new_pack(out, size) as fresh:
        folder = fresh / "generator"
        folder.mkdir()
        texts = write_tokenizer(tokenizer, folder, template)
        encoder = ChatEncoder(tokenizer / "tokenizer.json", folder / "chat_template.jinja")
        raw = {
            "runtime": "native",
            "parts": describe_parts("generator", weights, settings.precision),
            **texts,
            **described,
            "pad_token_id": _pad_token(tokenizer, encoder),
            "slots": settings.slots,
            "references": settings.references,
            "providers": ["CPUExecutionProvider"],
            "parameters": sum(counted.values()),
        }
        role = understood_role(GeneratorRole, raw, source)
        progress("writing the graphs")
        family.write(parts, folder, precision=settings.precision)
        proved: list[Comparison] = []
        if settings.prove:
            progress("proving batch invariance")
            proved = family.invariance(folder, role, _SEED)
        recipe = recipe_of("generator", source, pipeline.index, out)
        manifest = write_manifest(fresh, recipe, {"generator": raw}, proved)
        verify_files(fresh, manifest)
    return proved, manifest


def _pad_token(folder: Path, encoder: ChatEncoder) -> int:
    """The id that fills a prompt up behind its end."""
    pad = said(folder / "tokenizer_config.json").get("pad_token")
    text = pad.get("content") if isinstance(pad, dict) else pad
    found = encoder.tokenizer.token_to_id(text) if isinstance(text, str) else None
    if found is None:
        raise BadPackError(
            f"[export] {folder} names no token that fills a prompt up",
            hint="copy tokenizer_config.json of the checkpoint too",
        )
    return int(found)
