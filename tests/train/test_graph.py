"""All parts of the trio in their order: side by side, resumed, and when one of them fails."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path

import pytest
from interleave_rt.train.shapes.graph import NEEDS, PARTS, all_parts

from interleave_rt.errors import InterleaveError

LENGTH = {"seed": 0, "scale": 1.0, "iterations": None}


def note(part: str, *, out: Path, meet: tuple[str, ...] = (), broken: str = "") -> None:
    """Stands for a training: says when it began and ended; needs what the part needs, and those of `meet` each other."""
    missing = [needed for needed in NEEDS.get(part, ()) if not (out / needed).exists()]
    assert not missing, (part, missing)
    with (out / "log").open("a") as log:
        log.write(f"{part} begins {os.getpid()}\n")
    if part == broken:
        os._exit(9)  # as by the kernel
    ends = time.monotonic() + 60
    while part in meet and not all(f"{other} begins" in (out / "log").read_text() for other in meet):
        assert time.monotonic() < ends, f"{part} waits for {meet}"
        time.sleep(0.01)
    (out / part).touch()
    with (out / "log").open("a") as log:
        log.write(f"{part} ends {os.getpid()}\n")


def said(out: Path) -> list[list[str]]:
    return [line.split() for line in (out / "log").read_text().splitlines()]


def test_every_part_is_trained_once_and_after_what_it_needs(tmp_path: Path) -> None:
    all_parts(partial(note, out=tmp_path), tmp_path, LENGTH, jobs=1, resume=False)
    assert [part for part, what, _ in said(tmp_path) if what == "ends"] == list(PARTS)
    assert {pid for *_, pid in said(tmp_path)} == {str(os.getpid())}
    # finished parts are left out, but not where another length is asked for
    all_parts(partial(note, out=tmp_path), tmp_path, LENGTH, jobs=2, resume=True)
    assert len(said(tmp_path)) == 2 * len(PARTS)
    all_parts(partial(note, out=tmp_path), tmp_path, LENGTH | {"scale": 0.5}, jobs=1, resume=True)
    assert len(said(tmp_path)) == 4 * len(PARTS)


def test_parts_that_end_early_are_gone_on_with(tmp_path: Path) -> None:
    for _ in range(2):
        all_parts(partial(note, out=tmp_path), tmp_path, LENGTH, jobs=1, resume=True, whole=False)
    assert len(said(tmp_path)) == 4 * len(PARTS)
    assert not (tmp_path / "finished.json").exists()


def test_parts_that_do_not_need_each_other_are_trained_side_by_side(tmp_path: Path) -> None:
    all_parts(partial(note, out=tmp_path, meet=("vae", "vision")), tmp_path, LENGTH, jobs=2, resume=False)
    running: set[str] = set()
    for part, what, pid in said(tmp_path):
        assert pid != str(os.getpid())
        running = running | {part} if what == "begins" else running - {part}
        assert len(running) <= 2
    assert set(json.loads((tmp_path / "finished.json").read_text())) == set(PARTS)


def test_a_part_that_dies_ends_the_run_and_is_gone_on_with(tmp_path: Path) -> None:
    broken = partial(note, out=tmp_path, broken="generator")
    with pytest.raises(InterleaveError, match="the process of generator ended with 9") as caught:
        all_parts(broken, tmp_path, LENGTH, jobs=2, resume=False)
    assert "--resume" in str(caught.value.hint)
    finished = set(json.loads((tmp_path / "finished.json").read_text()))
    assert {"tokenizer", "vae"} <= finished
    assert "generator" not in finished
    all_parts(partial(note, out=tmp_path), tmp_path, LENGTH, jobs=2, resume=True)
    ended = [part for part, what, _ in said(tmp_path) if what == "ends"]
    assert set(ended) == set(PARTS)
    assert all(ended.count(part) == 1 for part in finished)
