"""`pack.json`: what a pack contains, and the proof that its files are the ones that were exported."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from interleave_rt.errors import BadPackError

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "Architecture",
    "FileEntry",
    "Generation",
    "GeneratorRole",
    "GrammarSpec",
    "ImageSpec",
    "Manifest",
    "Part",
    "Roles",
    "SchedulerSpec",
    "VerdictTokens",
    "VisionSpec",
    "VlmRole",
    "hash_file",
    "load_manifest",
    "verify_files",
]

FORMAT_VERSION = 1
MANIFEST_NAME = "pack.json"
_MAX_MANIFEST_BYTES = 4 << 20
_CHUNK = 1 << 20

Runtime = Literal["native", "torch", "openai", "ray"]
Precision = Literal["fp32", "fp16-weights", "fp16", "bf16", "fp8", "int8", "int4"]


def _relative(path: str) -> str:
    pure = PurePosixPath(path)
    if (
        not path
        or "\\" in path
        or "\0" in path
        or pure.is_absolute()
        or ".." in pure.parts
        or str(pure) != path
    ):
        raise ValueError(f"'{path}' is not a plain relative path inside the pack (forward slashes, no '..')")
    return path


def _example(text: str) -> str:
    if not text.strip():
        raise ValueError("an example must not be empty")
    return text


RelativePath = Annotated[str, AfterValidator(_relative)]
Count = Annotated[int, Field(ge=1)]
Example = Annotated[str, AfterValidator(_example)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Model):
    """Size in bytes and sha256 (hex) of one file."""

    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(_Model):
    """One graph. `batch_invariant`: a row's output is bit-equal whatever else is in the batch (proved at export)."""

    file: RelativePath
    precision: Precision = "fp16-weights"
    batch_invariant: bool = False


class Architecture(_Model):
    """The numbers of a decoder that its caller needs."""

    layers: Count
    hidden: Count
    kv_heads: Count
    head_dim: Count
    vocab: Count
    deepstack_levels: Annotated[int, Field(ge=0)] = 0
    image_token_id: Annotated[int, Field(ge=0)]
    eos_token_ids: Annotated[tuple[int, ...], Field(min_length=1)]
    pad_token_id: Annotated[int, Field(ge=0)]


class VisionSpec(_Model):
    """Image preprocessing of a vision-language model."""

    patch_size: Count
    merge_size: Count
    temporal_patch_size: Count
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    min_pixels: Count
    max_pixels: Count
    # Requests with `many` or more images: at most this many pixels each.
    max_pixels_many: Count = 147456
    many: Count = 5

    @model_validator(mode="after")
    def _ordered(self) -> VisionSpec:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self


class Generation(_Model):
    """Sampling settings; temperature 0 is greedy."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count = 4096


class VerdictTokens(_Model):
    """Token ids that spell the boolean of a verdict, for p(success)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    true: Annotated[tuple[int, ...], Field(min_length=1)]
    false: Annotated[tuple[int, ...], Field(min_length=1)]


class GrammarSpec(_Model):
    """How answers may be constrained (`interleave_rt.pack.grammar`).

    `files`: the pack's own grammars for `narrative`, `guidance` and `critic`: a JSON schema of the answer's value, or a
    `.lark` file with a rule `answer`. `constrain` false: never, for checkpoints that answer in another dialect.
    `reasoning`: the model writes `<think>` itself, the chat template has opened it, or there is none. `reserve`:
    tokens that the think part leaves for the answer.
    """

    constrain: bool = True
    files: dict[Literal["narrative", "guidance", "critic"], RelativePath] = {}
    reasoning: Literal["written", "opened", "none"] = "written"
    reserve: Count = 2048


class VlmRole(_Model):
    """Planner or critic."""

    runtime: Runtime = "native"
    decoder: Part
    # A graph for one-token steps over the same cache; without it the decoder's graph makes them.
    decode_graph: Part | None = None
    vision: Part
    tokenizer: RelativePath
    chat_template: RelativePath | None = None
    token_bytes: RelativePath
    templates: dict[str, RelativePath] = {}
    architecture: Architecture
    vision_config: VisionSpec
    generation: Generation = Generation()
    verdict_tokens: VerdictTokens | None = None
    # p(success) from which a verdict is true, of a critic with `verdict_tokens`.
    verdict_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    grammar: GrammarSpec = GrammarSpec()
    cache_length: Count
    slots: Count = 1
    prefill_chunk: Count = 64
    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("CPUExecutionProvider",)
    parameters: int | None = None


class SchedulerSpec(_Model):
    """Flow-matching Euler with FLUX.2's empirical shift."""

    kind: Literal["flow_match_euler"] = "flow_match_euler"
    shift: Literal["flux2_empirical"] = "flux2_empirical"
    num_inference_steps: Count = 4


class ImageSpec(_Model):
    """Default size and limits of a side, in pixels."""

    width: Count
    height: Count
    multiple_of: Count = 16
    min: Count
    max: Count

    @model_validator(mode="after")
    def _whole_tokens(self) -> ImageSpec:
        for name, side in (("width", self.width), ("height", self.height)):
            if side % self.multiple_of or not self.min <= side <= self.max:
                raise ValueError(
                    f"{name} {side} must be a multiple of {self.multiple_of} between {self.min} and {self.max}"
                )
        return self


class GeneratorRole(_Model):
    """The image generator."""

    runtime: Runtime = "native"
    text_encoder: Part
    transformer: Part
    vae_encoder: Part
    vae_decoder: Part
    tokenizer: RelativePath
    chat_template: RelativePath | None = None
    max_sequence_length: Count
    pad_token_id: Annotated[int, Field(ge=0)] = 0
    scheduler: SchedulerSpec = SchedulerSpec()
    image: ImageSpec
    latent_channels: Count
    text_dim: Count
    token_pixels: Count
    reference_time: Count = 10
    slots: Count = 1
    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("CPUExecutionProvider",)
    parameters: int | None = None


