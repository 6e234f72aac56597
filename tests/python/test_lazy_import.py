"""`import interleave_rt` loads nothing heavy, and fast."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

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
    # Of the processor, not of the clock: a busy machine says nothing about the import.
    program = "import time; t = time.process_time(); import interleave_rt; print(time.process_time() - t)"
    times = [float(python(program)) for _ in range(5)]
    print("import times", times)
    assert statistics.median(times) < 0.3


def test_sources_that_hide_the_installed_package_find_its_compiled_module(tmp_path):
    """As in a clone, where Python looks into the current folder first."""
    sources = tmp_path / "interleave_rt"
    sources.mkdir()
    shutil.copy(interleave_rt.__file__, sources)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.meta_path = [one for one in sys.meta_path if 'Redirecting' not in type(one).__name__]\n"
        "from interleave_rt import _core, __file__ as home; print(home); print(_core.build_info()['version'])"
    )
    home, version = python(program).split()
    assert home == str(sources / "__init__.py")
    assert version == interleave_rt.__version__


def test_sources_that_nobody_has_installed_say_so(tmp_path):
    sources, left_out = tmp_path / "interleave_rt", shutil.ignore_patterns("_core.*", "packs", "__pycache__")
    shutil.copytree(Path(interleave_rt.__file__).parent, sources, ignore=left_out)
    program = (
        f"import sys; sys.path[:] = [{str(tmp_path)!r}, *(one for one in sys.path if 'site-packages' not in one)]\n"
        "sys.meta_path = [one for one in sys.meta_path if 'Redirecting' not in type(one).__name__]\n"
        "import os; os.dup2(1, 2)\n"
        "try:\n from interleave_rt import Engine\n"
        "except ImportError as error:\n print(error, flush=True)\n"
        "from interleave_rt.cli import main; print(main(['run', 'x']))"
    )
    imported, ran, code = python(program).splitlines()
    assert imported.startswith(f"{sources} is the source of interleave-rt")
    assert "pip install" in imported
    assert (ran, code) == (f"error: {imported}", "1")


def test_public_names_are_the_documented_ones_and_all_resolve():
    documented = (
        "Engine EngineConfig Request Options Result Step Attempt Verdict Pack load_pack __version__ "
        "PlanStepEvent AttemptImageEvent VerdictEvent StepCommittedEvent FinishedEvent"
    )
    assert {*documented.split()} <= {*interleave_rt.__all__}
    for name in interleave_rt.__all__:
        assert getattr(interleave_rt, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        interleave_rt.nothing  # noqa: B018
