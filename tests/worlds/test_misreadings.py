"""What the critic must not fall for: pictures that show what wrong words asked for."""

from __future__ import annotations

import random

import numpy as np
import pytest

from interleave_rt.worlds.shapes.language import another_step, grammar, misread, step_between
from interleave_rt.worlds.shapes.scene import OPERATIONS, Scene, Thing, Transition, drawn, random_transition


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


def test_one_step_is_told_from_its_ends() -> None:
    rng = random.Random(23)
    for _ in range(1000):
        step = random_transition(rng)
        found = step_between(step.before, step.after)
        if step.before is None:
            assert found is None
        else:
            assert found == step


def test_more_than_one_step_is_none() -> None:
    before = Scene(0).put(4, Thing.named("large white circle"))
    star = Thing.named("small blue star")
    assert step_between(before, before) is None
    assert step_between(before, before.put(0, star).put(1, star)) is None
    assert step_between(before, Scene(1).put(4, Thing.named("large white circle"))) is None
    assert step_between(before, before.put(4, star)) is None


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
        before, after = drawn([step.before, seen], rng)
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
        for _ in range(800):
            case = source()
            assert case.verdict.accepted == (case.seen == case.wanted)
            if grammar.apply(case.before, case.rewritten) == case.seen != case.wanted:
                fooled += 1
                assert not case.verdict.accepted
                assert grammar.apply(case.before, case.verdict.refined) == case.wanted
            assert grammar.apply(case.before, case.original) == case.wanted
            assert case.images[0].shape == case.images[1].shape == (96, 96, 3)
            assert case.images[1].dtype == np.uint8
    assert fooled > 120, fooled
