"""Machines that give little: memory, descriptors, threads, no home, nothing to write to; and processes that others start."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import refused

from interleave_rt import Engine, Options, Request
from interleave_rt.backends.scripted import ScriptedBackend
from interleave_rt.errors import BackendFailedError
from interleave_rt.measure.arms import ARMS
from interleave_rt.measure.load import SampleRequest
from interleave_rt.measure.record import closed_loop, open_loop
from interleave_rt.pack import EMBEDDED

MIB = 1 << 20
RUN = [sys.executable, "-P", "-m", "interleave_rt", "run", "Draw a snowman", "--out"]


def limited(folder: Path, limit: int, most: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, str(folder / "out")],
        preexec_fn=lambda: resource.setrlimit(limit, (most, most)),
        cwd=folder,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it ends the process where its threads do not fit
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("memory", [200, 320])
def test_little_memory_is_said(tmp_path: Path, memory: int) -> None:
    """By us, or by a library that ends the process where it finds none."""
    done = limited(tmp_path, resource.RLIMIT_AS, memory * MIB)
    assert "Traceback" not in done.stderr
    if done.returncode in (3, 5):
        assert "error: " in done.stderr
    elif done.returncode:
        assert "emory allocation" in done.stderr or "cannot allocate memory" in done.stderr, done


def test_eight_descriptors_are_enough(tmp_path: Path) -> None:
    done = limited(tmp_path, resource.RLIMIT_NOFILE, 8)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").is_file()


def test_neither_home_nor_temporary_folder_is_needed(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    done = subprocess.run(
        [*RUN, "out"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").is_file()


def test_where_nothing_can_be_written_is_said_before_the_work(command) -> None:
    said = command("run", "Draw a snowman", "--out", "/proc/out")
    assert said.code == 2
    assert "/proc/out cannot be written" in said.err
    assert "step" not in said.out


SPAWNED = """
import multiprocessing, sys
from interleave_rt import Engine
from interleave_rt.backends.scripted import ScriptedBackend

def made(seed):
    with Engine(ScriptedBackend()) as engine:
        return len(engine.run("x", seed=seed).steps)

if __name__ == "__main__":
    with Engine(ScriptedBackend()) as engine:  # of the parent: it is neither used nor harmed
        for method in ("spawn", "forkserver", "fork"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                assert pool.map(made, range(2)) == [3, 3], method
        assert len(engine.run("x").steps) == 3
    print("done")
"""


def test_processes_have_engines_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, "-P", str(file)], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_load_that_gets_no_thread_ends_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [(index, SampleRequest(Request("x"), Options())) for index in range(8)]
    start = threading.Thread.start
    with Engine(ScriptedBackend()) as engine:
        for loop in (
            lambda: closed_loop(engine, ARMS["speculative"], samples, 4),
            lambda: open_loop(engine, ARMS["speculative"], samples, [0] * 8),
        ):
            before, started = threading.active_count(), []

            def few(thread: threading.Thread, started: list = started) -> None:
                if len(started) == 2:
                    raise RuntimeError("can't start new thread")
                started.append(thread)
                start(thread)

            with monkeypatch.context() as patched, refused(BackendFailedError, "client 3", hint="ulimit -u"):
                patched.setattr(threading.Thread, "start", few)
                loop()
            assert threading.active_count() == before


_LITTLE_MEMORY = """
import resource, sys
import numpy as np
from interleave_rt import Engine
from interleave_rt.errors import BackendFailedError

with Engine.load(sys.argv[1], image_bytes=64 << 20) as engine:
    before = engine.run("Draw a snowman", seed=3)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), hard))
    big = np.full((1024, 1024, 3), 200, "uint8")
    handles = [engine.submit("add a red circle", [big], t_max=1, seed=i) for i in range(2)]
    for handle in handles:
        try:
            handle.result()
        except BackendFailedError as error:
            print("not enough memory" in str(error))
    after = engine.run("Draw a snowman", seed=3)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    same = [a.pixels.tobytes() == b.pixels.tobytes() for a, b in zip(before.steps, after.steps, strict=True)]
    print(after.outcome, all(same), [lane["up"] for lane in engine.lanes()])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="address space is limited as on Linux")
def test_requests_without_enough_memory_fail_alone_and_the_engine_goes_on(tmp_path: Path) -> None:
    pack = shutil.copytree(EMBEDDED, tmp_path / "pack")
    manifest = json.loads((pack / "pack.json").read_text())
    manifest["roles"]["generator"]["image"]["max"] = 1024
    (pack / "pack.json").write_text(json.dumps(manifest))
    done = subprocess.run(
        [sys.executable, "-P", "-c", _LITTLE_MEMORY, str(pack)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True", "True", "finished True [True, True, True]"]


def test_eight_requests_beyond_the_image_store_all_finish_whichever_is_read_first() -> None:
    with Engine.load(image_bytes=1 << 20, max_live=8) as engine:
        handles = [engine.submit("Draw a snowman", width=128, height=128, t_max=2, seed=i) for i in range(8)]
        assert [handle.result().outcome for handle in reversed(handles)] == ["finished"] * 8
