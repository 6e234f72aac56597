"""Where figures were measured, and how much memory the process has used."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from interleave_rt.config import usable_cores

_PACKAGES = ("interleave-rt", "onnxruntime", "onnxruntime-gpu", "numpy")


def describe_environment(*, gpu: bool) -> dict[str, Any]:
    """Processor, cores, versions, revision and command line; `gpu`: ask the providers for accelerators too."""
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "gpu": _gpus() if gpu else [],
        "load_average": _load(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": _versions(),
        "revision": _revision(),
        # Arguments that are no text must not keep a result from being written.
        "command": shlex.join(sys.argv).encode("utf-8", "backslashreplace").decode(),
    }


class OtherWork:
    """What other programs take of the machine while something is measured here."""

    def __init__(self) -> None:
        self._began = self._now()

    def cores(self) -> float | None:
        """Cores that this process was kept from, on the average since then; None where the system does not tell.

        Cores that nobody used are not missing, however much others do.
        """
        if self._began is None or (now := self._now()) is None:
            return None
        wall, busy, own = (later - earlier for later, earlier in zip(now, self._began, strict=True))
        if wall <= 0 or not (count := os.cpu_count()):
            return None
        left = count - max(0.0, busy - own) / wall
        return round(max(0.0, usable_cores() - left), 2)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds of the clock, of all processors at work, and of this process and its children."""
        if (line := _told("/proc/stat", "cpu ", "cpu ")) is None:
            return None
        user, nice, system, _, _, *interrupts_and_stolen = (int(one) for one in line.split()[:8])
        busy = (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, sum(os.times()[:4])


def reset_peak_rss() -> bool:
    """Starts a new measurement of the peak; False where the system cannot (the peak is then of the whole process)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_rss_mb() -> float:
    """The largest resident size since `reset_peak_rss`, in MB of 2^20 bytes."""
    if (peak := _told("/proc/self/status", "VmHWM")) is not None:
        return int(peak.split()[0]) / 1024
    scale = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _cpu() -> str:
    return _told("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _told(file: str, name: str, sign: str = ":") -> str | None:
    """What a file of the system says behind `name` and a sign; None where there is no such file or line."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(sign)[2].strip() for line in lines if line.startswith(name)), None)


def _output(*command: str) -> str:
    """What a command prints; nothing where it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _load() -> list[float] | None:
    """Of the last 1, 5 and 15 minutes; other work than this widens every interval."""
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if "interleave-rt" not in found:
        from interleave_rt import __version__

        found["interleave-rt"] = __version__
    return found


def _revision(here: Path = Path(__file__)) -> str | None:
    root = next((folder for folder in here.resolve().parents if (folder / ".git").exists()), None)
    if root is None or not (root / "interleave_rt" / "_core.pyi").is_file():
        return None  # installed somewhere inside another project's checkout
    return _output("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12") or None


def _gpus() -> list[str]:
    """Names as the providers see them; what the driver's tool says where they see none."""
    try:
        import onnxruntime

        devices = [
            device.device.metadata.get("Description") or f"{device.device.vendor} {device.device.type}"
            for device in onnxruntime.get_ep_devices()
            if str(device.device.type).endswith("GPU")
        ]
    except (ImportError, AttributeError):
        devices = []
    if devices:
        return sorted(set(devices))
    said = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return [line.strip() for line in said.splitlines() if line.strip()]
