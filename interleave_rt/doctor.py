"""What this machine has, what is missing or wrong, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from .cgroups import cpu_quota, memory_limit
from .config import EngineConfig, usable_cores
from .errors import InterleaveError
from .shown import for_people

__all__ = ["Finding", "examine"]

State = Literal["ok", "note", "fault"]
EXTRAS = {
    "torch": ("torch", "transformers", "diffusers"),
    "openai": ("httpx",),
    "constrained": ("llguidance",),
}
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What.
        state: `ok`, `note` (something to know) or `fault` (something will not work).
        said: What was found.
        mend: What to do, where there is something to do.
    """

    name: str
    state: State
    said: str
    mend: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain data."""
        return asdict(self)


def examine(pack: str | PathLike[str] | None = None, max_memory: str | None = None) -> list[Finding]:
    """Looks at everything; nothing that is found raises.

    Args:
        pack: Folder of a pack whose files, runtimes and memory are checked; None: the embedded one.
        max_memory: As of `EngineConfig`.
    """
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _platform, _processor, _memory, _gpus, _onnxruntime, _extras, lambda: _pack(pack, max_memory),
    )  # fmt: skip
    found = []
    for look in looks:
        try:
            found += list(look())
        except Exception as error:  # noqa: BLE001 - one look that fails must not hide the others
            found.append(
                Finding(
                    look.__name__.strip("_"),
                    "fault",
                    f"could not be looked at: {type(error).__name__}: {error}",
                )
            )
    return found


def _platform() -> Iterator[Finding]:
    from interleave_rt import __version__

    libc = " ".join(platform.libc_ver()).strip()
    said = f"interleave-rt {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding("platform", "ok", f"{said}, {libc}" if libc else said)
    try:
        from interleave_rt import _core  # noqa: F401
    except ImportError as error:
        yield Finding(
            "core", "fault", f"the compiled core cannot be loaded: {error}",
            "leave the folder of the source code, or: pip install --force-reinstall interleave-rt",
        )  # fmt: skip


def _processor() -> Iterator[Finding]:
    features = _cpu_features()
    wide = [
        name for name in ("avx2", "avx512f", "avx512_vnni", "amx_int8", "asimd", "sve") if name in features
    ]
    budget = EngineConfig().budget()
    threads = f"{budget.generator} + {budget.vlm} threads for the lanes"
    yield Finding(
        "processor",
        "ok",
        f"{os.cpu_count()} cores, {usable_cores()} usable; {threads}; {' '.join(wide) or 'no vector extensions known'}",
    )
    if (quota := cpu_quota()) is not None:
        yield Finding(
            "cpu quota", "note", f"the control group allows {quota:g} CPUs' worth of time; threads keep to it"
        )
    if platform.machine() == "x86_64" and features and "avx2" not in features:
        yield Finding(
            "vector unit",
            "note",
            "no AVX2: the graphs run, several times slower",
            "use a machine of 2014 or later",
        )


def _memory() -> Iterator[Finding]:
    total, available = _memory_now()
    limit = memory_limit()
    allowed = min([one for one in (available, limit) if one is not None], default=None)
    said = f"{_gib(total)} in all, {_gib(available)} available" + (
        f", {_gib(limit)} by the control group" if limit else ""
    )
    if allowed is not None and allowed < _GIB // 2:
        yield Finding(
            "memory", "fault", said, "free some, or raise the limit: the embedded pack needs half a GiB"
        )
    else:
        yield Finding("memory", "ok", said)


def _gpus() -> Iterator[Finding]:
    driver = Path("/proc/driver/nvidia/version")
    tool = shutil.which("nvidia-smi")
    if tool is None:
        if driver.exists():
            yield Finding(
                "gpu",
                "fault",
                "there is an NVIDIA driver, but no nvidia-smi",
                "start the container with --gpus all",
            )
        else:
            yield Finding("gpu", "note", "no NVIDIA driver: everything runs on the CPU")
        return
    query = "name,memory.total,memory.free,driver_version,compute_cap"
    try:
        done = subprocess.run(  # noqa: S603
            [tool, f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding(
            "gpu",
            "fault",
            f"nvidia-smi does not answer: {error}",
            "reinstall the driver, or reboot after an update of it",
        )
        return
    for index, line in enumerate(done.stdout.strip().splitlines()):
        name, memory, free, version, capability = (word.strip() for word in line.split(","))
        yield Finding(
            f"gpu {index}",
            "ok",
            f"{name}, {memory} ({free} free), driver {version}, compute capability {capability}",
        )


def _onnxruntime() -> Iterator[Finding]:
    from .backends.ort import load_runtime

    try:
        version = load_runtime()
    except InterleaveError as error:
        yield Finding("onnxruntime", "fault", for_people(error.message), error.hint)
        return
    import onnxruntime

    names = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    yield Finding("onnxruntime", "ok", f"{version} with {', '.join(names)}")
    if shutil.which("nvidia-smi") and "CUDA" not in names:
        yield Finding(
            "cuda provider", "note", "there is a GPU, but this ONNX Runtime has no CUDA",
            "pip uninstall -y onnxruntime && pip install 'interleave-rt[cuda]'",
        )  # fmt: skip
    yield from _engines("Tensorrt" in names)


def _engines(runs_tensorrt: bool) -> Iterator[Finding]:
    from .backends.engines import LIBRARIES, installed_version
    from .pack.manifest import ENGINE_STATUS

    for module, library in LIBRARIES.items():
        version = installed_version(module)
        if version is None:
            continue
        if version.startswith(library.series):
            yield Finding(module, "note", f"{library.name} {version}; engines are {ENGINE_STATUS}")
        elif runs_tensorrt or library.provider != "TensorrtExecutionProvider":
            yield Finding(
                module, "fault",
                f"{library.name} {version} is installed; ONNX Runtime's provider asks for {library.series}x",
                library.install,
            )  # fmt: skip


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        there = ", ".join(f"{name} {_version(name) or '?'}" for name in modules if name not in missing)
        if not missing:
            yield Finding(f"extra [{extra}]", "ok", there)
            continue
        said = f"missing: {', '.join(missing)}" + (f" (there is {there})" if there else "")
        yield Finding(
            f"extra [{extra}]", "note", said, f"pip install 'interleave-rt[{extra}]' where you need it"
        )


def _pack(folder: str | PathLike[str] | None, max_memory: str | None) -> Iterator[Finding]:
    from .pack import load_pack
    from .pack.compose import check_places

    try:
        pack = load_pack(folder)
        check_places(pack)
    except InterleaveError as error:
        yield Finding("pack", "fault", for_people(error.message), error.hint)
        return
    files = len(pack.manifest.files)
    yield Finding(
        "pack",
        "ok",
        f"{pack.name} {pack.manifest.version}, {files} files as they were written, {pack.manifest.lossless}",
    )
    missing = list(_runtimes(pack))
    yield from missing
    if not any(one.state == "fault" for one in missing):
        yield from _sharing(pack, max_memory)


def _sharing(pack: Any, max_memory: str | None) -> Iterator[Finding]:
    """What each role in PyTorch needs, and how they share their devices."""
    from .placement import gb, peak
    from .runtimes import share_devices

    try:
        sharing = share_devices(pack, EngineConfig(max_memory=max_memory))
    except InterleaveError as error:
        yield Finding("memory of roles", "fault", for_people(error.message), error.hint)
        return
    if sharing is None:
        return
    for device, arrangement in sharing.arrangements.items():
        needs = [
            f"{demand.name} {gb(peak([demand], 'keep'))} ({gb(sum(part.weights for part in demand.parts))} of weights)"
            for demand in sharing.demands[device]
        ]
        yield Finding(f"memory of {device}", "ok", f"{arrangement.why}; {', '.join(needs)}")


def _runtimes(pack: Any) -> Iterator[Finding]:
    from .pack.manifest import ROLES
    from .pack.spec import RoleSpec

    for role in pack.roles:
        spec = getattr(pack.manifest.roles, role)
        needed = EXTRAS.get(spec.runtime, ()) if isinstance(spec, RoleSpec) else ()
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if missing:
            yield Finding(
                role, "fault", f"{spec} needs {', '.join(missing)}", f"pip install 'interleave-rt[{spec.runtime}]'"
            )  # fmt: skip
    for role in ROLES:
        if role not in pack.roles:
            yield Finding(
                role, "note", f"the pack has no {role}", f"say what runs it: --{role} RUNTIME:PLACE"
            )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_features() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {word for line in lines if line.lower().startswith(("flags", "features")) for word in line.split()}


def _memory_now() -> tuple[int | None, int | None]:
    """Bytes in all and available."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        if sys.platform == "win32":
            return None, None
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    words = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
    return words.get("MemTotal"), words.get("MemAvailable")


def _gib(size: int | None) -> str:
    return "?" if size is None else f"{size / _GIB:.1f} GiB"
