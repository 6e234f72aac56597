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
    assert set(found["packages"]) == {"torch", "transformers", "diffusers", "numpy"}
    assert found["threads"] == torch.get_num_threads()
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert (found["start"], found["resumed"]) == (0, None)
    assert found["git_revision"] == source_revision()
    assert not (tmp_path / "record" / "curve.csv").exists()


def test_a_missing_package_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "no-such-package"))
    write_config(tmp_path, {})
    assert _config(tmp_path)["packages"]["no-such-package"] is None


def test_the_weights_own_config_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("the model's")
    Record(tmp_path, {}, 0).close()
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


def test_the_curve_has_a_line_an_iteration_and_columns_by_name(tmp_path: Path) -> None:
    record = Record(tmp_path, {}, 0)
    assert _lines(tmp_path) == []
    record.log(100, loss=0.5)
    record.log(200, loss=0.25)
    record.log(200, **{"drawn accepted": 0.75})  # known a little later
    lines = _lines(tmp_path)
    assert list(lines[0]) == ["iteration", "seconds", "loss", "drawn accepted"]
    assert [(line["iteration"], line["loss"], line["drawn accepted"]) for line in lines] == [
        ("100", "0.5", ""),
        ("200", "0.25", "0.75"),
    ]
    assert all(float(line["seconds"]) >= 0 for line in lines)


def test_a_resumed_run_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    record = Record(tmp_path, {"seed": 1, "resume": False}, 0)
    for iteration in (100, 200, 300):
        now += 10
        record.log(iteration, loss=1 / iteration)
    now = 5.0  # another process; the checkpoint was of iteration 200
    record = Record(tmp_path, {"seed": 1, "resume": True}, 200)
    assert [line["iteration"] for line in _lines(tmp_path)] == ["100", "200"]
    now += 7
    record.log(300, loss=0.125, exact=1.0)
    assert [
        (line["iteration"], line["seconds"], line["loss"], line["exact"]) for line in _lines(tmp_path)
    ] == [
        ("100", "10.0", "0.01", ""),
        ("200", "20.0", "0.005", ""),
        ("300", "27.0", "0.125", "1.0"),
    ]
    found = _config(tmp_path)
    assert (found["start"], found["arguments"]["resume"]) == (200, True)
    assert found["resumed"]["arguments"] == {"seed": 1, "resume": False}


def test_resuming_a_run_that_had_no_record(tmp_path: Path) -> None:
    record = Record(tmp_path, {}, 200)
    record.log(400, loss=0.5)
    assert [line["iteration"] for line in _lines(tmp_path)] == ["400"]
    assert _config(tmp_path)["resumed"] is None


def test_a_new_run_begins_anew(tmp_path: Path) -> None:
    Record(tmp_path, {"seed": 1}, 0).log(100, loss=0.5)
    Record(tmp_path, {"seed": 2}, 0)
    assert _lines(tmp_path) == []
    found = _config(tmp_path)
    assert (found["arguments"], found["resumed"]) == ({"seed": 2}, None)


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


def test_a_training_leaves_its_record(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from interleave_rt.train.loop import train
    from interleave_rt.train.shapes.vae import Vae

    out = tmp_path / "vae"
    train(Vae(out, batch=2, tests=4, seed=3), iterations=4, every=2)
    assert [line["iteration"] for line in _lines(out)] == ["2", "4"]
    assert list(_lines(out)[0]) == ["iteration", "seconds", "loss", "rmse", "exact"]
    arguments = _config(out)["arguments"]
    assert arguments == {"out": str(out), "iterations": 4, "batch": 2, "seed": 3, "resume": False, "every": 2,
                         "tests": 4, "minutes": None}  # fmt: skip
    model = json.loads((out / "config.json").read_text())
    assert model["_class_name"] == "AutoencoderKLFlux2"
    train(Vae(out, batch=2, tests=4, seed=3), iterations=6, every=2, resume=True)
    assert [line["iteration"] for line in _lines(out)] == ["2", "4", "6"]
