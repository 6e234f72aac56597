"""The one schema: what result.json and the event stream look like, and that every value comes back from its dict."""

from __future__ import annotations

import json

import numpy as np
import pytest

from interleave_rt import BadRequestError, Engine, Options, Result
from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.request import Optimizations
from interleave_rt.result import FinishedEvent, event_from_dict
from interleave_rt.wire import Decision, PlanStep, Span, Step, Verdict

PLAN = {
    "auxiliary_text": "str?",
    "instruction": "str?",
    "prompt": "str?",
    "step_name": "str",
    "step_number": "int",
}
VERDICT = {"p_success": "float", "previous_step_success": "bool", "reasoning": "str", "refine_prompt": "str?"}
ATTEMPT = {
    "image": "str?", "image_hash": "str", "number": "int", "prompt": "str", "prompt_cut": "bool",
    "refused_unreadable": "bool", "seed": "int", "seed_text": "str", "verdict": VERDICT,
}  # fmt: skip
STEP = {
    "accepted": "bool?", "attempts": [ATTEMPT], "image": "str?", "outcome": "str", "plan": PLAN, "step_name": "str", "step_number": "int",
    "text": "str",
}  # fmt: skip
RESULT = {
    "error": None, "format": "str", "outcome": "str", "pack": {"lossless": "str", "name": "str", "version": "str"},
    "plan": [PLAN], "plan_truncated": "bool", "request": "str", "steps": [STEP],
    "options": {
        "deadline_s": "float?", "denoising_steps": "int", "height": "int", "judge_last": "bool", "keep": "str",
        "max_steps": "int", "seed": "int", "seed_text": "str", "seeds": "str", "speculation": "str", "t_max": "int", "width": "int",
        "devices": {
            "cache_vision": "bool", "early_verdict": "bool", "encode_text_ahead": "bool", "raw_images": "bool",
            "skip_last_judge": "bool", "stream_plan": "bool",
        },
    },
    "speculation": {
        "discarded": "int", "discarded_s": "float", "setting": "str", "started": "int", "used": "int",
    },
    "timings": {
        "critic_busy_s": "float", "first_image_s": "float?", "first_step_s": "float?", "generator_busy_s": "float",
        "planner_busy_s": "float", "total_s": "float",
    },
}  # fmt: skip
EVENTS = {
    "plan_step": {"index": "int", "kind": "str", "step": PLAN},
    "attempt_image": {"attempt": {**ATTEMPT, "verdict": None}, "index": "int", "kind": "str"},
    "verdict": {"attempt": "int", "index": "int", "kind": "str", "verdict": VERDICT},
    "step_committed": {"index": "int", "kind": "str", "step": STEP},
    "finished": {"error": None, "kind": "str", "outcome": "str", "result": RESULT},
}


def differs(value, shape, where="$"):
    """Where a value is not of this shape: a dict of exactly these keys, a list of one shape, a type, `?` for None too."""
    if isinstance(shape, dict):
        if value is None and shape is VERDICT:
            return []
        if not isinstance(value, dict) or sorted(value) != sorted(shape):
            return [f"{where}: {value if not isinstance(value, dict) else sorted(value)}"]
        return [found for key in shape for found in differs(value[key], shape[key], f"{where}.{key}")]
    if isinstance(shape, list):
        return [found for i, one in enumerate(value) for found in differs(one, shape[0], f"{where}[{i}]")]
    if shape is None or value is None:
        return [] if value is None and (shape is None or shape.endswith("?")) else [f"{where}: {value!r}"]
    kind = {"str": str, "int": int, "float": (int, float), "bool": bool}[shape.rstrip("?")]
    fits = isinstance(value, kind) and (shape.startswith("bool") or not isinstance(value, bool))
    return [] if fits else [f"{where}: {value!r}"]


