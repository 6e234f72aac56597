from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from interleave_rt import BadRequestError, Options, Request
from interleave_rt.config import EngineConfig
from interleave_rt.result import Result
from interleave_rt.wire import Attempt, PlanStep, Step, Verdict


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_an_empty_request_is_refused(text):
    with pytest.raises(BadRequestError, match="empty"):
        Request(text)


def test_marks_and_images_must_match():
    picture = np.zeros((2, 2, 3), np.uint8)
    assert Request("Go on", (picture,)).marked_text == "<image> Go on"
    assert Request("A <image> b <image>", (picture, picture)).marked_text == "A <image> b <image>"
    assert Request("x").mode == "narrative"
    assert Request("x", (picture,)).mode == "guidance"
    with pytest.raises(BadRequestError, match="2 <image> marks, but 1 images"):
        Request("<image> <image>", (picture,))
    with pytest.raises(BadRequestError, match="1 <image> marks, but 0"):
        Request("<image>")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("off", ("off", 0)), ("auto", ("auto", 1)), ("depth=1", ("depth", 1)), ("depth=25", ("depth", 25))],
)
def test_speculation_settings(text, meaning):
    assert Options(speculation=text).speculation_depth() == meaning


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"speculation": text}
            for text in ("", "on", "depth", "depth=", "depth=0", "depth=26", "depth=-1", "Off")
        ),
        {"t_max": 0},
        {"t_max": 11},
        {"t_max": True},
        {"t_max": 2.0},
        {"seed": -1},
        {"seed": 2**63},
        {"max_steps": 26},
        {"keep": "first"},
        {"seeds": "random"},
        {"deadline_s": 0},
        {"deadline_s": float("nan")},
        {"width": -16},
        {"denoising_steps": 101},
    ],
)
def test_a_wrong_option_names_itself(changes):
    with pytest.raises(BadRequestError, match=next(iter(changes))):
        Options(**changes)


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(BadRequestError, match="no option 'sead'") as caught:
        Options.of(sead=1)
    assert "seed" in caught.value.hint


def test_options_of_keeps_what_is_not_changed():
    base = Options(seed=3, t_max=2)
    assert Options.of(base, seed=4) == dataclasses.replace(base, seed=4)


def test_which_attempts_are_judged():
    assert [Options(t_max=3).judges_attempt(t) for t in (1, 2, 3)] == [True, True, False]
    assert Options(t_max=3, judge_last=True).judges_attempt(3)
    assert Options(t_max=3, keep="best").judges_attempt(3)
    assert not Options(t_max=1).judges_attempt(1)


@pytest.mark.parametrize(
    ("auxiliary", "text"),
    [("aux", "aux"), (None, "do"), ("", "do"), ("None", "do"), (" ", "do"), ("None of it", "None of it")],
)
def test_the_text_of_a_step(auxiliary, text):
    assert PlanStep(1, "n", "do", "p", auxiliary).text == text


def _result(reasoning: str, timings: float) -> Result:
    pixels = np.zeros((4, 4, 3), np.uint8)
    refused = Attempt(1, "p", 5, 2**63 + 1, pixels.copy(), Verdict(False, 0.25, "better", reasoning))
    kept = Attempt(2, "better", 6, 7, pixels, Verdict(True, 0.75, "ignored " + reasoning, reasoning))
    image_step = Step(PlanStep(1, "n", "do", "p"), (refused, kept), pixels, True)
    words = Step(PlanStep(2, "n", "Read this."))
    from interleave_rt.wire import Timings

    return Result("q", Options(), (image_step, words), "finished", timings=Timings(timings))


def test_the_canonical_result_is_plain_and_holds_nothing_that_timing_changes():
    canonical = _result("because", 1.0).canonical()
    assert canonical == _result("for another reason", 2.0).canonical()
    assert json.loads(json.dumps(canonical)) == canonical
    first, second = canonical["steps"][0]["attempts"]
    assert first["verdict"] == {"accepted": False, "p_success": 0.25, "refined": "better"}
    assert second["verdict"] == {"accepted": True, "p_success": 0.75}
    assert first["image"] == "8000000000000001"
    assert canonical["steps"][1] == {
        "step": {
            "step_number": 2,
            "step_name": "n",
            "instruction": "Read this.",
            "prompt": None,
            "auxiliary_text": None,
        },
        "attempts": [],
        "accepted": None,
    }


def test_text_and_images_of_a_result():
    result = _result("", 0)
    assert result.text == "do\n<image>\n\nRead this."
    assert [image.size for image in result.images] == [(4, 4)]
    assert result.steps[1].image is None


@pytest.mark.parametrize(
    ("config", "budget"),
    [
        ({"threads": 1}, (1, 1, False)),
        ({"threads": 2}, (1, 1, True)),
        ({"threads": 4}, (3, 1, True)),
        ({"threads": 16}, (12, 4, True)),
        ({"threads": 2, "generator_threads": 2}, (2, 1, False)),
        ({"threads": 4, "vlm_threads": 2}, (2, 2, True)),
        ({"threads": 2, "generator_threads": 2, "vlm_threads": 2}, (2, 2, False)),
    ],
)
def test_lanes_are_separate_devices_only_while_their_threads_fit(config, budget):
    found = EngineConfig(**config).budget()
    assert (found.generator, found.vlm, found.separate) == budget
    assert (found.generator_device == found.vlm_device) is not found.separate


def test_a_wrong_engine_setting_names_itself():
    with pytest.raises(BadRequestError, match="max_live"):
        EngineConfig(max_live=0)
    for wrong in ({"critic_slowdown": 0.5}, {"generator_rate": 0.0}, {"generator_rate": 1.5}):
        with pytest.raises(BadRequestError, match=next(iter(wrong))):
            EngineConfig(**wrong)
    EngineConfig(critic_slowdown=1.1, generator_rate=0.9)
