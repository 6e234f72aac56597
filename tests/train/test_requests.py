"""Seeded requests: their plans are right, they are reproducible, and the splits are disjoint."""

from __future__ import annotations

import json

import pytest
from interleave_rt.train.shapes import grammar, requests, teacher
from interleave_rt.train.shapes.composites import COMPOSITES, variants


@pytest.mark.parametrize("mode", ["narrative", "guidance"])
def test_plans_lead_to_their_scenes(mode: requests.Mode) -> None:
    for request in requests.sample("train", 600, 3, mode):
        scene = request.images[-1] if request.images else None
        if request.scenes:
            assert len(request.scenes) == len(request.steps)
            for step, target in zip(request.steps, request.scenes, strict=True):
                assert step.prompt is not None
                scene = grammar.apply(scene, step.prompt)
                assert scene == target
        else:
            (step,) = request.steps
            assert step.prompt is None and step.instruction is None and step.auxiliary_text
        assert request.text.count("<image>") == len(request.images)
        assert 1 <= len(request.steps) <= 6


def test_samples_repeat_and_differ_by_seed() -> None:
    assert requests.sample("test", 50, 1) == requests.sample("test", 50, 1)
    assert requests.sample("test", 50, 1) != requests.sample("test", 50, 2)


@pytest.mark.parametrize("mode", ["narrative", "guidance"])
def test_held_out_requests_are_not_in_training(mode: requests.Mode) -> None:
    held = {(request.text, request.images) for request in requests.sample("test", 200, 1, mode)}
    seen = {(request.text, request.images) for request in requests.sample("train", 1500, 1, mode)}
    assert not held & seen


def test_grounded_prompts_are_common_but_first_steps_are_explicit() -> None:
    later = grounded = 0
    for request in requests.sample("train", 400, 5):
        scene = None
        for number, (step, target) in enumerate(zip(request.steps, request.scenes, strict=True)):
            assert step.prompt is not None
            transition = grammar.parse(scene, step.prompt)
            assert transition is not None
            if number == 0:
                assert step.prompt == grammar.explicit(transition)
            else:
                later += 1
                grounded += step.prompt != grammar.explicit(transition)
            scene = target
    assert 0.7 < grounded / later < 0.95


def test_composites_can_be_drawn_with_their_defaults() -> None:
    assert len(COMPOSITES) >= 10
    for name, composite in COMPOSITES.items():
        ground, values = variants(name)[0]
        assert ground == composite.grounds[0]
        assert values == {key: options[0] for key, options in composite.choices.items()}
        assert len(variants(name)) >= 5


def test_plan_answer_is_json_with_the_official_fields() -> None:
    for request in requests.sample("train", 30, 9, "guidance"):
        answer = teacher.plan_answer(request)
        plan = json.loads(answer.partition("<answer>")[2].partition("</answer>")[0])["execution_plan"]
        assert [step["step_number"] for step in plan][0] == len(request.images) + 1
        assert set(plan[0]) == {"step_number", "step_name", "instruction", "prompt", "auxiliary_text"}
