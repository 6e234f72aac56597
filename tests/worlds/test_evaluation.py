"""A run of the evaluation over made-up models: its files, its page, its command, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from interleave_rt.cli import main
from interleave_rt.errors import BackendFailedError, BadPackError, BadRequestError
from interleave_rt.wire import Attempt, PlanStep, Step
from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.evaluation import ROWS, Settings, evaluate
from interleave_rt.worlds.shapes.evaluation.cost import measure_cost
from interleave_rt.worlds.shapes.evaluation.figures import Figure, Row, Target
from interleave_rt.worlds.shapes.evaluation.gallery import Gallery, Mistake
from interleave_rt.worlds.shapes.evaluation.page import render_page
from interleave_rt.worlds.shapes.evaluation.run import measure
from interleave_rt.worlds.shapes.evaluation.samples import USUAL, Samples
from interleave_rt.worlds.shapes.language import outside_test


def _beside(name: str) -> ModuleType:
    """A module of this folder: in pytest's import mode a folder of tests is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


made = _beside("made_models")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All rows over made-up models."""
    out, pack = tmp_path_factory.mktemp("eval"), made.made_pack(tmp_path_factory.mktemp("pack"))
    rows = tuple(name for name in ROWS if name != "cost")
    return measure(pack, made.MadeSamples(Settings(scale=0.02, rows=rows)), out), out


def test_all_rows_of_a_run(whole) -> None:
    found, out = whole
    document = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(found.document()))
    assert list(document["rows"]) == [name for name in ROWS if name != "cost"]
    assert document["pack"]["name"] == "made" and "path" not in document["pack"]
    for row in document["rows"].values():
        for figure in row["figures"].values():
            assert {"n", "interval", "target", "met", "what", "unit"} < set(figure)
    loop = document["rows"]["loop"]["figures"]
    for keep in ("last", "best"):
        few, some, many = (loop[f"{keep}/t{tries}/steps"]["share"] for tries in (1, 3, 5))
        assert few < many
        assert loop[f"{keep}/gain"]["share"] == pytest.approx(many - few, abs=2e-4)
        assert loop[f"{keep}/between"]["target"] == {"at_least": few, "at_most": many}
        assert loop[f"{keep}/t5/tries"]["value"] > 1 == loop[f"{keep}/t1/tries"]["value"]
    assert document["rows"]["loop"]["failed"] == 5 * 2  # every ninth of 20, in five settings
    assert document["rows"]["refined"]["figures"]["refined"]["n"] >= 10
    critic = document["rows"]["critic"]["figures"]
    assert critic["right"]["share"] == critic["wrong"]["share"] == critic["balanced/best"]["share"] == 1
    assert critic["calibration"]["value"] == pytest.approx(0.1, abs=0.01)
    assert 0.1 < critic["threshold"]["value"] < 0.9
    assert (
        sum(one["n"] for one in document["rows"]["critic"]["details"]["bins"]) == critic["calibration"]["n"]
    )
    honesty = document["rows"]["honesty"]
    assert honesty["figures"]["outside"]["n"] == 6 and len(honesty["details"]["believed"]) == 1
    assert honesty["figures"]["inside"]["met"] is False
    assert document["missed"] == found.missed
    assert "honesty.inside" in found.missed


def test_the_page_shows_pictures_and_loads_nothing(whole) -> None:
    found, out = whole
    page = (out / "index.html").read_text(encoding="utf-8")
    assert found.gallery.recoveries and found.gallery.successes
    assert page.count("<img ") == page.count('src="data:image/png;base64,') > 10
    assert "<script" not in page and "http-equiv" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for title in ("Mended", "Plans that were wrong", "Reliability", "whole loop"):
        assert title in page
    assert page.count('class="dot"') == 2


def test_the_page_escapes_what_people_wrote() -> None:
    gallery = Gallery()
    gallery.mistake("plans", Mistake("<script>alert(1)</script>", (), ("<b>",), ()))
    row = Row("honesty", {"x": Figure.of("x", [False], Target(low=0.5))})
    row.details["believed"] = [{"text": "<img src=x>", "kind": "noise", "said": ["&"]}]
    document = {
        "pack": {"name": "<i>", "version": "1"},
        "met": False,
        "missed": row.missed,
        "split": "test",
        "seed": 1,
        "scale": 1.0,
        "environment": {},
    }
    page = render_page(document, [row], gallery)
    assert "<script" not in page and "<img src=x" not in page and "<i>" not in page
    assert "1 missed" in page and "(unreadable)" in page


def test_cost_takes_size_times_and_failures(tmp_path: Path) -> None:
    class Slow:
        def __init__(self, fails: bool) -> None:
            self.fails = fails

        def run(self, request, seed):
            if self.fails:
                raise BackendFailedError("no")
            tries = (Attempt(1, "x", 0, 0),)
            steps = tuple(Step(PlanStep(i, "x"), tries) for i in range(5))
            return SimpleNamespace(steps=steps, timings=SimpleNamespace(total_s=0.5))

    def loads(fails: bool):
        @contextmanager
        def load(_pack):
            yield Slow(fails)

        return load

    samples = Samples(None, None, Settings())
    row = measure_cost(samples, made.made_pack(tmp_path), loads(False))
    assert row.figures["size"].value == 2.0
    assert row.figures["request"].value == 0.5 and "5 steps" in row.figures["request"].what
    assert row.figures["request/tries"].value == 5
    assert measure_cost(samples, made.made_pack(tmp_path), loads(True)).failed == 10


# ---- settings, samples, command line


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    short, long = made.MadeSamples(Settings()), made.MadeSamples(Settings())
    first = short.planned("continuing", 5)
    again = long.planned("continuing", 12)
    assert [one.task for one in first] == [one.task for one in again[:5]]
    for one, other in zip(first, again, strict=False):
        assert all(np.array_equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))
    assert Settings(seed=2) != Settings()
    assert long.tasks("narrative", 3) != made.MadeSamples(Settings(seed=2)).tasks("narrative", 3)


def test_requests_that_cannot_be_made_are_unanswered() -> None:
    class Blank(made.Made):
        asked = 0

        def plan(self, request, max_steps, seed, retry):
            self.asked += 1
            return (made.words("Blue.").steps if retry else ()), False

    task = requests.sample("validation", 2, 1)
    bad = requests.outside_request(random.Random(1))
    odd = type(bad)("draw <image> this", "narrative", "outside", (), bad.steps, (), "test")
    blank = Blank()
    found = Samples(blank, None, Settings()).plan([task[0], odd, task[1]], "x")
    assert [one.plan is None for one in found] == [False, True, False]
    assert blank.asked == 4  # an answer that cannot be read is asked for again


def test_one_request_that_cannot_be_answered_costs_no_other_one() -> None:
    class Batched(made.Made):
        sizes: list[int] = []

        def plans(self, asked, max_steps, seed, retry):
            self.sizes.append(len(asked))
            if any(request.text == tasks[1].text for request in asked):
                raise BackendFailedError("no")
            return [(made.words("Blue.").steps, True) for _ in asked]

    tasks = requests.sample("validation", 3, 1)
    found = Samples(Batched(), None, Settings()).plan(tasks, "x")
    assert [one.plan and one.plan.truncated for one in found] == [True, None, True]
    assert Batched.sizes == [3, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": "train"},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"seed": -1},
        {"rows": ("x",)},
        {"rows": ()},
    ],
)
def test_settings_refuse_what_makes_no_sense(wrong: dict) -> None:
    with pytest.raises(BadRequestError, match=r"\[eval\]") as caught:
        Settings(**wrong)
    assert caught.value.hint


def test_a_pack_of_another_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPackError, match="48x48"):
        evaluate(made.made_pack(tmp_path, (48, 48)), Settings(), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--split", "train"], 2, "validation or test"),
        (["--rows", "plans,nothing"], 2, "there is no row 'nothing'"),
        (["--scale", "0"], 2, "--scale"),
        (["--seed", "x"], 2, "seed"),
        (["--pack", "/nowhere"], 3, "not a directory"),
    ],
)
def test_a_bad_option_is_said_clearly(arguments, code, said, tmp_path, capsys) -> None:
    assert main(["eval", "shapes", "--out", str(tmp_path), *arguments]) == code
    assert said in capsys.readouterr().err


def test_the_command_prints_a_table_and_exits_with_1_where_a_target_is_missed(
    tmp_path, capsys, monkeypatch
) -> None:
    pack = made.made_pack(tmp_path)
    monkeypatch.setattr("interleave_rt.pack.load_pack", lambda *_, **__: pack)
    monkeypatch.setattr(
        "interleave_rt.worlds.shapes.evaluation.run.NativeRoles", lambda *_, **__: made.Made()
    )
    monkeypatch.setattr(
        "interleave_rt.worlds.shapes.evaluation.run.Samples",
        lambda roles, engine, settings, progress: made.MadeSamples(settings, progress),
    )
    command = ["eval", "shapes", "--out", str(tmp_path / "out"), "--scale", "0.04", "--rows", "honesty"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "95 % interval" in said.out and "NO" in said.out
    assert "honesty.inside" in said.err
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["rows"]["honesty"]["failed"] == 0
    assert (tmp_path / "out" / "index.html").exists()


def test_nothing_of_it_needs_torch() -> None:
    program = (
        "import sys, interleave_rt.cli; assert not any('.shapes' in m for m in sys.modules)\n"
        "import interleave_rt.worlds.shapes.evaluation, interleave_rt.worlds.shapes.check\n"
        "assert not [m for m in sys.modules if m == 'torch' or m.startswith('interleave_rt.train')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_outside_test_is_whole() -> None:
    assert len(outside_test()) == 300
    assert USUAL == (5, "last")
