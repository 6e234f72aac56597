"""Rows of the evaluation over made-up models."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from interleave_rt.result import Result
from interleave_rt.wire import Attempt, PlanStep, Step, Verdict
from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.evaluation import Settings
from interleave_rt.worlds.shapes.evaluation.calls import measure_calls
from interleave_rt.worlds.shapes.evaluation.gallery import Gallery
from interleave_rt.worlds.shapes.evaluation.outcomes import look_at, step_successes
from interleave_rt.worlds.shapes.evaluation.plans import measure_plans, measure_swapped
from interleave_rt.worlds.shapes.evaluation.samples import Planned
from interleave_rt.worlds.shapes.evaluation.wording import Plan, declines, plan_exact, says_so
from interleave_rt.worlds.shapes.language import refusal
from interleave_rt.worlds.shapes.scene import drawn


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


@pytest.mark.parametrize(
    "make", [requests.narrative, requests.continuing, requests.question, requests.unseen]
)
def test_the_right_plan_is_exact_and_others_are_not(make: object) -> None:
    for task in requests.collect(make, "validation", 25, "test"):
        plan = made.right_plan(task)
        assert plan_exact(plan, task)
        assert not plan_exact(None, task)
        assert not plan_exact(Plan(plan.steps, truncated=True), task)
        assert not plan_exact(Plan(plan.steps[:-1]), task)
        shifted = Plan(
            tuple(PlanStep(**{**s.as_dict(), "step_number": s.step_number + 1}) for s in plan.steps)
        )
        assert not plan_exact(shifted, task)
        other = {"prompt": "draw a small red star at the top on a white background"}
        if task.scenes:
            assert not plan_exact(
                Plan((*plan.steps[:-1], PlanStep(**{**plan.steps[-1].as_dict(), "prompt": None}))), task
            )
        else:
            other = {"auxiliary_text": "No."}
        assert not plan_exact(Plan((PlanStep(**{**plan.steps[0].as_dict(), **other}), *plan.steps[1:])), task)


def test_declining_means_saying_so_and_what_can_be_had() -> None:
    assert says_so(made.words(refusal("any")))
    assert not says_so(made.words("I cannot draw that."))
    assert not says_so(None)
    assert declines(made.words("I cannot draw that."))
    assert not declines(made.words("Blue."))
    drawing = PlanStep(2, "x", None, "remove the star", None)
    assert not says_so(Plan((*made.words(refusal("any")).steps, drawing)))


def test_rows_of_the_planner_count_right_plans() -> None:
    samples = made.MadeSamples(Settings(scale=0.1))
    row = measure_plans(samples)
    assert row.figures["narrative"].n == 50
    assert row.figures["narrative"].value == pytest.approx(0.9)
    assert row.missed == ["plans.narrative"]  # 0.95 is wanted; the others reach 0.90
    kinds = [figure for name, figure in row.figures.items() if name.startswith("narrative/")]
    assert sum(figure.n for figure in kinds) == 50
    counts = [name for name in row.figures if name.startswith("continuing/pictures-")]
    assert counts and sum(row.figures[name].n for name in counts) == 30
    assert len(row.details["wrong/question"]) == 3
    assert {len(one.pictures) for one in samples.gallery.mistakes["plan: requests without pictures"]} == {0}


def test_swapped_pictures_need_another_plan() -> None:
    class Blind(made.MadeSamples):
        """It answers by the words alone: with the plan for the first pictures that came with them."""

        known: dict[str, Plan] = {}

        def plan(self, tasks, title):
            return [Planned(w, (), self.known.setdefault(w.text, made.right_plan(w))) for w in tasks]

    for kind, wanted in ((made.MadeSamples, 0.9), (Blind, 0.0)):
        row = measure_swapped(kind(Settings(scale=0.1)))
        assert row.figures["changed"].n == 20
        assert row.figures["changed"].value == pytest.approx(wanted, abs=0.1)


def test_calls_are_counted_by_kind_of_prompt() -> None:
    row = measure_calls(made.MadeSamples(Settings(scale=0.06)))
    assert row.figures["explicit"].n == 30
    assert row.figures["explicit"].value > 0.8
    assert row.figures["planner"].n == 30
    assert row.figures["planner"].value < row.figures["explicit"].value
    assert row.figures["explicit/denoising-1"].value == 0
    assert row.figures["explicit/denoising-4"].value > 0.7
    assert {row.figures[f"explicit/{style}"].n for style in ("corner", "row")} == {12}
    assert row.failed > 0  # and the run went on


def test_results_are_read_as_the_oracle_sees_them() -> None:
    task = next(one for one in requests.sample("validation", 50, 3) if len(one.steps) == 3)
    scenes = drawn((*task.scenes[:2], task.scenes[0]), random.Random(1))
    plan = made.right_plan(task).steps
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
    result = Result(task.text, None, steps, "finished", plan=plan)
    found = look_at(result, task)
    assert found.plan_right and not found.right
    assert [step.right for step in found.steps] == [True, True, False] == step_successes(result)
    assert [(one.right, one.accepted, one.p, one.refined) for one in found.steps[1].tries] == [
        (False, False, 0.2, False),
        (True, True, 0.8, True),
    ]
    gallery = Gallery()
    gallery.offer(result, found)
    (story,) = gallery.failures
    assert story.steps[2].tries[0].seen == task.scenes[0].describe()