@pytest.fixture(scope="module")
def events():
    script = Script(
        generator_ms=1, critic_ms=2, accept_prob=0.4, text_only_prob=0.3, min_steps=4, max_steps=4, seed=2
    )
    with Engine(ScriptedBackend(script)) as engine:
        return list(engine.stream("x", seed=3, t_max=3, speculation="depth=2"))


def test_the_schema_is_what_it_was(events):
    assert {event.kind for event in events} == set(EVENTS)
    for event in events:
        assert differs(event.as_dict(), EVENTS[event.kind]) == []


def pictures_of(event):
    """The pictures of an event by the names in its dict."""
    if event.kind == "attempt_image":
        return {event.as_dict()["attempt"]["image"]: event.attempt.pixels}
    steps = event.result.steps if event.kind == "finished" else [getattr(event, "step", None)]
    raw = event.as_dict()["result"]["steps"] if event.kind == "finished" else [event.as_dict().get("step")]
    return {
        told["image"]: attempt.pixels
        for step, plain in zip(steps, raw, strict=True)
        if isinstance(step, Step)
        for attempt, told in zip(step.attempts, plain["attempts"], strict=True)
    }


def test_every_event_comes_back_from_json(events):
    for event in events:
        raw = json.loads(json.dumps(event.as_dict()))
        again = event_from_dict({**raw, "of a later version": 1}, pictures_of(event))
        assert again.as_dict() == event.as_dict()
        assert type(again) is type(event)
    end = events[-1]
    assert isinstance(end, FinishedEvent)
    again = event_from_dict(end.as_dict(), pictures_of(end)).result
    assert again.canonical() == end.result.canonical()
    for step, other in zip(end.result.steps, again.steps, strict=True):
        assert (step.pixels is None) == (other.pixels is None)
        assert step.pixels is None or np.array_equal(step.pixels, other.pixels)


def test_without_pictures_a_result_still_says_what_was_made(events):
    again = Result.from_dict(events[-1].result.as_dict())
    assert again.canonical() == events[-1].result.canonical()
    assert again.images == []


def test_spans_decisions_and_options_come_back(events):
    result = events[-1].result
    assert result.trace
    assert [Span.from_dict(span.as_dict()) for span in result.trace] == list(result.trace)
    assert [Decision.from_dict(one.as_dict()) for one in result.decisions] == list(result.decisions)
    options = Options(seed=9, deadline_s=3.5, optimizations=Optimizations(stream_plan=False))
    assert Options.from_dict(options.as_dict()) == options


@pytest.mark.parametrize(
    ("read", "raw", "said"),
    [
        (Verdict.from_dict, {"previous_step_success": True}, "Verdict has no field 'p_success'"),
        (
            Verdict.from_dict,
            {"previous_step_success": 1, "p_success": 1.0},
            "previous_step_success is 1: give bool",
        ),
        (PlanStep.from_dict, {"step_number": True, "step_name": "a"}, "step_number is True: give int"),
        (event_from_dict, {"kind": "news"}, "no event 'news'"),
        (event_from_dict, {"kind": "plan_step", "index": 0}, "plan_step has no field 'step'"),
        (Result.from_dict, {"format": "interleave-rt.result/9"}, "result/9"),
    ],
)
def test_what_does_not_fit_is_named(read, raw, said):
    with pytest.raises(BadRequestError, match=said):
        read(raw)


def test_seeds_survive_readers_whose_numbers_have_53_bits(events):
    result = events[-1].result
    assert any(attempt.seed > 2**53 for step in result.steps for attempt in step.attempts)

    def rounded(value):
        return json.loads(json.dumps(value), parse_int=lambda digits: int(float(digits)))

    back = Result.from_dict(rounded(result.as_dict()))
    assert [step.canonical() for step in back.steps] == [step.canonical() for step in result.steps]
    assert back.options.seed == result.options.seed
    older = json.loads(json.dumps(result.as_dict()).replace('"seed_text"', '"unknown"'))
    assert Result.from_dict(older).canonical() == result.canonical()
    options = Options(seed=2**64 - 1)
    assert Options.from_dict(rounded(options.as_dict())) == options
