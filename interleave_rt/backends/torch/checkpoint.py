"""A directory with a model: what can be said of it before its weights are loaded, and where they would go."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from interleave_rt.cgroups import free_memory
from interleave_rt.checks import whole
from interleave_rt.errors import BadPackError

__all__ = [
    "PIPELINE_INDEX",
    "TYPES",
    "Lora",
    "Placement",
    "content_hash",
    "free_bytes",
    "need",
    "place",
    "read_json",
    "tensors_of",
    "use_threads",
    "weight_files",
]

PIPELINE_INDEX = "model_index.json"
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}  # others, of quantised models: 1
_FLOATS = ("F64", "F32", "F16", "BF16")
_HASHED = (".json", ".jinja", ".txt", ".model")
TYPES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs, and the type of its weights there.

    Args:
        device: As PyTorch writes it: `cpu`, `cuda`, `cuda:1`.
        dtype: `float32`, `bfloat16` or `float16`.
    """

    device: str
    dtype: str

    @property
    def lossless(self) -> str:
        """`bitwise` where the same call gives the same bits; kernels on a card need not."""
        return "bitwise" if self.device == "cpu" else "replay"


@dataclass(frozen=True, slots=True)
class Lora:
    """A file of low-rank changes to a model's weights, and how strongly they are applied."""

    file: Path
    scale: float = 1.0

    @classmethod
    def of(cls, text: str | Path) -> Lora:
        """From `FILE` or `FILE:SCALE`.

        Raises:
            BadPackError: There is no such file.

        Example:
            >>> Lora.of("no/such.safetensors:0.5")
            Traceback (most recent call last):
            ...
            interleave_rt.errors.BadPackError: [torch] there is no LoRA file no/such.safetensors
        """
        name, _, tail = str(text).rpartition(":")
        scale = 1.0
        try:
            scale = float(tail) if name else 1.0
        except ValueError:
            name = ""
        file = Path(name or str(text))
        if not file.exists():
            raise BadPackError(f"[torch] there is no LoRA file {file}", hint="give FILE or FILE:SCALE")
        return cls(file, scale)

    @classmethod
    def several(cls, given: str | Path | Sequence[str | Path]) -> list[Lora]:
        """One file or some, each as `of` reads it."""
        return [cls.of(one) for one in ([given] if isinstance(given, str | Path) else given)]

    def __str__(self) -> str:
        """Name, scale and content, as results say it; the settings that lie beside a file of peft's belong to it."""
        settings = self.file.parent / "adapter_config.json"
        parts = [self.file, settings] if self.file.is_file() and settings.is_file() else [self.file]
        hashes = "".join(content_hash(part) for part in parts)
        content = hashes if len(parts) == 1 else hashlib.sha256(hashes.encode()).hexdigest()
        return f"{self.file.name}:{self.scale:g}:{content[:16]}"


