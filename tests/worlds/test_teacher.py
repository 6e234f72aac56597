"""Prompts and right answers of the roles, and the mistakes that are drawn for the critic."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import STYLES, grammar, plans, teacher
from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    OPERATIONS,
    POSITIONS,
    Scene,
    Thing,
    Transition,
    random_transition,
)


def _answer(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(text.partition("<answer>")[2].partition("</answer>")[0])
    return found


def _judged(
    step: Transition, seen: Scene, used: str | None = None, *, clean: bool = True, original: str | None = None
) -> teacher.Verdict:
    original = original or grammar.natural(step)
    verdict = teacher.judge(step.before, seen, clean, original, used or original)
    assert verdict is not None
    return verdict


# ---- prompts


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


def test_planner_prompt_holds_every_given_picture() -> None:
    for request in requests.sample("train", 50, 1, "guidance"):
        text = teacher.planner_prompt(request.text, request.mode)
        assert text.count("<|image_pad|>") == len(request.images) * teacher.IMAGE_TOKENS
        assert "<image>" not in text


def test_a_merged_token_is_a_cell() -> None:
    assert teacher.IMAGE_TOKENS == CELLS


# ---- plans


def _thought(text: str) -> str:
    assert text.startswith("<think>")
    return text.partition("</think>")[0].removeprefix("<think>")


def _request(images: tuple[Scene, ...], text: str = "What is at the top?") -> plans.Request:
    return plans.answer("<image> " * len(images) + text, "question", images, "Nothing.")


def test_the_planner_writes_down_every_cell_of_the_last_picture() -> None:
    first = Scene(0).put(8, Thing.named("small white star"))
    last = Scene(2).put(3, Thing.named("small red bowl"))
    last = last.put(4, Thing.named("large striped white circle"))
    wanted = (
        "top left: nothing, top: nothing, top right: nothing, "
        "left: small red bowl, center: large striped white circle, right: nothing, "
        "bottom left: nothing, bottom: nothing, bottom right: nothing, on blue"
    )
    assert _thought(teacher.plan_answer(_request((last,)))) == wanted
    assert _thought(teacher.plan_answer(_request((first, last)))) == wanted


def _described(thought: str) -> Scene:
    """The scene that a thought tells."""
    *cells, ground = thought.split(", ")
    assert [cell.partition(": ")[0] for cell in cells] == list(POSITIONS)
    names = [cell.partition(": ")[2] for cell in cells]
    things = tuple(None if name == "nothing" else Thing.named(name) for name in names)
    return Scene(COLOURS.index(ground.removeprefix("on ")), things)


def test_the_thought_is_the_last_picture_wherever_there_is_one() -> None:
    rng = random.Random(13)
    counts = Counter()
    for _ in range(1500):
        request = requests.any_request(rng)
        thought = _thought(teacher.plan_answer(request))
        if request.images:
            assert _described(thought) == request.images[-1]
            counts[request.kind, len(request.images)] += 1
        else:
            assert thought == ", ".join(step.step_name for step in request.steps)
            counts[request.kind, 0] += 1
    pictures = {kind: {n for name, n in counts if name == kind} for kind, _ in counts}
    assert pictures["question"] == {1, 2}
    assert pictures["continue-place"] == {1, 2, 3, 4}
    assert pictures["composite"] == pictures["wish"] == pictures["about"] == {0}
    assert pictures["outside"] == {0, 1, 2, 3, 4}


def test_the_thought_does_not_depend_on_the_question() -> None:
    scene = Scene(2).put(0, Thing.named("small red star"))
    thoughts = {_thought(teacher.plan_answer(_request((scene,), ask))) for ask in ("Help?", "How many?")}
    assert len(thoughts) == 1


# ---- verdicts


def test_right_pictures_are_accepted_with_the_used_prompt() -> None:
    rng = random.Random(1)
    for _ in range(300):
        step = random_transition(rng)
        used = grammar.explicit(step, rng.randrange(len(STYLES)))
        verdict = _judged(step, step.after, used)
        assert verdict.accepted
        assert _answer(verdict.text) == {"previous_step_success": True, "refine_prompt": used}
        assert verdict.text.index("the rest is the same") < verdict.text.index("</think>")


def test_mistakes_are_refused_with_explicit_words() -> None:
    rng = random.Random(2)
    for _ in range(600):
        step = random_transition(rng)
        original = grammar.grounded(step, rng) or grammar.explicit(step)
        verdict = _judged(step, teacher.corrupt(step, rng), original, original=original)
        assert not verdict.accepted
        assert _answer(verdict.text) == {
            "previous_step_success": False,
            "refine_prompt": teacher.rewrite(step, original),
        }
        assert grammar.apply(step.before, verdict.refined) == step.after


def test_the_thought_says_what_is_expected_and_what_is_seen() -> None:
    before = Scene(2).put(4, Thing.named("large striped white circle"))
    add = Transition.add(before, Thing.named("small red star"), 1)
    wrong = before.put(1, Thing.named("small orange star"))
    assert _judged(add, wrong).text.partition("</think>")[0] == (
        "<think>the large striped white circle at the center; expected a small red star at the top, on blue; "
        "seen a small orange star at the top, on blue; the rest is the same"
    )
    gone = Scene(0).put(1, Thing.named("large dotted orange heart"))
    assert _judged(add, gone).text.partition("</think>")[0] == (
        "<think>the large striped white circle at the center; expected a small red star at the top, on blue; "
        "seen a large dotted orange heart at the top, on red; the rest has changed"
    )


def test_the_thought_tells_both_places_of_a_move() -> None:
    before = Scene(2).put(4, Thing.named("large white circle"))
    move = Transition.move(before, 4, 8)
    assert _judged(move, before).text.partition("</think>")[0] == (
        "<think>expected nothing at the center, a large white circle at the bottom right, on blue; "
        "seen a large white circle at the center, nothing at the bottom right, on blue; the rest is the same"
    )


def test_unclean_pictures_are_refused() -> None:
    step = Transition.draw(2, Thing.named("large white circle"), 4)
    assert _judged(step, step.after).accepted
    verdict = _judged(step, step.after, clean=False)
    assert not verdict.accepted
    assert "the rest has changed" in verdict.text


def test_nonsense_is_not_judged() -> None:
    assert teacher.judge(Scene(0), Scene(0), True, "remove the star", "remove the star") is None
    assert teacher.judge(None, Scene(0), True, "paint something nice", "paint something nice") is None


def test_a_change_elsewhere_is_refused() -> None:
    before = Scene(2).put(4, Thing.named("large white circle")).put(0, Thing.named("small red ring"))
    step = Transition.add(before, Thing.named("small red star"), 1)
    verdict = _judged(step, step.after.put(0, None))
    assert not verdict.accepted
    assert "seen a small red star at the top, on blue; the rest has changed" in verdict.text


# ---- other words


def test_rewriting_is_deterministic_and_in_full() -> None:
    rng = random.Random(3)
    for _ in range(500):
        step = random_transition(rng)
        used = grammar.grounded(step, rng) or grammar.explicit(step, rng.randrange(len(STYLES)))
        words = teacher.rewrite(step, used)
        assert words == teacher.rewrite(step, used) != used
        assert grammar.style_of(step, words) is not None


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_words_that_were_full_already_get_another_style(style: int) -> None:
    rng = random.Random(4)
    for _ in range(300):
        step = random_transition(rng)
        words = teacher.rewrite(step, grammar.explicit(step, style))
        assert words == grammar.explicit(step, STYLES.index("row") if style == 0 else 0)


def test_plain_words_and_rows_are_tried_in_turn() -> None:
    step = random_transition(random.Random(5), "add")
    words, seen = grammar.explicit(step), []
    for _ in range(4):
        words = teacher.rewrite(step, words)
        seen.append(grammar.style_of(step, words))
    assert [STYLES[style] for style in seen if style is not None] == ["row", "plain", "row", "plain"]


def test_grounded_words_get_a_style_by_their_place() -> None:
    star = Thing.named("small red star")
    styles = []
    for cell in range(CELLS):
        step = Transition.add(Scene(2), star, cell)
        styles.append(grammar.style_of(step, teacher.rewrite(step, "add a small red star somewhere")))
    assert styles == [1, 0, 0, 0, 2, 0, 0, 0, 1]
    move = Transition.move(Scene(2).put(1, star), 1, 4)  # where it goes to counts
    assert teacher.rewrite(move, "move the star to the center") == grammar.explicit(move, 2)


# ---- mistakes


def test_a_mistake_is_never_right() -> None:
    rng = random.Random(6)
    for _ in range(3000):
        step = random_transition(rng)
        assert teacher.corrupt(step, rng) != step.after


@pytest.mark.parametrize("kind", dict.fromkeys(teacher._KINDS))
def test_every_kind_of_mistake_can_be_made(kind: str) -> None:
    rng = random.Random(7)
    made = Counter(
        step.operation
        for step in (random_transition(rng) for _ in range(1500))
        if (wrong := teacher._corrupt_once(step, rng, kind)) is not None and wrong != step.after
    )
    expected = {"half": {"move"}, "other": set(OPERATIONS[1:])}.get(kind, set(OPERATIONS))
    assert set(made) == expected


def test_doing_nothing_leaves_the_source() -> None:
    rng = random.Random(8)
    for _ in range(200):
        step = random_transition(rng)
        assert teacher._corrupt_once(step, rng, "nothing") == (step.before or Scene(step.after.background))


def test_a_half_done_move_copies_or_only_takes_away() -> None:
    rng = random.Random(10)
    seen = set()
    for _ in range(300):
        step = random_transition(rng, "move")
        wrong = teacher._corrupt_once(step, rng, "half")
        assert step.to is not None
        there = wrong.cells[step.cell], wrong.cells[step.to]
        thing = step.after.at(step.to)
        assert there in ((thing, thing), (None, None))
        seen.add(there == (None, None))
    assert seen == {True, False}


def test_mistakes_can_be_drawn() -> None:
    rng = random.Random(11)
    for _ in range(2000):
        wrong = teacher.corrupt(random_transition(rng), rng)
        assert all(thing.size or not thing.pattern for thing in wrong.cells if thing is not None)


def test_what_a_lesson_misunderstands_is_always_the_same_and_never_right() -> None:
    rng = random.Random(12)
    for operation in OPERATIONS:
        for _ in range(200):
            step = random_transition(rng, operation)
            wrong = teacher.misunderstood(step)
            assert wrong != step.after
            assert wrong == teacher.misunderstood(step)
            assert wrong.background == step.after.background