class Roles(_Model):
    """The roles that a pack carries; an absent one must be configured elsewhere."""

    planner: VlmRole | None = None
    critic: VlmRole | None = None
    generator: GeneratorRole | None = None


class Manifest(_Model):
    """`pack.json`. `examples`: requests that are known to work with these models."""

    format_version: Literal[1]
    name: Annotated[str, Field(min_length=1)]
    version: str
    description: str = ""
    license: str
    source: str
    lossless: Literal["bitwise", "scheduling-only"]
    roles: Roles
    files: dict[RelativePath, FileEntry]
    exporter: dict[str, str] = {}
    examples: Annotated[tuple[Example, ...], Field(max_length=100)] = ()
    parity: RelativePath | None = None

    @model_validator(mode="after")
    def _every_file_listed(self) -> Manifest:
        for where, path in self.referenced():
            if path not in self.files:
                raise ValueError(f"{where} names '{path}', which 'files' does not list")
        return self

    def referenced(self) -> list[tuple[str, str]]:
        """(where, path) of every file that some field names."""
        found: list[tuple[str, str]] = [("parity", self.parity)] if self.parity else []
        for role in ("planner", "critic", "generator"):
            model = getattr(self.roles, role)
            if model is None:
                continue
            for field in type(model).model_fields:
                value = getattr(model, field)
                if isinstance(value, Part):
                    found.append((f"roles.{role}.{field}", value.file))
                elif field in ("tokenizer", "chat_template", "token_bytes") and value is not None:
                    found.append((f"roles.{role}.{field}", value))
                elif field == "templates":
                    found += [(f"roles.{role}.templates.{name}", path) for name, path in value.items()]
                elif isinstance(value, GrammarSpec):
                    found += [(f"roles.{role}.grammar.{name}", path) for name, path in value.files.items()]
        return found


def load_manifest(directory: str | Path) -> Manifest:
    """Read and check `pack.json` of a pack; the other files are not opened.

    Example:
        >>> manifest = load_manifest("interleave_rt/packs/shapes")  # doctest: +SKIP
        >>> manifest.roles.generator.image.width  # doctest: +SKIP
        48

    Raises:
        BadPackError: when there is no such file, or it is not a manifest of a version that is read here.
    """
    path = Path(directory) / MANIFEST_NAME
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise BadPackError(
                f"[load_manifest] {path} is larger than {_MAX_MANIFEST_BYTES} bytes: that is no manifest",
                hint="export the pack again",
            )
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPackError(
            f"[load_manifest] {path} cannot be read: {error.strerror or error}",
            hint="give the directory that `python -m interleave_rt.export` wrote, the one with pack.json in it",
        ) from error
    except (ValueError, RecursionError) as error:  # the latter: brackets in brackets in brackets
        raise BadPackError(
            f"[load_manifest] {path} is not JSON: {error}", hint="copy the pack again, or export it again"
        ) from error
    if not isinstance(raw, dict):
        raise BadPackError(f"[load_manifest] {path} is not a JSON object", hint="export the pack again")
    version = raw.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise BadPackError(
            f"[load_manifest] {path} has format_version {version!r}; this version reads: {FORMAT_VERSION}",
            hint="export the pack again with this version of interleave-rt, or install the version that wrote it",
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(item) for item in first["loc"]) or "pack.json"
        raise BadPackError(
            f"[load_manifest] {path}: {place}: {first['msg']} ({error.error_count()} problem(s) in all)",
            hint="correct that field, or export the pack again",
        ) from error


_hashes: dict[tuple[str, int, int, int], str] = {}
_hashes_lock = threading.Lock()


def hash_file(path: Path) -> str:
    """sha256 of a file in hex; remembered in this process while path, inode, change time and size stay the same."""
    status = path.stat()
    key = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
    with _hashes_lock:
        known = _hashes.get(key)
    if known is not None:
        return known
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    with _hashes_lock:
        _hashes[key] = digest.hexdigest()
    return digest.hexdigest()


def verify_files(directory: str | Path, manifest: Manifest) -> None:
    """Check that every file of the manifest is there, inside the pack, and unchanged (size first, then sha256).

    Raises:
        BadPackError: naming the first file that is missing, leads out of the pack or differs.
    """
    root = Path(directory).resolve()
    paths = {name: _inside(root, name) for name in manifest.files}
    for name, path in paths.items():
        expected = manifest.files[name].size
        if path.stat().st_size != expected:
            raise BadPackError(
                f"[verify_files] {name} has {path.stat().st_size} bytes, the manifest says {expected}",
                hint=f"the copy is incomplete or the file was edited: copy {path} again, or export the pack again",
            )
    for name, path in paths.items():
        try:
            actual = hash_file(path)
        except OSError as error:
            raise BadPackError(
                f"[verify_files] {name} cannot be read: {error.strerror or error}",
                hint=f"make {path} readable for this user",
            ) from error
        if actual != manifest.files[name].sha256:
            raise BadPackError(
                f"[verify_files] {name} has sha256 {actual}, the manifest says {manifest.files[name].sha256}",
                hint=f"the file was changed after the export: copy {path} again, or export the pack again",
            )


def _inside(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise BadPackError(
            f"[verify_files] {name} leads out of the pack, to {path}",
            hint="a pack holds its files itself: replace the link by the file",
        )
    if not path.is_file():
        raise BadPackError(
            f"[verify_files] {name} is missing from {root}",
            hint="the copy is incomplete: copy the pack again, or export it again",
        )
    return path
