"""One role from its checkpoint: `interleave-rt export planner|critic SOURCE --out PACK`.

Everything that the checkpoint says of itself is taken from its own files: tokenizer, chat template, image sizes,
sampling. What can be refused is refused before a weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from interleave_rt.errors import BadPackError
from interleave_rt.files import write_file
from interleave_rt.pack.chat import ChatEncoder
from interleave_rt.pack.manifest import Manifest, VlmRole, verify_files
from interleave_rt.pack.templates import TextPart
from interleave_rt.roles.prompts import Prompts

from .checkpoint import Checkpoint
from .pack import verdict_tokens, write_manifest, write_token_bytes
from .place import data_bytes, describe_parts, new_pack, recipe_of, understood_role, write_tokenizer
from .proof.checks import Comparison
from .written import Precision

__all__ = ["FAMILIES", "RoleSettings", "export_role"]

FAMILIES = {"qwen3_vl": "qwen3_vl_written"}
"""`model_type` of a config.json, and the file of `families` that writes it."""

_TEMPLATES = {"planner": ("narrative", "guidance"), "critic": ("critic",)}
_MAX_SLOTS = 8
_MAX_NEW_TOKENS = 4096
_SEED = 0  # of the proof's inputs
_NEUTRAL = {
    "repetition_penalty": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "num_beams": 1,
    "no_repeat_ngram_size": 0,
}
"""Sampling that the runtime does not know, and the values at which it does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSettings:
    """What an export is told beyond the checkpoint.

    Args:
        precision: Of the matrices.
        cache_length: Tokens of a sequence, prompt and answer.
        cache_bytes: Of K/V memory for all sequences together; decides how many there are at once.
        prefill_chunk: Tokens of a prompt in one call.
        prompts: Folder of prompts, as `Prompts.from_folder`; None: the built-in ones.
        dialect: In what the answers are written; only JSON can be constrained.
        prove: Prove batch invariance; without that, sequences run one after another.
    """

    precision: Precision = "bf16"
    cache_length: int = 8192
    cache_bytes: int = 4 << 30
    prefill_chunk: int = 256
    prompts: Path | None = None
    dialect: Literal["json", "python"] = "json"
    prove: bool = True


class WrittenFamily(Protocol):
    """What a file of `FAMILIES` offers."""

    def configuration(self, checkpoint: Checkpoint) -> Any:
        """The configuration, as the functions below want it; refuses what cannot be written."""

    def weights(self, config: Any, checkpoint: Checkpoint) -> dict[str, dict[str, tuple[int, ...]]]:
        """Names and shapes of the weights of every part."""

    def stored_as(self, name: str, precision: Precision) -> Precision:
        """How the matrix of this name is stored in a pack of this precision."""

    def architecture(self, config: Any) -> dict[str, int]:
        """`architecture` of the manifest, but for what the tokenizer says."""

    def vision(self, config: Any) -> dict[str, int]:
        """`vision_config` of the manifest, but for what the preprocessor says."""

    def write(
        self, checkpoint: Checkpoint, config: Any, folder: Path, *, precision: Precision, cache_length: int
    ) -> None:
        """Writes the graph of every part, `PART.onnx`."""

    def invariance(self, folder: Path, role: VlmRole, seed: int) -> list[Comparison]:
        """Every graph over the ways of batching it that the runtime may choose."""


def export_role(
    role: Literal["planner", "critic"],
    source: Path,
    out: Path,
    settings: RoleSettings | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[Comparison], Manifest]:
    """Writes a pack with this one role; returns what was proved, and the manifest.

    Args:
        role: Whose prompts and grammar it gets.
        source: A checkpoint in Hugging Face layout.
        out: A new or empty folder, or a pack, which is replaced when all is written.
        settings: See there.
        progress: Told what is being done.

    Raises:
        BadRequestError: `source` is no folder, `out` cannot be used, or there is no room on its disk.
        BadPackError: The checkpoint cannot be exported; the message says why.
    """
    settings = settings or RoleSettings()
    progress("reading the checkpoint")
    checkpoint = Checkpoint.open(source)
    family = _family(checkpoint)
    config = family.configuration(checkpoint)
    weights = family.weights(config, checkpoint)
    for part in weights.values():
        for name, shape in part.items():
            checkpoint.need(name, *shape)
    described = _describe(checkpoint, family, config, settings)
    prompts = Prompts.default() if settings.prompts is None else Prompts.from_folder(settings.prompts)
    stored_as = partial(family.stored_as, precision=settings.precision)
    with new_pack(out, sum(data_bytes(part, stored_as) for part in weights.values())) as fresh:
        folder = fresh / role
        folder.mkdir()
        progress("reading the tokenizer")
        texts = _write_texts(folder, role, checkpoint, prompts, described)
        parts = describe_parts(role, weights, settings.precision)
        raw = {"runtime": "native", **parts, **texts, **described}
        read = understood_role(VlmRole, raw, source)
        progress("writing the graphs")
        family.write(
            checkpoint,
            config,
            folder,
            precision=settings.precision,
            cache_length=described["cache_length"],
        )
        proved: list[Comparison] = []
        if settings.prove:
            progress("proving batch invariance")
            proved = family.invariance(folder, read, _SEED)
        recipe = recipe_of(role, checkpoint.directory, checkpoint.config, out)
        manifest = write_manifest(fresh, recipe, {role: raw}, proved)
        verify_files(fresh, manifest)
    return proved, manifest


