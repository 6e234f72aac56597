"""Which execution providers may run a pack here: the CPU's, and those that a proof on this machine has shown right.

`interleave_rt.prove` compares an engine on a provider with the sequential loop and writes the proof, one JSON file of
the user's own; loading looks for it. A proof holds for what its key names and for nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadPackError
from interleave_rt.files import saving, write_file
from interleave_rt.pack import Pack
from interleave_rt.pack.manifest import verify_files

from .ort import load_runtime

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
}
STATE_VARIABLE = "INTERLEAVE_RT_STATE_DIR"
"""Environment variable: where proofs are kept, instead of `$XDG_STATE_HOME/interleave-rt`."""

_FORMAT = "interleave-rt.proof/1"
_MAX_BYTES = 1 << 16
# Set while a provider is being proved: it must be opened before there is a proof of it.
_being_proved: ContextVar[tuple[str, ...]] = ContextVar("interleave_rt_being_proved", default=())


@dataclass(frozen=True, slots=True)
class ProofKey:
    """What a proof is of; another value of any field needs a proof of its own.

    Args:
        pack: sha256 of the manifest, which holds the sha256 of every file.
        provider: Execution providers in order of preference, joined by commas.
        device: Name of the card (of the processor, where the provider is not NVIDIA's).
        driver: Version of its driver.
        onnxruntime: Version of ONNX Runtime.
        libraries: The installed wheels of NVIDIA's libraries, with versions.
        interleave_rt: Our version.
    """

    pack: str
    provider: str
    device: str
    driver: str
    onnxruntime: str
    libraries: str
    interleave_rt: str

    @classmethod
    def of(cls, pack: Pack, providers: Sequence[str]) -> ProofKey:
        """The key of a pack on this machine."""
        manifest = json.dumps(pack.manifest.model_dump(mode="json"), sort_keys=True)
        nvidia = any(name != PROVIDERS["cpu"] and name in PROVIDERS.values() for name in providers)
        device, driver = _card() if nvidia else (platform.processor(), platform.release())
        return cls(
            pack=hashlib.sha256(manifest.encode()).hexdigest(),
            provider=",".join(providers),
            device=device,
            driver=driver,
            onnxruntime=load_runtime(),
            libraries=_libraries(),
            interleave_rt=metadata.version("interleave-rt"),
        )

    def changes(self, proved: ProofKey) -> list[str]:
        """What differs from a key that was proved, in words."""
        pairs = [(name, value, getattr(proved, name)) for name, value in asdict(self).items()]
        return [f"{name} was {was or 'none'}, is {now or 'none'}" for name, now, was in pairs if now != was]


@contextlib.contextmanager
def proving(providers: Sequence[str]) -> Iterator[None]:
    """Opens these providers without a proof, for the check that makes one; in this thread alone."""
    token = _being_proved.set(tuple(providers))
    try:
        yield
    finally:
        _being_proved.reset(token)


def require_proof(pack: Pack, providers: Sequence[str], *, batching: bool) -> None:
    """Lets a pack be opened on these providers, or says why not.

    Raises:
        BadPackError: They are not the CPU's alone, and no proof on this machine covers them.
    """
    if set(providers) <= {PROVIDERS["cpu"]} or tuple(providers) == _being_proved.get():
        return
    verify_files(pack.path, pack.manifest)  # the proof is of the files that the manifest lists
    key = ProofKey.of(pack, providers)
    short = next((name for name, full in PROVIDERS.items() if full == providers[0]), providers[0])
    hint = f"show it on this machine: python -m interleave_rt.prove --provider {short} --pack {pack.path}"
    path = _path(key)

    def refused(why: str, hint: str = hint) -> BadPackError:
        return BadPackError(f"[proof] {why}", hint=hint)

    proved: ProofKey | None
    try:
        proved, batched = _read(path)
    except FileNotFoundError:
        proved, batched = _nearest(key), False
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise refused(f"{path} cannot be read: {error}") from None
    if proved is None:
        raise refused(f"{key.provider} has not been shown to give the results of {pack.name} on this machine")
    if changes := key.changes(proved):
        raise refused(f"{key.provider} was shown to be right under other conditions: {'; '.join(changes)}")
    if batching and not batched:
        raise refused(f"{key.provider} was shown to be right without batching only", "pass batching=False")


def write_proof(key: ProofKey, *, batching: bool, rows: Sequence[dict[str, Any]]) -> Path:
    """Keeps a proof: readable by its owner alone, and never seen half written."""
    path = _path(key)
    with saving(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps(
        {"format": _FORMAT, "key": asdict(key), "batching": batching, "rows": list(rows)}, indent=1
    )
    return write_file(path, text + "\n", mode=0o600)


def proof_folder() -> Path:
    """Where this user's proofs are kept."""
    if own := os.environ.get(STATE_VARIABLE):
        return Path(own) / "proofs"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "interleave-rt" / "proofs"


def _path(key: ProofKey) -> Path:
    digest = hashlib.sha256(json.dumps(asdict(key), sort_keys=True).encode()).hexdigest()
    return proof_folder() / f"{digest[:32]}.json"


def _read(path: Path) -> tuple[ProofKey, bool]:
    """A proof's key, and whether it covers batching."""
    with path.open("rb") as file:
        raw = json.loads(file.read(_MAX_BYTES))
    if not isinstance(raw, dict) or raw.get("format") != _FORMAT or not isinstance(raw["batching"], bool):
        raise ValueError(f"it is no {_FORMAT}")
    return ProofKey(**raw["key"]), raw["batching"]


def _nearest(key: ProofKey) -> ProofKey | None:
    """The proof of this pack or this provider that has most in common with `key`."""
    found = []
    for path in proof_folder().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            found.append(_read(path)[0])
    related = [other for other in found if other.pack == key.pack or other.provider == key.provider]
    return min(related, key=lambda other: len(key.changes(other)), default=None)


def _card() -> tuple[str, str]:
    """Name of the first CUDA device that this process may use, and the version of its driver."""
    device, name, version = ctypes.c_int(), *(ctypes.create_string_buffer(256) for _ in range(2))
    try:
        cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
        failed = (
            cuda.cuInit(0)
            or cuda.cuDeviceGet(ctypes.byref(device), 0)
            or cuda.cuDeviceGetName(name, len(name), device)
            or nvml.nvmlInit_v2()
            or nvml.nvmlSystemGetDriverVersion(version, len(version))
        )
    except (OSError, AttributeError):
        return "", ""
    return ("", "") if failed else (name.value.decode(), version.value.decode())


def _libraries() -> str:
    names = {(one.metadata["Name"] or "", one.version) for one in metadata.distributions()}
    return ", ".join(
        f"{name} {version}"
        for name, version in sorted(names)
        if name.startswith(("nvidia-", "onnxruntime-ep-"))
    )
