"""Signals at random moments: `python tests/python/signal_storm.py [--moments 200] [--seed 0]`.

Starts `run`, `bench` and a program that uses an `Engine`, sends one or two of SIGINT, SIGTERM and SIGHUP after a random part
of the time that an undisturbed one takes (or closes the reader of its output), and looks at what is left: the exit code is
one of those that are documented, nothing aborts or hangs, and steps that were announced are saved.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SCRIPTED = """
import sys
from interleave_rt import cli, engine
from interleave_rt.backends.scripted import Script, ScriptedBackend
script = Script(planner_ms=40, generator_ms=30, critic_ms=30, min_steps=8, max_steps=8, accept_prob=0.7)
engine.Engine.load = lambda *a, **k: engine.Engine(ScriptedBackend(script))
sys.argv[1:] = ["run", "x", "--out", "out"]
cli.command()
"""
PROGRAM = """
import signal, sys
from interleave_rt import Engine
from interleave_rt.backends.scripted import Script, ScriptedBackend
signal.signal(signal.SIGHUP, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with Engine(ScriptedBackend(Script(generator_ms=20, critic_ms=20))) as engine:
        for seed in range(4):
            for event in engine.stream("x", seed=seed):
                pass
            engine.run("y", seed=seed)
except KeyboardInterrupt:
    try:
        engine.close()
    except (KeyboardInterrupt, NameError):
        pass
    sys.exit(130)
"""
BENCH = "bench --runtime scripted --threads 1+1 --num-requests 4 --warmup 0 --arms sequential,speculative --planner-ms 40"
KINDS = {
    "run": [sys.executable, "-m", "interleave_rt", "run", "Draw a snowman step by step", "--out", "out"],
    "run scripted": [sys.executable, "-c", SCRIPTED],
    "bench": [sys.executable, "-m", "interleave_rt", *BENCH.split()],
    "engine": [sys.executable, "-c", PROGRAM],
}
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAIT_S = 120.0  # a hang, on a machine of any speed


@dataclass(frozen=True, slots=True)
class End:
    """How one process ended."""

    code: int
    out: str
    errors: str
    took_s: float  # from the last signal on


def defaults() -> None:
    """In the child: a job in the background may have been told to ignore them."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def is_ready(process: subprocess.Popen) -> bool:
    """Whether the program has its handlers: before that the signal is the interpreter's, or the system's."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return caught is not None and all(int(caught[1], 16) >> (number - 1) & 1 for number in ENDING)


def strike(kind: str, folder: Path, after_s: float, numbers: list[int], gap_s: float) -> End:
    """Runs one process, and sends it the signals so long after it is ready; none: its reader goes away."""
    process = subprocess.Popen(
        KINDS[kind],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=defaults,  # noqa: PLW1509 - it takes no lock
    )
    assert process.stdout is not None
    while process.poll() is None and not is_ready(process):
        time.sleep(0.002)
    time.sleep(after_s)
    if not numbers:
        process.stdout.close()
        process.stdout = None
    begun = time.monotonic()
    for number in numbers:
        process.send_signal(number)
        time.sleep(gap_s)
        begun = time.monotonic()
    try:
        out, errors = process.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, errors = process.communicate()
        raise AssertionError(f"{kind} hangs after {numbers} at {after_s:.3f} s: {errors[-2000:]}") from None
    return End(process.returncode, out or "", errors, time.monotonic() - begun)


def examine(kind: str, folder: Path, numbers: list[int], end: End) -> None:
    """Raises `AssertionError` where something is not as documented."""
    allowed = {0} if kind != "bench" else {0, 1}
    if kind == "engine":
        allowed |= {130}
    allowed |= {128 + number for number in numbers}
    # Once it has said its last word the interpreter clears up, and lets the system end it: a shell says the same code.
    over = (
        kind == "engine" or "saved in" in end.out or "interrupted" in end.errors or "results equal" in end.out
    )
    code = 128 - end.code if end.code < 0 and over else end.code
    assert code in allowed, (kind, numbers, end)
    assert "terminate called" not in end.errors, end
    assert "nanobind" not in end.errors, end
    if kind != "engine":
        assert "Traceback" not in end.errors, end
    if code > 128 and end.code > 0 and kind != "engine" and len(numbers) == 1:
        assert "interrupted" in end.errors, end
    if kind.startswith("run"):
        announced = len(re.findall(r"^step ", end.out, re.MULTILINE))
        lists = [folder / "out" / "result.json", *folder.glob("out.partial-*/result.json")]
        kept = [json.loads(one.read_text(encoding="utf-8")) for one in lists if one.exists()]
        most = max((len(one["steps"]) for one in kept), default=0)
        assert most >= announced, (kind, numbers, most, announced, end)
        for place, document in zip([one.parent for one in lists if one.exists()], kept, strict=True):
            assert all((place / step["image"]).is_file() for step in document["steps"] if step["image"])
        if len(numbers) <= 1:
            assert not list(folder.glob("out.partial-*")), (kind, numbers, end)


def storm(moments: int, seed: int) -> dict[str, float]:
    """Strikes so often; returns the longest time from the last signal to the end, by kind, in seconds."""
    draw = random.Random(seed)
    usual, longest = {}, dict.fromkeys(KINDS, 0.0)
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            end = strike(kind, Path(folder), 0.0, [], 0.0)
            usual[kind] = time.monotonic() - begun
            examine(kind, Path(folder), [], end)
    for moment in range(moments):
        kind = draw.choice(list(KINDS))
        numbers = draw.choice(
            [[], *([one] for one in ENDING), *([one, draw.choice(ENDING)] for one in ENDING)]
        )
        after_s, gap_s = draw.uniform(0, usual[kind]), draw.choice((0.0, 0.02, 0.1, 0.3)) * (len(numbers) > 1)
        with tempfile.TemporaryDirectory() as folder:
            try:
                end = strike(kind, Path(folder), after_s, numbers, gap_s)
                examine(kind, Path(folder), numbers, end)
            except AssertionError:
                print(f"moment {moment} of seed {seed}: {kind}, {numbers}, {after_s:.3f} s", file=sys.stderr)
                raise
        print(
            f"{moment + 1} of {moments}: {kind}, {len(numbers)} signals, {end.code}",
            file=sys.stderr,
            flush=True,
        )
        if numbers:
            longest[kind] = max(longest[kind], end.took_s)
    return longest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = storm(given.moments, given.seed)
    load = os.getloadavg()[0]
    print(
        f"{given.moments} moments, load {load:.1f}: "
        + ", ".join(f"{k} ends within {s:.2f} s" for k, s in found.items())
    )
