"""Prompts and right answers of the roles."""

from __future__ import annotations

import json
import random

from interleave_rt.train.shapes import grammar, teacher
from interleave_rt.train.shapes.transitions import Transition, random_transition
from interleave_rt.train.shapes.world import Scene, Thing


def _answer(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(text.partition("<answer>")[2].partition("</answer>")[0])
    return found


def test_templates_have_their_placeholders() -> None:
    assert "{text_input}" in teacher.template("narrative.txt")
    assert "{text_input}" in teacher.template("guidance.txt")
    critic = teacher.template("critic.txt")
    assert critic.count("<image>") == 2
    assert (
        critic.index("{original_instruction}") < critic.index("{rewritten_prompt}") < critic.index("<image>")
    )


def test_critic_prompt_holds_two_pictures_after_the_words() -> None:
    text = teacher.critic_prompt("remove the star", "remove the small red star at the top")
    assert text.count("<|image_pad|>") == 2 * teacher.IMAGE_TOKENS
    assert text.index("remove the star") < text.index("<|vision_start|>")
    assert text.endswith("<|im_start|>assistant\n")


def test_right_pictures_are_accepted_with_the_used_prompt() -> None:
    rng = random.Random(1)
    for _ in range(300):
        step = random_transition(rng)
        original = grammar.natural(step)
        verdict = teacher.judge(step.before, step.after, True, original, grammar.explicit(step))
        assert verdict is not None and verdict.accepted
        assert _answer(verdict.text) == {
            "previous_step_success": True,
            "refine_prompt": grammar.explicit(step),
        }
        assert "rest same" in verdict.text


def test_mistakes_are_refused_with_explicit_words() -> None:
    rng = random.Random(2)
    for _ in range(600):
        step = random_transition(rng)
        wrong = teacher.corrupt(step, rng)
        assert wrong != step.after
        original = grammar.natural(step)
        verdict = teacher.judge(step.before, wrong, True, original, original)
        assert verdict is not None and not verdict.accepted
        assert _answer(verdict.text) == {
            "previous_step_success": False,
            "refine_prompt": grammar.explicit(step),
        }


def test_unclean_pictures_are_refused_and_nonsense_is_not_judged() -> None:
    step = Transition.draw(2, Thing.named("large", "white", "circle"), 4)
    text = grammar.explicit(step)
    verdict = teacher.judge(None, step.after, False, text, text)
    assert verdict is not None and not verdict.accepted
    assert teacher.judge(Scene(0), Scene(0), True, "remove the star", "remove the star") is None
