"""What bench and simulate share: loads, arms, statistics, documents, baselines, traces, and what both refuse."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import complains, failing, refused

from interleave_rt import files
from interleave_rt.backends.scripted import Script
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.measure import runner
from interleave_rt.measure.arms import ARMS, Engines, Threads, parse_arms, scripted_target, thread_splits
from interleave_rt.measure.compare import check_comparison, compare, read_baseline
from interleave_rt.measure.document import busy_s, overlap_ratio, speedups
from interleave_rt.measure.environment import _revision, describe_environment
from interleave_rt.measure.load import Load, arrivals_us, numbered_requests, read_trace
from interleave_rt.measure.machine import Lane, Machine
from interleave_rt.measure.record import ROLES, CallRecord, RequestRecord, Turn
from interleave_rt.measure.runner import BenchConfig, measure
from interleave_rt.measure.simulation import SimulationConfig, run_virtual
from interleave_rt.measure.statistics import (
    describe,
    flatten,
    lower_bound_of_median,
    median_ratio,
    ratio_of_means,
)
from interleave_rt.measure.tasks import Times, draw_tasks
from interleave_rt.request import Options

# ---- statistics and documents


def test_percentiles_are_numpys():
    values = np.random.default_rng(5).exponential(size=257).tolist()
    found = describe(values, (50, 90, 99.5))
    assert list(found) == ["mean", "p50", "p90", "p99.5"]
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-4)
    for name, cut in (("p50", 50), ("p90", 90), ("p99.5", 99.5)):
        assert found[name] == pytest.approx(np.percentile(values, cut), abs=1e-4)
    assert describe([], (50,)) == {"mean": None, "p50": None}
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}


def test_ratios_of_pairs():
    base, other = [2.0, 4.0, 6.0], [1.0, 2.0, 6.0]
    mean = ratio_of_means(base, other)
    assert (mean.ratio, mean.pairs, mean.low) == (pytest.approx(12 / 9), 3, None)  # too few for an interval
    five = ratio_of_means([*base, 8.0, 10.0], [*other, 4.0, 5.0])
    assert five.low <= five.ratio <= five.high
    assert median_ratio(base, other).ratio == 2.0  # of 2, 2, 1
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
    median = speedups(turns, by_request=False)["b_c_vs_a"]["median"]
    assert median == {"ratio": 3.0, "low": None, "high": None, "pairs": 2}


# ---- loads and arms


def test_an_engine_and_virtual_time_meet_the_same_arrivals(monkeypatch):
    """Exactly, for every stretch of the benchmark that one arm runs at a time."""
    turns = []
    monkeypatch.setattr(runner, "open_loop", lambda _engine, _arm, _part, at, _step: turns.append(at) or [])
    load = Load("server", request_rate=7.0, burstiness=0.4, seed=11)
    samples = numbered_requests(30, 0, Options())
    for number in (1, 4):
        config = BenchConfig(load, [ARMS["sequential"]], turns=number, warmup=0)
        measure(config, scripted_target(Script()), samples)
    tasks = draw_tasks(Times(), 30, 11, steps=(2, 2), t_max=2, accept=(0.8,))
    machine = Machine({role: Lane(30) for role in ROLES})
    report = run_virtual(machine, tasks, replace(load, max_live=30), ARMS["sequential"])
    virtual = [request["submitted_us"] for request in report["requests"]]
    assert virtual == arrivals_us(30, 7.0, 0.4, 11) == turns[0]
    gaps, cuts = np.diff(virtual).tolist(), [(0, 8), (8, 15), (15, 22), (22, 30)]
    assert [np.diff(turn).tolist() for turn in turns[1:]] == [gaps[a : b - 1] for a, b in cuts]


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


@pytest.mark.parametrize(
    ("load", "queued"),
    [
        (Load("server", max_queued=1), 1),
        (Load("server"), 64),
        (Load("offline", max_queued=1), 8),
        (Load("closed-loop", concurrency=9, max_queued=1), 9),
    ],
)
def test_room_is_made_for_loops_only(load, queued):
    assert BenchConfig(load, [ARMS["sequential"]]).engine_config().max_queued == queued


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
        with refused(BadRequestError, "--threads"):
            Threads.parse(text)


# ---- what the verbs refuse before they measure anything


@pytest.fixture
def unmeasured(monkeypatch):
    """Fails where something is measured or simulated."""

    def fails(*_arguments):
        pytest.fail("it ran")

    monkeypatch.setattr("interleave_rt.measure.runner.measure", fails)
    monkeypatch.setattr(SimulationConfig, "document", fails)


BENCH = "bench --runtime scripted "
BOTH_REFUSE = [
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
    ("--num-requests 1000000000", "--num-requests is 1000000000"),
    *((f"--seed {seed}", f"--seed is {seed}") for seed in (-1, 2**64)),
    ("--t-max 0", "is 0"),
    ("--lanes two", "--lanes is 'two'"),
    ("--output o.txt", "--output is o.txt"),
    ("--output nowhere/o.json", "a folder that exists"),
    ("--output folder.json", "cannot be written"),
]
BENCH_REFUSES = [
    ("--blocks -1", "--blocks is -1"),
    ("--runtime torch", "--runtime is 'torch'"),
    *((f"--fail-over {value}", f"--fail-over is {value}") for value in ("-1.0", "nan", "inf")),
    ("--save-calibration nowhere/c.json", "cannot be written"),
    ("--output " + "a" * 300 + ".json", "cannot be written"),
    ("--threads many", "--threads is 'many'"),
    ("--speculation depth=0", "speculation is 'depth=0'"),
    ("--plot r.gif", "--plot is r.gif"),
    ("--baseline no.json", "no.json cannot be read"),
    ("--trace no.jsonl", "no.jsonl cannot be read"),
    ("--accept-prob 1.5", "--accept-prob is 1.5"),
    ("--scenario closed-loop --concurrency 1000000", "--concurrency is 1000000"),
    ("--planner-ms inf", "planner_ms is inf"),
    ("--generator-ms 1e300", "generator_ms is 1e+300"),
    ("--verdict-ms 90", "verdict_ms <= critic_ms"),
    ("--pack .", "excludes --pack"),
]
SIMULATE_REFUSES = [
    ("--preset b200", "no preset"),
    ("--preset h200-fp8 --cards 3", "--cards"),
    ("--preset h200-fp8 --calibration f", "together"),
    ("--accept-prob 2", "--accept-prob"),
    ("--steps 5-3", "--steps"),
    ("--steps 1" + "0" * 400, "--steps"),
    ("--scenario server", "--request-rate"),
    ("--verdict-ms 99", "--verdict-ms"),
    ("--first-step-ms 999", "first step"),
    ("--generator-ms 1e300", "generate_first, ms,"),
    ("--jitter -1", "--jitter"),
    ("--denoising-steps 0", "--denoising-steps"),
    ("--concurrency 2 --request-rate 1", "together"),
    ("--scenario offline --concurrency 2", "--scenario offline"),
    ("--scenario offline --request-rate 1", "--scenario offline"),
    *((f"--request-rate {rate}", "--request-rate") for rate in ("inf", "nan", "1e-300")),
    ("--request-rate 1 --burstiness inf", "--burstiness"),
    ("--request-rate 1e-200 --burstiness 1e-200", "--burstiness"),
    (f"--slots {10**30}", "capacity"),
    (f"--max-queued {10**30}", "--max-queued"),
    (f"--max-live {10**30}", "--max-live"),
    (f"--concurrency {10**30}", "concurrency"),
    ("--arms sequential --depth 2", "--depth changes nothing"),
    *(
        (f"--{name} 0", f"--{name} changes nothing")
        for name in ("cards", "decode-sms", "critic-slowdown", "generator-rate", "burstiness")
    ),
    *(
        (f"--preset h200-fp8 --{name} 1", f"--{name} changes nothing")
        for name in (
            "planner-ms",
            "first-step-ms",
            "generator-ms",
            "first-image-ms",
            "critic-ms",
            "verdict-ms",
        )
    ),
    ("--preset h200-fp8 --slots 1", "--slots changes nothing"),
    ("--preset h200-fp8 --decode-sms 1", "--decode-sms changes nothing"),
    ("--preset h200-fp8 --lanes shared", "--lanes changes nothing"),
    ("--plot o.svg", "--sweep"),
    ("--sweep p=1 --plot o.txt", ".png"),
    # Sweeps that are none, and axes that change nothing.
    *(
        (f"--sweep {text}", "--sweep")
        for text in (
            *("q=1", "p=1:0:1", "p=0:1:0", "p=0.1,p=0.2", "p=0:1:0.0001", "p=0:1", "p=0:1:0.1:1", ","),
            *("p=0:1:1e-9", "p=0:1e308:1e-308", "rate=-1e308:1e308:1"),
            *("concurrency=nan", "depth=inf", "p=0:inf:1", "p=nan:1:1", "p=0:1:nan"),
            *("concurrency=1.5", "depth=1:2:0.5", "cards=1.2", "steps=2.5", "t_max=0.5"),
        )
    ),
    *(
        (f"--preset h200-fp8 --sweep {axis}=0.1|0.2", f"--sweep {axis}")
        for axis in ("generator", "critic", "verdict", "decode_sms")
    ),
    ("--sweep cards=1|2", "--sweep cards"),
    ("--sweep decode_sms=0.1|0.2", "--sweep decode_sms"),
    ("--arms sequential --sweep depth=1|2", "--sweep depth"),
    ("--scenario offline --sweep concurrency=1|2", "--concurrency"),
    ("--concurrency 4 --sweep concurrency=1|2", "--concurrency and --sweep concurrency"),
    ("--accept-prob 0.7 --sweep p=0.5|1", "--accept-prob and --sweep p"),
    ("--sweep rate=1|2,load=0.5", "rate and load"),
    ("--sweep concurrency=1e300", "concurrency"),
]


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
        *((verb, *row) for verb in (BENCH, "simulate ") for row in BOTH_REFUSE),
        *((BENCH, *row) for row in BENCH_REFUSES),
        *(("simulate --num-requests 5 ", *row) for row in SIMULATE_REFUSES),
    ],
)
def test_arguments_that_are_wrong(verb, arguments, says, command, tmp_path):
    (tmp_path / "folder.json").mkdir()
    complains(command(*verb.split(), *arguments.split()), 2, says)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        *(BENCH + "--output r.json", BENCH + "--save-calibration r.json", "simulate --output r.json"),
        *("simulate --sweep p=0.5|1 --output r.csv", "simulate --sweep p=0.5|1 --plot r.svg"),
    ],
)
def test_folders_that_may_not_be_written_to_are_found_first(arguments, command, monkeypatch, unmeasured):
    monkeypatch.setattr(files, "_write_new", failing(PermissionError(13, "Permission denied")))
    complains(command(*arguments.split()), 2, "cannot be written: Permission denied")


@pytest.mark.parametrize("name", ["r.json", "r.csv"])
@pytest.mark.parametrize(
    "verb", [BENCH + "--planner-ms 40 --warmup 0", "simulate", "simulate --sweep p=0.5|1"]
)
def test_an_output_that_fails_is_said_and_a_measurement_is_not_lost(verb, name, command, monkeypatch):
    monkeypatch.setattr(os, "replace", failing(OSError(28, "No space left on device")))
    said = command(*verb.split(), "--num-requests", 2, "--arms", "sequential", "--output", name, "--json")
    assert said.code == 2
    assert f"{name} cannot be written: No space left on device" in said.err
    if verb.startswith("bench"):
        assert json.loads(said.out)["arms"]["sequential"]["completed"] == 2


# ---- what a benchmark is compared with


def result(mean: float | None = 100.0, throughput: float = 10.0) -> dict:
    return {
        "format_version": 1,
        "scenario": {"name": "server", "target": "scripted", "concurrency": 1, "request_rate": 2.0},
        "arms": {"sequential": {"e2e_latency_ms": {"mean": mean}, "request_throughput": throughput}},
        "speedup": {"speculative_vs_sequential": {"ratio": 1.5, "median": {"ratio": 0.1}}},
        "lossless": {"requests": 4, "equal": 4, "arms": ["sequential", "speculative"]},
        "environment": {},
    }


def test_what_falls():
    assert compare(result(), result(), 0.0) == []
    assert compare(result(), result(mean=109.0), 10.0) == []
    (fall,) = compare(result(), result(mean=120.0), 10.0)
    assert str(fall) == "arms.sequential.e2e_latency_ms.mean: 100 -> 120 (20.0 % worse)"
    (fall,) = compare(result(), result(throughput=8.0), 10.0)
    assert (fall.key, fall.percent) == ("arms.sequential.request_throughput", pytest.approx(25.0))
    with refused(BadRequestError, "no figure in common"):
        compare({**result(), "arms": {}, "speedup": {}}, result(), 10.0)


def test_figures_that_are_gone_fall():
    (fall,) = compare(result(), result(mean=None), 10.0)
    assert str(fall) == "arms.sequential.e2e_latency_ms.mean: 100 -> none (nothing was measured)"
    (fall,) = compare(result(), result(throughput=0.0), 1e6)
    assert (fall.key, fall.now) == ("arms.sequential.request_throughput", 0.0)
    falls = compare(result(), {**result(), "arms": {}, "speedup": {}}, 10.0)
    assert {fall.key for fall in falls} == {
        "arms.sequential.e2e_latency_ms.mean",
        "arms.sequential.request_throughput",
        "speedup.speculative_vs_sequential.ratio",
    }
    # Only what this run was asked for.
    now = {**result(), "speedup": {}, "lossless": {"arms": ["sequential"]}}
    assert compare(result(), now, 10.0) == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "offline", "--scenario is offline, this run's is server"),
        ("target", "shapes", "target is shapes"),
        ("concurrency", 8, "--concurrency is 8"),
        ("request_rate", 4.0, "--request-rate is 4.0"),
    ],
)
def test_baselines_of_another_kind(key: str, value: object, says: str):
    before = result()
    before["scenario"][key] = value
    config = BenchConfig(Load("server", request_rate=2.0), [ARMS["sequential"]])
    with refused(BadRequestError, says):
        check_comparison(before, config, "scripted")
    with refused(BadRequestError, says):
        compare(before, result(), 10.0)
    check_comparison(result(), config, "scripted")
    with refused(BadRequestError, "no figure in common"):
        check_comparison(result(), replace(config, arms=[ARMS["sequential-es"]]), "scripted")


DEEP = pytest.param("[" * 100_000, id="deep")
SIMULATED = {
    "format_version": 1,
    "scenario": {},
    "arms": {},
    "speedup": {},
    "speculation": None,
    "source": {},
}


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", json.dumps({**result(), "format_version": 99}), json.dumps(SIMULATED), DEEP]
)
def test_baselines_that_are_none(tmp_path: Path, text: str):
    path = tmp_path / "b.json"
    path.write_text(text)
    with refused(BadRequestError, "b.json"):
        read_baseline(path)


# ---- what it replays, and says of where it ran


def test_replayed_requests(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    text = "b\u2028b\u2029c\u0085d"  # no ends of lines in JSON
    lines = [
        '{"text": "a", "seed": 3, "options": {"t_max": 2}}\r\n',
        "",
        f'{{"text": "{text}"}}',
        '{"text": "c"}\n',
    ]
    path.write_bytes("\n".join(lines).encode())
    cases = read_trace(path, 2, Options(seed=9, max_steps=4))
    assert [case.request.text for case in cases] == ["a", text]
    settings = [(case.options.seed, case.options.t_max, case.options.max_steps) for case in cases]
    assert settings == [(3, 2, 4), (9, 5, 4)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2"),
        ('"text"', "an object"),
        ('{"seed": 1}', "field 'text' is missing"),
        ('{"text": 5}', "'text' is not a string"),
        ('{"text": "a", "images": "a.png"}', "'images' is not a list of strings"),
        ('{"text": "a", "images": [1]}', "'images' is not a list of strings"),
        ('{"text": "a", "images": ["no.png"]}', "no.png cannot be read"),
        ('{"text": "a", "images": ["no.png"]}', "named from "),
        ('{"text": "a", "options": [["t_max", 2]]}', "'options' is not an object"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        ('{"text": ""}', "the text is empty"),
        ('{"text": "a", "sead": 1}', "unknown field 'sead'"),
        ('{"text": "a", "options": {"t_max": 0}}', "t_max is 0"),
        ('{"text": "a", "options": {"deadline_s": "5"}}', "deadline_s is '5'"),
        ('{"text": "\\ud800"}', "lone surrogate"),
        ('{"text": "a", "options": {"speculation": "off"}}', "'speculation' is the arm's"),
        ('{"text": "a", "options": {"keep": "best"}}', "request 2 cannot be replayed"),
        ('{"text": "a", "options": {"judge_last": true}}', "request 2 cannot be replayed"),
    ],
)
def test_replayed_requests_that_are_wrong_are_found_first(line, says, tmp_path, command, unmeasured):
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n' + line + "\n")
    said = command(*BENCH.split(), "--trace", "t.jsonl", "--save-calibration", "c.json")
    complains(said, 2, says)
    assert "line 2 of t.jsonl" in said.err or "request 2" in said.err


def test_revision_is_this_repositorys(tmp_path: Path):
    """From an environment inside another project's checkout the commit would be that project's."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    file = tmp_path / ".venv" / "interleave_rt" / "measure" / "environment.py"
    assert _revision(file) is None
    (tmp_path / "interleave_rt").mkdir()
    (tmp_path / "interleave_rt" / "_core.pyi").touch()
    assert _revision(file)


def test_command_line_that_is_no_text(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", "a\udcff"])
    assert describe_environment(gpu=False)["command"].encode()
