"""Proof of a decoder whose graph takes prompts row by row and answers token by token, of many rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .census import kernel_census
from .checks import Comparison
from .invariance import ANSWER, THREADS, random_row
from .sessions import DecoderRunner, Floats, RowInput, open_session

__all__ = ["written_census", "written_invariance"]

_SMALL = 18  # every chunk size below it is tried, and those around powers of two


def _sizes(chunk: int) -> list[int]:
    odd = {2**power + more for power in range(5, 12) for more in (-1, 0, 1)}
    return sorted({size for size in {*range(1, _SMALL), *odd} if size < chunk} | {chunk})


def written_census(path: Path, *, slots: int, chunk: int) -> Comparison:
    """The same by a census of the graph's kernels: without the weights, and in minutes however many layers there are."""
    shapes = {
        item.name: [one.dim_value for one in item.type.tensor_type.shape.dim]
        for item in onnx.load(path, load_external_data=False).graph.input
    }

    def feed(rows: int, tokens: int) -> dict[str, Any]:
        places = np.arange(tokens)
        hidden = shapes["visual_embeds"][2]
        caches = {
            name: (rows, *shape[1:])
            for name, shape in shapes.items()
            if name.startswith("past_") and shape[1:]
        }
        pictures: dict[str, tuple[int, ...]] = {"visual_embeds": (rows, tokens, hidden)}
        if "deepstack" in shapes:
            pictures["deepstack"] = (shapes["deepstack"][0], rows, tokens, hidden)
        return {name: np.zeros(shape, np.float32) for name, shape in {**caches, **pictures}.items()} | {
            "input_ids": np.tile(places + 1, (rows, 1)),
            "position_ids": np.tile(places, (3, rows, 1)),
            "past_len": np.zeros(rows, np.int64),
            "last_index": np.full(rows, tokens - 1),
        }

    prompts = [(1, size) for size in _sizes(chunk // 2 * 2) if size % 2 == 0]
    return kernel_census(path, feed, [prompts, [(rows, 1) for rows in range(1, slots + 1)]])


def written_invariance(
    path: Path, *, slots: int, chunk: int, length: int, image: int, seed: int, rounds: int = 2
) -> Comparison:
    """Prompts over chunk sizes; answers over batch sizes, row positions, neighbours and idle rows; 1 and 2 threads.

    The reference of a prompt is batch 1 in chunks of `chunk`, of an answer batch 1. As in the runtime, a chunk of a
    prompt is padded to an even number of tokens. Cache lengths are no question of this graph: it is made for one.
    """
    rng = np.random.default_rng(seed)
    session = open_session(path)
    shape = DecoderRunner(session, 1, length)
    vocab = int(session.get_outputs()[0].shape[-1])
    chunk = min(chunk, (length - ANSWER) // 2)
    sizes = [chunk + chunk // 2 + 1, *rng.integers(1, chunk + 1, slots - 1)]
    rows = [random_row(rng, shape, int(size), vocab, image) for size in sizes]
    tally = Comparison.of(path)

    def prompt(session: Any, row: RowInput, size: int) -> list[Floats]:
        """Logits behind the prompt, and its cache."""
        runner = DecoderRunner(session, 1, length)
        end = len(row.ids) - ANSWER
        logits = np.zeros(0, np.float32)
        for start in range(0, end, size):
            piece = row.part(start, min(start + size, end))
            even = len(piece.ids) + len(piece.ids) % 2
            logits = runner.step({0: piece}, even)[0].copy()
        return [logits, *runner.cache_of(0)]

    caches = [prompt(session, row, chunk) for row in rows]
    tried = _sizes(chunk)

    def answers(session: Any, chosen: Sequence[int]) -> list[list[Floats]]:
        """Each row's logits, token by token, then its cache; rows pause at random."""
        runner = DecoderRunner(session, len(chosen), length)
        logits: dict[int, list[Floats]] = {row: [] for row in chosen}
        for slot, row in enumerate(chosen):
            runner.load(slot, caches[row][1:])
        while any(len(found) < ANSWER for found in logits.values()):
            pieces = {}
            for slot, row in enumerate(chosen):
                at = len(rows[row].ids) - ANSWER + len(logits[row])
                if len(logits[row]) < ANSWER and (len(chosen) == 1 or rng.random() < 0.8):
                    pieces[slot] = rows[row].part(at, at + 1)
            out = runner.step(pieces, 1)
            for slot in pieces:
                logits[chosen[slot]].append(out[slot].copy())
        return [[*logits[row], *runner.cache_of(slot)] for slot, row in enumerate(chosen)]

    expected = [answers(session, [row])[0] for row in range(slots)]
    for threads in THREADS:
        running = open_session(path, threads)
        suffix = "" if threads == 1 else f", {threads} threads"
        for size in tried:
            tally.compare(f"chunk size{suffix}", f"chunk {size}", caches[0], prompt(running, rows[0], size))
        for batch in range(1, slots + 1):
            for _ in range(rounds):
                chosen = [int(row) for row in rng.permutation(slots)[:batch]]
                for slot, found in enumerate(answers(running, chosen)):
                    case = f"batch {batch}, slot {slot}, row {chosen[slot]}"
                    tally.compare(f"answers together{suffix}", case, expected[chosen[slot]], found)
    return tally
