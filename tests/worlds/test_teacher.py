"""Prompts and right answers of the roles, and the mistakes that are drawn for the critic."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import numpy as np
import pytest
from draws import draws

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import (
    STYLES,
    another_step,
    grammar,
    misread,
    plans,
    step_between,
    teacher,
)
from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    OPERATIONS,
    POSITIONS,
    Scene,
    Thing,
    Transition,
    pictures,
    random_transition,
)


def _answer(text: str) -> dict[str, object]:
    return json.loads(text.partition("<answer>")[2].partition("</answer>")[0])


def _judged(
    step: Transition, seen: Scene, used: str | None = None, *, clean: bool = True, original: str | None = None
) -> teacher.Verdict:
    original = original or grammar.natural(step)
    verdict = teacher.judge(step.before, seen, clean, original, used or original)
    assert verdict is not None
    return verdict


# ---- prompts


def test_prompts_hold_their_words_and_pictures() -> None:
    critic = teacher.template("critic.txt")
    assert critic.index("{original_instruction}") < critic.index("{rewritten_prompt}")
    text = teacher.critic_prompt("remove the star", "remove the small red star at the top")
    assert text.count("<|image_pad|>") == 2 * teacher.IMAGE_TOKENS == 2 * CELLS
    assert text.index("remove the star") < text.index("the small red star") < text.index("<|vision_start|>")
    assert text.endswith("<|im_start|>assistant\n")
    for request in requests.sample("train", 50, 1, "guidance"):
        text = teacher.planner_prompt(request.text, request.mode)
        assert text.count("<|image_pad|>") == len(request.images) * teacher.IMAGE_TOKENS
        assert "<image>" not in text and "{text_input}" not in text


# ---- plans


def _thought(text: str) -> str:
    assert text.startswith("<think>")
    return text.partition("</think>")[0].removeprefix("<think>")


@pytest.mark.parametrize("ask", ["What is at the top?", "How many?"])
def test_the_planner_writes_down_every_cell_of_the_last_picture(ask: str) -> None:
    first = Scene(0).put(8, Thing.named("small white star"))
    last = Scene(2).put(3, Thing.named("small red bowl"))
    last = last.put(4, Thing.named("large striped white circle"))
    wanted = (
        "top left: nothing, top: nothing, top right: nothing, "
        "left: small red bowl, center: large striped white circle, right: nothing, "
        "bottom left: nothing, bottom: nothing, bottom right: nothing, on blue"
    )
    for images in ((last,), (first, last)):
        request = plans.answer("<image> " * len(images) + ask, "question", images, "Nothing.")
        assert _thought(teacher.plan_answer(request)) == wanted


def _described(thought: str) -> Scene:
    """The scene that a thought tells."""
    *cells, ground = thought.split(", ")
    assert [cell.partition(": ")[0] for cell in cells] == list(POSITIONS)
    names = [cell.partition(": ")[2] for cell in cells]
    things = tuple(None if name == "nothing" else Thing.named(name) for name in names)
    return Scene(COLOURS.index(ground.removeprefix("on ")), things)


def test_plans_have_the_official_fields_and_a_thought(drawn: list[requests.Request]) -> None:
    for request in drawn[:1500]:
        text = teacher.plan_answer(request)
        thought, first = _thought(text), len(request.images) + 1
        if request.images:
            seen = re.sub(r" ([a-i])(\d)(?=,|$)", "", thought)
            assert _described(seen) == request.images[-1]
            *cells, _ = thought.split(", ")
            counts = [re.search(r" ([a-i])(\d)$", cell) for cell in cells]
            changed = [
                i
                for i, thing in enumerate(request.images[-1].cells)
                if any(scene.cells[i] != thing for scene in request.scenes)
            ]
            for letter, group in zip("abcdefghi", request.looked or (changed,), strict=False):
                counted = [i for i, found in enumerate(counts) if found and found[1] == letter]
                assert counted == sorted(group)
                assert [counts[i][2] for i in counted] == [str(n + 1) for n in range(len(group))]
        else:
            assert thought == ", ".join(step.step_name for step in request.steps)
        plan = _answer(text)["execution_plan"]
        assert [step["step_number"] for step in plan] == [*range(first, first + len(request.steps))]
        for step in plan:
            assert list(step) == ["step_number", "step_name", "instruction", "prompt", "auxiliary_text"]


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
            "refine_prompt": verdict.refined,
        }
        assert grammar.style_of(step, verdict.refined) is not None
        assert grammar.apply(step.before, verdict.refined) == step.after


_BEFORE = Scene(2).put(4, Thing.named("large striped white circle"))
_ADD = Transition.add(_BEFORE, Thing.named("small red star"), 1)
_MOVE = Transition.move(_BEFORE, 4, 8)
_STAR = "the large striped white circle at the center; expected a small red star at the top, on blue; "
_MOVED = "expected nothing at the center, a large striped white circle at the bottom right, on blue; "


@pytest.mark.parametrize(
    ("step", "seen", "thought"),
    [
        (
            _ADD,
            _BEFORE.put(1, Thing.named("small orange star")),
            _STAR + "seen a small orange star at the top, on blue; the rest is the same",
        ),
        (
            _ADD,
            Scene(0).put(1, Thing.named("large dotted orange heart")),
            _STAR + "seen a large dotted orange heart at the top, on red; the rest has changed",
        ),
        (
            _ADD,
            _ADD.after.put(4, None),
            _STAR + "seen a small red star at the top, on blue; the rest has changed",
        ),
        (
            _MOVE,
            _BEFORE,
            _MOVED
            + "seen a large striped white circle at the center, nothing at the bottom right, on blue; the rest is the same",
        ),
    ],
)
def test_the_thought_says_what_is_expected_and_what_is_seen(step, seen, thought) -> None:
    verdict = _judged(step, seen)
    assert not verdict.accepted
    assert _thought(verdict.text) == thought


def test_unclean_pictures_are_refused() -> None:
    step = Transition.draw(2, Thing.named("large white circle"), 4)
    assert _judged(step, step.after).accepted
    verdict = _judged(step, step.after, clean=False)
    assert not verdict.accepted
    assert "the rest has changed" in verdict.text


def test_nonsense_is_not_judged() -> None:
    assert teacher.judge(Scene(0), Scene(0), True, "remove the star", "remove the star") is None
    assert teacher.judge(None, Scene(0), True, "paint something nice", "paint something nice") is None


# ---- other words


def test_rewriting_is_in_full_and_in_every_style_that_has_not_failed() -> None:
    rng = random.Random(3)
    step = random_transition(rng, "add")
    for used, styles in (
        ("add a small red star somewhere", {0, 1, 2}),
        (grammar.explicit(step, 0), {1, 2}),
        (grammar.explicit(step, 1), {0, 2}),
        (grammar.explicit(step, 2), {0, 1}),
    ):
        words = [teacher.rewrite(step, used, rng) for _ in range(600)]
        found = Counter(grammar.style_of(step, one) for one in words)
        assert found.keys() == styles
        assert min(found.values()) > 600 / len(styles) * 0.8


def test_equal_questions_get_equal_words_and_a_source_of_chance_draws_them() -> None:
    rng = random.Random(4)
    step = random_transition(rng, "add")
    asked = step.before, step.before, True, grammar.explicit(step), "add it"
    assert teacher.judge(*asked).refined == teacher.judge(*asked).refined
    assert len({teacher.judge(*asked, rng).refined for _ in range(50)}) == len(STYLES)


# ---- mistakes


def test_a_mistake_is_never_right_and_can_be_drawn() -> None:
    rng = random.Random(6)
    for _ in range(draws(1000)):
        step = random_transition(rng)
        wrong = teacher.corrupt(step, rng)
        assert wrong != step.after
        assert all(thing.size or not thing.pattern for thing in wrong.cells if thing is not None)


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


def test_what_a_lesson_misunderstands_is_always_the_same_and_never_right() -> None:
    rng = random.Random(12)
    for operation in OPERATIONS:
        for _ in range(200):
            step = random_transition(rng, operation)
            wrong = teacher.misunderstood(step)
            assert wrong != step.after
            assert wrong == teacher.misunderstood(step)
            assert wrong.background == step.after.background


# ---- what the critic must not fall for: pictures that show what wrong words asked for


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_misreading_is_a_step_on_the_same_picture_with_another_end(operation: str) -> None:
    rng = random.Random(21)
    same_kind = 0
    for _ in range(500):
        step = random_transition(rng, operation)
        other = misread(step, rng)
        assert other.before == step.before
        assert other.after != step.after
        if operation != "draw":
            assert grammar.apply(step.before, grammar.explicit(other)) == other.after
        same_kind += other.operation == operation
    assert same_kind > 250


def test_a_thing_that_is_added_is_the_same_one_elsewhere() -> None:
    rng = random.Random(22)
    before = Scene(0).put(4, Thing.named("large white circle"))
    step = Transition.add(before, Thing.named("small blue star"), 1)
    cells = set()
    for _ in range(200):
        other = misread(step, rng)
        assert other.operation == "add"
        assert other.after.at(other.cell) == step.after.at(1)
        cells.add(other.cell)
    assert cells == {0, 2, 3, 5, 6, 7, 8}


def test_one_step_is_told_from_its_ends_and_more_are_none() -> None:
    rng = random.Random(23)
    for _ in range(1000):
        step = random_transition(rng)
        assert step_between(step.before, step.after) == (None if step.before is None else step)
    before, star = Scene(0).put(4, Thing.named("large white circle")), Thing.named("small blue star")
    other_ground = Scene(1).put(4, Thing.named("large white circle"))
    for after in (before, before.put(0, star).put(1, star), other_ground.put(0, star)):
        assert step_between(before, after) is None


def test_bare_and_full_pictures_have_misreadings_too() -> None:
    rng = random.Random(27)
    star = Thing.named("small blue star")
    bare = Scene(0)
    full = Scene(0)
    for cell in range(9):
        full = full.put(cell, Thing.named("large white circle"))
    for step in (Transition.add(bare, star, 4), Transition.recolour(full, 4, 3), Transition.remove(full, 0)):
        for _ in range(50):
            for other in (misread(step, rng), another_step(step, rng)):
                assert other.before == step.before
                assert other.after != step.after


def _attempts(made: type, count: int) -> list:
    """Pictures that show the thing at another place than was asked for, and right ones."""
    rng, found = random.Random(24), []
    while len(found) < count:
        step = random_transition(rng, "add")
        words = grammar.grounded(step, rng)
        if words is None or step.before is None:
            continue
        seen = misread(step, rng).after if len(found) % 2 else step.after
        before, after = pictures.drawn([step.before, seen], rng)
        found.append(made(step, words, words, before, after, seen, clean=True))
    return found


def test_verdicts_are_about_the_plan_whatever_words_were_used() -> None:
    """A wrong picture that obeys the words it was made with is refused, and the words are put right."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("diffusers")
    from interleave_rt.train.shapes.attempts import Attempt
    from interleave_rt.train.shapes.critic import Cases

    cases = Cases(random.Random(25), _attempts(Attempt, 60))
    fooled = 0
    for source in (cases.drawn, cases.painted):
        for _ in range(draws(270)):
            case = source()
            assert case.verdict.accepted == (case.seen == case.wanted)
            if grammar.apply(case.before, case.rewritten) == case.seen != case.wanted:
                fooled += 1
                assert not case.verdict.accepted
                assert grammar.apply(case.before, case.verdict.refined) == case.wanted
            assert grammar.apply(case.before, case.original) == case.wanted
            assert case.images[0].shape == case.images[1].shape == (96, 96, 3)
            assert case.images[1].dtype == np.uint8
    assert fooled > draws(40), fooled
