"""A decoder step against onnxruntime-genai, with the same random weights.

    python benchmarks/genai_decoder.py --steps-program BUILD/tests/cpp/models/decoder_steps [--work DIR]

A Qwen3 decoder (hidden 512, 8 layers, vocabulary 8192, seeded weights) is built once under --work: with
onnxruntime-genai's model builder, and with our export as the language model of a Qwen3-VL. Both sides get the same
prompts (batch 1 and 8, contexts 64 and 200), choose greedily, and take turns step by step (A B, B A, ...) on one core
with one thread. Arms:

  genai            onnxruntime-genai's Generator, one `generate_next_token`, tokens read
  decoder          our lane's decoder with the decode graph, one step, tokens read
  decoder 1 graph  the same without the decode graph
  genai graph, decode graph, prompt graph   the bare calls of the graphs in ONNX Runtime, bindings made before

Prints a table of medians in milliseconds and their ratio to `genai`; exits with 1 where a token differs or `decoder`
is slower than `genai`. Tokens of a row are compared up to its end-of-text token: genai only fills up behind it.
`--clock cpu` judges by processor time, for a machine that is not quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from genai_models import CACHE, DECODE, EOS, HEAD_DIM, HIDDEN, KV_HEADS, SEED, VOCAB, build

Tokens = list[list[int]]


@dataclass
class Times:
    """Milliseconds of an arm's steps, on the wall and of processor time."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, wall: float, cpu: float) -> None:
        self.wall.append(1e3 * wall)
        self.cpu.append(1e3 * cpu)

    def median(self, clock: str) -> float:
        return statistics.median(getattr(self, clock))


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the wall and of this thread: with one thread all work is its own."""
    wall, cpu = time.perf_counter(), time.thread_time()
    call()
    cpu = time.thread_time() - cpu
    return time.perf_counter() - wall, cpu


class Genai:
    """The Generator: static batch, cache shared by past and present."""

    def __init__(self, model: Any, prompts: list[list[int]]) -> None:
        import onnxruntime_genai as og

        params = og.GeneratorParams(model)
        params.set_search_options(
            do_sample=False, max_length=CACHE, batch_size=len(prompts), past_present_share_buffer=True
        )
        self._generator = og.Generator(model, params)
        self._generator.append_tokens(np.array(prompts, np.int32))
        self.tokens: list[list[int]] = []
        self.step()

    def step(self) -> tuple[float, float]:
        """One token for every row."""

        def call() -> None:
            self._generator.generate_next_token()
            self.tokens.append([int(token) for token in self._generator.get_next_tokens()])

        return timed(call)


class Ours:
    """The lane's decoder in a process of its own, which steps when it is told."""

    def __init__(self, program: Path, graphs: Path, decode: str) -> None:
        import onnxruntime

        capi = Path(onnxruntime.__file__).parent / "capi"
        library = next(path for path in sorted(capi.glob("libonnxruntime.so*")))
        command = [program, library, graphs / "decoder.onnx", decode, CACHE]
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.tokens: list[list[int]] = []

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        if not answer:
            raise SystemExit("decoder_steps has ended: see its message above")
        return answer

    def begin(self, prompts: list[list[int]]) -> None:
        flat = " ".join(str(token) for prompt in prompts for token in prompt)
        self.tokens = [list(map(int, self._ask(f"begin {len(prompts)} {len(prompts[0])} {flat}")))]

    def step(self) -> tuple[float, float]:
        """One token for every row."""
        wall, cpu, *tokens = self._ask("step")
        self.tokens.append(list(map(int, tokens)))
        return float(wall) / 1e6, float(cpu) / 1e6

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def compare_tokens(genai: Tokens, ours: Tokens) -> tuple[int, int]:
    """How many tokens were compared, and how many of them differ; both are [step, row]."""
    compared = different = 0
    for theirs, mine in zip(zip(*genai, strict=True), zip(*ours, strict=True), strict=True):
        end = min((row.index(EOS) + 1 if EOS in row else len(row)) for row in (theirs, mine))
        compared += end
        different += sum(a != b for a, b in zip(theirs[:end], mine[:end], strict=True))
    return compared, different


