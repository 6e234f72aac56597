"""`pack.json`: what a pack contains, and the proof that its files are the ones that were exported."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from interleave_rt.errors import BadPackError
from interleave_rt.files import read_json

from .external import find_data
from .spec import RoleSpec

FORMAT_VERSION = 1
MANIFEST_NAME = "pack.json"
ROLES = ("planner", "generator", "critic")
MOST_REFERENCES = 16  # pictures that one call of a generator starts from; as `kMaxReferences` of the core
_MAX_MANIFEST_BYTES = 4 << 20
_CHUNK = 1 << 20
_TICK_NS = 50_000_000

Precision = Literal["fp32", "fp16-weights", "fp16", "bf16", "fp8", "int8", "int4"]
ElementType = Literal["float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]


@dataclass(frozen=True, slots=True)
class Family:
    """What the manifest says of a family of models.

    Args:
        parts: Graphs that a role of this family must have.
        optional: Graphs that it may have.
        batched: Those that see several rows in one call: the role is batched where all of these are batch-invariant.
        scheduler: `kind` and the names of `shift` of a generator's noise schedule.
        sees: Its text encoder looks at the pictures that a generator starts from.
        axes: Of the position of a denoiser's token.
    """

    parts: tuple[str, ...]
    optional: tuple[str, ...] = ()
    batched: tuple[str, ...] = ()
    scheduler: tuple[str, tuple[str, ...]] | None = None
    sees: bool = False
    axes: int = 4


# A new family: one entry here, one file in `export/families`, one in `csrc/models`.
VLM_FAMILIES = {
    "qwen3_vl": Family(("decoder", "vision"), ("decode_graph",), batched=("decoder", "decode_graph"))
}
GENERATOR_FAMILIES = {
    "flux2": Family(
        ("text_encoder", "transformer", "vae_encoder", "vae_decoder"),
        batched=("transformer",),
        scheduler=("flow_match_euler", ("flux2_empirical", "fixed")),
    ),
    "qwen_image": Family(
        ("text_encoder", "vision", "transformer", "vae_encoder", "vae_decoder"),
        batched=("transformer",),
        scheduler=("flow_match_euler", ("linear", "fixed")),
        sees=True,
        axes=3,
    ),
}


def _relative(path: str) -> str:
    if "\\" in path or "\0" in path or {"", ".", ".."} & {*path.split("/")}:
        raise ValueError(f"'{path}' is not a plain relative path inside the pack (forward slashes, no '..')")
    return path


def _example(text: str) -> str:
    if not text.strip():
        raise ValueError("an example must not be empty")
    return text


# Ceilings are far above what models have, and so low that no arithmetic with them overflows.
RelativePath = Annotated[str, Field(max_length=1024), AfterValidator(_relative)]
Text = Annotated[str, Field(max_length=10_000)]
Example = Annotated[Text, AfterValidator(_example)]
Layers = Annotated[int, Field(ge=1, le=1024)]
Levels = Annotated[int, Field(ge=0, le=64)]
Width = Annotated[int, Field(ge=1, le=1 << 16)]
TextWidth = Annotated[int, Field(ge=1, le=1 << 20)]
Tokens = Annotated[int, Field(ge=1, le=1 << 20)]
Vocabulary = Annotated[int, Field(ge=1, le=1 << 22)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 22)]
TokenIds = Annotated[tuple[TokenId, ...], Field(min_length=1, max_length=1024)]
Patch = Annotated[int, Field(ge=1, le=256)]  # pixels
Merge = Annotated[int, Field(ge=1, le=16)]  # patches, frames
Side = Annotated[int, Field(ge=1, le=1 << 14)]  # pixels
Area = Annotated[int, Field(ge=1, le=1 << 26)]  # pixels
Pictures = Annotated[int, Field(ge=1, le=10_000)]
Steps = Annotated[int, Field(ge=1, le=1000)]
Slots = Annotated[int, Field(ge=1, le=1024)]
Positive = Annotated[float, Field(gt=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Model):
    """Size in bytes and sha256 (hex) of one file."""

    size: Annotated[int, Field(ge=0, le=1 << 50)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EngineSpec(_Model):
    """What a graph of one `EPContext` node carries: an engine, for one kind of card and one version of its library.

    Args:
        library: Module that built it.
        version: Of the library; no other one reads the engine.
        target: Compute capability, as in `sm86`.
        precision: Asked for at the build; graphs without matrix products keep their own.
        source: Name of the pack that it was built from.
        status: What is known of it.
    """

    library: Literal["tensorrt", "tensorrt_rtx"]
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+-]{0,63}$")]
    target: Annotated[str, Field(pattern=r"^sm[0-9]{2,3}$")]
    precision: Literal["fp16", "int8", "fp8"]
    source: Annotated[str, Field(min_length=1, max_length=1000)]
    status: Literal["experimental (built, never run)"] = "experimental (built, never run)"


ENGINE_STATUS: str = EngineSpec.model_fields["status"].default
"""What is known of engines."""


class Part(_Model):
    """One graph.

    Args:
        file: The graph.
        data: Files beside it with weights that the graph itself does not hold (ONNX external data).
        precision: Of its weights.
        types: Element types of inputs and outputs that are not those of the family's contract.
        batch_invariant: A row's output is bit-equal whatever else is in the batch (proved at export).
        engine: Where the graph carries one.
    """

    file: RelativePath
    data: tuple[RelativePath, ...] = ()
    precision: Precision = "fp16-weights"
    types: dict[str, ElementType] = {}
    batch_invariant: bool = False
    engine: EngineSpec | None = None


class Architecture(_Model):
    """The numbers of a decoder that its caller needs."""

    layers: Layers
    hidden: Width
    kv_heads: Layers
    head_dim: Width
    vocab: Vocabulary
    deepstack_levels: Levels = 0
    image_token_id: TokenId
    eos_token_ids: TokenIds
    pad_token_id: TokenId

    @model_validator(mode="after")
    def _ids_of_the_vocabulary(self) -> Architecture:
        ids = (self.image_token_id, self.pad_token_id, *self.eos_token_ids)
        _check_ids("image_token_id, eos_token_ids and pad_token_id", ids, self.vocab)
        return self


def _check_ids(names: str, ids: Iterable[int], vocabulary: int) -> None:
    if (highest := max(ids)) >= vocabulary:
        raise ValueError(f"{names}: token {highest} is outside of the vocabulary of {vocabulary}")


class VisionSpec(_Model):
    """Image preprocessing of a vision-language model."""

    patch_size: Patch
    merge_size: Merge
    temporal_patch_size: Merge
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5)
    min_pixels: Area
    max_pixels: Area
    # Requests with `many` or more images: at most this many pixels each.
    max_pixels_many: Area = 147456
    many: Pictures = 5

    @model_validator(mode="after")
    def _ordered(self) -> VisionSpec:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self


class Generation(_Model):
    """Sampling settings; temperature 0 is greedy."""

    temperature: Annotated[float, Field(ge=0, le=1000)] = 0.0
    top_k: TokenId = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Tokens = 4096


class VerdictTokens(_Model):
    """Token ids that spell the boolean of a verdict, for p(success)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    true: TokenIds
    false: TokenIds


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
    reserve: Tokens = 2048


