"""The embedded pack through the public face: what the native backend promises beyond law 1."""

from __future__ import annotations

import os

import numpy as np
import pytest
from helpers import edit_pack, python, refused, wait_until

from interleave_rt import BadPackError, BadRequestError, Engine, LimitExceededError, Request
from interleave_rt.backends import ort


def test_pack_information(pack):
    assert pack.name == "shapes"
    assert pack.roles == ("planner", "generator", "critic")
    assert pack.image_size == (96, 96)
    assert pack.info()["lossless"] == "bitwise"


def test_going_on_from_a_picture_and_a_question_about_it(embedded):
    drawn = embedded.run("Draw a snowman", seed=1).steps
    picture = drawn[0].pixels
    result = embedded.run(Request("<image> Now add a small red star at the top left.", (picture,)), seed=2)
    assert result.steps[0].step_number >= 2
    assert np.array_equal(result.inputs[0], picture)
    by_file = embedded.run("Now add a small red star at the top left.", [drawn[0].image], seed=2)
    assert by_file.canonical() == result.canonical()
    answer = embedded.run(Request("<image> What colour is the background?", (drawn[-1].pixels,)))
    assert [(step.attempts, step.pixels) for step in answer.steps] == [((), None)]
    assert answer.text


@pytest.mark.parametrize("size", [{"width": 50}, {"height": 8}, {"width": 4096}])
def test_sizes_that_the_pack_cannot_make_are_refused_before_anything_runs(embedded, size):
    before = embedded.counters()["requests_accepted"]
    with refused(BadRequestError, "multiples of"):
        embedded.run("x", **size)
    assert embedded.counters()["requests_accepted"] == before


def test_the_trace_holds_what_the_models_wrote(embedded):
    result = embedded.run("Draw a snowman", seed=1, t_max=2)
    for span in result.trace:
        wrote = {"plan": '"execution_plan": [{', "judge": '"previous_step_success": ', "generate": ""}[
            span.kind
        ]
        assert wrote in span.answer
        assert bool(span.answer) == bool(wrote)
        assert span.stop == ("early" if wrote else "none")  # the reader knew enough


def test_a_prompt_that_leaves_no_room_for_the_plan_is_over_a_limit(embedded):
    begun = embedded.counters()["planner"]["started"]
    with refused(LimitExceededError, "617 tokens leaves 23 of a cache of 640", "needs 64", "longer cache"):
        embedded.run("Draw a snowman. " + "It is a nice day and " * 60)
    assert embedded.counters()["planner"]["started"] == begun + 1  # no second try, which could not help


def test_nothing_is_left_behind_in_the_engine(embedded):
    embedded.run("Draw a snowman", seed=6)
    wait_until(lambda: not any(embedded.counters()[name] for name in ("live", "unforgotten", "images")))


def test_no_telemetry_no_files_no_python_binding(tmp_path):
    code = """
import os, sys
from interleave_rt import Engine
with Engine.load() as engine:
    engine.run("Draw a snowman")
    assert "onnxruntime" not in sys.modules
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    names = {open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")}
    print(sorted(names))
"""
    home = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"), str(tmp_path))
    threads = python(code, env={**os.environ, **home})
    assert "elemetry" not in threads
    assert "1DS" not in threads
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


OURS = "from interleave_rt import Engine\nprint(Engine.load().run('Draw a snowman').outcome)\n"
THEIRS = "import onnxruntime\nprint(len(onnxruntime.get_available_providers()) > 0)\n"


@pytest.mark.parametrize("code", [THEIRS + OURS, OURS + THEIRS])
def test_the_python_binding_of_onnxruntime_may_be_used_beside_it(code):
    assert sorted(python(code).split()) == ["True", "finished"]


@pytest.mark.parametrize(
    ("installed", "says", "commands"),
    [(["onnxruntime", "onnxruntime-gpu"], "both installed", 2), ([], "no ONNX Runtime", 2)],
)
def test_two_distributions_or_none_are_refused_with_the_commands_that_mend_it(installed, says, commands):
    with refused(BadPackError, says) as caught:
        ort.find_library(lambda: installed)
    assert caught.value.hint.count("pip ") == commands
    assert ort.find_library().name.startswith("libonnxruntime")


def without_critic(manifest):
    manifest["roles"]["critic"] = None


def another_image_token(manifest):
    manifest["roles"]["planner"]["architecture"]["image_token_id"] = 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        # A changed file that the manifest agrees with: the loader behind it must find out.
        ({"files": {"planner/decoder.onnx": b"not a graph"}}, "decoder.onnx"),
        ({"files": {"critic/decoder.onnx": b"not a graph"}}, "decoder.onnx"),
        ({"files": {"generator/transformer.onnx": b"not a graph"}}, "transformer.onnx"),
        ({"files": {"tokenizer/token_bytes.json": b'{"tokens": ["?"]}'}}, "token_bytes.json"),
        (
            {"files": {"tokenizer/token_bytes.json": b'{"tokens": ["QQ=="], "special": ["x"]}'}},
            "token_bytes.json cannot be read",
        ),
        ({"change": another_image_token}, "image_token_id is 3, that of the tokenizer"),
        ({"change": without_critic}, "no critic"),
    ],
)
def test_a_pack_that_cannot_work_names_what_is_wrong(copied, change, says):
    with refused(BadPackError, says):
        Engine.load(edit_pack(copied, **change))


def test_a_graph_of_another_role_is_refused(copied):
    encoder = (copied / "generator/text_encoder.onnx").read_bytes()
    with refused(BadPackError, "decoder"):
        Engine.load(edit_pack(copied, files={"critic/decoder.onnx": encoder}))
