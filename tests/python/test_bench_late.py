"""`interleave-rt bench` refuses beforehand what would fail at its end, and what fails at its end loses no figure."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from interleave_rt.backends.scripted import Script
from interleave_rt.cli import main
from interleave_rt.errors import BackendFailedError

FAST = [
    *("--runtime", "scripted", "--planner-ms", "8", "--first-step-ms", "2", "--generator-ms", "4"),
    *("--critic-ms", "4", "--verdict-ms", "2", "--steps", "3", "--num-requests", "6", "--warmup", "1"),
]


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["bench", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def unmeasured(monkeypatch):
    """Fails where something is measured."""

    def measured(*_arguments):
        raise AssertionError("it was measured")

    monkeypatch.setattr("interleave_rt.measure.measure", measured)


@pytest.mark.parametrize("option", ["--output", "--save-calibration"])
def test_folders_that_may_not_be_written_to(option: str, tmp_path: Path, monkeypatch, capsys, unmeasured):
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    code, _, heard = bench(capsys, *FAST, option, str(tmp_path / "r.json"))
    assert code == 2
    assert "r.json cannot be written: permission denied" in heard


@pytest.mark.parametrize(("name", "value"), [("keep", "best"), ("judge_last", True)])
def test_traces_that_cannot_be_calibrated(name: str, value: object, tmp_path: Path, capsys, unmeasured):
    trace = tmp_path / "t.jsonl"
    trace.write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"text": "b", "options": {name: value}}))
    arguments = ["--trace", str(trace), "--save-calibration", str(tmp_path / "c.json")]
    code, _, heard = bench(capsys, *FAST, *arguments)
    assert code == 2
    assert "cannot replay request 2" in heard


def test_images_of_a_trace_are_looked_at_first(tmp_path: Path, capsys, unmeasured):
    trace = tmp_path / "t.jsonl"
    trace.write_text('{"text": "a"}\n{"text": "b", "images": ["no.png"]}\n')
    code, _, heard = bench(capsys, *FAST, "--trace", str(trace))
    assert code == 2
    assert f"line 2 of {trace}: [image] {tmp_path / 'no.png'} cannot be read" in heard
    assert f"named from {tmp_path}" in heard


def test_baselines_are_looked_at_first(tmp_path: Path, capsys, monkeypatch):
    first = tmp_path / "first.json"
    arguments = [*FAST, "--arms", "sequential", "--num-requests", "1", "--json"]
    assert bench(capsys, *arguments, "--output", str(first))[0] == 0
    monkeypatch.setattr("interleave_rt.measure.measure", None)
    code, said, heard = bench(capsys, *arguments, "--baseline", str(first), "--scenario", "offline")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "the baseline's --scenario is single-stream" in heard
    code, _, heard = bench(capsys, *arguments, "--baseline", str(first), "--arms", "speculative")
    assert code == 2
    assert "no figure in common" in heard


SHORT = [*FAST, "--arms", "sequential", "--num-requests", "2", "--json"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (BackendFailedError("the critic died", hint="start it again"), 5, "hint:  start it again"),
        (OSError(28, "No space left on device"), 2, "c.json cannot be written: No space left"),
        (KeyboardInterrupt(), 130, "interrupted after the measurement"),
    ],
)
def test_a_calibration_that_fails_loses_nothing(error, code, says, tmp_path: Path, monkeypatch, capsys):
    class Failing:
        def save(self, _path):
            raise error

    monkeypatch.setattr("interleave_rt.measure.calibrate.measure_calibration", lambda *_a, **_k: Failing())
    out = tmp_path / "r.json"
    arguments = ["--output", str(out), "--save-calibration", str(tmp_path / "c.json")]
    found, said, heard = bench(capsys, *SHORT, *arguments)
    assert found == code
    assert says in heard
    assert json.loads(said) == json.loads(out.read_text())


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_an_output_that_fails_loses_nothing(ending: str, tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / f"r.{ending}"
    true_open = io.open

    def full(file, *arguments, **named):
        if str(file) == str(out):
            raise OSError(28, "No space left on device")
        return true_open(file, *arguments, **named)

    monkeypatch.setattr(io, "open", full)
    code, said, heard = bench(capsys, *SHORT, "--output", str(out))
    assert code == 2
    assert f"{out} cannot be written: No space left on device" in heard
    assert json.loads(said)["arms"]["sequential"]["completed"] == 2


def test_an_arm_that_finished_nothing_is_an_error(tmp_path: Path, capsys, monkeypatch):
    first = tmp_path / "first.json"
    assert bench(capsys, *SHORT, "--output", str(first))[0] == 0
    make = Script
    monkeypatch.setattr(
        "interleave_rt.backends.scripted.Script", lambda **given: make(**given, unreadable_plan_prob=1.0)
    )
    code, said, heard = bench(capsys, *SHORT, "--warmup", "0", "--baseline", str(first))
    assert code == 1
    assert json.loads(said)["arms"]["sequential"]["completed"] == 0
    assert "sequential finished no request: " in heard
    assert "e2e_latency_ms.mean" in heard
    assert "-> none (nothing was measured)" in heard
