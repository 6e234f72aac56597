"""What the critic learns from: attempts of a generator, and wrong ones put right."""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("diffusers")

from interleave_rt.train.shapes.attempts import Attempt  # noqa: E402
from interleave_rt.train.shapes.critic import Cases, put_right  # noqa: E402

from interleave_rt.worlds.shapes.language import corrupt, explicit  # noqa: E402
from interleave_rt.worlds.shapes.oracle import matches, read  # noqa: E402
from interleave_rt.worlds.shapes.scene import (  # noqa: E402
    CELL_PX,
    CELLS,
    EVERY_OPERATION,
    Transition,
    drawn,
    random_layout,
    random_transition,
    render,
)


def _failed(step: Transition, rng: random.Random) -> Attempt:
    before = None if step.before is None else render(step.before, random_layout(step.before, rng))
    if before is not None:  # not quite as it would be drawn
        before = (before // 8 * 8).astype(np.uint8)
    wrong = corrupt(step, rng)
    words = explicit(step)
    return Attempt(step, words, words, before, drawn([wrong], rng)[0], wrong, clean=True)


@pytest.mark.parametrize("operation", EVERY_OPERATION)
def test_an_attempt_that_is_put_right_changes_what_the_step_is_about_and_nothing_else(operation: str) -> None:
    rng = random.Random(1)
    for _ in range(8):
        attempt = _failed(random_transition(rng, operation), rng)
        made = put_right(attempt, rng)
        step = made.step
        assert made.right and made.rewritten == made.original
        assert matches(made.image, step.after)
        if attempt.before_image is None or not step.touched:
            continue
        for cell in range(CELLS):
            down, right = (CELL_PX * place for place in divmod(cell, 3))
            here = slice(down, down + CELL_PX), slice(right, right + CELL_PX)
            same = np.array_equal(made.image[here], attempt.before_image[here])
            assert same or cell in step.touched


def test_words_that_the_generator_never_gets_right_are_no_reason_to_refuse() -> None:
    rng = random.Random(2)
    step = random_transition(rng, "add")
    easy = _failed(random_transition(rng, "add"), rng)
    good = put_right(easy, rng)
    cases = Cases(random.Random(3), [good, *(_failed(step, rng) for _ in range(20))], share=1.0)
    found = [cases.painted() for _ in range(120)]
    accepted = [case.verdict.accepted for case in found if case.wanted == step.after]
    assert 0.1 < sum(accepted) / len(accepted) < 0.65
    assert all(read(case.images[1]).scene == case.seen for case in found if case.verdict.accepted)