class Bare:
    """A graph with its bindings; every call is the same step."""

    def __init__(self, session: Any, batch: int, past: int) -> None:
        import onnxruntime

        names = {item.name for item in session.get_inputs()}
        ids, where = np.ones((batch, 1), np.int64), np.full((batch, 1), past, np.int64)
        logits = (batch, 1, VOCAB)
        feed: dict[str, Any] = {"input_ids": ids}
        if "attention_mask" in names:
            feed["attention_mask"] = np.ones((batch, past + 1), np.int64)
        elif "total_length" in names:
            feed |= {"position_ids": where, "past_len": where[:, 0].astype(np.int32)}
            feed["total_length"] = np.array(past + 1, np.int32)
        else:
            feed |= {"position_ids": np.stack([where] * 3), "past_len": where[:, 0].copy()}
            feed["last_index"] = np.zeros((batch, 1), np.int64)
            feed["visual_embeds"] = np.zeros((batch, 1, HIDDEN), np.float32)
            feed["deepstack"] = np.zeros((1, batch, 1, HIDDEN), np.float32)
        self._session, self._binding = session, session.io_binding()
        self._keep: list[Any] = []

        def value(array: Any) -> Any:
            self._keep.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
            return self._keep[-1]

        for name, array in feed.items():
            self._binding.bind_ortvalue_input(name, value(array))
        self._binding.bind_ortvalue_output("logits", value(np.zeros(logits, np.float32)))
        rng = np.random.default_rng(SEED)
        for name in sorted(name for name in names if name.startswith("past_") and name not in feed):
            shape = (batch, KV_HEADS, CACHE, HEAD_DIM)
            cache = value(rng.standard_normal(shape, dtype=np.float32))
            self._binding.bind_ortvalue_input(name, cache)
            present = name.replace("past_key_values", "present").replace("past_", "present_")
            self._binding.bind_ortvalue_output(present, cache)

    def step(self) -> tuple[float, float]:
        return timed(lambda: self._session.run_with_iobinding(self._binding))


def compare(
    model: Any,
    decoders: dict[str, Ours],
    graphs: dict[str, Any],
    batch: int,
    context: int,
    steps: int,
    rounds: int,
) -> tuple[dict[str, Times], int, int]:
    """Times of every arm, tokens compared, and how many of them differ from genai's."""
    rng = np.random.default_rng([SEED, batch, context])
    times = {name: Times() for name in ("genai", *decoders, *graphs)}
    compared = different = 0
    bare = {name: Bare(session, batch, context + steps // 2) for name, session in graphs.items()}
    for _ in range(rounds):
        prompts = rng.integers(3, VOCAB - 4, (batch, context)).tolist()
        peer = Genai(model, prompts)
        for decoder in decoders.values():
            decoder.begin(prompts)
        arms = {"genai": peer.step, **{n: d.step for n, d in decoders.items()}}
        arms |= {name: graph.step for name, graph in bare.items()}
        for number in range(steps):
            for name in list(arms)[:: 1 if number % 2 == 0 else -1]:
                wall, cpu = arms[name]()
                if number >= 2:  # warm
                    times[name].add(wall, cpu)
        for decoder in decoders.values():
            found = compare_tokens(peer.tokens, decoder.tokens)
            compared += found[0]
            different += found[1]
    return times, compared, different


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps-program", type=Path, required=True, help="decoder_steps, a C++ benchmark")
    parser.add_argument("--work", type=Path, help="where models are built, or were (default: a fresh one)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--context", type=int, nargs="+", default=[64, 200], help="tokens of a prompt")
    parser.add_argument("--steps", type=int, default=32, help="of a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="everything runs here")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    with tempfile.TemporaryDirectory() as scratch:
        work = arguments.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "done").is_file():
            build(work)
            (work / "done").touch()
        return measure(arguments, work)


def measure(arguments: argparse.Namespace, work: Path) -> int:
    import onnxruntime
    import onnxruntime_genai as og
    from interleave_rt.export.proof.sessions import open_session

    print(f"onnxruntime {onnxruntime.__version__}, onnxruntime-genai {og.__version__}, seed {SEED}")
    program, ours, clock = arguments.steps_program, work / "ours", arguments.clock
    decoders = {
        "decoder": Ours(program, ours, str(ours / DECODE)),
        "decoder 1 graph": Ours(program, ours, "-"),
    }
    paths = {
        "genai graph": work / "genai" / "model.onnx",
        "decode graph": ours / DECODE,
        "prompt graph": ours / "decoder.onnx",
    }
    graphs = {name: open_session(path) for name, path in paths.items()}
    model = og.Model(str(work / "genai"))
    good = True
    rows = []
    for batch in arguments.batch:
        for context in arguments.context:
            times, compared, different = compare(
                model, decoders, graphs, batch, context, arguments.steps, arguments.rounds
            )
            base = times["genai"].median(clock)
            ratio = times["decoder"].median(clock) / base
            equal = different == 0
            good = good and ratio <= 1.0 and equal
            print(f"\nbatch {batch}, context {context}: {compared} tokens, tokens_equal={equal}")
            for name, found in times.items():
                median = found.median(clock)
                print(f"  {name:16s} {median:8.3f} ms   / genai {median / base:6.3f}")
            rows.append(
                {
                    "batch": batch,
                    "context": context,
                    "tokens": compared,
                    "tokens_equal": equal,
                    "ratio": ratio,
                    "ms": {n: {c: t.median(c) for c in ("wall", "cpu")} for n, t in times.items()},
                }
            )
            sys.stdout.flush()
    for decoder in decoders.values():
        decoder.close()
    if arguments.json:
        arguments.json.write_text(json.dumps({"clock": clock, "seed": SEED, "rows": rows}, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
