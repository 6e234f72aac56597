"""What a check of an exported graph found, and how outputs are compared."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .sessions import Floats

__all__ = [
    "Comparison",
    "Parity",
    "all_passed",
    "cosine_gap",
    "deviation",
    "machine",
    "picture",
    "worst",
]


@dataclass(frozen=True, slots=True)
class Parity:
    """One graph (or chain of graphs) against PyTorch: the largest deviation and what is allowed."""

    part: str
    metric: str
    value: float
    limit: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the deviation is allowed."""
        return self.value <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """Plain data for parity.json."""
        return asdict(self) | {"passed": self.passed}


@dataclass(slots=True)
class Comparison:
    """Bit-equality of one part over the ways of batching it; `kinds` counts what was varied.

    `method`: of what it was proved, the whole graph or every kernel of it.
    """

    part: str
    compared: int = 0
    different: int = 0
    largest: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    first: str = ""
    method: Literal["graph", "kernels"] = "graph"

    @classmethod
    def of(cls, graph: Path, method: Literal["graph", "kernels"] = "graph") -> Comparison:
        """Nothing compared yet, of the graph ROLE/PART.onnx."""
        return cls(f"{graph.parent.name}/{graph.stem}", method=method)

    def compare(self, kind: str, case: str, expected: Iterable[Floats], actual: Iterable[Floats]) -> None:
        """One comparison: all arrays bit for bit. `kind` names what varies, `case` says which."""
        self.compared += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        pairs = list(zip(expected, actual, strict=True))
        if all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs):
            return
        self.different += 1
        self.first = self.first or f"{kind}: {case}"
        gaps = [float(np.abs(a - b).max()) for a, b in pairs if a.shape == b.shape and a.size]
        self.largest = max([self.largest, *gaps])

    @property
    def passed(self) -> bool:
        """Whether every output had the same bits."""
        return self.different == 0 and self.compared > 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for parity.json."""
        return asdict(self) | {"passed": self.passed}


def all_passed(checks: Iterable[Parity | Comparison]) -> bool:
    """Whether nothing failed."""
    return all(check.passed for check in checks)


_RELATIVE = 1e-4  # of the reference's largest value: float32 sums in another order, over a dozen layers


def deviation(part: str, metric: str, actual: Floats, expected: Floats, detail: str = "") -> Parity:
    """The largest absolute error, and what rounding explains."""
    scale = max(1.0, float(np.abs(expected).max()))
    value = float(np.abs(actual - expected).max()) if actual.shape == expected.shape else float("inf")
    return Parity(part, metric, value, _RELATIVE * scale, detail)


def worst(part: str, metric: str, found: Iterable[Parity]) -> Parity:
    """The check that comes nearest to its limit, or most goes over it."""
    return max([Parity(part, metric, 0.0, 1.0), *found], key=lambda item: item.value / item.limit)


def cosine_gap(one: Floats, other: Floats) -> float:
    """The largest 1 - cosine of two lists of vectors, both [n, size]."""
    a, b = (np.asarray(item, np.float64) for item in (one, other))
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return float(1 - cosine.min())


def picture(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A flat background with a few rectangles, uint8 [height, width, 3]."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = rng.integers(0, 256, 3)
    for _ in range(4):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        image[top : top + rng.integers(4, 16), left : left + rng.integers(4, 16)] = rng.integers(0, 256, 3)
    return image


def machine() -> dict[str, str]:
    """The processor that the proof of batch invariance ran on."""
    flags: set[str] = set()
    model = platform.processor() or "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags = set(value.split())
            elif key.strip() == "model name":
                model = value.strip()
    wide = [name for name in ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile") if name in flags]
    return {"architecture": platform.machine(), "processor": model, "instructions": " ".join(wide)}
