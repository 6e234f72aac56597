"""Thousands of inputs of each kind of `fuzz.py` (IRT_DRAWS times 3,500), and manifests that no mutation would find."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import fuzz
import pytest

from interleave_rt.errors import BadPackError
from interleave_rt.pack.manifest import Manifest, load_manifest

COUNT = 3500 * int(os.environ.get("IRT_DRAWS", "1"))


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_only_errors_of_the_tree_come_out(target: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counted = fuzz.fuzz(target, COUNT, 7, tmp_path)
    assert min(counted.values()) > 0, counted
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def read(folder: Path, data: bytes) -> Manifest | None:
    (folder / "pack.json").write_bytes(data)
    begin = time.process_time()
    try:
        manifest = load_manifest(folder)
    except BadPackError as error:
        assert str(error).startswith("[load_manifest] ")
        assert error.hint
        manifest = None
    assert time.process_time() - begin < fuzz.SECONDS_EACH
    return manifest


@pytest.mark.parametrize(
    "data", [b"", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"NaN", b"1e999", b"{" + b" " * 100 + b"}"]
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, fuzz.MANIFEST) is not None
    assert read(tmp_path, data) is None


@pytest.mark.parametrize("word", [b"flow_match_euler", b"planner/decoder.onnx"])
def test_half_a_character_is_refused(tmp_path: Path, word: bytes) -> None:
    assert read(tmp_path, fuzz.MANIFEST.replace(word, word[:4] + b"\\ud800" + word[4:])) is None


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ('{"a":', "}"), ('{"format_version":1,"roles":[', "]}"), ('[{"a":', "}]")],
)
def test_a_deep_tree_is_refused(tmp_path: Path, opening: str, closing: str) -> None:
    for depth in (100, sys.getrecursionlimit(), 20_000, 200_000):
        assert read(tmp_path, (opening * depth).encode()) is None
        assert read(tmp_path, (opening * depth + "1" + closing * depth).encode()) is None


@pytest.mark.parametrize("digits", [20, 400, 5_000, 1_000_000])
def test_a_long_number_is_refused(tmp_path: Path, digits: int) -> None:
    number, real = b"9" * digits, fuzz.MANIFEST
    assert read(tmp_path, b'{"format_version": ' + number + b"}") is None
    assert read(tmp_path, real.replace(b'"format_version": 1', b'"format_version": ' + number, 1)) is None
    assert read(tmp_path, real.replace(b'"layers": 4', b'"layers": ' + number, 1)) is None
    assert read(tmp_path, real.replace(b'"temperature": 0.0', b'"temperature": 0.' + number, 1)) is not None