@contextmanager
def no_bars(*libraries: Any) -> Iterator[None]:
    """Without the libraries' bars of loading, which would run into whatever the program prints."""
    logs = [library.utils.logging for library in libraries]
    shown = [log for log in logs if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()


def need(*names: str) -> list[Any]:
    """Imports libraries of the extra.

    Raises:
        BadPackError: One is not installed; with the command that mends it.
    """
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == name
            extra = "lora" if name == "peft" else "torch"
            raise BadPackError(
                f"[torch] {name} is not installed" if missing else f"[torch] {name} cannot be used: {error}",
                hint=f"pip install 'interleave-rt[{extra}]'",
            ) from None
    return found


def read_json(directory: Path, name: str, what: str) -> dict[str, Any]:
    """A JSON file of a model's directory; `what` the directory should be is named in the error."""
    if not directory.is_dir():
        raise BadPackError(f"[torch] there is no directory {directory}", hint=f"give the path of {what}")
    try:
        raw = json.loads((directory / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        pipeline = name != PIPELINE_INDEX and (directory / PIPELINE_INDEX).is_file()
        raise BadPackError(
            f"[torch] {directory} is not {what}: it has no {name}",
            hint="it is a diffusers pipeline: give it as the generator"
            if pipeline
            else f"give the path of {what}",
        ) from None
    except (OSError, ValueError) as error:
        raise BadPackError(f"[torch] {directory / name} cannot be read: {error}") from None
    if not isinstance(raw, dict):
        raise BadPackError(f"[torch] {directory / name} is no JSON object")
    return raw


def tensors_of(directory: Path, dtype: str) -> Iterator[tuple[str, int]]:
    """Names of a model's tensors, and their bytes once they are loaded as `dtype`; read from the heads of its files.

    Raises:
        BadPackError: There are none, a file is missing or cut off.
    """
    files = weight_files(directory)
    if not files:
        raise BadPackError(f"[torch] {directory} has no weights (*.safetensors)", hint="copy the whole model")
    for file in files:
        if file.suffix == ".safetensors":
            yield from _tensors(file, TYPES[dtype])
        else:
            yield file.name, file.stat().st_size


def weight_files(directory: Path) -> list[Path]:
    """The files with the weights of a model, or of every part of a pipeline; copies in other precisions are left out.

    Raises:
        BadPackError: A file that an index names is missing.
    """
    if (directory / PIPELINE_INDEX).is_file():
        parts = read_json(directory, PIPELINE_INDEX, "a pipeline")
        folders = [directory / name for name in sorted(parts) if (directory / name).is_dir()]
        return [file for folder in folders for file in weight_files(folder)]
    for stem in ("model", "diffusion_pytorch_model"):
        index = directory / f"{stem}.safetensors.index.json"
        if index.is_file():
            named = read_json(directory, index.name, "a model").get("weight_map", {})
            shards = [directory / str(name) for name in sorted(set(named.values()))]
            for shard in shards:
                if not shard.is_file():
                    raise BadPackError(
                        f"[torch] {shard} is missing: {index.name} names it", hint="copy it too"
                    )
            return shards
        if (directory / f"{stem}.safetensors").is_file():
            return [directory / f"{stem}.safetensors"]
    return sorted(directory.glob("*.safetensors")) or sorted(directory.glob("*.bin"))


def _tensors(file: Path, width: int) -> Iterator[tuple[str, int]]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            size = file.stat().st_size
            head = json.loads(stream.read(length)) if length < size else None
        entries = {name: entry for name, entry in head.items() if name != "__metadata__"} if head else None
        if (
            entries is None
            or max((e["data_offsets"][1] for e in entries.values()), default=0) + 8 + length > size
        ):
            raise BadPackError(
                f"[torch] {file} is cut off: its head tells of more than {size} bytes", hint="copy it again"
            )
        for name, entry in entries.items():
            kind = entry["dtype"]
            yield name, math.prod(entry["shape"]) * (width if kind in _FLOATS else _BYTES.get(kind, 1))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadPackError(f"[torch] {file} is no safetensors file: {error}", hint="copy it again") from None


def place(device: str | None, dtype: str | None) -> Placement:
    """Where a model goes: the given device or the first card there is, in bfloat16 on cards and float32 elsewhere.

    Raises:
        BadPackError: There is no such device or type.
    """
    (torch,) = need("torch")
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = torch.device(where).type
    except RuntimeError:
        raise BadPackError(f"[torch] {where!r} is no device", hint="give cpu, cuda or cuda:N") from None
    if kind == "cuda" and (torch.device(where).index or 0) >= torch.cuda.device_count():
        raise BadPackError(
            f"[torch] there is no {where}: PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices",
            hint="give cpu, or install the driver and a PyTorch build for CUDA",
        )
    chosen = dtype or ("float32" if kind == "cpu" else "bfloat16")
    if chosen not in TYPES:
        raise BadPackError(f"[torch] {chosen!r} is no type of weights", hint=f"give {', '.join(TYPES)}")
    return Placement(where, chosen)


def use_threads(threads: int | None) -> None:
    """Has PyTorch compute on so many threads of the CPU, in the whole process; None: as it is.

    Raises:
        BadRequestError: It is no such number.
    """
    if threads is not None:
        (torch,) = need("torch")
        torch.set_num_threads(whole("[torch] threads", threads, 1, 1024))


def free_bytes(device: str) -> int | None:
    """Free memory of a device, None where it cannot be told; on the CPU no more than the control groups leave."""
    (torch,) = need("torch")
    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return free_memory() if kind == "cpu" else None


def content_hash(path: Path) -> str:
    """sha256 (hex) over the configuration and weight files of a directory, or of one file.

    Files are read once a process, as long as neither their size nor their time changes.
    """
    files = [path]
    if path.is_dir():
        small = (file for file in path.rglob("*") if file.suffix in _HASHED and file.is_file())
        files = sorted({*small, *weight_files(path)})
    with ThreadPoolExecutor(8) as pool:  # hashing gives the GIL away
        digests = list(pool.map(_digest, files))
    whole = hashlib.sha256()
    for file, digest in zip(files, digests, strict=True):
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        whole.update(f"{name}\0{digest}\n".encode())
    return whole.hexdigest()


def _digest(file: Path) -> str:
    status = file.stat()
    return _digest_of(file, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(file: Path, _size: int, _time: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
