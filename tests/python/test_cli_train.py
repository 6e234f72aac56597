"""`interleave-rt train`: what is refused before anything is trained, and what reaches the training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from interleave_rt.train.shapes import cli as training

from interleave_rt.cli import main
from interleave_rt.cli import train as verb


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What the training is called with; nothing is trained."""
    found = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verb, "_check_packages", lambda: None)
    monkeypatch.setattr(training, "train_parts", lambda *a, **k: found.append((a, k)))
    return found


@pytest.mark.parametrize(
    ("options", "says", "hint"),
    [
        (["--part", "painter"], "--part is 'painter'", "tokenizer or vision or vae or"),
        (["--seed", "-1"], "--seed is -1", "from 0 on"),
        (["--seed", "x"], "--seed", "train shapes --help"),
        (["--iterations", "0"], "--iterations is 0", ""),
        (["--minutes", "0"], "--minutes is 0", "above 0"),
        (["--threads", "0"], "--threads is 0", ""),
        (["--resume", "yes"], "unexpected extra argument", "train shapes --help"),
        (["--out", "notes.txt"], "notes.txt cannot be written", "another output folder"),
        (["--part", "planner"], "--part planner needs runs/shapes/tokenizer", "--part tokenizer"),
    ],
)
def test_bad_options_are_refused(calls, options, says, hint, capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("no folder")
    assert main(["train", "shapes", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert hint in err
    assert len(lines) <= 2
    assert calls == []


@pytest.mark.parametrize("arguments", [["train"], ["train", "horses"]])
def test_what_is_trained_must_be_named(calls, arguments, capsys):
    assert main(arguments) == 2
    assert "train --help" in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize("package", ["torch", "transformers", "diffusers", "safetensors"])
def test_a_missing_package_names_the_extra(package, monkeypatch, tmp_path, capsys):
    for name in ("torch", "transformers", "diffusers", "safetensors"):
        monkeypatch.setitem(sys.modules, name, pytest)  # anything that is installed
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(training, "train_parts", lambda *a, **k: pytest.fail("trained"))
    assert main(["train", "shapes", "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"error: [train] {package} is not installed",
        'hint:  pip install "interleave-rt[train]"',
    ]
    assert not (tmp_path / "out").exists()


def test_options_reach_the_training(calls):
    assert main(["train", "shapes"]) == 0
    assert main(["train", "shapes", "--part", "vae", "--out", "here", "--resume", "--seed", "3",
                 "--iterations", "5", "--minutes", "0.5", "--threads", "2"]) == 0  # fmt: skip
    defaults = {"seed": 0, "resume": False, "iterations": None, "minutes": None, "threads": 1}
    assert calls == [
        (("all", Path("runs/shapes")), defaults),
        (("vae", Path("here")), {"seed": 3, "resume": True, "iterations": 5, "minutes": 0.5, "threads": 2}),
    ]


def test_the_parts_are_those_of_the_training():
    assert (*training.PARTS, "all") == verb._PARTS
    assert training.OLD_NAMES == verb._OLD_NAMES


def test_old_names_of_parts_and_their_folders_are_known(calls, tmp_path):
    for folder in ("tokenizer", "eyes", "generator"):
        (tmp_path / "here" / folder).mkdir(parents=True)
    for part in ("eyes", "pool", "critic"):
        assert main(["train", "shapes", "--part", part, "--out", "here"]) == 0
    assert [arguments[0] for arguments, _ in calls] == ["vision", "attempts", "critic"]
    assert training._folder(tmp_path / "here", "vision") == tmp_path / "here" / "eyes"
    assert training._folder(tmp_path / "here", "critic") == tmp_path / "here" / "critic"


def test_ctrl_c_says_how_to_go_on(calls, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_parts", interrupted)
    assert main(["train", "shapes"]) == 130
    assert "--resume" in capsys.readouterr().err
