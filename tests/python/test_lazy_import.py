"""`import interleave_rt` loads nothing heavy, and fast."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile

HEAVY = [
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
]


def loaded(code: str) -> list[str]:
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tempfile.gettempdir()
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_loads_nothing_heavy():
    modules = loaded("import interleave_rt; dir(interleave_rt)")
    assert [name for name in HEAVY if name in modules] == []
    assert "interleave_rt._core" not in modules


def test_requests_and_errors_need_nothing_heavy():
    modules = loaded(
        "from interleave_rt import Options, Request, Result, BadRequestError; Request('x'); Options(seed=1)"
    )
    assert [name for name in HEAVY if name in modules] == []


def test_the_engine_never_imports_the_python_binding_of_onnxruntime():
    modules = loaded("from interleave_rt import Engine; import interleave_rt.backends.native")
    assert "onnxruntime" not in modules
    assert "torch" not in modules


def test_import_takes_less_than_300_ms():
    program = "import time; t = time.perf_counter(); import interleave_rt; print(time.perf_counter() - t)"
    times = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=tempfile.gettempdir(),
        )
        times.append(float(done.stdout))
    print("import times", times)
    assert statistics.median(times) < 0.3


def test_public_names_are_the_documented_ones_and_all_resolve():
    import interleave_rt

    assert set(interleave_rt.__all__) >= {
        "Engine",
        "Request",
        "Options",
        "Result",
        "Step",
        "Attempt",
        "Verdict",
        "Pack",
        "load_pack",
        "__version__",
    }
    for name in interleave_rt.__all__:
        assert getattr(interleave_rt, name) is not None
    try:
        interleave_rt.nothing  # noqa: B018
    except AttributeError as error:
        assert "nothing" in str(error)
    else:
        raise AssertionError("an unknown name was found")
