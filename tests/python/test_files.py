"""Files: bounded when they are read, whole when they are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import failing, refused
from saving_faults import result, state

from interleave_rt import BadRequestError, files
from interleave_rt.files import Staged, check_file, read_file, read_json, write_file
from interleave_rt.reports import ResultFolder, save_result

POINTS = [  # of each, more than this many
    ("result", "kill", 50), ("result", "full", 40), ("first", "kill", 50), ("inplace", "kill", 50),
    ("inplace", "full", 50), ("file", "kill", 4), ("pack", "kill", 10), ("pack", "full", 4),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "how", "least"), POINTS)
def test_what_is_saved_is_the_old_or_the_new_at_every_point(kind, how, least, tmp_path):
    program = Path(__file__).with_name("saving_faults.py")
    done = subprocess.run(
        [sys.executable, "-P", str(program), str(tmp_path / "r"), kind, how],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > least


def test_two_that_save_into_one_folder_leave_one_result(tmp_path):
    one, other = (ResultFolder(tmp_path / "out") for _ in range(2))
    assert one.partial != other.partial
    one.add(result(3, 10).steps[0])
    other.finish(result(2, 100))
    one.finish(result(3, 10))
    save_result(result(3, 10), tmp_path / "alone")
    assert state(tmp_path / "out") == state(tmp_path / "alone")
    assert sorted(os.listdir(tmp_path)) == ["alone", "out"]


def test_what_is_committed_is_on_disk_and_can_be_read_before_the_end(tmp_path):
    save_result(result(1, 10), tmp_path / "out")
    before = state(tmp_path / "out")
    made = ResultFolder(tmp_path / "out")
    made.note(result(2, 100))
    document = json.loads((made.partial / "result.json").read_text())
    assert made.partial.name.startswith("out.partial-")
    assert all((made.partial / step["image"]).is_file() for step in document["steps"])
    assert state(tmp_path / "out") == before
    made.discard()
    assert os.listdir(tmp_path) == ["out"]


def test_links_in_the_folder_are_not_followed_and_other_files_stay(tmp_path):
    out = tmp_path / "out"
    save_result(result(2, 10), out)
    (tmp_path / "victim").write_text("mine")
    (out / "step-1.png").unlink()
    (out / "step-1.png").symlink_to(tmp_path / "victim")
    (out / "step-9.png").write_text("not of any result")
    (out / "attempts" / "note").write_text("mine, too")
    (out / "link").symlink_to("nowhere")
    save_result(result(1, 100), out)
    assert (tmp_path / "victim").read_text() == "mine"
    assert (out / "step-9.png").read_text() == "not of any result"
    assert (out / "attempts" / "note").read_text() == "mine, too"
    assert (out / "link").is_symlink()
    assert not (out / "step-1.png").is_symlink()
    assert not (out / "step-2.png").exists()


FOREIGN = [
    '{"format": "interleave-rt.result/1", "steps": 5}',
    '{"format": "interleave-rt.result/1", "steps": ["x"]}',
    '{"format": "interleave-rt.result/1", "steps": [{"image": "../victim", "attempts": []}]}',
    "[" * 100_000,
    "[1]",
    "\x00",
]


@pytest.mark.parametrize("text", [*FOREIGN, None], ids=range(len(FOREIGN) + 1))
def test_a_list_that_is_not_ours_harms_nothing(text, tmp_path):
    (tmp_path / "victim").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    if text is None:
        os.mkfifo(out / "result.json")
    else:
        (out / "result.json").write_text(text)
    save_result(result(1, 10), out)
    assert json.loads((out / "result.json").read_text())["outcome"] == "finished"
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("kind", ["folder of others", "no exchange", "link to the folder"])
def test_folders_that_cannot_be_exchanged(kind, tmp_path, monkeypatch):
    out = tmp_path / "out"
    save_result(result(3, 10), out)
    if kind == "folder of others":
        (out / "mine").mkdir()
        (out / "mine" / "x").write_text("x")
    elif kind == "no exchange":
        monkeypatch.setattr(files, "_renameat2", lambda: None)
    else:
        out.rename(tmp_path / "real")
        out.symlink_to(tmp_path / "real")
    save_result(result(1, 100), out)
    assert len(json.loads((out / "result.json").read_text())["steps"]) == 1
    assert not (out / "step-2.png").exists()
    assert kind != "folder of others" or (out / "mine" / "x").read_text() == "x"
    assert [name for name in os.listdir(tmp_path) if "partial" in name] == []


def test_a_folder_that_cannot_be_made_is_named_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "a\0b", tmp_path / ("n" * 300)):
        with refused(BadRequestError, "cannot be written", hint="another output folder"):
            Staged(place, "result.json")


def test_a_failed_commit_keeps_what_was_written_and_the_old_folder(tmp_path, monkeypatch):
    save_result(result(1, 10), tmp_path / "out")
    before = state(tmp_path / "out")
    made = ResultFolder(tmp_path / "out")
    made.note(result(2, 100))
    monkeypatch.setattr(files, "swap_folders", failing(OSError(28, "No space left on device")))
    with refused(BadRequestError, "out cannot be written: No space left on device", hint="make room"):
        made.finish(result(2, 100))
    assert state(tmp_path / "out") == before
    assert (made.partial / "step-2.png").is_file()


def test_files_that_are_no_files_are_not_replaced(tmp_path):
    (tmp_path / "link").symlink_to("/dev/full")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        for act in (check_file, lambda path: write_file(path, "x")):
            with refused(BadRequestError, f"{name} cannot be written"):
                act(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "pipe"]


def test_halves_of_characters_cost_no_file(tmp_path):
    assert write_file(tmp_path / "x", "a\ud800b").read_bytes() == b"a?b"


def test_only_regular_files_are_read_and_only_to_their_limit(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "ten").write_bytes(b"0123456789")
    assert read_file(tmp_path / "ten", 10, what="x") == b"0123456789"
    cases = {"pipe": "no regular file", "zero": "no regular file", "ten": "more than 9 bytes", "": "", "none": "No such",
             "loop": "symbolic links", "a\0b": "null byte", "\udcff": "No such", "n" * 5000: "too long"}  # fmt: skip
    for name, said in cases.items():
        with refused(BadRequestError, "[x]", said) as caught:
            read_file(f"{tmp_path}/{name}", 9, what="x")
        assert len(caught.value.message) < 400
        caught.value.message.encode()


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b""])
def test_json_that_is_none(data, tmp_path):
    (tmp_path / "x.json").write_bytes(data)
    with refused(BadRequestError, "x.json cannot be read"):
        read_json(tmp_path / "x.json", what="x")