def _family(checkpoint: Checkpoint) -> WrittenFamily:
    kind = checkpoint.config.get("model_type")
    if kind not in FAMILIES:
        raise BadPackError(
            f"[export] {checkpoint.directory} is of the family {kind!r}; supported are {', '.join(FAMILIES)}",
            hint="other models run on PyTorch or on a server: --planner torch:FOLDER, --planner openai:URL#MODEL",
        )
    return cast("WrittenFamily", import_module(f".families.{FAMILIES[kind]}", __package__))


def _describe(
    checkpoint: Checkpoint, family: WrittenFamily, config: Any, settings: RoleSettings
) -> dict[str, Any]:
    """What the manifest says of the role, but for its files and what the tokenizer tells."""
    architecture = family.architecture(config)
    length = min(settings.cache_length, architecture.pop("max_position_embeddings"))
    slot = 8 * architecture["layers"] * architecture["kv_heads"] * architecture["head_dim"] * length
    generation = checkpoint.json("generation_config.json")
    said = {**checkpoint.config, **(checkpoint.config.get("text_config") or {}), **generation}
    ends, pad = said.get("eos_token_id"), said.get("pad_token_id")
    ends = list(ends) if isinstance(ends, list) else [ends]
    if None in ends:
        raise BadPackError(
            f"[export] {checkpoint.directory} names no token that ends an answer",
            hint="copy generation_config.json of the checkpoint too",
        )
    return {
        "architecture": architecture
        | {"eos_token_ids": ends, "pad_token_id": ends[-1] if pad is None else pad},
        "vision_config": family.vision(config) | checkpoint.images(),
        "generation": _sampling(checkpoint, generation)
        | {"max_new_tokens": min(_MAX_NEW_TOKENS, length - 1)},
        "cache_length": length,
        "slots": max(1, min(_MAX_SLOTS, settings.cache_bytes // slot)),
        "prefill_chunk": min(settings.prefill_chunk, length),
        "prefill_rows": 1,
        "providers": ["CPUExecutionProvider"],
        "grammar": {"constrain": settings.dialect == "json"},
        "parameters": sum(prod(tensor.shape) for tensor in checkpoint.tensors.values()),
    }


def _sampling(checkpoint: Checkpoint, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's own sampling."""
    for name, neutral in _NEUTRAL.items():
        if raw.get(name) not in (None, neutral):
            raise BadPackError(
                f"[export] {checkpoint.directory} samples with {name} {raw[name]}, which the native runtime has not",
                hint=f"set it to {neutral} in generation_config.json if answers may be sampled without",
            )
    if not raw.get("do_sample", False):
        return {"temperature": 0.0}
    return {
        "temperature": raw.get("temperature") or 1.0,
        "top_k": raw.get("top_k") or 0,
        "top_p": raw.get("top_p") or 1.0,
    }


def _write_texts(
    folder: Path, role: str, checkpoint: Checkpoint, prompts: Prompts, described: dict[str, Any]
) -> dict[str, Any]:
    """Tokenizer and prompts; adds to `described` what they say."""
    files = write_tokenizer(checkpoint.directory, folder)
    encoder = ChatEncoder(checkpoint.directory / "tokenizer.json", folder / "chat_template.jinja")
    table = write_token_bytes(folder, described["architecture"]["vocab"])
    if role == "critic":
        described["verdict_tokens"] = verdict_tokens(table)
    ids = encoder.encode_messages([TextPart("x")]).tolist()
    if encoder.tokenizer.decode(ids, skip_special_tokens=False).rstrip().endswith("<think>"):
        described["grammar"]["reasoning"] = "opened"
    for name in _TEMPLATES[role]:
        write_file(folder / f"{name}.txt", getattr(prompts.templates, name))
    return {
        **files,
        "token_bytes": f"{role}/token_bytes.json",
        "templates": {name: f"{role}/{name}.txt" for name in _TEMPLATES[role]},
    }