class _Role(_Model):
    """What every role says. `parts`: its graphs by the names of its family.

    A role of the oldest family of its kind may name its parts as fields of its own, as packs of 2026 do.
    """

    families: ClassVar[dict[str, Family]]

    runtime: Literal["native"] = "native"
    family: str
    parts: dict[str, Part]
    tokenizer: RelativePath
    chat_template: RelativePath | None = None
    slots: Slots = 1
    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("CPUExecutionProvider",)
    parameters: Annotated[int, Field(ge=0, le=10**15)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _parts_by_name(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "parts" in raw:
            return raw
        first, known = next(iter(cls.families.items()))
        names = (*known.parts, *known.optional)
        parts = {name: raw[name] for name in names if raw.get(name) is not None}
        return {"family": first, "parts": parts} | {key: raw[key] for key in raw if key not in names}

    @model_validator(mode="after")
    def _of_a_known_family(self) -> _Role:
        if (family := self.families.get(self.family)) is None:
            raise ValueError(f"there is no family '{self.family}'; known are {', '.join(self.families)}")
        for name in family.parts:
            if name not in self.parts:
                raise ValueError(f"there is no part '{name}', which {self.family} needs")
        for name in self.parts:
            if name not in (*family.parts, *family.optional):
                raise ValueError(f"{self.family} has no part '{name}'")
        return self

    @property
    def batch_invariant(self) -> bool:
        """Whether calls of several rows give each row the bits that it would get alone."""
        names = self.families[self.family].batched
        return all(part.batch_invariant for name, part in self.parts.items() if name in names)

    def files(self) -> dict[str, str]:
        """Where in the role a file is named, and the file."""
        found = {f"parts.{name}": part.file for name, part in self.parts.items()}
        found |= {f"parts.{n}.data": file for n, part in self.parts.items() for file in part.data}
        found |= {"tokenizer": self.tokenizer}
        return found | ({"chat_template": self.chat_template} if self.chat_template else {})


class VlmRole(_Role):
    """Planner or critic.

    `declines`: how a planner's words begin where it cannot do what is asked.
    """

    families = VLM_FAMILIES

    token_bytes: RelativePath
    templates: dict[str, RelativePath] = {}
    architecture: Architecture
    vision_config: VisionSpec
    generation: Generation = Generation()
    verdict_tokens: VerdictTokens | None = None
    # p(success) from which a verdict is true, of a critic with `verdict_tokens`.
    verdict_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    grammar: GrammarSpec = GrammarSpec()
    declines: tuple[Example, ...] = ()
    cache_length: Tokens
    prefill_chunk: Width = 64
    # Rows whose prompts the decoder's graph takes in one call; 0: all.
    prefill_rows: Annotated[int, Field(ge=0, le=1024)] = 0

    @model_validator(mode="after")
    def _fits_itself(self) -> VlmRole:
        if self.verdict_tokens is not None:
            said = self.verdict_tokens
            _check_ids("verdict_tokens", (*said.true, *said.false), self.architecture.vocab)
        spec = self.vision_config
        smallest = spec.min_pixels // (spec.patch_size * spec.merge_size) ** 2
        if smallest > self.cache_length:
            raise ValueError(
                f"vision_config.min_pixels {spec.min_pixels} is {smallest} tokens a picture: more than the "
                f"{self.cache_length} of cache_length"
            )
        return self

    def state_bytes(self, slots: int) -> int:
        """Bytes of the key/value caches of `slots` sequences, and of what a prefill step reads and says."""
        told, half = self.architecture, self.parts["decoder"].precision == "fp16"  # others keep float32
        cached = 2 * told.layers * told.kv_heads * told.head_dim * self.cache_length
        chunk = min(self.prefill_chunk, self.cache_length) * told.hidden * (1 + told.deepstack_levels)
        return slots * (cached * (2 if half else 4) + 4 * (chunk + told.vocab))

    def files(self) -> dict[str, str]:
        """As of every role, with the token table, templates and grammars."""
        return {
            **super().files(),
            "token_bytes": self.token_bytes,
            **{f"templates.{name}": path for name, path in self.templates.items()},
            **{f"grammar.{name}": path for name, path in self.grammar.files.items()},
        }


_Point = tuple[Tokens, Annotated[float, Field(ge=-20, le=20)]]


class SchedulerSpec(_Model):
    """The noise schedule, as the family of the generator knows it, and how many denoising steps are usual.

    `shift`: by resolution and steps as the family has it, `linear`, by the tokens of a picture along the `line` of two
    of its points (tokens, shift), or `fixed`, by `value`. `terminal`: where the schedule is stretched to end before its
    last step to nothing.
    """

    kind: str = "flow_match_euler"
    shift: str = "flux2_empirical"
    value: Annotated[float, Field(gt=0, le=1000)] | None = None
    line: tuple[_Point, _Point] | None = None
    terminal: Annotated[float, Field(gt=0, lt=1)] | None = None
    num_inference_steps: Steps = 4

    @model_validator(mode="after")
    def _shift_is_said(self) -> SchedulerSpec:
        if (self.shift == "fixed") != (self.value is not None):
            raise ValueError(
                f"the shift is {self.shift}, its value {self.value}: only a fixed one has a value"
            )
        if (self.shift == "linear") != (self.line is not None):
            raise ValueError(f"the shift is {self.shift}: a linear one has a line, no other")
        if self.line is not None and self.line[0][0] == self.line[1][0]:
            raise ValueError("both points of the line are at one number of tokens")
        return self


class GuidanceSpec(_Model):
    """Classifier-free guidance: every denoising step is made with the prompt and with `negative`, and their
    difference is taken `scale` times.

    `rescale`: what comes of it is scaled, token by token, to the length that it has with the prompt alone.
    """

    scale: Annotated[float, Field(gt=1, le=100)]
    negative: Text = ""
    rescale: bool = False


class ConditioningSpec(_Model):
    """How a text encoder looks at the pictures that a generator starts from.

    Args:
        vision_config: What its eyes make of a picture.
        image_token_id: Stands in a prompt for a token of a picture.
        skip: Tokens at the beginning of a prompt that the denoiser does not read.
        seen_area: Pixels of the pictures that it looks at; their shape is kept, sides are multiples of 32.
        encoded_area: Pixels of those that the codec encodes, likewise.
    """

    vision_config: VisionSpec
    image_token_id: TokenId
    skip: Annotated[int, Field(ge=0, le=1 << 16)]
    seen_area: Area
    encoded_area: Area


class ImageSpec(_Model):
    """Default size and limits of a side, in pixels."""

    width: Side
    height: Side
    multiple_of: Side = 16
    min: Side
    max: Side

    @model_validator(mode="after")
    def _whole_tokens(self) -> ImageSpec:
        for name, side in (("width", self.width), ("height", self.height)):
            if side % self.multiple_of or not self.min <= side <= self.max:
                raise ValueError(
                    f"{name} {side} must be a multiple of {self.multiple_of} between {self.min} and {self.max}"
                )
        return self


class GeneratorRole(_Role):
    """The image generator."""

    families = GENERATOR_FAMILIES

    max_sequence_length: Width
    pad_token_id: TokenId = 0
    scheduler: SchedulerSpec = SchedulerSpec()
    image: ImageSpec
    latent_channels: Width
    text_dim: TextWidth
    token_pixels: Patch
    reference_time: Tokens = 10
    # Pictures that one starts from: those before it in the story, the last one among them.
    references: Annotated[int, Field(ge=1, le=MOST_REFERENCES)] = 1
    guidance: GuidanceSpec | None = None
    conditioning: ConditioningSpec | None = None

    @model_validator(mode="after")
    def _sizes_are_whole_tokens(self) -> GeneratorRole:
        if self.image.multiple_of % self.token_pixels:
            raise ValueError(
                f"image.multiple_of {self.image.multiple_of} is no multiple of token_pixels {self.token_pixels}"
            )
        return self

    @model_validator(mode="after")
    def _conditioning_of_its_family(self) -> GeneratorRole:
        seen, sees = self.conditioning, self.families[self.family].sees
        if sees != (seen is not None):
            raise ValueError(f"{self.family} {'needs' if sees else 'has no'} conditioning by pictures")
        if seen is not None and seen.skip >= self.max_sequence_length:
            raise ValueError(
                f"skip {seen.skip} leaves nothing of the {self.max_sequence_length} tokens of a prompt"
            )
        return self

    @model_validator(mode="after")
    def _schedule_of_its_family(self) -> GeneratorRole:
        said, known = self.scheduler, self.families[self.family].scheduler
        if known is not None and (said.kind != known[0] or said.shift not in known[1]):
            raise ValueError(
                f"the scheduler is {said.kind} with {said.shift}; {self.family} has {known[0]} with "
                + " or ".join(known[1])
            )
        return self


def _kind_of_role(raw: Any) -> str:
    elsewhere = isinstance(raw, RoleSpec) or (
        isinstance(raw, Mapping) and raw.keys() <= RoleSpec.model_fields.keys()
    )
    return "elsewhere" if elsewhere else "graphs"


_Elsewhere = Annotated[RoleSpec, Tag("elsewhere")]
_Vlm = Annotated[Annotated[VlmRole, Tag("graphs")] | _Elsewhere, Discriminator(_kind_of_role)]
_Generator = Annotated[Annotated[GeneratorRole, Tag("graphs")] | _Elsewhere, Discriminator(_kind_of_role)]


class Roles(_Model):
    """The roles of a pack: graphs that it carries, or a word on what runs them; an absent one must be given."""

    planner: _Vlm | None = None
    critic: _Vlm | None = None
    generator: _Generator | None = None


def _promise(text: Any) -> Any:
    return "replay" if text == "scheduling-only" else text  # what packs of 2026 call it


class Manifest(_Model):
    """`pack.json`.

    Args:
        lossless: `bitwise`: equal calls give equal bits, so every run equals the sequential loop. `replay`: a run
            equals the sequential loop over the answers that its calls got.
        prompts: Folder with the templates of roles that run elsewhere; None: the built-in ones.
        places: sha256 of the folders of such roles, as `interleave_rt.pack.compose.folder_sha256`.
        examples: Requests that are known to work with these models.
    """

    format_version: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=1000)]
    version: Text
    description: Text = ""
    license: Text
    source: Text
    lossless: Annotated[Literal["bitwise", "replay"], BeforeValidator(_promise)]
    roles: Roles
    files: dict[RelativePath, FileEntry] = {}
    prompts: RelativePath | None = None
    places: dict[str, str] = {}
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
        for role in ROLES:
            model = getattr(self.roles, role)
            if isinstance(model, _Role):
                found += [(f"roles.{role}.{where}", path) for where, path in model.files().items()]
        return found

    def graphs(self) -> set[str]:
        """The graphs of all roles."""
        roles = (getattr(self.roles, role) for role in ROLES)
        return {part.file for role in roles if isinstance(role, _Role) for part in role.parts.values()}


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
    raw = read_json(
        path,
        _MAX_MANIFEST_BYTES,
        what="load_manifest",
        error=BadPackError,
        hint="give the directory that `python -m interleave_rt.export` wrote, the one with pack.json in it, or copy it "
        "again",
    )
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
    except UnicodeEncodeError:  # of what a check of ours says: JSON can spell half a character
        raise BadPackError(
            f"[load_manifest] {path} holds half of a character (a lone surrogate)",
            hint="correct that field, or export the pack again",
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # Pydantic names the kind of a role within its place; nobody has written that.
        place = ".".join(str(item) for item in first["loc"] if item not in ("graphs", "elsewhere"))
        place = place or "pack.json"
        raise BadPackError(
            f"[load_manifest] {path}: {place}: {first['msg']} ({error.error_count()} problem(s) in all)",
            hint="correct that field, or export the pack again",
        ) from error


def hash_file(path: Path) -> str:
    """sha256 of a file in hex; remembered in this process while path, inode, change time and size stay the same."""
    return str(_remembered(_digest, path))


def _remembered(of: Any, path: Path) -> Any:
    """What a cached function of a file says; a file that has just changed may change again within one tick of the
    clock that stamps it, so nothing is remembered of it.
    """
    status = path.stat()
    state = (status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size)
    fresh = time.time_ns() - status.st_ctime_ns < _TICK_NS
    return of.__wrapped__(path) if fresh else of(path, *state)


@lru_cache(maxsize=4096)
def _data(path: Path, *_state: int) -> tuple[str, ...]:
    return find_data(path)


@lru_cache(maxsize=4096)
def _digest(path: Path, *_state: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify_files(directory: str | Path, manifest: Manifest) -> None:
    """Check that every file of the manifest is there, inside the pack, and unchanged (size first, then sha256).

    Raises:
        BadPackError: naming the first file that is missing, leads out of the pack or differs.
    """
    root = Path(directory).resolve()
    paths, graphs = {name: _inside(root, name) for name in manifest.files}, manifest.graphs()
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
            # A graph that no role names may lie behind a compiled one.
            read = _remembered(_data, path) if name in graphs or path.suffix == ".onnx" else ()
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
        for file in read:
            if str(PurePosixPath(name).parent / file) not in manifest.files:
                raise BadPackError(
                    f"[verify_files] {name} reads {file!r}, which the manifest does not list",
                    hint="export the pack again: whatever a graph reads is listed with its size and sha256",
                )


def _inside(root: Path, name: str) -> Path:
    try:
        path = (root / name).resolve()
        there = path.is_file()
    except (OSError, RuntimeError) as error:  # names that are too long; links in a circle
        raise BadPackError(
            f"[verify_files] {name} cannot be found: {getattr(error, 'strerror', None) or error}",
            hint="a pack holds its files itself, under plain names: export it again",
        ) from None
    if not path.is_relative_to(root):
        raise BadPackError(
            f"[verify_files] {name} leads out of the pack, to {path}",
            hint="a pack holds its files itself: replace the link by the file",
        )
    if not there:
        raise BadPackError(
            f"[verify_files] {name} is missing from {root}",
            hint="the copy is incomplete: copy the pack again, or export it again",
        )
    return path
