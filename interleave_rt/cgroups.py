"""What a container may use: CPU time and memory by its cgroups, versions 1 and 2, from the process's own up to the root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cpu_quota", "free_memory", "memory_limit"]

_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 writes a huge number where there is none
_LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def cpu_quota(own: Path = Path("/proc/self/cgroup"), root: Path = _ROOT) -> float | None:
    """CPUs' worth of time that the process may use; None: as many as there are."""
    found: list[float] = []
    for folder in _folders(own, root, "cpu"):
        words = _read(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdecimal():
            found.append(int(words[0]) / int(words[1]))
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # -1: no limit
            found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit(own: Path = Path("/proc/self/cgroup"), root: Path = _ROOT) -> int | None:
    """Bytes that the process and its neighbours in the group may use; None: what the machine has."""
    found = []
    for folder in _folders(own, root, "memory"):
        for name, _ in _LIMITS:
            text = _read(folder / name)
            if text.isdecimal() and int(text) < _NO_LIMIT:
                found.append(int(text))
    return min(found, default=None)


def free_memory(
    own: Path = Path("/proc/self/cgroup"), root: Path = _ROOT, machine: Path = Path("/proc/meminfo")
) -> int | None:
    """Bytes that the process can still get: of the machine, of every group that it is in, and of its own limit
    (`ulimit -v`); None: nobody tells.
    """
    words = [line.split() for line in _read(machine).splitlines()]
    found = [int(line[1]) * 1024 for line in words if line[0] == "MemAvailable:"]
    for folder in _folders(own, root, "memory"):
        for limit, used in _LIMITS:
            most, now = _read(folder / limit), _read(folder / used)
            if most.isdecimal() and now.isdecimal() and int(most) < _NO_LIMIT:
                # Pages of files that nobody has read for a while make room when they must.
                kept = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                found.append(int(most) - int(now) + int(kept.get("inactive_file", 0)))
    found += _left_of_address_space()
    return max(0, min(found)) if found else None


def _left_of_address_space() -> list[int]:
    if not sys.platform.startswith("linux"):
        return []
    import resource  # there is none on every system

    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _read(Path("/proc/self/statm")).split()
    if limit == resource.RLIM_INFINITY or not used:
        return []
    return [limit - int(used[0]) * resource.getpagesize()]


def _folders(own: Path, root: Path, controller: str) -> Iterator[Path]:
    """The process's own group and all above it: each of them limits."""
    if not sys.platform.startswith("linux"):
        return
    for line in _read(own).splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        top = root / controller if names else root
        # Inside a container the group is often mounted as the root, under another name than the kernel's.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder
            if folder == top:
                break


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
