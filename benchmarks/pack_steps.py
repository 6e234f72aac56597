"""One-token steps of two packs' decoders in turns: what another precision of the weights is worth.

    python -m interleave_rt.export int8 --out INT8
    python benchmarks/pack_steps.py INT8 [--beside PACK] [--steps 400]

Prints the bytes of both packs, and for planner and critic the median time of a step in ONNX Runtime at batch 1 and 8,
on one thread. What it costs in answers the evaluation says: `interleave-rt eval shapes --pack INT8`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from interleave_rt.export.proof.sessions import DecoderRunner, RowInput, open_session

from interleave_rt import load_pack


class Steps:
    """Rows of the same random text; every call appends a token to each."""

    def __init__(self, path: Path, rows: int, tokens: int, length: int) -> None:
        self._runner = DecoderRunner(open_session(path), rows, length)
        nothing = np.zeros((tokens, self._runner.hidden), np.float32)
        deepstack = np.zeros((self._runner.levels, tokens, self._runner.hidden), np.float32)
        places = np.tile(np.arange(tokens), (3, 1))
        ids = np.random.default_rng(7).integers(0, 250, (rows, tokens))
        self._rows = [RowInput(row.astype(np.int64), places, nothing, deepstack) for row in ids]
        self._at = 0

    def milliseconds(self) -> float:
        """Time of the next step."""
        pieces = {i: row.part(self._at, self._at + 1) for i, row in enumerate(self._rows)}
        self._at += 1
        start = time.perf_counter()
        self._runner.step(pieces, 1)
        return 1e3 * (time.perf_counter() - start)


def compare(files: list[Path], rows: int, steps: int, length: int) -> list[float]:
    """Median milliseconds of a step of each file; they take turns, and who begins changes."""
    times: list[list[float]] = [[] for _ in files]
    for start in range(0, steps, length):  # a cache holds `length` tokens
        arms = [Steps(file, rows, length, length) for file in files]
        for number in range(min(length, steps - start)):
            for arm in (0, 1) if number % 2 else (1, 0):
                times[arm].append(arms[arm].milliseconds())
    return [statistics.median(one) for one in times]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pack", type=Path)
    parser.add_argument("--beside", type=Path, help="default: the embedded pack")
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    packs = [load_pack(arguments.beside), load_pack(arguments.pack)]
    sizes = [sum(file.size for file in pack.manifest.files.values()) / 1e6 for pack in packs]
    print(f"{'pack':20s} {sizes[0]:7.2f} MB -> {sizes[1]:7.2f} MB ({sizes[1] / sizes[0]:.2f} x)")
    for role in ("planner", "critic"):
        found = getattr(packs[0].manifest.roles, role)
        for rows in (1, 8):
            files = [pack.path / getattr(pack.manifest.roles, role).parts["decoder"].file for pack in packs]
            before, after = compare(files, rows, arguments.steps, found.cache_length)
            what = f"{role}, batch {rows}"
            print(f"{what:20s} {before:7.3f} ms -> {after:7.3f} ms ({after / before:.2f} x)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
