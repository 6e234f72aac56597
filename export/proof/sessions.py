"""Running exported graphs with ONNX Runtime, for the checks of parity and batch invariance.

Sessions get the options of the native runtime: what is proved here must hold there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DecoderRunner", "Floats", "Ints", "RowInput", "open_session", "session_options"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def session_options(threads: int = 1) -> Any:
    """Of a CPU session. Telemetry of ONNX Runtime is switched off before its library is loaded."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def open_session(path: Path, threads: int = 1) -> Any:
    """A CPU session."""
    options = session_options(threads)
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True, slots=True)
class RowInput:
    """The next tokens of one row: ids [n], positions [3, n], and what the vision encoder said, [n, h] and [nd, n, h]."""

    ids: Ints
    positions: Ints
    visual: Floats
    deepstack: Floats

    def part(self, start: int, stop: int) -> RowInput:
        """Tokens [start, stop)."""
        return RowInput(
            self.ids[start:stop],
            self.positions[:, start:stop],
            self.visual[start:stop],
            self.deepstack[:, start:stop],
        )


class DecoderRunner:
    """A decoder graph with cache buffers of its own, updated in place as the native runtime does.

    `decode`: the graph of the one-token steps, where there is one.
    """

    def __init__(self, session: Any, rows: int, length: int, decode: Any | None = None) -> None:
        import onnxruntime

        self._session = session
        self._decode = decode
        shapes = {item.name: item.shape for item in session.get_inputs()}
        self.hidden = int(shapes["visual_embeds"][2])
        self.levels = int(shapes["deepstack"][0]) if "deepstack" in shapes else 0
        self._tells_all = len(shapes["last_index"]) == 2  # else the logits of one token of a row
        self.length = length
        self._cache = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.zeros((rows, int(shape[1]), length, int(shape[3])), np.float32)
            )
            for name, shape in shapes.items()
            if name.startswith(("past_k.", "past_v."))
        }
        self.past = np.zeros(rows, np.int64)

    def step(self, rows: Mapping[int, RowInput], chunk: int) -> Floats:
        """Append each row's tokens (at most `chunk`); returns logits [rows, vocab] after every row's last token.

        Rows that are not named take part with padding and do not advance, as idle slots do.
        """
        last = np.zeros((len(self.past), 1), np.int64)
        for row, tokens in rows.items():
            last[row] = len(tokens.ids) - 1
        return self._step(rows, chunk, last)[:, 0]

    def step_all(self, rows: Mapping[int, RowInput], chunk: int) -> Floats:
        """The same with the logits of every token, [rows, chunk, vocab]; those of padding mean nothing."""
        return self._step(rows, chunk, np.tile(np.arange(chunk), (len(self.past), 1)))

    def _step(self, rows: Mapping[int, RowInput], chunk: int, last: Ints) -> Floats:
        count = len(self.past)
        ids, positions = np.zeros((count, chunk), np.int64), np.zeros((3, count, chunk), np.int64)
        visual = np.zeros((count, chunk, self.hidden), np.float32)
        deepstack = np.zeros((self.levels, count, chunk, self.hidden), np.float32)
        for row, tokens in rows.items():
            n = len(tokens.ids)
            ids[row, :n], positions[:, row, :n], visual[row, :n] = tokens.ids, tokens.positions, tokens.visual
            deepstack[:, row, :n] = tokens.deepstack
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("position_ids", positions)
        binding.bind_cpu_input("past_len", self.past)
        binding.bind_cpu_input("last_index", last if self._tells_all else last[:, 0].copy())
        binding.bind_cpu_input("visual_embeds", visual)
        if self.levels:
            binding.bind_cpu_input("deepstack", deepstack)
        logits = self._run(self._session, binding)
        if not self._tells_all:
            logits = logits[:, None]
        for row, tokens in rows.items():
            self.past[row] += len(tokens.ids)
        return logits

    def _run(self, session: Any, binding: Any) -> Floats:
        binding.bind_output("logits")
        for name, buffer in self._cache.items():
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace("past_", "present_"), buffer)
        session.run_with_iobinding(binding)
        logits: Floats = binding.get_outputs()[0].numpy()
        return logits

    def answer(self, rows: Mapping[int, tuple[int, int]]) -> Floats:
        """Append one text token (id, position) to each named row; returns logits [rows, vocab].

        Other rows take part in vain, as with `step`.
        """
        if self._decode is None:
            tokens = {row: (np.array([token]), np.full((3, 1), at)) for row, (token, at) in rows.items()}
            return self.step({row: self.text(*said) for row, said in tokens.items()}, 1)
        count = len(self.past)
        ids, positions = np.zeros((count, 1), np.int64), np.zeros((count, 1), np.int64)
        for row, (token, position) in rows.items():
            ids[row], positions[row] = token, position
        binding = self._decode.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("position_ids", positions)
        binding.bind_cpu_input("past_len", self.past.astype(np.int32))
        binding.bind_cpu_input("total_length", np.array(self.past.max() + 1, np.int32))
        logits: Floats = self._run(self._decode, binding)[:, 0]
        for row in rows:
            self.past[row] += 1
        return logits

    def text(self, ids: Ints, positions: Ints | None = None) -> RowInput:
        """Tokens without pictures, at positions [3, n]; without these, at 0, 1, ..."""
        count = len(ids)
        where = np.tile(np.arange(count), (3, 1)) if positions is None else positions
        nothing = np.zeros((1 + self.levels, count, self.hidden), np.float32)
        return RowInput(ids, where, nothing[0], nothing[1:])

    def feed(self, tokens: RowInput) -> dict[str, Any]:
        """What a run over all tokens of a row would be given, with an empty cache."""
        cache = {name: np.zeros_like(buffer.numpy()) for name, buffer in self._cache.items()}
        last = np.array([len(tokens.ids) - 1])
        levels = {"deepstack": tokens.deepstack[:, None]} if self.levels else {}
        return {
            "input_ids": tokens.ids[None],
            "position_ids": tokens.positions[:, None],
            "past_len": np.zeros(1, np.int64),
            "last_index": last[None] if self._tells_all else last,
            "visual_embeds": tokens.visual[None],
            **levels,
            **cache,
        }

    def load(self, row: int, cache: Sequence[Floats]) -> None:
        """Make a row hold what `cache_of` returned, of any runner of this graph."""
        for buffer, held in zip(self._cache.values(), cache, strict=True):
            values = np.array(buffer.numpy())
            values[row, :, : held.shape[1]] = held
            buffer.update_inplace(values)
        self.past[row] = cache[0].shape[1]

    def cache_of(self, row: int) -> list[Floats]:
        """What the row's cache holds, a copy of [kv_heads, tokens, head_dim] for every buffer."""
        used = int(self.past[row])
        return [buffer.numpy()[row, :, :used].copy() for buffer in self._cache.values()]

    def prefill(self, row: int, tokens: RowInput, chunk: int) -> Floats:
        """All tokens of one row in pieces of `chunk`; returns the logits after the last one."""
        starts = range(0, len(tokens.ids), chunk)
        logits: Floats = [self.step({row: tokens.part(at, at + chunk)}, chunk) for at in starts][-1][row]
        return logits
