"""The evaluation: its arithmetic, its rows over made-up models, its page, and what it refuses."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from interleave_rt.train.shapes96 import oracle, requests, teacher
from interleave_rt.train.shapes96.elsewhere import outside_test
from interleave_rt.train.shapes96.evaluation import ROWS, Settings, evaluate
from interleave_rt.train.shapes96.evaluation import material as material_module
from interleave_rt.train.shapes96.evaluation.calibration import (
    balanced_accuracy,
    best_threshold,
    calibration_error,
    reliability,
)
from interleave_rt.train.shapes96.evaluation.calls import measure_calls
from interleave_rt.train.shapes96.evaluation.cost import measure_cost
from interleave_rt.train.shapes96.evaluation.figures import Figure, Row, Target
from interleave_rt.train.shapes96.evaluation.gallery import Gallery, Mistake
from interleave_rt.train.shapes96.evaluation.intervals import Share, difference, share, wilson
from interleave_rt.train.shapes96.evaluation.material import Material, Planned
from interleave_rt.train.shapes96.evaluation.models import NativeModels, Plan
from interleave_rt.train.shapes96.evaluation.outcomes import look_at, step_successes
from interleave_rt.train.shapes96.evaluation.page import render_page
from interleave_rt.train.shapes96.evaluation.plans import measure_plans, measure_swapped
from interleave_rt.train.shapes96.evaluation.plot import reliability_svg
from interleave_rt.train.shapes96.evaluation.words import declines, plan_exact, says_so
from interleave_rt.train.shapes96.examples import refusal
from interleave_rt.train.shapes96.grammar import parse
from interleave_rt.train.shapes96.layout import EMPTY, arranged
from interleave_rt.train.shapes96.render import drawn, render

from interleave_rt.errors import BackendFailedError, BadPackError, BadRequestError
from interleave_rt.types import Attempt, PlanStep, Result, Step, Verdict

# ---- arithmetic


def test_wilson_agrees_with_known_intervals() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)
    assert wilson(20, 20)[1] == 1.0
    assert wilson(0, 0) is None


def test_a_share_is_plain_data() -> None:
    assert share([True, False, True, True]).as_dict() == {"n": 4, "share": 0.75, "interval": [0.3006, 0.9544]}
    assert share([]).as_dict() == {"n": 0, "share": None, "interval": None}


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10: 56/70, 48/80
    found = difference(Share(56, 70), Share(48, 80))
    assert found is not None
    assert found[0] == pytest.approx(0.2)
    assert found[1] == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference(Share(1, 2), Share(0, 0)) is None


def test_calibration_error_is_the_weighted_distance() -> None:
    judged = [(0.9, True)] * 8 + [(0.9, False)] * 2 + [(0.1, True)] * 4 + [(0.1, False)] * 6 + [(1.0, True)]
    bins = reliability(judged)
    assert len(bins) == 15
    assert sum(one.right.n for one in bins) == 21
    assert bins[-1].right.n == 1  # p = 1 belongs to the last bin
    assert calibration_error(bins) == pytest.approx((10 * 0.1 + 10 * 0.3) / 21)
    assert calibration_error(reliability([])) is None


def test_the_best_threshold_maximises_balanced_accuracy() -> None:
    judged = [(0.2, False), (0.3, False), (0.6, True), (0.7, False), (0.8, True), (0.9, True)]
    threshold, score = best_threshold(judged)
    assert score == pytest.approx((1 + 2 / 3) / 2)
    assert threshold == pytest.approx(0.45)
    assert balanced_accuracy(judged, threshold) == pytest.approx(score)
    assert max(balanced_accuracy(judged, cut / 100) for cut in range(101)) == pytest.approx(score)
    assert best_threshold([(0.2, True), (0.3, True)]) is None
    assert best_threshold([]) is None


def test_targets_hold_their_bounds_and_nothing_measured_is_missed() -> None:
    both = Target(0.45, 0.8)
    assert [both.met(value) for value in (0.44, 0.45, 0.8, 0.81, None)] == [False, True, True, False, False]
    row = Row(
        "calls",
        {"a": Figure.of("a", [True], both), "b": Figure.of("b", [], both), "c": Figure.of("c", [True])},
    )
    assert row.missed == ["calls.a", "calls.b"]
    assert row.as_dict()["figures"]["a"]["target"] == {"at_least": 0.45, "at_most": 0.8}
    assert row.figures["a"].cells() == ("1", "100.0 %", "20.7 % to 100.0 %", "45.0 % to 80.0 %", "NO")
    assert row.figures["c"].as_dict()["met"] is None


# ---- plans


def right_plan(wish: requests.Request) -> Plan:
    answer = json.loads(teacher.plan_answer(wish).partition("<answer>")[2].partition("</answer>")[0])
    return Plan(tuple(PlanStep(**step) for step in answer["execution_plan"]))


def words(*said: str, number: int = 1) -> Plan:
    return Plan(tuple(PlanStep(number + i, "answer", None, None, text) for i, text in enumerate(said)))


@pytest.mark.parametrize(
    "make", [requests.narrative, requests.continuing, requests.question, requests.unseen]
)
def test_the_right_plan_is_exact_and_others_are_not(make: object) -> None:
    for wish in requests.collect(make, "validation", 25, "test"):
        plan = right_plan(wish)
        assert plan_exact(plan, wish)
        assert not plan_exact(None, wish)
        assert not plan_exact(Plan(plan.steps, truncated=True), wish)
        assert not plan_exact(Plan(plan.steps[:-1]), wish)
        shifted = Plan(
            tuple(PlanStep(**{**s.as_dict(), "step_number": s.step_number + 1}) for s in plan.steps)
        )
        assert not plan_exact(shifted, wish)
        other = {"prompt": "draw a small red star at the top on a white background"}
        if wish.scenes:
            assert not plan_exact(
                Plan((*plan.steps[:-1], PlanStep(**{**plan.steps[-1].as_dict(), "prompt": None}))), wish
            )
        else:
            other = {"auxiliary_text": "No."}
        assert not plan_exact(Plan((PlanStep(**{**plan.steps[0].as_dict(), **other}), *plan.steps[1:])), wish)


def test_declining_means_saying_so_and_what_can_be_had() -> None:
    assert says_so(words(refusal("any")))
    assert not says_so(words("I cannot draw that."))
    assert not says_so(None)
    assert declines(words("I cannot draw that."))
    assert not declines(words("Blue."))
    drawing = PlanStep(2, "x", None, "remove the star", None)
    assert not says_so(Plan((*words(refusal("any")).steps, drawing)))


class Told(Material):
    """Material whose planner is right but for every tenth request."""

    def plan(self, wishes, title):
        def answered(number, wish):
            if wish.kind == "outside":
                return words(refusal("any")) if number % 10 else words("Blue.")
            return right_plan(wish) if number % 10 else words("I cannot draw that.", number=wish.first_number)

        return [Planned(w, self._drawn(w), answered(i, w)) for i, w in enumerate(wishes)]


def test_rows_of_the_planner_count_right_plans() -> None:
    material = Told(None, Settings(scale=0.1))
    row = measure_plans(material)
    assert row.figures["narrative"].n == 50
    assert row.figures["narrative"].value == pytest.approx(0.9)
    assert row.missed == ["plans.narrative"]  # 0.95 is wanted; the others reach 0.90
    kinds = [figure for name, figure in row.figures.items() if name.startswith("narrative/")]
    assert sum(figure.n for figure in kinds) == 50
    counts = [name for name in row.figures if name.startswith("continuing/pictures-")]
    assert counts and sum(row.figures[name].n for name in counts) == 30
    assert len(row.details["wrong/question"]) == 3
    assert {len(one.pictures) for one in material.gallery.mistakes["plan: requests without pictures"]} == {0}


def test_swapped_pictures_need_another_plan() -> None:
    class Blind(Told):
        """It answers by the words alone: with the plan for the first pictures that came with them."""

        known: dict[str, Plan] = {}

        def plan(self, wishes, title):
            return [Planned(w, (), self.known.setdefault(w.text, right_plan(w))) for w in wishes]

    for kind, wanted in ((Told, 0.9), (Blind, 0.0)):
        row = measure_swapped(kind(None, Settings(scale=0.1)))
        assert row.figures["changed"].n == 20
        assert row.figures["changed"].value == pytest.approx(wanted, abs=0.1)


# ---- made-up models


class Made:
    """A generator that is right with full plain prompts, and a critic that knows; requests are planned right."""

    def __init__(self) -> None:
        self.rng = random.Random(5)
        self.wishes = {}

    def plan(self, asked, seed):
        raise AssertionError("plans are told by the material of these tests")

    def paint(self, prompt, source, seed, denoising_steps=0):
        reading = None if source is None else oracle.read(source)
        step = parse(None if reading is None else reading.scene, prompt)
        if self.rng.random() < 0.02:
            raise BackendFailedError("the generator has failed")
        assert step is not None
        explicit = " at the " in prompt or " to the " in prompt
        scene = step.after
        if denoising_steps == 1 or self.rng.random() > (0.99 if explicit else 0.6):
            scene = teacher.corrupt(step, self.rng)
        layout = EMPTY if reading is None else reading.layout
        return render(scene, arranged(step.before, layout, scene, self.rng))

    def run_all(self, cases, look):
        for index, (request, options) in enumerate(cases):
            if index % 9 == 8:
                yield look(index, BackendFailedError("the planner has failed"))
                continue
            yield look(index, self.run(self.wishes[request.text], options))

    def run(self, wish, options):
        steps, source = [], None
        for planned in right_plan(wish).steps:
            tries, prompt = [], planned.prompt
            before = None if source is None else oracle.read(source).scene
            step = parse(before, planned.prompt)
            if step is None:
                break
            for number in range(1, options.t_max + 1):
                try:
                    picture = self.paint(prompt, source, 0)
                except BackendFailedError:
                    continue
                right = oracle.matches(picture, step.after)
                verdict = None
                if options.judges_attempt(number):
                    verdict = Verdict(
                        right, 0.9 if right else 0.1, None if right else teacher.rewrite(step, prompt)
                    )
                tries.append(Attempt(number, prompt, 0, 0, picture, verdict))
                if verdict is None or verdict.accepted:
                    break
                prompt = verdict.refined
            if not tries:
                break
            source = tries[-1].pixels
            accepted = None if verdict is None else verdict.accepted
            steps.append(Step(planned, tuple(tries), source, accepted))
        return Result(wish.text, options, tuple(steps), "finished", plan=right_plan(wish).steps)


class MadeMaterial(Told):
    def __init__(self, models, settings, progress=None):
        super().__init__(models or Made(), settings, progress)

    def outcomes(self, t_max, keep, count):
        self.models.wishes |= {wish.text: wish for wish in self.wishes("narrative", count)}
        return super().outcomes(t_max, keep, count)


def test_calls_are_counted_by_kind_of_prompt() -> None:
    row = measure_calls(MadeMaterial(None, Settings(scale=0.06)))
    assert row.figures["explicit"].n == 30
    assert row.figures["explicit"].value > 0.8
    assert row.figures["planner"].n == 30
    assert row.figures["planner"].value < row.figures["explicit"].value
    assert row.figures["explicit/denoising-1"].value == 0
    assert row.figures["explicit/denoising-4"].value > 0.7
    assert {row.figures[f"explicit/{style}"].n for style in ("corner", "row")} == {12}
    assert row.failed > 0  # and the run went on


def test_results_are_read_as_the_oracle_sees_them() -> None:
    models = Made()
    wish = next(one for one in requests.sample("validation", 50, 3) if len(one.steps) == 3)
    scenes = drawn((*wish.scenes[:2], wish.scenes[0]), random.Random(1))
    plan = right_plan(wish).steps
    refused, accepted = Verdict(False, 0.2, "add it again"), Verdict(True, 0.8)
    steps = (
        Step(plan[0], (Attempt(1, plan[0].prompt, 0, 0, scenes[0], accepted),), scenes[0], True),
        Step(
            plan[1],
            (
                Attempt(1, plan[1].prompt, 0, 0, scenes[2], refused),
                Attempt(2, "add it again", 0, 0, scenes[1], accepted),
            ),
            scenes[1],
            True,
        ),
        Step(plan[2], (Attempt(1, plan[2].prompt, 0, 0, scenes[2]),), scenes[2]),
    )
    result = Result(wish.text, None, steps, "finished", plan=plan)
    found = look_at(result, wish)
    assert found.plan_right and not found.right
    assert [step.right for step in found.steps] == [True, True, False] == step_successes(result)
    assert [(one.right, one.accepted, one.p, one.refined) for one in found.steps[1].tries] == [
        (False, False, 0.2, False),
        (True, True, 0.8, True),
    ]
    gallery = Gallery()
    gallery.offer(result, found)
    (story,) = gallery.failures
    assert story.steps[2].tries[0].seen == wish.scenes[0].describe()
    assert models is not None


def made_pack(tmp_path: Path, size: tuple[int, int] = (96, 96)) -> SimpleNamespace:
    (tmp_path / "weights").write_bytes(b"x" * 2_000_000)
    info = {
        "name": "made",
        "version": "1",
        "description": "",
        "license": "",
        "source": "",
        "lossless": "bitwise",
    }
    return SimpleNamespace(
        name="made", path=tmp_path, image_size=size, info=lambda: info | {"path": str(tmp_path)}
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All rows over made-up models."""
    out, pack = tmp_path_factory.mktemp("eval"), made_pack(tmp_path_factory.mktemp("pack"))
    rows = tuple(name for name in ROWS if name != "cost")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interleave_rt.train.shapes96.evaluation.run.Material", MadeMaterial)
        found = evaluate(pack, Settings(scale=0.02, rows=rows), out, models=Made())
    return found, out


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


