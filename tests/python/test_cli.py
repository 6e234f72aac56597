"""The command line as a user meets it: real processes, their output and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interleave_rt.pack import EMBEDDED

COMMAND = [sys.executable, "-m", "interleave_rt"]


def run(*arguments: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """A copy of the embedded pack in which one byte of one graph differs."""
    pack = tmp_path / "pack"
    shutil.copytree(EMBEDDED, pack)
    path = pack / "critic" / "decoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return pack


@pytest.mark.parametrize(
    ("arguments", "code", "says", "hint"),
    [
        (["run", ""], 2, "the text is empty", "say what to draw"),
        (["run", "x", "--speculation", "depth=zero"], 2, "speculation is 'depth=zero'", "depth=K"),
        (["run", "x", "--image", "no.png"], 2, "no.png cannot be read: No such file", ""),
        (["run", "x", "--image", "notes.txt"], 2, "notes.txt is not an image", "PNG"),
        (["run", "x", "--keep", "first"], 2, "--keep is 'first'", "last or best"),
        (["run", "x", "--t-max", "0"], 2, "t_max is 0", ""),
        (["run", "x", "--t-max", "many"], 2, "--t-max", ""),
        (["run", "x", "--seed", "-1"], 2, "seed is -1", ""),
        (["run", "x", "--deadline", "0"], 2, "deadline_s is 0.0", ""),
        (["run", "x", "--sead", "1"], 2, "No such option: --sead", "run --help"),
        (["run"], 2, "request", "run --help"),
        (["walk"], 2, "No such command 'walk'", "--help"),
        (["run", "x", "--out", "notes.txt"], 2, "notes.txt cannot be written", "another output folder"),
        (["run", "x", "--trace", "notes.txt/t.json"], 2, "notes.txt cannot be written", ""),
        (["run", "x", "--pack", "nowhere"], 3, "nowhere is not a directory", "pack.json"),
        (["run", "x", "--pack", "."], 3, "pack.json cannot be read", ""),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_errors_say_what_and_what_next(arguments, code, says, hint, as_json, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    done = run(*arguments, *(["--json"] if as_json and arguments[0] == "run" else []), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert hint in done.stderr
    assert len(lines) <= 2
    assert "Traceback" not in done.stderr
    if as_json and arguments[0] == "run":
        error = json.loads(done.stdout)["error"]
        assert says in error["message"]
        assert error["code"] == {2: "bad_request", 3: "bad_pack"}[code]
    else:
        assert done.stdout == ""


def test_an_altered_pack_file_is_named(altered, tmp_path):
    done = run("run", "x", "--pack", str(altered), cwd=tmp_path)
    assert done.returncode == 3
    assert "critic/decoder.onnx has sha256" in done.stderr
    (altered / "critic" / "decoder.onnx").unlink()
    done = run("run", "x", "--pack", str(altered), cwd=tmp_path)
    assert done.returncode == 3
    assert "critic/decoder.onnx is missing" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    done = run("run", "x", "--out", "locked/here", cwd=tmp_path)
    assert done.returncode == 2
    assert "locked" in done.stderr


def test_help_lists_verbs_that_work_and_version_is_one_line(tmp_path):
    help_text = run(cwd=tmp_path)
    assert help_text.returncode == 0
    verbs = [line.split()[0] for line in help_text.stdout.split("Commands:")[1].splitlines() if line.strip()]
    for verb in verbs:
        assert run(verb, "--help", cwd=tmp_path).returncode == 0
    version = run("--version", cwd=tmp_path)
    assert version.returncode == 0
    assert version.stdout.startswith("interleave-rt ")


def test_run_with_the_embedded_pack(tmp_path):
    done = run("run", "Draw a snowman step by step", "--seed", "7", "--trace", "t/trace.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["outcome"] == "finished"
    numbers = [step["step_number"] for step in document["steps"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 2
    for step in document["steps"]:
        assert (tmp_path / "out" / step["image"]).is_file()
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "t" / "trace.json").read_text())["traceEvents"]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("plan  1: ")
    assert lines[-2].startswith("finished: ")
    assert "\x1b" not in done.stdout


def test_json_is_one_object_with_the_promised_fields(tmp_path):
    done = run("run", "Draw a house", "--json", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(done.stdout.splitlines()) == 1
    assert {"steps", "timings", "speculation", "outcome"} <= set(document)
    step = document["steps"][0]
    assert {"step_number", "text", "image", "accepted", "attempts"} <= set(step)
    assert (tmp_path / step["image"]).is_file()


def test_equal_seeds_give_equal_pictures_whatever_the_speculation(tmp_path):
    pictures = []
    for setting in ("off", "auto", "depth=2"):
        done = run("run", "Draw a snowman", "--speculation", setting, "--out", setting, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / setting).rglob("*.png"))
        pictures.append({path.relative_to(tmp_path / setting): path.read_bytes() for path in files})
    assert pictures[0] == pictures[1] == pictures[2]


def test_a_deadline_keeps_what_was_committed(tmp_path):
    done = run("run", "Draw a snowman", "--deadline", "0.001", "--json", cwd=tmp_path)
    assert done.returncode == 6
    document = json.loads(done.stdout)
    assert (document["outcome"], document["error"]["code"]) == ("deadline", "deadline")
    assert "error: " in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.fixture
def only_manifest(tmp_path: Path) -> Path:
    """The embedded pack's manifest with two examples, and none of its models."""
    manifest = json.loads((EMBEDDED / "pack.json").read_text(encoding="utf-8"))
    manifest["examples"] = ["Draw a house.", "Draw ☃ step by step."]
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "pack.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path / "pack"


def test_examples_are_listed_without_models(only_manifest, tmp_path):
    done = run("examples", "--pack", "pack", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["Draw a house.", "Draw ☃ step by step."]
    done = run("examples", "--pack", "pack", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document == {"pack": "shapes", "examples": ["Draw a house.", "Draw ☃ step by step."]}


def test_a_pack_without_examples_says_so(only_manifest, tmp_path):
    path = only_manifest / "pack.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["examples"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    done = run("examples", "--pack", "pack", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The pack 'shapes' names no examples.\n"
    done = run("examples", "--pack", "pack", "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"pack": "shapes", "examples": []})


def test_examples_of_a_bad_pack_are_an_error(only_manifest, tmp_path):
    done = run("examples", "--pack", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "nowhere is not a directory" in done.stderr
    path = only_manifest / "pack.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"examples": [""]}))
    done = run("examples", "--pack", "pack", "--json", cwd=tmp_path)
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "bad_pack"
    assert "examples.0" in error["message"]
    assert "must not be empty" in error["message"]


SLOW = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have switched it off
from interleave_rt import cli, engine
from interleave_rt.backends.scripted import Script, ScriptedBackend
script = Script(generator_ms=150, critic_ms=150, min_steps=8, max_steps=8)
engine.Engine.load = lambda *a, **k: engine.Engine(ScriptedBackend(script))
sys.exit(cli.main(["run", "x", "--speculation", "off"]))
"""


def test_ctrl_c_saves_what_was_committed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step "):
            break
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    waited = time.monotonic() - asked
    assert process.returncode == 130
    assert "interrupted: " in errors
    assert "saved in out" in errors
    assert "Traceback" not in errors
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["outcome"] == "cancelled"
    assert 1 <= len(document["steps"]) < 8
    assert waited < 5
