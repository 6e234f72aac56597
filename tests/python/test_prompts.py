"""How general models are asked: our own prompts, a folder of the user's, and what is refused before anything slow."""

from __future__ import annotations

import json

import numpy as np
import pytest

from interleave_rt.errors import BadPackError
from interleave_rt.request import Request
from interleave_rt.roles.answers import read_plan, read_verdict
from interleave_rt.roles.prompts import ANSWER_SCHEMAS, Prompts, critic_pictures, planner_pictures

PICTURE = np.zeros((8, 6, 3), np.uint8)
STEP = {"step_number": 1, "step_name": "a", "instruction": "b", "prompt": "c", "auxiliary_text": None}


def test_our_prompts_carry_every_value_and_show_answers_that_can_be_read():
    own = Prompts.default()
    (narrative,) = own.plan(Request("a {cat}"))
    (guidance,) = own.plan(Request("from <image> to <image>", (PICTURE, PICTURE)))
    (critic,) = own.judge("the wish", "the words")
    assert [type(piece) for piece in narrative["content"]] == [str]
    assert "a {cat}" in narrative["content"][0]
    assert [piece for piece in guidance["content"] if isinstance(piece, int)] == [0, 1]
    assert critic["content"][:2] == [0, 1]
    assert "the wish" in critic["content"][2]
    assert "the words" in critic["content"][2]
    for message, mode in ((narrative, "narrative"), (guidance, "guidance")):
        (shown,) = ("<answer>{" + piece for piece in str(message["content"][-1]).split("<answer>{")[1:])
        assert len(read_plan(shown.encode(), mode, 25).steps) == 1
    accepted, refused = ("<answer>{" + piece for piece in str(critic["content"][2]).split("<answer>{")[1:])
    assert read_verdict(accepted.encode()).accepted
    assert read_verdict(refused.encode()).refined == "..."


@pytest.mark.parametrize("name", ["narrative", "guidance"])
def test_an_answer_of_the_schema_is_read(name):
    properties = ANSWER_SCHEMAS[name]["properties"]["execution_plan"]["items"]["properties"]
    assert list(properties) == list(STEP)
    answer = f"<answer>{json.dumps({'execution_plan': [STEP]})}</answer>"
    assert [step.as_dict() for step in read_plan(answer.encode(), name, 25).steps] == [STEP]
    assert list(ANSWER_SCHEMAS["critic"]["properties"]) == ["previous_step_success", "refine_prompt"]


def test_answers_in_the_python_dialect_are_read():
    plan = "<think>t</think><answer>{'execution_plan': [" + repr(STEP) + "]}</answer>"
    assert [step.as_dict() for step in read_plan(plan.encode(), "narrative", 25).steps] == [STEP]
    verdict = read_verdict(b"<answer>{'previous_step_success': False, 'refine_prompt': 'x'}</answer>")
    assert (verdict.accepted, verdict.refined) == (False, "x")
    assert read_verdict(b"<answer>{'previous_step_success': True, 'refine_prompt': None}</answer>").accepted


def test_a_folder_replaces_ours_file_by_file(tmp_path):
    (tmp_path / "critic.txt").write_text("{original_instruction}|{rewritten_prompt}\n")
    mixed = Prompts.from_folder(tmp_path)
    assert mixed.judge("a", "b") == [{"role": "user", "content": [0, 1, "a|b"]}]
    assert mixed.plan(Request("x")) == Prompts.default().plan(Request("x"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"narrative": "no place"}, "narrative.txt: the narrative template holds {text_input} 0 times"),
        ({"critic": "{original_instruction}"}, "critic.txt: the critic template has no {rewritten_prompt}"),
        ({"narative": "{text_input}"}, "narative.txt is no prompt"),
        ({"guidance": b"\xff{text_input}"}, "cannot be read"),
        ({}, "there are no prompts in"),
    ],
)
def test_wrong_folders_are_one_error_each(tmp_path, files, said):
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadPackError) as caught:
        Prompts.from_folder(tmp_path)
    assert said in str(caught.value)
    assert caught.value.hint


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadPackError, match="no prompts in .*absent"):
        Prompts.from_folder(tmp_path / "absent")


def test_five_pictures_are_shrunk_and_four_are_not():
    large = np.zeros((600, 1200, 3), np.uint8)
    assert {one.shape for one in planner_pictures(Request("x", (large,) * 4))} == {(600, 1200, 3)}
    small = planner_pictures(Request("x", (large,) * 4 + (PICTURE,)))
    assert small[4].shape == PICTURE.shape
    height, width = small[0].shape[:2]
    assert height * width <= 384 * 384 < (height + 1) * (width + 2)


def test_the_critic_sees_white_where_nothing_was_before():
    white, after = critic_pictures(None, PICTURE)
    assert white.shape == PICTURE.shape
    assert white.min() == 255
    assert after is PICTURE
