"""Rewards by hand, and what becomes of a batch of answers whose pictures cannot all be made."""

import random

import numpy as np
import pytest
from interleave_rt.train.data.formats import BLANK
from interleave_rt.train.data.oracle import Oracle
from interleave_rt.train.data.teacher import BudgetSpentError
from interleave_rt.train.recipe import GrpoRecipe
from interleave_rt.train.regenerate import Regenerator, Wanted, seed_of_call
from interleave_rt.train.rewards import Judgement, Seen, official, paper, read_judgement
from interleave_rt.train.scorer import Scorer

from interleave_rt import Options
from interleave_rt.errors import BackendFailedError
from interleave_rt.pack.images import encode_png
from interleave_rt.roles.base import SharedRules
from interleave_rt.worlds.shapes.language import parse
from interleave_rt.worlds.shapes.scene import random_layout, render


def said(accepted, refined="a", *, thought="<think>t</think>"):
    body = f'{{"previous_step_success": {str(accepted).lower()}, "refine_prompt": "{refined}"}}'
    return f"{thought}<answer>{body}</answer>"


GOOD, BAD, NONE = Judgement(True, True, "p"), Judgement(True, False, "p"), Judgement(False, None, "")


@pytest.mark.parametrize(
    ("told", "label", "old", "new", "by_code", "by_formula"),
    [
        # 0.5 F + 0.5 (0.2 A + 0.6 S + 0.2 Q); 0.5 F + 0.5 (-0.2 |j - l| + 0.8 step)
        (GOOD, True, (9, 9), None, 0.5 + 0.1 + 0.15 + 0.05, 0.5),
        (BAD, True, (9, 9), None, 0.5 + 0.0 + 0.15 + 0.05, 0.5 - 0.1),
        (NONE, True, (9, 9), None, 0.2, -0.1),
        (BAD, False, (0, 10), (10, 10), 0.5 + 0.1 + 0.3 + 0.05, 0.5 + 0.4 * 10),
        (BAD, False, (4, 9), (9, 4), 0.5 + 0.1 + 0.3 * 0.75 + 0.1 * 0.25, 0.5),
        (GOOD, False, (10, 10), (0, 10), 0.5 + 0.0 + 0.0 + 0.05, 0.5 - 0.1 - 4.0),
        (NONE, False, (5, 5), (5, 5), 0.15 + 0.05, -0.1),
    ],
)
def test_golden_values(told, label, old, new, by_code, by_formula):
    seen = None if new is None else Seen(*new)
    assert official(told, label, Seen(*old), seen).total == pytest.approx(by_code)
    assert paper(told, label, Seen(*old), seen).total == pytest.approx(by_formula)


def test_either_part_can_stand_alone():
    step = official(BAD, False, Seen(0, 10), Seen(10, 10), alpha=0)
    verdict = official(BAD, False, Seen(0, 10), Seen(10, 10), alpha=1)
    assert (step.accuracy, verdict.semantics, verdict.quality) == (0, 0, 0)
    assert step.total == pytest.approx(0.5 + 0.375 + 0.0625)
    assert verdict.total == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "formed", "accepted", "refined"),
    [
        (said(True), True, True, ""),
        (said(False, "a b"), True, False, "a b"),
        ("<think>t</think><answer>{'previous_step_success': False, 'refine_prompt': 'a'}</answer>", True, False, "a"),
        ('<think></think><answer>{"previous_step_success": true, "refine_prompt": null}</answer>', True, True, ""),
        ('<think></think><answer>{"previous_step_success": false, "refine_prompt": null}</answer>', False, False, ""),
        (said(False, thought=""), False, False, "a"),
        ("<think>t</think><answer>{", False, None, ""),
        ("", False, None, ""),
    ],
)  # fmt: skip
def test_answers_are_read_as_the_engine_does_and_their_form_more_strictly(text, formed, accepted, refined):
    told = read_judgement(text)
    assert (told.formed, told.accepted) == (formed, accepted)
    if not accepted:
        assert told.refined == refined


def test_seeds_are_the_engines():
    options = Options(seed=7)
    engine = [SharedRules().seed_of(options, "generate", 2, attempt, 0) for attempt in (1, 2)]
    assert seed_of_call("stored", 7, 2, 1) == engine[0]
    assert seed_of_call("next", 7, 2, 1) == engine[1]
    assert seed_of_call("zero", 7, 2, 1) == 0


WISH = "draw a small red star at the top on a blue background"


class Painter:
    """Draws what it is asked for; fails for prompts that say so."""

    def __init__(self):
        self.calls = []

    def generate(self, prompt, source, seed, options):
        self.calls.append((prompt, source is None, seed))
        if "fail" in prompt:
            raise BackendFailedError("[generator] out of order")
        scene = parse(None, prompt).after
        return render(scene, random_layout(scene, random.Random(seed)))


@pytest.fixture
def recipe():
    return GrpoRecipe(
        name="r",
        base="b",
        data="d",
        generator={"name": "g", "spec": "pack"},
        scorer={"model": "shapes-oracle"},
        per_device=8,
        at_once=1,
    )


@pytest.fixture
def scorer(recipe, tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(np.full((96, 96, 3), 255, np.uint8)))
    painter = Painter()
    made = Regenerator(recipe, tmp_path / "replies.log", generator=painter, chat=Oracle())
    yield Scorer(recipe, made, tmp_path), painter
    made.close()


def ask(scorer, answers, *, label=False):
    told = {}

    def tell(name, value):
        told.setdefault(name, []).append(value)

    n = len(answers)
    columns = {
        "origin_prompt": [WISH] * n,
        "rewritten_prompt": [WISH] * n,
        "origin_image_path": [BLANK] * n,
        "evaluation": [{"semantics": 0.0, "quality": 10.0, "success": label}] * n,
        "call": [{"seed": 3, "step": 0, "attempt": 1}] * n,
    }
    return scorer(completions=[[{"content": one}] for one in answers], log_metric=tell, **columns), told


