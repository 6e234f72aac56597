"""The benchmark's arithmetic against numpy, hand-computed values and known distributions."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from interleave_rt.measure.arms import Threads, thread_splits
from interleave_rt.measure.document import busy_s, overlap_ratio
from interleave_rt.measure.record import Block, Record
from interleave_rt.measure.statistics import (
    describe,
    flatten,
    lower_bound_of_median,
    median_ratio,
    ratio_of_means,
)
from interleave_rt.measure.requests import arrivals
from interleave_rt.errors import BadRequestError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from closed_form import Times, closed_form, run  # noqa: E402


def test_percentiles_are_numpys():
    values = np.random.default_rng(5).exponential(size=257).tolist()
    found = describe(values, (50, 90, 99.5))
    assert list(found) == ["mean", "p50", "p90", "p99.5"]
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-4)
    for name, cut in (("p50", 50), ("p90", 90), ("p99.5", 99.5)):
        assert found[name] == pytest.approx(np.percentile(values, cut), abs=1e-4)
    assert describe([], (50,)) == {"mean": None, "p50": None}


def test_ratios_of_pairs():
    base, other = [2.0, 4.0, 6.0], [1.0, 2.0, 6.0]
    mean = ratio_of_means(base, other)
    assert mean.ratio == pytest.approx(12 / 9)
    assert mean.pairs == 3
    assert mean.low is None  # too few
    five = ratio_of_means(base + [8.0, 10.0], other + [4.0, 5.0])
    assert five.low <= five.ratio <= five.high
    median = median_ratio(base, other)
    assert median.ratio == 2.0  # of 2, 2, 1
    assert ratio_of_means([2.0], [1.0]).as_dict() == {"ratio": 2.0, "low": None, "high": None, "pairs": 1}
    assert ratio_of_means([], []) is None
    assert ratio_of_means([0.0, 3.0], [1.0, 1.0]).pairs == 1  # a turn that finished nothing has no time


@pytest.mark.parametrize("pairs", [8, 40])
def test_intervals_cover_the_truth_as_often_as_they_say(pairs):
    # 200 experiments whose true ratio is 1.25: 95 % intervals should hold it about 190 times.
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        base = 1.0 + rng.exponential(0.3, pairs)
        other = base / 1.25 * np.exp(rng.normal(0.0, 0.05, pairs))
        truth = 1.25 / np.exp(0.05**2 / 2)
        found = ratio_of_means(base.tolist(), other.tolist())
        held += found.low <= truth <= found.high
    assert 175 <= held <= 199


def test_lower_bound_of_a_median():
    ratios = [1.0 + 0.01 * i for i in range(21)]  # median 1.1
    bound = lower_bound_of_median(ratios)
    assert 1.03 <= bound < 1.1
    assert lower_bound_of_median(ratios, seed=0) == bound  # seeded
    assert lower_bound_of_median([1.02] * 20) == pytest.approx(1.02)


def test_flat_keys():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}


def test_arrivals_are_seeded_and_of_the_asked_rate():
    at = arrivals(4000, 20.0, 1.0, 3)
    assert at == arrivals(4000, 20.0, 1.0, 3) != arrivals(4000, 20.0, 1.0, 4)
    assert at[0] == 0.0
    assert at == sorted(at)
    gaps = np.diff(at)
    assert gaps.mean() == pytest.approx(0.05, rel=0.06)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.08)  # Poisson
    bursts = np.diff(arrivals(4000, 20.0, 0.25, 3))
    assert bursts.std() / bursts.mean() == pytest.approx(2.0, abs=0.25)  # 1 / sqrt(shape)
    assert arrivals(3, float("inf"), 1.0, 0) == [0.0, 0.0, 0.0]


def test_busy_time_is_a_union():
    record = Record(0, "finished")
    record.calls = [("critic", 0.0, 2.0), ("critic", 1.0, 3.0), ("critic", 5.0, 6.0), ("generator", 0.0, 4.0)]
    block = Block("speculative", 0, [record], wall_s=6.0)
    assert busy_s(block, "critic") == 4.0
    assert busy_s(block, "planner") == 0.0
    assert overlap_ratio([block]) == pytest.approx(1 - 6.0 / 8.0)


def test_thread_splits():
    assert [str(split) for split in thread_splits(2)] == ["2+2", "2+1", "1+1"]
    assert [str(split) for split in thread_splits(1)] == ["1+1"]
    assert {"8+8", "8+4", "6+2", "4+4"} == {str(split) for split in thread_splits(8)}
    assert Threads.parse("3+1") == Threads(3, 1)
    for text in ("3", "0+1", "a+b", "1+1+1"):
        with pytest.raises(BadRequestError, match="--threads"):
            Threads.parse(text)


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        # First image at 100, each later step 60 on, the last verdict 40 after its image.
        ([[True]] * 5, 40 + 5 * 60 + 40),
        # Only the plan: one step, and the planner writes until 160.
        ([[True]], 160.0),
        # Refused once: known at 140, the rest of the answer at 160, image at 220, verdict at 260.
        ([[False, True]], 260.0),
        # The discarded generation began at 160 (line 2 of the plan), after the verdict: nothing to stop.
        ([[False, True], [True]], 220 + 60 + 40),
        # The last try is not judged: its image ends the step.
        ([[False, False, None]], 100 + 120 + 120),
        ([[False, None], [True]], 220 + 60 + 40),
    ],
)
def test_closed_form_by_hand(pattern, wanted):
    assert closed_form(pattern, Times()) == pytest.approx(wanted)


def test_closed_form_waits_for_the_cancel_point():
    # Steps of 30 ms: refused at 140 while step 2 has been drawn since 100; the answer's rest is short (142), so the
    # generator, free at 160, decides.
    times = Times(generate=60.0, quantum=30.0, judge=42.0, plan=60.0)
    assert closed_form([[False, True], [True]], times) == pytest.approx(160 + 60 + 60 + 40)


def test_sequential_pattern_sums():
    times = Times()
    sequential = times.plan + 5 * (times.generate + times.judge)
    assert sequential / closed_form([[True]] * 5, times) == 2.0


def simulated(odds: list[float], arm: str) -> tuple[list[float], list[float]]:
    """Latencies of 300 requests in virtual time, and what the recurrence says of their verdicts."""
    from interleave_rt.measure import Lane, Load, Machine, Tasks
    from interleave_rt.measure.virtual_time import _run, arm_of

    times, t_max = Times(), 5
    rng = random.Random(20)
    tasks, ideal = [], []
    for _ in range(300):
        count, p = rng.randint(1, 6), rng.choice(odds)
        says = [[int(rng.random() < p) for _ in range(t_max)] for _ in range(count)]
        closes = [times.plan_step(index, count) for index in range(count)]
        steps = [[(times.generate, times.verdict, times.judge, one) for one in step] for step in says]
        tasks.append((times.plan, closes, steps, t_max))
        ideal.append(closed_form([pattern_of(step) for step in says], times))
    machine = Machine({"planner": Lane(1, "a"), "generator": Lane(1, "b"), "critic": Lane(4, "c")})
    given = Tasks(lambda _arm: tasks, [len(task[2]) for task in tasks], denoising_steps=4)
    report = _run(machine, given, Load(), arm_of(arm))
    return [(one.ended_us - one.submitted_us) / 1000 for one in report.requests], ideal


def test_scheduler_meets_the_closed_form_in_virtual_time():
    """The core, without threads, needs exactly what the recurrence says."""
    took, ideal = simulated([0.2, 0.6, 0.8, 1.0], "depth=1")
    assert took == pytest.approx(ideal, abs=0.01)


@pytest.mark.parametrize("p", [1.0, 0.8, 0.6])
def test_auto_stays_by_the_closed_form_in_virtual_time(p: float):
    took, ideal = simulated([p], "speculative")
    assert sum(took) / sum(ideal) <= 1.02
    off, _ = simulated([p], "sequential-es")
    assert sum(off) / sum(took) > 1.1


def test_real_threads_stay_near_the_closed_form():
    """A short run of the command, with room for a busy machine: half of what speculation gains is asked for."""
    row = run(0.8, 3, 1, Times(), warmup=1)
    assert row["lossless"]["equal"] == row["requests"] == 3
    assert 0.99 <= row["of_closed_form"] < 1.15
    assert row["over_sequential"]["ratio"] > row["over_sequential_es"]["ratio"] > 1.1


def pattern_of(says: list[int]) -> list[bool | None]:
    """What a step's committed attempts look like: up to the first acceptance, the last try is not judged."""
    found: list[bool | None] = []
    for number, one in enumerate(says, start=1):
        found.append(None if number == len(says) else bool(one))
        if one:
            break
    return found
