"""Planner and critic by chat: every form of an answer is read alike, as it streams, and what was told stands."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("httpx")

from interleave_rt.backends.openai import OpenAiVlm
from interleave_rt.backends.scripted import Script
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.request import Request
from interleave_rt.roles.prompts import Prompts
from interleave_rt.roles.scripted import ScriptedRoles

SCRIPT = Script(min_steps=3, max_steps=3, accept_prob=0.5, seed=5)
BEFORE, AFTER = np.full((8, 6, 3), 9, np.uint8), np.full((8, 6, 3), 200, np.uint8)
TEXT = 'Draw a {cat}, then "its" bowl\nand <think>'


def judged(vlm: OpenAiVlm, seed: int = 1, before=BEFORE, **more):
    return vlm.judge(before, AFTER, "the wish", "the words", seed, 0, **more)


def expected(seed: int = 1, before=BEFORE, script: Script = SCRIPT):
    return ScriptedRoles(script).judge(before, AFTER, "the wish", "the words", seed, 0)


@pytest.mark.parametrize("form", ["tags", "python", "reasoning", "whole"])
@pytest.mark.parametrize("structured", ["off", "json_schema", "json_object", "guided_json"])
def test_every_form_of_an_answer_is_read_alike(made_up, form, structured):
    with made_up.MadeUp(SCRIPT, form=form) as server:
        vlm = OpenAiVlm(server.url, "m", structured=structured)
        told = []
        heard = []
        listening = {"on_step": told.append, "on_answer": lambda *said: heard.append(said)}
        plan = vlm.plan(Request(TEXT), 25, 7, 0, **listening)
        ((wrote, stop),) = heard
        assert b"execution_plan" in wrote
        assert stop in ("early", "end_of_text")
        assert plan == ScriptedRoles(SCRIPT).plan(Request(TEXT), 25, 7, 0)
        assert told == [*plan.steps]
        for seed in range(6):
            verdict, right = judged(vlm, seed), expected(seed)
            assert (verdict.accepted, verdict.refined) == (right.accepted, right.refined)
            assert verdict.p_success == pytest.approx(right.p_success)
            if structured == "off" or form != "python":  # which no schema describes
                assert "thought" in verdict.reasoning or "made up" in verdict.reasoning
        assert expected(0, None) != expected(0)
        assert judged(vlm, 0, None).accepted == expected(0, None).accepted  # white was sent
        for field in ("response_format", "guided_json"):
            sent = {"off": None, "guided_json": "guided_json"}.get(structured, "response_format")
            assert all((field in body) == (field == sent) for _, body in server.calls)


def test_pictures_stand_where_the_text_has_them(made_up):
    with made_up.MadeUp(SCRIPT) as server:
        request = Request("from <image> to <image>, go on", (BEFORE, AFTER))
        plan = OpenAiVlm(server.url, "m").plan(request, 25, 7, 0)
        assert plan == ScriptedRoles(SCRIPT).plan(request, 25, 7, 0)
        (_, body), *_ = server.calls
        kinds = [part["type"] for part in body["messages"][0]["content"]]
        assert kinds == ["text", "image_url", "text", "image_url", "text", "text"]


def test_a_second_try_is_sampled_and_the_first_is_not(made_up):
    with made_up.MadeUp(SCRIPT) as server:
        vlm = OpenAiVlm(server.url, "m", extra={"top_k": 3})
        for retry in (0, 1):
            vlm.plan(Request("x"), 25, 2**63 - 1, retry)
        sent = [(body["temperature"], body["seed"], body["top_k"]) for _, body in server.calls]
        assert sent == [(0.0, 2**31 - 1, 3), (0.7, 2**31 - 1, 3)]


def test_only_our_own_prompts_are_joined_with_a_schema_unasked(made_up, tmp_path):
    (tmp_path / "critic.txt").write_text("{original_instruction}|{rewritten_prompt}")
    prompts = Prompts.from_folder(tmp_path)
    with made_up.MadeUp(SCRIPT, prompts=prompts) as server:
        assert judged(OpenAiVlm(server.url, "m", prompts=prompts)).accepted == expected().accepted
        assert "response_format" not in server.calls[0][1]


@pytest.mark.parametrize(("named", "status"), [(True, 400), (False, 422), (True, 500)])
def test_what_a_server_refuses_is_left_out_from_then_on(made_up, named, status):
    refuses = frozenset({"response_format", "logprobs", "seed"})
    with made_up.MadeUp(SCRIPT, refuses=refuses, names_refused=named, refusal=status) as server:
        vlm = OpenAiVlm(server.url, "m")
        verdict = judged(vlm, 0)
        assert verdict.p_success == float(verdict.accepted)
        # Of a schema two forms are tried.
        assert vlm.counters()["adapted"] == (4 if named else 2)
        assert not any(name.startswith("retry") for name in vlm.counters())
        tries = vlm.counters()["tries"]
        judged(vlm, 1)
        assert vlm.counters()["tries"] == tries + 1
        assert "temperature" in server.calls[-1][1]


def test_a_limit_of_tokens_by_either_name(made_up):
    with made_up.MadeUp(SCRIPT, refuses=frozenset({"max_tokens"})) as server:
        judged(OpenAiVlm(server.url, "m", max_tokens=77))
        assert server.calls[-1][1]["max_completion_tokens"] == 77


def test_a_call_that_is_wrong_whatever_is_left_out_changes_nothing(made_up):
    with made_up.MadeUp(SCRIPT, refuses=frozenset({"model"}), names_refused=False) as server:
        vlm = OpenAiVlm(server.url, "m")
        with pytest.raises(BadRequestError, match="answers 400: something is wrong"):
            judged(vlm)
        server.refuses = frozenset()
        judged(vlm)
        assert {"response_format", "logprobs", "seed"} <= set(server.calls[-1][1])


def test_steps_leave_as_they_close_and_verdicts_at_their_boolean(made_up):
    script = Script(
        planner_ms=900,
        first_step_ms=50,
        min_steps=4,
        max_steps=4,
        critic_ms=900,
        verdict_ms=50,
        accept_prob=0,
    )
    with made_up.MadeUp(script) as server:
        vlm = OpenAiVlm(server.url, "m")
        vlm.check()
        times, heard = [], []
        vlm.plan(Request("a cat"), 25, 7, 0, on_step=lambda _: times.append(time.monotonic()))
        assert len(times) == 4
        assert times[3] - times[0] > 0.5
        verdict = judged(vlm, on_verdict=lambda *said: heard.append((time.monotonic(), *said)))
        assert time.monotonic() - heard[0][0] > 0.5
        assert heard[0][1:] == (False, verdict.p_success)
        assert verdict.refined == expected(script=script).refined
        server.script = Script(critic_ms=60_000, verdict_ms=50, accept_prob=1)
        assert judged(vlm).accepted  # nobody waits for the rest of it


def test_told_steps_stand_when_a_stream_breaks_off(made_up):
    def fault(_role, number):
        return "cut" if number == 0 else None

    with made_up.MadeUp(SCRIPT, fault=fault, wanders=True) as server:
        vlm = OpenAiVlm(server.url, "m", backoff_s=0)
        told = []
        plan = vlm.plan(Request("a cat"), 25, 7, 0, on_step=told.append)
        first = ScriptedRoles(SCRIPT).plan(Request("a cat"), 25, 7, 0).steps
        second = ScriptedRoles(SCRIPT).plan(Request("a cat"), 25, 7 + (1 << 32), 0).steps
        kept = sum(a == b for a, b in zip(plan.steps, first, strict=True))
        assert 0 < kept < 3
        assert [*plan.steps] == told == [*first[:kept], *second[kept:]]
        assert not plan.truncated
        assert vlm.counters()["retry_garbled"] == 1


def test_a_told_refusal_stands_when_a_stream_breaks_off(made_up):
    script = Script(accept_prob=0.0, seed=5)
    said = []

    def fault(_role, number):
        if number:
            server.script = Script(accept_prob=1.0, seed=5)
        return None if number else "cut"

    with made_up.MadeUp(script, fault=fault) as server:
        vlm = OpenAiVlm(server.url, "m", backoff_s=0)
        verdict = judged(vlm, on_verdict=lambda *what: said.append(what))
        assert vlm.counters()["retry_garbled"] == 1
        assert said == [(False, verdict.p_success)]
        assert (verdict.accepted, verdict.refined) == (False, None)


@pytest.mark.parametrize("fault", ["no answer", "no json", "cut", "nothing"])
def test_answers_that_stay_senseless_are_one_error(made_up, fault):
    with made_up.MadeUp(Script(accept_prob=0.0), fault=lambda *_: fault) as server:
        vlm = OpenAiVlm(server.url, "m", retries=1, backoff_s=0)
        for call in (lambda: judged(vlm, before=None), lambda: vlm.plan(Request("x"), 25, 1, 0)):
            with pytest.raises(
                BackendFailedError, match="is empty" if fault == "nothing" else "makes no sense"
            ):
                call()


def test_what_the_model_itself_garbles_is_unreadable_and_not_repeated_here(made_up):
    with made_up.MadeUp(Script(unreadable_verdict_prob=1.0, unreadable_plan_prob=1.0)) as server:
        vlm = OpenAiVlm(server.url, "m")
        assert judged(vlm) is None
        assert vlm.plan(Request("x"), 25, 1, 0).steps == ()
        assert vlm.counters() == {"calls": 2, "tries": 2}
