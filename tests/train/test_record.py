"""The record of a training run: settings, curve, picture; and what a resumed run does to them."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from interleave_rt.train import record as module
from interleave_rt.train.record import Record, source_revision, write_config

from interleave_rt.errors import BadRequestError


def _lines(out: Path) -> list[dict[str, str]]:
    with (out / "record" / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _config(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "record" / "config.json").read_text())
    return found


def test_config_says_how_it_was_called(tmp_path: Path) -> None:
    write_config(tmp_path, {"out": tmp_path, "seed": 5, "batch": 16, "resume": False})
    found = _config(tmp_path)
    assert found["arguments"] == {"out": str(tmp_path), "seed": 5, "batch": 16, "resume": False}
    assert found["packages"]["torch"] == torch.__version__
    assert {"torch", "transformers", "diffusers", "trl", "numpy"} <= set(found["packages"])
    assert found["threads"] == torch.get_num_threads()
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert (found["start"], found["resumed"]) == (0, None)
    assert found["git_revision"] == source_revision()
    assert not (tmp_path / "record" / "curve.csv").exists()


def test_a_missing_package_is_null_and_the_weights_own_config_is_left_alone(
    tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "config.json").write_text("the model's")
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "no-such-package"))
    Record(tmp_path, {}, 0).close()
    assert _config(tmp_path)["packages"]["no-such-package"] is None
    assert (tmp_path / "config.json").read_text() == "the model's"


def _git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_revision_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_revision(tmp_path) is None  # no repository
    _git(tmp_path, "init", "-q")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert source_revision(package) is None  # not part of it
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    head = _git(tmp_path, "rev-parse", "HEAD")
    assert source_revision(package) == head
    _git(tmp_path, "tag", "-a", "v1", "-m", "a tag")
    assert source_revision(package) == head
    (package / "__init__.py").write_text("changed = 1\n")
    assert source_revision(package) == head + "-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_revision(package) is None  # no git


def test_a_resumed_run_goes_on_in_its_curve_and_a_new_one_begins_anew(tmp_path: Path, monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    record = Record(tmp_path, {"seed": 1, "resume": False}, 0)
    for iteration in (100, 200, 300):
        now += 10
        record.log(iteration, loss=1 / iteration)
    now = 5.0  # another process; the checkpoint was of iteration 200
    record = Record(tmp_path, {"seed": 1, "resume": True}, 200)
    now += 7
    record.log(300, loss=0.125)
    record.log(300, **{"drawn exact": 1.0})  # known a little later
    assert [list(line.values()) for line in _lines(tmp_path)] == [
        ["100", "10.0", "0.01", ""],
        ["200", "20.0", "0.005", ""],
        ["300", "27.0", "0.125", "1.0"],
    ]
    assert list(_lines(tmp_path)[0]) == ["iteration", "seconds", "loss", "drawn exact"]
    found = _config(tmp_path)
    assert (found["start"], found["arguments"]["resume"]) == (200, True)
    assert found["resumed"]["arguments"] == {"seed": 1, "resume": False}
    Record(tmp_path, {"seed": 2}, 0)
    assert _lines(tmp_path) == []
    assert (_config(tmp_path)["arguments"], _config(tmp_path)["resumed"]) == ({"seed": 2}, None)
    Record(tmp_path / "other", {}, 200)  # a run that had no record
    assert _config(tmp_path / "other")["resumed"] is None


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    record = Record(tmp_path, {}, 0)
    record.log(100, loss=0.5)
    record.log(200, loss=0.25, exact=0.5)
    record.close()
    assert (tmp_path / "record" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.INFO):
        Record(tmp_path, {}, 0).close()
    assert "matplotlib is not installed" in caplog.text
    assert not (tmp_path / "record" / "curve.png").exists()


def test_a_curve_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure.Figure, "savefig", full)
    record = Record(tmp_path, {}, 0)
    with pytest.raises(BadRequestError, match=r"curve\.png cannot be written: No space left"):
        record.close()