def test_the_plot_has_a_dot_for_each_bin_with_pictures() -> None:
    bins = [one.as_dict() for one in reliability([(0.03, False), (0.5, True), (0.99, True)])]
    svg = reliability_svg(bins)
    assert svg.count('class="dot"') == 3
    assert "nan" not in svg


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

    material = Material(None, Settings())
    row = measure_cost(material, made_pack(tmp_path), loads(False))
    assert row.figures["size"].value == 2.0
    assert row.figures["request"].value == 0.5 and "5 steps" in row.figures["request"].what
    assert row.figures["request/tries"].value == 5
    assert measure_cost(material, made_pack(tmp_path), loads(True)).failed == 10


# ---- settings, material, command line


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    short, long = Told(None, Settings()), Told(None, Settings())
    first = short.planned("continuing", 5)
    again = long.planned("continuing", 12)
    assert [one.wish for one in first] == [one.wish for one in again[:5]]
    for one, other in zip(first, again, strict=False):
        assert all(np.array_equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))
    assert Settings(seed=2) != Settings()
    assert long.wishes("narrative", 3) != Told(None, Settings(seed=2)).wishes("narrative", 3)


def test_requests_that_cannot_be_made_are_unanswered() -> None:
    class Blank:
        def plan(self, asked, seed):
            return [words("Blue.") for _ in asked]

    wish = requests.sample("validation", 2, 1)
    bad = requests.elsewhere(random.Random(1))
    odd = type(bad)("draw <image> this", "narrative", "outside", (), bad.steps, (), "test")
    found = Material(Blank(), Settings()).plan([wish[0], odd, wish[1]], "x")
    assert [one.plan is None for one in found] == [False, True, False]


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
        NativeModels(made_pack(tmp_path, (48, 48)))


def test_nothing_of_it_needs_torch() -> None:
    program = (
        "import sys, interleave_rt.cli; assert not any('train.shapes' in m for m in sys.modules)\n"
        "import interleave_rt.train.shapes96.evaluation; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_outside_test_is_whole() -> None:
    assert len(outside_test()) == 300
    assert material_module.USUAL == (5, "last")
