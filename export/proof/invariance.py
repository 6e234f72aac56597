"""Proof, on the real graph, that a row's output does not depend on how it was batched.

The reference of a row is the graph at batch 1 in chunks of the pack's prefill size on one thread. Everything else
(batch sizes, row positions, chunk sizes, ragged mixtures of both, cache lengths, thread counts) must give the
same bits, answers that take several tokens at once included. It is a proof for the machine that ran it: other instruction sets choose other kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checks import Comparison
from .sessions import DecoderRunner, Floats, RowInput, open_session

__all__ = [
    "ANSWER",
    "THREADS",
    "batch_invariance",
    "decode_invariance",
    "decoder_invariance",
    "random_row",
    "thread_invariance",
]

THREADS = (1, 2)
ANSWER = 8  # tokens behind every prompt
_LENGTH_STEP = 128  # of the runtime's cache lengths
_STEPS = 6  # of a decode graph's proof


def random_row(rng: np.random.Generator, shape: DecoderRunner, size: int, vocab: int, image: int) -> RowInput:
    """`size` random tokens with images in between, and `ANSWER` of text behind them."""
    ids = rng.integers(0, vocab, size + ANSWER)
    places = rng.random(size + ANSWER) < 0.2
    places[size:] = False
    ids[ids == image] = (image + 1) % vocab
    ids[places] = image
    row, pictured = shape.text(ids), int(places.sum())
    row.visual[places] = rng.standard_normal((pictured, shape.hidden))
    row.deepstack[:, places] = rng.standard_normal((shape.levels, pictured, shape.hidden))
    row.positions[1:, places] += rng.integers(0, 3, (2, pictured))
    return row


class _DecoderProof:
    """Seeded rows, their references, and ways to run them again."""

    def __init__(self, path: Path, slots: int, chunk: int, length: int, image: int, seed: int) -> None:
        self.path, self.slots, self.chunk, self.length = path, slots, chunk, length
        self._rng = np.random.default_rng(seed)
        session = open_session(path)
        self._shape = DecoderRunner(session, 1, 1)
        vocab = int(session.get_outputs()[0].shape[-1])
        sizes = [chunk + 7, *self._rng.integers(2, 2 * chunk, slots - 1)]
        self.rows = [random_row(self._rng, self._shape, int(size), vocab, image) for size in sizes]
        self.expected = [self._alone(session, row, chunk, length) for row in self.rows]
        self._long = random_row(self._rng, self._shape, length // 2, vocab, image)
        self.tally = Comparison.of(path)

    def _alone(self, session: Any, row: RowInput, chunk: int, length: int, at_once: int = 1) -> list[Floats]:
        """Logits after the prompt and after every answer token, `at_once` of which go together; then the cache."""
        runner = DecoderRunner(session, 1, length)
        prompt, end = len(row.ids) - ANSWER, len(row.ids)
        logits = [runner.prefill(0, row.part(0, prompt), chunk).copy()]
        for start in range(prompt, end, at_once):
            piece = row.part(start, min(start + at_once, end))
            logits += list(runner.step_all({0: piece}, at_once)[0, : len(piece.ids)].copy())
        return [*logits, *runner.cache_of(0)]

    def chunks(self, session: Any, kind: str) -> None:
        """Batch 1, every chunk size, of prompts and of answers."""
        for chunk in range(1, self.chunk + 1):
            actual = self._alone(session, self.rows[0], chunk, self.length, min(chunk, ANSWER))
            self.tally.compare(kind, f"chunk {chunk}", self.expected[0], actual)

    def lengths(self, session: Any, lengths: Sequence[int], kind: str) -> None:
        """Batch 1, other cache lengths: a short row, and one that fills half of the cache."""
        halves = self._alone(session, self._long, self.chunk, self.length)
        for row, expected in ((self.rows[0], self.expected[0]), (self._long, halves)):
            for length in lengths:
                if len(row.ids) <= length:
                    actual = self._alone(session, row, self.chunk, length)
                    self.tally.compare(kind, f"cache length {length}", expected, actual)

    def together(self, session: Any, batch: int, kind: str) -> None:
        """Rows of one batch advance by random pieces in calls of random width: prompts beside answers beside idle."""
        rng = self._rng
        chosen = rng.permutation(self.slots)[:batch]
        runner = DecoderRunner(session, batch, self.length)
        done = [0] * batch
        logits: list[list[Floats]] = [[] for _ in range(batch)]
        while any(done[slot] < len(self.rows[row].ids) for slot, row in enumerate(chosen)):
            width = (1, 1, int(rng.integers(1, self.chunk + 1)), self.chunk)[rng.integers(0, 4)]
            pieces = {}
            for slot, row in enumerate(chosen):
                left = len(self.rows[row].ids) - done[slot]
                take = min(left, width if rng.random() < 0.7 else int(rng.integers(0, width + 1)))
                if take:
                    pieces[slot] = self.rows[row].part(done[slot], done[slot] + take)
            if not pieces:
                continue
            out = runner.step_all(pieces, width)
            for slot, piece in pieces.items():
                start, done[slot] = done[slot], done[slot] + len(piece.ids)
                told = len(self.rows[chosen[slot]].ids) - ANSWER - 1  # the first token whose logits count
                logits[slot] += list(out[slot, max(told - start, 0) : len(piece.ids)].copy())
        for slot, row in enumerate(chosen):
            actual = [*logits[slot], *runner.cache_of(slot)]
            self.tally.compare(kind, f"batch {batch}, slot {slot}, row {row}", self.expected[row], actual)


def decoder_invariance(
    path: Path, *, slots: int, chunk: int, length: int, image: int, seed: int, rounds: int = 2
) -> Comparison:
    """All batch sizes 1..slots, chunk sizes 1..chunk, ragged mixtures, cache lengths and thread counts of a decoder."""
    proof = _DecoderProof(path, slots, chunk, length, image, seed)
    step = max(_LENGTH_STEP, length // 8 // _LENGTH_STEP * _LENGTH_STEP)
    others = sorted({2 * chunk + 2 * ANSWER, length - 1, 2 * length, *range(step, length, step)})
    for threads in THREADS:
        session = open_session(path, threads)
        suffix = "" if threads == 1 else f", {threads} threads"
        proof.chunks(session, f"chunk size{suffix}")
        proof.lengths(session, [size for size in others if size >= 2 * chunk], f"cache length{suffix}")
        for batch in range(1, slots + 1):
            for _ in range(rounds):
                proof.together(session, batch, f"ragged batch{suffix}")
    return proof.tally


def decode_invariance(
    decoder: Path, decode: Path, *, slots: int, length: int, seed: int, rounds: int = 2
) -> Comparison:
    """All batch sizes 1..slots of a decode graph, with rows of any length beside it, idle ones too; cache lengths, threads.

    The prompts' cache comes from the graph of the prompts and is the same everywhere: what is compared is the answers.
    """
    rng = np.random.default_rng(seed)
    prompts, steps = open_session(decoder), open_session(decode)
    vocab = int(steps.get_outputs()[0].shape[2])
    tokens = rng.integers(0, vocab, (slots, _STEPS))
    caches: list[list[Floats]] = []
    for size in [1, length - _STEPS - 1, *rng.integers(1, length - _STEPS, slots)][:slots]:
        runner = DecoderRunner(prompts, 1, length)
        runner.step({0: runner.text(rng.integers(0, vocab, int(size)))}, int(size))
        caches.append(runner.cache_of(0))

    def advance(runner: DecoderRunner, rows: dict[int, int], done: dict[int, int]) -> Floats:
        return runner.answer(
            {slot: (int(tokens[row, done[row]]), int(runner.past[slot])) for slot, row in rows.items()}
        )

    def together(session: Any, chosen: Sequence[int], cache_length: int) -> list[list[Floats]]:
        """Each row's logits, step by step, then its cache; rows pause at random."""
        runner = DecoderRunner(prompts, len(chosen), cache_length, session)
        logits: dict[int, list[Floats]] = {row: [] for row in chosen}
        done = dict.fromkeys(chosen, 0)
        for slot, row in enumerate(chosen):
            runner.load(slot, caches[row])
        while left := {slot: row for slot, row in enumerate(chosen) if done[row] < _STEPS}:
            rows = {slot: row for slot, row in left.items() if len(left) == 1 or rng.random() < 0.8}
            if rows:
                out = advance(runner, rows, done)
            for slot, row in rows.items():
                logits[row].append(out[slot].copy())
                done[row] += 1
        return [[*logits[row], *runner.cache_of(slot)] for slot, row in enumerate(chosen)]

    tally = Comparison.of(decode)
    expected = [together(steps, [row], length)[0] for row in range(slots)]
    for threads in THREADS:
        session = open_session(decode, threads)
        suffix = "" if threads == 1 else f", {threads} threads"
        for other in (length + 1, 2 * length):
            for row in range(slots):
                found = together(session, [row], other)
                tally.compare(f"cache length{suffix}", f"{other}, row {row}", expected[row], found[0])
        for batch in range(1, slots + 1):
            for _ in range(rounds):
                chosen = [int(row) for row in rng.permutation(slots)[:batch]]
                for slot, found_row in enumerate(together(session, chosen, length)):
                    case = f"batch {batch}, slot {slot}, row {chosen[slot]}"
                    tally.compare(f"ragged batch{suffix}", case, expected[chosen[slot]], found_row)
    return tally


