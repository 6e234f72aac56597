"""Whatever stands in pack.json: a manifest comes out, or `BadPackError`, soon. Nothing else.

`IRT_FUZZ_EXAMPLES` scales the number of inputs.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from interleave_rt.errors import BadPackError
from interleave_rt.pack import EMBEDDED
from interleave_rt.pack.manifest import Manifest, load_manifest

REAL = (EMBEDDED / "pack.json").read_bytes()
EXAMPLES = int(os.environ.get("IRT_FUZZ_EXAMPLES", "200"))
SECONDS_EACH = 5.0

FIXED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read(folder: Path, data: bytes) -> Manifest | None:
    """The manifest, or None where it was refused as it should be."""
    (folder / "pack.json").write_bytes(data)
    begin = time.process_time()
    try:
        manifest = load_manifest(folder)
    except BadPackError as error:
        # What is said can be shown: on a terminal, in a log, as JSON.
        assert str(error).startswith("[load_manifest] ")
        assert len(str(error)) < 10_000
        assert error.hint
        str(error).encode("utf-8")
        manifest = None
    assert time.process_time() - begin < SECONDS_EACH
    return manifest


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a tree."""
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*way, key))


TREE = json.loads(REAL)
PLACES = sorted((way for way in places(TREE) if way), key=str)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(2**63) - 1]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", ".", "..", "/", "a\0b", "../x", "\ud800", "con", "a" * 5000, "{}", "%s", "\\", "é/ü"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
EDITS = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "delete", "rename"]), VALUES),
    min_size=1,
    max_size=3,
)


def edit(tree: Any, way: tuple[Any, ...], what: str, value: Any) -> None:
    place = tree
    try:
        for key in way[:-1]:
            place = place[key]
        if what == "set":
            place[way[-1]] = value
        elif what == "delete":
            del place[way[-1]]
        elif isinstance(place, dict):
            place[str(value)] = place.pop(way[-1])
    except (KeyError, IndexError, TypeError):
        pass  # an edit before has taken the place away


def test_the_real_manifest_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, REAL).name == "shapes"
    assert len(PLACES) > 100


@FIXED
@given(edits=EDITS)
def test_edited_fields(tmp_path: Path, edits: list[tuple[tuple[Any, ...], str, Any]]) -> None:
    tree = copy.deepcopy(TREE)
    for way, what, value in edits:
        edit(tree, way, what, value)
    manifest = read(tmp_path, json.dumps(tree).encode("utf-8", "surrogatepass"))
    if manifest is not None:
        for where, path in manifest.referenced():
            assert path in manifest.files, where
            assert not Path(path).is_absolute() and ".." not in Path(path).parts


@FIXED
@given(value=VALUES)
def test_any_json(tmp_path: Path, value: Any) -> None:
    fields = value if isinstance(value, dict) else {"roles": value, "name": value, "files": value}
    for tree in (value, {"format_version": 1, **fields}):
        assert read(tmp_path, json.dumps(tree).encode("utf-8", "surrogatepass")) is None


@FIXED
@given(data=st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b"\xff\xfe{\x00}\x00")
@example(b"NaN")
@example(b"1e999")
@example(b"{" + b" " * 100 + b"}")
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) is None


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
    number = b"9" * digits
    assert read(tmp_path, b'{"format_version": ' + number + b"}") is None
    assert read(tmp_path, REAL.replace(b'"format_version": 1', b'"format_version": ' + number, 1)) is None
    assert read(tmp_path, REAL.replace(b'"layers": 4', b'"layers": ' + number, 1)) is None or digits <= 400
    assert read(tmp_path, REAL.replace(b'"temperature": 0.0', b'"temperature": 0.' + number, 1)) is not None


PIECES = [*(bytes([one]) for one in b'"{}[],:\\\xff\0'), b"\\ud800", b"null", b"-1", b"1e400", REAL[100:300]]
DAMAGE = st.tuples(
    st.integers(0, len(REAL)), st.integers(0, 40), st.sampled_from(PIECES) | st.binary(max_size=8)
)


@FIXED
@given(damages=st.lists(DAMAGE, min_size=1, max_size=4), length=st.integers(0, 2 * len(REAL)))
def test_damaged_bytes_of_the_real_manifest(tmp_path: Path, damages: list, length: int) -> None:
    data = bytearray(REAL)
    for at, gone, put in damages:
        data[at : at + gone] = put
    read(tmp_path, bytes(data[:length]))
