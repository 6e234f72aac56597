"""`import interleave_rt` loads nothing heavy, and fast."""

from __future__ import annotations

import json
import statistics

import pytest
from helpers import python

import interleave_rt

HEAVY = {
    "numpy",
    "onnxruntime",
    "pydantic",
    "typer",
    "rich",
    "PIL",
    "jinja2",
    "tokenizers",
    "torch",
    "transformers",
}


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import interleave_rt; dir(interleave_rt)", {*HEAVY, "interleave_rt._core"}),
        ("from interleave_rt import Options, Request, Result; Request('x'); Options(seed=1)", HEAVY),
        ("from interleave_rt import Engine; import interleave_rt.backends.native", {"onnxruntime", "torch"}),
    ],
)
def test_what_an_import_does_not_load(code, unwanted):
    loaded = json.loads(python(f"import sys, json\n{code}\nprint(json.dumps(list(sys.modules)))"))
    assert unwanted.isdisjoint(loaded)


def test_import_takes_less_than_300_ms():
    program = "import time; t = time.perf_counter(); import interleave_rt; print(time.perf_counter() - t)"
    times = [float(python(program)) for _ in range(5)]
    print("import times", times)
    assert statistics.median(times) < 0.3


def test_public_names_are_the_documented_ones_and_all_resolve():
    documented = "Engine Request Options Result Step Attempt Verdict Pack load_pack __version__"
    assert {*documented.split()} <= {*interleave_rt.__all__}
    for name in interleave_rt.__all__:
        assert getattr(interleave_rt, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        interleave_rt.nothing  # noqa: B018
