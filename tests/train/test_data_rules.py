"""The rules of the data pipeline, which are pure functions: scores, trends, the split, the balance, duplicates, overlap."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interleave_rt.train.data import oracle, score
from interleave_rt.train.data.items import critic_item
from interleave_rt.train.data.recipe import Selection
from interleave_rt.train.data.select import Attempt, StepItem, balanced, reason_to_drop, select, split
from interleave_rt.train.data.taxonomy import fill, load_world, near_duplicates, normal, words_of

from interleave_rt.roles.prompts import Prompts

points = st.floats(0, 10, allow_nan=False)
curves = st.lists(points, min_size=1, max_size=6)


def step(key, values, accepted=None):
    """A step whose attempts have these overall scores; the last one is accepted unless said otherwise."""
    verdicts = accepted or [i == len(values) - 1 for i in range(len(values))]
    attempts = [
        Attempt(f"p{i}", f"{key}-{i}", verdict, "better", "", score.Score(value, value, value, value))
        for i, (value, verdict) in enumerate(zip(values, verdicts, strict=True))
    ]
    return StepItem(key, "wish", None, tuple(attempts))


steps = st.lists(curves, max_size=40).map(
    lambda every: [step(str(i), values) for i, values in enumerate(every)]
)


@given(points, points, points, points)
def test_a_score_is_the_geometric_mean_of_the_worse_halves(a, b, c, d):
    made = score.Score(a, b, c, d)
    assert (made.semantics, made.quality) == (min(a, b), min(c, d))
    assert math.isclose(made.overall**2, min(a, b) * min(c, d), abs_tol=1e-9)
    assert (
        min(made.semantics, made.quality) - 1e-9 <= made.overall <= max(made.semantics, made.quality) + 1e-9
    )


@given(curves)
def test_a_curve_that_never_falls_has_no_fall_and_its_mirror_has(values):
    rising = sorted(values)
    assert score.fall(rising) <= 1e-9
    assert score.drop_from_best(rising) == 0
    assert math.isclose(score.fall(rising[::-1]), -score.fall(rising), abs_tol=1e-9)
    assert score.variance(values) <= 25 + 1e-9
    assert (score.variance(values) < 1e-12) == (max(values) - min(values) < 1e-5)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([9], None),
        ([8, 8.2, 8.1], None),
        ([2, 6, 9], None),
        ([9, 7, 4], "falling"),
        ([3, 9, 6.5], "degradation"),
        ([1, 2, 3], "low"),
    ],
)
def test_which_steps_are_dropped(values, reason):
    assert reason_to_drop(step("a", values), Selection()) == reason


def test_what_could_not_be_read_is_dropped_and_never_guessed():
    good = step("a", [9])
    lost = StepItem("b", "wish", None, (Attempt("p", "x", None, "", "", good.attempts[0].score),))
    unscored = StepItem("c", "wish", None, (Attempt("p", "x", True, "", "", None),))
    chosen = select([good, lost, unscored], Selection(), 0)
    assert chosen.steps["unreadable"] == 2
    assert [one.key for one in chosen.sft_steps] == ["a"]


@given(steps, st.floats(0.5, 4), st.integers(0, 3))
def test_the_split_is_by_variance_and_two_to_one_in_steps(every, ratio, seed):
    rules = Selection(rl_variance=2.0, sft_per_rl=ratio)
    sft, rl, surplus = split(every, rules, seed)
    assert sorted(one.key for one in [*sft, *rl, *surplus]) == sorted(one.key for one in every)
    assert all(score.variance(one.scores) >= 2 for one in rl)
    assert all(score.variance(one.scores) < 2 for one in sft)
    high = sum(score.variance(one.scores) >= 2 for one in every)
    low = len(every) - high
    assert len(sft) == (min(low, round(high * ratio)) if high else low)
    assert len(rl) == (min(high, round(low / ratio)) if low else high)
    assert split(every, rules, seed) == (sft, rl, surplus)


def test_steps_for_sft_are_chosen_so_that_the_balance_keeps_many_items():
    """Steps that are refused to the end have many items of one verdict: a few of them balance many that are accepted."""
    never = [step(f"never{i}", [6.0] * 5, [False] * 5) for i in range(100)]
    once = [step(f"once{i}", [9.0]) for i in range(300)]
    rl = [step(f"rl{i}", [5.0, 9.0]) for i in range(60)]
    chosen = select([*never, *once, *rl], Selection(rl_variance=2.0), 0)
    assert len(chosen.sft_steps) == 120
    assert len(chosen.sft) == 200  # 20 steps of five refusals, 100 of one acceptance


@given(steps, st.floats(0.5, 1), st.integers(0, 3))
def test_the_balance_leaves_no_verdict_more_than_its_share(every, most, seed):
    items = [(one, number) for one in every for number in range(len(one.attempts))]
    kept = balanced(items, most, seed)
    assert [item for item in items if item in kept] == kept
    true = sum(bool(one.attempts[number].accepted) for one, number in kept)
    assert max(true, len(kept) - true) <= most * len(kept) + 1e-6 or most == 1
    counts = select(every, Selection(balance=most), seed)
    counts.steps.check("select")
    counts.items.check("balance")


texts = st.lists(st.text("ab c", max_size=12), max_size=30)


@given(texts, st.floats(0.3, 1))
def test_near_duplicates_are_those_that_a_plain_look_finds(every, near):
    dropped = near_duplicates(every, near)
    kept: list[str] = []
    for number, text in enumerate(every):
        words = set(normal(text).split())
        same = [
            other
            for other in kept
            if normal(other) == normal(text)
            or (
                near < 1
                and (words | set(normal(other).split()))
                and len(words & set(normal(other).split())) / len(words | set(normal(other).split())) >= near
            )
        ]
        assert bool(same) == (number in dropped), (every, number)
        kept += [] if same else [text]


def test_a_first_attempt_is_asked_about_with_its_prompt_or_as_the_official_sets_without(tmp_path):
    (tmp_path / "critic.txt").write_text("<image><image>{original_instruction}|{rewritten_prompt}|")
    prompts, tried = Prompts.from_folder(tmp_path), replace(step("a", [0.0, 9.0]), seed=5, index=2)

    def asked(number, first_empty):
        item = critic_item(tried, number, prompts, repeat=True, first_empty=first_empty)
        return "".join(part.text for part in item.asked), item.more["rewritten_prompt"], item.more["call"]

    assert asked(0, False) == ("wish|p0|", "p0", {"seed": 5, "step": 2, "attempt": 1})
    assert asked(0, True)[:2] == ("wish||", "p0")
    assert asked(1, True)[:2] == ("wish|p1|", "p1")


def test_words_lose_their_repeats_and_come_in_turn():
    assert words_of(["A b", "c"], [["a  B", "d"], ["C"]]) == ["A b", "c", "d"]
    made = fill(["{x} {y}"], {"x": ["1", "2", "3"], "y": ["a"]}, random.Random(0))
    first = [next(made) for _ in range(6)]
    assert sorted(first[:3]) == sorted(first[3:]) == ["1 a", "2 a", "3 a"]


def test_the_taxonomy_is_as_large_as_is_said():
    world = load_world("general")
    assert len(world) == 8
    assert sum(len(domain.subcategories) for domain in world) == 75
    assert sum(len(domain.banks) for domain in world) >= 30
    templates = [template for domain in world for template in domain.templates]
    assert len(templates) == len(set(templates)) >= 100
    used = {slot for one in world for text in one.templates for slot in one.banks if "{" + slot + "}" in text}
    assert used == {bank for one in world for bank in one.banks}


def test_the_oracle_knows_no_sentence_that_people_wrote(monkeypatch):
    rng = random.Random(1)
    request = next(one for one in iter(lambda: oracle.narrative(rng), None) if one.split == "train")
    texts = iter(["Draw a red circle.", request.text])
    monkeypatch.setattr(oracle, "narrative", lambda _: replace(request, text=next(texts)))
    assert oracle._Wishes().number(request.kind, 0).text == request.text
