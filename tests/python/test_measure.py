"""What bench and simulate share: load, arms, statistics, figures; the scheduler against the closed form."""

from __future__ import annotations

import math
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interleave_rt.backends.scripted import Script
from interleave_rt.cli import main
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.measure import runner
from interleave_rt.measure.arms import ARMS, Engines, Threads, parse_arms, scripted_target, thread_splits
from interleave_rt.measure.document import busy_s, overlap_ratio, speedups
from interleave_rt.measure.load import Load, arrivals_us, numbered_requests
from interleave_rt.measure.machine import Lane, Machine
from interleave_rt.measure.record import ROLES, CallRecord, RequestRecord, Turn
from interleave_rt.measure.runner import BenchConfig, measure
from interleave_rt.measure.simulation import run_virtual
from interleave_rt.measure.statistics import (
    describe,
    flatten,
    lower_bound_of_median,
    median_ratio,
    ratio_of_means,
)
from interleave_rt.measure.tasks import Tasks, draw_tasks
from interleave_rt.measure.tasks import Times as TaskTimes
from interleave_rt.request import Options

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


def test_an_engine_and_virtual_time_meet_the_same_arrivals(monkeypatch):
    """Exactly, for every stretch of the benchmark that one arm runs at a time."""
    met: dict[str, list[int]] = {"engine": [], "virtual": []}
    turns = []

    def open_loop(_engine, _arm, part, at_us, _step):
        turns.append(at_us)
        return []

    monkeypatch.setattr(runner, "open_loop", open_loop)
    load = Load("server", request_rate=7.0, burstiness=0.4, seed=11)
    samples = numbered_requests(30, 0, Options())
    for number in (1, 4):
        turns.clear()
        config = BenchConfig(load, [ARMS["sequential"]], turns=number, warmup=0)
        measure(config, scripted_target(Script()), samples)
        met[f"in {number}"] = [*turns]
    tasks = draw_tasks(TaskTimes(), 30, 11, steps=(2, 2), t_max=2, accept=(0.8,))
    machine = Machine({role: Lane(30) for role in ROLES})
    report = run_virtual(machine, tasks, replace(load, max_live=30), ARMS["sequential"])
    virtual = [request["submitted_us"] for request in report["requests"]]
    assert virtual == arrivals_us(30, 7.0, 0.4, 11)
    assert met["in 1"] == [virtual]
    gaps = np.diff(virtual).tolist()
    assert [np.diff(turn).tolist() for turn in met["in 4"]] == [
        gaps[a : b - 1] for a, b in ((0, 8), (8, 15), (15, 22), (22, 30))
    ]


@pytest.mark.parametrize(("burstiness", "spread"), [(1.0, 1.0), (0.25, 2.0), (4.0, 0.5)])
def test_arrivals_are_seeded_and_have_the_rate_and_the_spread(burstiness, spread):
    at = arrivals_us(20_001, 50.0, burstiness, 1)
    assert at == arrivals_us(20_001, 50.0, burstiness, 1) != arrivals_us(20_001, 50.0, burstiness, 2)
    assert at[:100] == arrivals_us(100, 50.0, burstiness, 1)
    assert at[0] == 0
    gaps = np.diff(at)
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(20_000, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(spread, rel=0.05)
    assert arrivals_us(3, math.inf, burstiness, 0) == [0, 0, 0]


def record(index: int, e2e: float, calls: list[tuple[str, float, float]] = ()) -> RequestRecord:
    made = RequestRecord(index, "finished", e2e_s=e2e)
    made.calls = [
        CallRecord(index, role, 0, 1, 0, a, a, b, speculative=False, used=True, done=True, served=True)
        for role, a, b in calls
    ]
    return made


def test_busy_time_is_a_union():
    calls = [("critic", 0.0, 2.0), ("critic", 1.0, 3.0), ("critic", 5.0, 6.0), ("generator", 0.0, 4.0)]
    turn = Turn("speculative", 0, [record(0, 1.0, calls)], wall_s=6.0)
    assert busy_s(turn, "critic") == 4.0
    assert busy_s(turn, "planner") == 0.0
    assert overlap_ratio([turn]) == pytest.approx(1 - 6.0 / 8.0)


def test_speedups_of_requests_and_of_turns():
    slow = [Turn("a", n, [record(2 * n, 4.0), record(2 * n + 1, 2.0)], wall_s=6.0) for n in range(2)]
    fast = [Turn("b-c", n, [record(2 * n, 1.0), record(2 * n + 1, 1.0)], wall_s=2.0) for n in range(2)]
    turns = {"a": slow, "b-c": fast}
    exact = speedups({"a": slow[:1], "b-c": fast[:1]}, by_request=True, intervals=False)
    assert exact == {"b_c_vs_a": {"ratio": 3.0, "median": 3.0, "throughput": 3.0, "pairs": 2}}
    assert speedups(turns, by_request=True)["b_c_vs_a"]["pairs"] == 4
    assert speedups(turns, by_request=False)["b_c_vs_a"]["median"] == {
        "ratio": 3.0,
        "low": None,
        "high": None,
        "pairs": 2,
    }


@pytest.mark.parametrize("verb", ["bench --runtime scripted", "simulate"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--scenario burst", "--scenario is 'burst'"),
        ("--arms sequential,fast", "no arm 'fast'"),
        ("--arms sequential,sequential", "named twice"),
        ("--arms depth=0", "speculation is 'depth=0'"),
        ("--arms ,", "no arm is left"),
        ("--percentiles 50,101", "--percentiles is '50,101'"),
        *((f"--slo {text}", f"--slo is '{text}'") for text in ("e2e", "e2e:nan", "e2e:inf", "e2e:-1")),
        ("--slo tpot:5", "--slo has no limit 'tpot'"),
        ("--scenario closed-loop --concurrency 0", "--concurrency is 0"),
        ("--scenario server --request-rate 0", "--request-rate is 0"),
        ("--scenario server --request-rate 1 --burstiness -1", "--burstiness is -1"),
        ("--max-queued -1", "--max-queued is -1"),
        ("--max-live 0", "--max-live is 0"),
        ("--num-requests 0", "--num-requests is 0"),
        *((f"--seed {seed}", f"--seed is {seed}") for seed in (-1, 2**63)),
        ("--t-max 0", "is 0"),
        ("--lanes two", "--lanes is 'two'"),
        ("--output o.txt", "--output is o.txt"),
        ("--output nowhere/o.json", "cannot be written"),
    ],
)
def test_both_verbs_refuse_the_same(verb, arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*verb.split(), *arguments.split()]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert not list(tmp_path.iterdir())


def test_arms_by_name():
    found = parse_arms("sequential,depth=2, speculative", "depth=3")
    assert [(arm.name, arm.speculation) for arm in found] == [
        ("sequential", "off"),
        ("depth=2", "depth=2"),
        ("speculative", "depth=3"),
    ]


def test_arms_share_no_engine_and_so_no_caches():
    with Engines(scripted_target(Script()), EngineConfig()) as engines:
        plain, streamed = engines.of(ARMS["sequential"], None), engines.of(ARMS["sequential-es"], None)
        assert plain is not streamed
        assert engines.of(ARMS["sequential"], None) is plain
        engines.close_all_but([streamed])
        with pytest.raises(InterleaveError):
            plain.run("a")
        assert streamed.run("a").steps
        assert engines.of(ARMS["sequential"], None) is not plain


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
    report = run_virtual(machine, given, Load(), parse_arms(arm)[0])
    return [(one["ended_us"] - one["submitted_us"]) / 1000 for one in report["requests"]], ideal


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
