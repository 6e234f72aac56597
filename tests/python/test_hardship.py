"""Little memory and little room: requests beside each other fail for no reason that they would not have alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interleave_rt import Engine
from interleave_rt.pack import EMBEDDED

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