def test_failures_are_dropped_and_counted_and_equal_pictures_made_once(scorer):
    judge, painter = scorer
    other = "draw a small green star at the top on a blue background"
    answers = [said(False, WISH), said(False, other), said(False, ""), said(False, "fail"), said(True)]
    rewards, told = ask(judge, answers)
    assert rewards[3] is None
    assert rewards[0] == pytest.approx(0.5 + 0.1 + 0.3 + 0.05, abs=1e-3)  # all is right
    assert rewards[1] < rewards[0]
    assert rewards[4] == pytest.approx(rewards[0] - 0.1)  # the wrong verdict; the old prompt is used
    assert told["dropped"] == [0, 0, 0, 1, 0]
    assert told["accepted"] == [0, 0, 0, 0, 1]
    assert told["memo"] == [pytest.approx(1 - 3 / 5)]
    seed = seed_of_call("next", 3, 0, 1)
    assert painter.calls == [(WISH, True, seed), (other, True, seed), ("fail", True, seed)]
    ask(judge, answers)
    assert painter.calls[3:] == [("fail", True, seed)]  # a failure is not remembered


def test_what_was_begun_is_found_and_made_once(scorer):
    judge, painter = scorer
    row = {
        "origin_prompt": WISH,
        "rewritten_prompt": WISH,
        "origin_image_path": BLANK,
        "evaluation": {"semantics": 0.0, "quality": 10.0, "success": False},
        "call": {"seed": 3, "step": 0, "attempt": 1},
    }
    plain, _ = ask(judge, [said(False, WISH)])
    other = "draw a small green star at the top on a blue background"
    for text in (said(False, WISH), said(False, other), said(False, ""), said(False, other)):
        judge.begin(row, text)
    judge.begin({**row, "evaluation": {**row["evaluation"], "success": True}}, said(False, "not made"))
    rewards, told = ask(judge, [said(False, other), said(False, WISH)])
    assert rewards[1] == plain[0]
    assert [prompt for prompt, *_ in painter.calls] == [WISH, other]
    assert told["memo"] == [0.5]


def test_without_a_memo_each_picture_is_made(recipe, tmp_path):
    painter, plain = Painter(), Painter()
    wanted = [Wanted(None, WISH, seed, WISH) for seed in (1, 2, 1)]
    with_memo = Regenerator(recipe, tmp_path / "a.log", generator=plain, chat=Oracle())
    made = Regenerator(
        recipe.model_copy(update={"memo": False}), tmp_path / "b.log", generator=painter, chat=Oracle()
    )
    made.begin(wanted[0])
    assert made.scores(wanted) == (with_memo.scores(wanted)[0], 3)
    made.scores(wanted)
    assert [seed for *_, seed in painter.calls] == [1, 2, 1, 1, 2, 1]
    assert [seed for *_, seed in plain.calls] == [1, 2]
    made.close()
    with_memo.close()


def test_where_the_label_accepts_nothing_is_made(scorer):
    judge, painter = scorer
    rewards, told = ask(judge, [said(True), said(False, "x")], label=True)
    assert rewards == [pytest.approx(0.8), pytest.approx(0.7)]
    assert not painter.calls
    assert "memo" not in told


def test_what_ends_a_run_says_why(scorer):
    judge, _ = scorer
    with pytest.raises(BackendFailedError, match="10 pictures in a row"):
        ask(judge, [said(False, f"fail {i}") for i in range(12)])


@pytest.mark.parametrize(
    ("limits", "spent"),
    [({"budget": {"calls": 1}}, "of 1 calls"), ({"budget": {"money": 8}, "price": {"picture": 0.5}}, "of 1 money")],
)  # fmt: skip
def test_each_process_has_its_share_of_the_budget_and_pictures_cost_money(recipe, tmp_path, limits, spent):
    recipe = GrpoRecipe(**{**recipe.model_dump(), **limits})
    made = Regenerator(recipe, tmp_path / "replies.log", generator=Painter(), chat=Oracle(), processes=8)
    wanted = [Wanted(None, WISH, seed, WISH) for seed in range(3)]
    assert None not in made.scores(wanted[:2])[0]
    with pytest.raises(BudgetSpentError, match=spent):
        made.scores(wanted[2:])
    with pytest.raises(BudgetSpentError, match=spent):
        made.begin(wanted[2])
    made.close()


def test_a_budget_is_spent_at_the_same_picture_whether_it_was_begun_sooner_or_not(recipe, tmp_path):
    recipe = GrpoRecipe(**{**recipe.model_dump(), "budget": {"money": 1}, "price": {"picture": 0.5}})
    made = Regenerator(recipe, tmp_path / "replies.log", generator=Painter(), chat=Oracle())
    first, second, third, never = (Wanted(None, WISH, seed, WISH) for seed in range(4))
    made.begin(first)
    made.begin(never)  # is paid for all the same, unless it was not begun yet
    assert None not in made.scores([first, second, third])[0]
    with pytest.raises(BudgetSpentError):
        made.begin(third)
    made.close()


def test_graphs_make_pictures_one_at_a_time(recipe, tmp_path):
    wanted = [Wanted(None, WISH, seed, WISH) for seed in range(6)]
    found = []
    for at_once in (1, 2):
        made = Regenerator(
            recipe.model_copy(update={"at_once": at_once}), tmp_path / f"{at_once}.log", chat=Oracle()
        )
        found.append(made.scores(wanted))
        made.close()
    assert found[0] == found[1]
    assert None not in found[0][0]
