"""Requests, options, results, settings and errors: what they hold, and how a wrong one names itself."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
from helpers import refused

from interleave_rt import BadRequestError, Options, Request, errors
from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.result import Result
from interleave_rt.wire import Attempt, PlanStep, Step, Timings, Verdict


@pytest.mark.parametrize(
    ("text", "images", "says"),
    [
        ("", 0, "empty"),
        ("  \n", 0, "empty"),
        (None, 0, "empty"),
        ("<image> <image>", 1, "2 <image> marks for 1 image"),
        ("<image>", 0, "1 <image> mark for 0 images"),
    ],
)
def test_a_request_that_cannot_be_is_refused(text, images, says):
    with refused(BadRequestError, says):
        Request(text, (np.zeros((2, 2, 3), np.uint8),) * images)


def test_images_decide_about_the_mode_and_stand_at_their_marks():
    picture = np.zeros((2, 2, 3), np.uint8)
    assert Request("Go on", (picture,)).marked_text == "<image> Go on"
    assert Request("A <image> b <image>", (picture, picture)).marked_text == "A <image> b <image>"
    assert Request("x").mode == "narrative"
    assert Request("x", (picture,)).mode == "guidance"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("off", ("off", 0)), ("auto", ("auto", 1)), ("depth=1", ("depth", 1)), ("depth=25", ("depth", 25))],
)
def test_speculation_settings(text, meaning):
    assert Options(speculation=text).speculation_depth() == meaning


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *(
            (Options, "speculation", text)
            for text in ("", "on", "depth", "depth=", "depth=0", "depth=26", "Off")
        ),
        *((Options, "t_max", value) for value in (0, 11, True, 2.0)),
        *((Options, "seed", value) for value in (-1, 2**64)),
        *((Options, "deadline_s", value) for value in (0, float("nan"))),
        *((Options, "max_steps", 26), (Options, "keep", "first"), (Options, "seeds", "random")),
        *((Options, "width", -16), (Options, "denoising_steps", 101)),
        *((EngineConfig, "max_live", 0), (EngineConfig, "critic_slowdown", 0.5)),
        *((EngineConfig, "generator_rate", value) for value in (0.0, 1.5)),
        *((EngineConfig, "switch_interval_ms", value) for value in (0, -1, 1e9, float("nan"), "1")),
        (EngineConfig, "constrained", "maybe"),
    ],
)
def test_a_wrong_setting_names_itself(kind, name, value):
    with refused(BadRequestError, name):
        kind(**{name: value})


def test_an_unknown_option_names_the_known_ones():
    with refused(BadRequestError, "no option 'sead'", hint="seed"):
        Options.of(sead=1)


@pytest.mark.parametrize(
    ("word", "hint"), [("device", "CUDAExecutionProvider"), ("cuda", "device=cuda:0"), ("thread", "threads")]
)
def test_an_unknown_setting_of_an_engine_is_answered_with_what_there_is(word, hint):
    with refused(BadRequestError, f"no field {word!r}", hint=hint):
        Engine.load(**{word: "cuda"})


def test_options_of_keeps_what_is_not_changed():
    base = Options(seed=3, t_max=2)
    assert Options.of(base, seed=4) == dataclasses.replace(base, seed=4)


@pytest.mark.parametrize(
    ("auxiliary", "instruction", "text"),
    [
        ("aux", "do", "aux"),
        *((nothing, "do", "do") for nothing in (None, "", "None", " \n")),
        ("None of it", "do", "None of it"),
        *((nothing, None, "") for nothing in (None, "None")),
    ],
)
def test_the_text_of_a_step(auxiliary, instruction, text):
    assert PlanStep(1, "n", instruction, "p", auxiliary).text == text


def _result(reasoning: str, timings: float) -> Result:
    pixels = np.zeros((4, 4, 3), np.uint8)
    refused = Attempt(1, "p", 5, 2**63 + 1, pixels.copy(), Verdict(False, 0.25, "better", reasoning))
    kept = Attempt(2, "better", 6, 7, pixels, Verdict(True, 0.75, "ignored " + reasoning, reasoning))
    image_step = Step(PlanStep(1, "n", "do", "p"), (refused, kept), pixels, True)
    words = Step(PlanStep(2, "n", "Read this."))
    return Result("q", Options(), (image_step, words), "finished", timings=Timings(timings))


def test_the_canonical_result_is_plain_and_holds_nothing_that_timing_changes():
    canonical = _result("because", 1.0).canonical()
    assert canonical == _result("for another reason", 2.0).canonical()
    assert json.loads(json.dumps(canonical)) == canonical
    first, second = canonical["steps"][0]["attempts"]
    assert first["verdict"] == {"accepted": False, "p_success": 0.25, "refined": "better"}
    assert second["verdict"] == {"accepted": True, "p_success": 0.75}
    assert first["image"] == "8000000000000001"
    words = {
        "step_number": 2,
        "step_name": "n",
        "instruction": "Read this.",
        "prompt": None,
        "auxiliary_text": None,
    }
    assert canonical["steps"][1] == {"step": words, "attempts": [], "accepted": None, "outcome": "text"}


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


# ---- errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


def test_exit_codes_and_statuses_are_the_documented_ones():
    assert {cls.code: (cls.http_status, cls.exit_code) for cls in CLASSES} == {
        "internal": (500, 1),
        "bad_request": (400, 2),
        "bad_pack": (500, 3),
        "limit_exceeded": (413, 4),
        "backend_failed": (502, 5),
        "deadline": (504, 6),
        "overloaded": (429, 7),
        "cancelled": (499, 130),
        "closed": (503, 1),
    }


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_are_found_by_their_code_and_travel_between_processes(cls):
    error = pickle.loads(pickle.dumps(errors.from_code(cls.code, "what", hint="next")))
    assert type(error) is cls
    assert (str(error), error.partial) == ("what", None)
    assert error.as_dict() == {"code": cls.code, "message": "what", "hint": "next"}


def test_an_unknown_code_is_the_root_class():
    assert type(errors.from_code("nonsense", "x")) is errors.InterleaveError