def batch_invariance(
    path: Path, feeds: Sequence[dict[str, Any]], *, slots: int, shared: Sequence[str] = ()
) -> Comparison:
    """A graph without state: every batch size and row position, 1 and 2 threads.

    Args:
        path: The graph.
        feeds: Inputs with `slots` rows each; the rows run alone are the reference.
        slots: Largest batch.
        shared: Inputs without a batch axis.
    """
    tally = Comparison.of(path)

    def rows_of(feed: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
        return {
            name: value if name in shared else np.ascontiguousarray(value[list(rows)])
            for name, value in feed.items()
        }

    single = open_session(path)
    references = [[single.run(None, rows_of(feed, [row]))[0][0] for row in range(slots)] for feed in feeds]
    for threads in THREADS:
        session = open_session(path, threads)
        kind = "batch" if threads == 1 else f"batch, {threads} threads"
        for number, (feed, expected) in enumerate(zip(feeds, references, strict=True)):
            for batch in range(1, slots + 1):
                for first in range(slots):
                    rows = [(first + offset) % slots for offset in range(batch)]
                    out = session.run(None, rows_of(feed, rows))[0]
                    for place, row in enumerate(rows):
                        case = f"feed {number}, batch {batch}, place {place}"
                        tally.compare(kind, case, [expected[row]], [out[place]])
    return tally


def thread_invariance(path: Path, feeds: Sequence[dict[str, Any]]) -> Comparison:
    """A graph that is called for one item at a time: the same bits on 1 and 2 threads, call after call."""
    tally = Comparison.of(path)
    single = open_session(path)
    references = [single.run(None, feed) for feed in feeds]
    for threads in THREADS:
        session = open_session(path, threads)
        for repeat in range(2):
            for number, (feed, expected) in enumerate(zip(feeds, references, strict=True)):
                tally.compare(
                    f"{threads} threads", f"feed {number}, call {repeat}", expected, session.run(None, feed)
                )
    return tally
