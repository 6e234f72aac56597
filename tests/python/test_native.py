"""The embedded pack through the public face: what the native backend promises beyond law 1."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from interleave_rt import BadPackError, BadRequestError, Engine, Request, load_pack
from interleave_rt.backends import ort
from interleave_rt.pack import EMBEDDED


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.load() as made:
        yield made


def process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pack_information():
    pack = load_pack()
    assert pack.name == "shapes"
    assert pack.roles == ("planner", "generator", "critic")
    assert pack.image_size == (96, 96)
    assert pack.info()["lossless"] == "bitwise"


def test_equal_seeds_give_equal_results_and_others_differ(engine):
    one, same, other = (engine.run("Draw a snowman", seed=seed) for seed in (3, 3, 4))
    assert one.canonical() == same.canonical()
    assert one.steps[0].attempts[0].seed != other.steps[0].attempts[0].seed


def test_going_on_from_a_picture(engine):
    drawn = engine.run("Draw a snowman", seed=1)
    picture = drawn.steps[0].pixels
    result = engine.run(Request("<image> Now add a small red star at the top left.", (picture,)), seed=2)
    assert result.steps[0].step_number >= 2
    assert result.inputs[0] is not None
    by_file = engine.run("Now add a small red star at the top left.", [drawn.steps[0].image], seed=2)
    assert by_file.canonical()["steps"][0]["step"]["prompt"] is not None


def test_a_question_is_answered_in_words(engine):
    picture = engine.run("Draw a snowman", seed=1).steps[-1].pixels
    result = engine.run(Request("<image> What colour is the background?", (picture,)))
    assert [step.attempts for step in result.steps] == [()]
    assert result.steps[0].pixels is None
    assert result.text


@pytest.mark.parametrize("size", [{"width": 50}, {"height": 8}, {"width": 4096}])
def test_sizes_that_the_pack_cannot_make_are_refused_before_anything_runs(engine, size):
    before = engine.counters()["requests_accepted"]
    with pytest.raises(BadRequestError, match="multiples of"):
        engine.run("x", **size)
    assert engine.counters()["requests_accepted"] == before


def test_pictures_outlive_the_engine():
    engine = Engine.load()
    result = engine.run("Draw a snowman", seed=5)
    copies = [step.pixels.copy() for step in result.steps]
    engine.close()
    del engine
    gc.collect()
    assert all(np.array_equal(step.pixels, copy) for step, copy in zip(result.steps, copies, strict=True))


def test_nothing_is_left_behind_in_the_engine(engine):
    engine.run("Draw a snowman", seed=6)
    gc.collect()
    counters = engine.counters()
    assert (counters["live"], counters["unforgotten"], counters["images"]) == (0, 0, 0)


def test_no_telemetry_no_files_no_python_binding(tmp_path):
    code = """
import os, sys
from interleave_rt import Engine
with Engine.load() as engine:
    engine.run("Draw a snowman")
    assert "onnxruntime" not in sys.modules
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    names = {open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")}
    print(sorted(names))
"""
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR")}
    threads = process(code, **home)
    assert "elemetry" not in threads
    assert "1DS" not in threads
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("first", ["onnxruntime", "engine"])
def test_the_python_binding_of_onnxruntime_may_be_used_beside_it(first):
    ours = "from interleave_rt import Engine\nprint(Engine.load().run('Draw a snowman').outcome)\n"
    theirs = "import onnxruntime\nprint(len(onnxruntime.get_available_providers()) > 0)\n"
    out = process(theirs + ours if first == "onnxruntime" else ours + theirs)
    assert sorted(out.split()) == ["True", "finished"]


def test_two_distributions_or_none_are_refused_with_the_commands_that_mend_it():
    with pytest.raises(BadPackError, match="both installed") as two:
        ort.find_library(lambda: ["onnxruntime", "onnxruntime-gpu"])
    assert two.value.hint.count("pip ") == 2
    with pytest.raises(BadPackError, match="no ONNX Runtime") as none:
        ort.find_library(list)
    assert none.value.hint.count("pip install") == 2
    assert ort.find_library().name.startswith("libonnxruntime")


@pytest.fixture
def copied(tmp_path) -> Path:
    shutil.copytree(EMBEDDED, tmp_path / "pack")
    return tmp_path / "pack"


def replace_file(pack: Path, name: str, data: bytes) -> None:
    """A changed file that the manifest agrees with: the loader behind it must find out."""
    (pack / name).write_bytes(data)
    manifest = json.loads((pack / "pack.json").read_text())
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (pack / "pack.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("role", ["planner", "critic", "generator"])
def test_a_graph_that_is_none_is_named(copied, role):
    roles = json.loads((copied / "pack.json").read_text())["roles"]
    name = roles[role]["transformer" if role == "generator" else "decoder"]["file"]
    replace_file(copied, name, b"not a graph")
    with pytest.raises(BadPackError, match=name.split("/")[-1]):
        Engine.load(copied)


def test_a_graph_of_another_role_is_refused(copied):
    roles = json.loads((copied / "pack.json").read_text())["roles"]
    encoder = (copied / roles["generator"]["text_encoder"]["file"]).read_bytes()
    replace_file(copied, roles["critic"]["decoder"]["file"], encoder)
    with pytest.raises(BadPackError, match="decoder"):
        Engine.load(copied)


def test_a_token_table_that_is_none_is_named(copied):
    roles = json.loads((copied / "pack.json").read_text())["roles"]
    name = roles["planner"]["token_bytes"]
    replace_file(copied, name, b'{"tokens": ["?"]}')
    with pytest.raises(BadPackError, match=r"token_bytes\.json"):
        Engine.load(copied)


def test_a_partial_pack_says_what_it_lacks(copied):
    manifest = json.loads((copied / "pack.json").read_text())
    manifest["roles"]["critic"] = None
    (copied / "pack.json").write_text(json.dumps(manifest))
    with pytest.raises(BadPackError, match="no critic"):
        Engine.load(copied)
