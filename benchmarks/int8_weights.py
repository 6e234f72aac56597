"""What int8 weights would do to a pack: its size, its decoder step, its bits, its answers.

    python benchmarks/int8_weights.py --out DIR [--pack DIR] [--block 32] [--steps 300]

Writes DIR: the pack with every matrix product of its language, vision and diffusion graphs as MatMulNBits with 8-bit
weights (symmetric, one scale a block; accuracy level 4, the one that is batch-invariant) and all else as it was.
Prints bytes of every graph, the median time of a one-token step of both decoders in turns (batch 1 and 8), the cosine
of logits, and whether a row's bits depend on its batch. What it costs in answers the evaluation says:

    interleave-rt eval shapes --pack DIR
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
from interleave_rt.export.fp16_weights import store_half
from interleave_rt.export.invariance import decoder_invariance
from interleave_rt.export.sessions import DecoderRunner, Floats, RowInput, open_session
from onnx import numpy_helper

from interleave_rt.pack import load_pack

GRAPHS = ("planner/decoder", "planner/vision", "critic/decoder", "critic/vision")
GRAPHS += ("generator/text_encoder", "generator/transformer")


def with_plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its float16 weights as float32 initializers, which is what the quantiser looks for."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type not in ("Cast", "Transpose") or node.input[0] not in stored:
            kept.append(node)
            continue
        array = numpy_helper.to_array(stored[node.input[0]])
        array = array.astype(np.float32) if node.op_type == "Cast" else array.T.copy()
        stored[node.output[0]] = numpy_helper.from_array(array, node.output[0])
    used = {name for node in kept for name in node.input}
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensor for name, tensor in stored.items() if name in used)
    return model


def quantise(source: Path, target: Path, block: int) -> None:
    """Write the graph `source` with int8 matrices to `target`."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(
        with_plain_weights(onnx.load(source)), bits=8, block_size=block, is_symmetric=True, accuracy_level=4
    )
    quantiser.process()
    made = quantiser.model.model
    store_half(made)
    onnx.save(made, target)


def write_pack(source: Path, out: Path, block: int) -> None:
    """The pack `source` with int8 matrices; its manifest has the new files' sizes and hashes."""
    shutil.copytree(source, out, dirs_exist_ok=True)
    for graph in GRAPHS:
        quantise(source / f"{graph}.onnx", out / f"{graph}.onnx", block)
    path = out / "pack.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        data = (out / name).read_bytes()
        manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest, indent=2) + "\n")


class Steps:
    """One-token steps of a decoder, each row at the same place of the same random text."""

    def __init__(self, path: Path, rows: int, tokens: int, length: int) -> None:
        self._runner = DecoderRunner(open_session(path), rows, length)
        rng = np.random.default_rng(7)
        hidden, levels = self._runner.hidden, self._runner.levels
        ids = rng.integers(0, 1000, (rows, tokens))
        nothing = np.zeros((tokens, hidden), np.float32)
        deepstack = np.zeros((levels, tokens, hidden), np.float32)
        places = np.tile(np.arange(tokens), (3, 1))
        self._rows = [RowInput(row.astype(np.int64), places, nothing, deepstack) for row in ids]
        self._at = 0

    def step(self) -> tuple[float, Floats]:
        """Seconds of the next step, and its logits."""
        pieces = {i: row.part(self._at, self._at + 1) for i, row in enumerate(self._rows)}
        self._at += 1
        start = time.perf_counter()
        logits = self._runner.step(pieces, 1)
        return time.perf_counter() - start, logits


def compare(before: Path, after: Path, rows: int, steps: int, length: int) -> dict[str, float]:
    """Median milliseconds of a step of both, in turns, and the least cosine of their logits."""
    arms = [Steps(path, rows, steps, length) for path in (before, after)]
    times: tuple[list[float], list[float]] = ([], [])
    cosines = []
    for number in range(steps):
        found: list[Any] = [None, None]
        for arm in (0, 1) if number % 2 else (1, 0):
            seconds, found[arm] = arms[arm].step()
            times[arm].append(1e3 * seconds)
        a, b = (np.asarray(x, np.float64) for x in found)
        cosines.append(
            float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())
        )
    medians = [statistics.median(one) for one in times]
    return {"before": medians[0], "after": medians[1], "cosine": min(cosines)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the pack with int8 weights")
    parser.add_argument("--pack", type=Path, help="default: the embedded pack")
    parser.add_argument("--block", type=int, default=32, help="weights that share a scale")
    parser.add_argument("--steps", type=int, default=300, help="one-token steps that are timed")
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    source = pack.path
    write_pack(source, arguments.out, arguments.block)
    for graph in GRAPHS:
        sizes = [(root / f"{graph}.onnx").stat().st_size / 1e6 for root in (source, arguments.out)]
        print(f"{graph:24s} {sizes[0]:6.2f} MB -> {sizes[1]:6.2f} MB")
    total = [
        sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) / 1e6
        for root in (source, arguments.out)
    ]
    print(f"{'pack':24s} {total[0]:6.2f} MB -> {total[1]:6.2f} MB")
    for rows in (1, 8):
        found = compare(
            *(r / "planner/decoder.onnx" for r in (source, arguments.out)), rows, arguments.steps, 640
        )
        print(
            f"planner step, batch {rows}: {found['before']:.3f} ms -> {found['after']:.3f} ms "
            f"({found['after'] / found['before']:.2f} x), least cosine of logits {found['cosine']:.5f}"
        )
    image = pack.manifest.roles.planner.architecture.image_token_id
    proof = decoder_invariance(
        arguments.out / "planner/decoder.onnx", slots=8, chunk=64, length=640, image=image, seed=0, rounds=1
    )
    print("a row's bits do not depend on its batch:", proof.passed, proof)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
