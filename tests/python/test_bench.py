"""`interleave-rt bench` over scripted roles: its keys, its files, its exit codes, and what it measures."""

from __future__ import annotations

import csv
import json
import re

import pytest
from helpers import refused
from rich.console import Console

from interleave_rt.backends.scripted import Script
from interleave_rt.cli import measure_display
from interleave_rt.cli.signals import Interrupted
from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.measure import environment
from interleave_rt.measure.arms import ARMS, scripted_target
from interleave_rt.measure.calibration import load_calibration
from interleave_rt.measure.load import Load, numbered_requests
from interleave_rt.measure.record import ROLES
from interleave_rt.measure.runner import BenchConfig, Measurement, measure
from interleave_rt.measure.statistics import flatten
from interleave_rt.request import Options

FAST = [
    *("--runtime", "scripted", "--planner-ms", "8", "--first-step-ms", "2", "--generator-ms", "4"),
    *("--critic-ms", "4", "--verdict-ms", "2", "--steps", "3", "--num-requests", "6", "--warmup", "1"),
]
SCRIPT = Script(
    planner_ms=8, first_step_ms=2, generator_ms=4, critic_ms=4, verdict_ms=2, accept_prob=0.6, seed=4
)


LATENCIES = ["e2e_latency_ms", "ttfi_ms", "time_per_step_ms", "inter_image_latency_ms", "time_to_verdict_ms"]
CUTS = ["mean", "p50", "p90", "p95", "p99"]
PAIRS = ["sequential_es_vs_sequential", "speculative_vs_sequential", "speculative_vs_sequential_es"]
KEYS = {
    "": ["format_version"],
    "scenario.": [
        *("name", "target", "requests", "concurrency", "request_rate", "burstiness", "seed", "warmup"),
        *("max_live", "max_queued", "peak_rss_is_of"),
    ],
    **{
        f"arms.{arm}.": [
            *(f"{latency}.{cut}" for latency in LATENCIES for cut in CUTS),
            *("request_throughput", "steps_per_s", "goodput", "slo_attained", "completed", "failed"),
            *("refused", "steps", "wall_s", "peak_rss_mb", "overlap_ratio"),
            *(f"stages.{role}.{one}" for role in ROLES for one in ("ms", "busy", "calls")),
            *(f"waste.{role}_{one}" for role in ROLES for one in ("ms", "share")),
        ]
        for arm in ARMS
    },
    **{
        f"speedup.{pair}.{part}": ["ratio", "low", "high", "pairs"]
        for pair in PAIRS
        for part in ("", "median.", "throughput.")
    },
    "speculation.": [
        *("arm", "setting", "speculated", "committed", "discarded", "wasted_ms", "wasted_share"),
        "overlap_ratio",
    ],
    **{
        f"speculation.cancel_latency_{of}.": [*CUTS, "count"]
        for of in ("ms", "by_role_ms.generator", "by_role_ms.critic")
    },
    "lossless.": ["requests", "equal", "finished", "arms", "first_different"],
    "environment.": [
        *("cpu", "cores", "gpu", "load_average", "platform", "python", "revision", "command"),
        "missing_cores",
    ],
}


def measured(
    load: Load, *arms: str, script: Script = SCRIPT, count: int = 8, warmup: int = 0, **config
) -> Measurement:
    chosen = BenchConfig(load, [ARMS[arm] for arm in arms or ARMS], warmup=warmup, **config)
    return measure(chosen, scripted_target(script), numbered_requests(count, 4, Options()))


def run(load: Load, *arms: str, **settings) -> dict:
    return measured(load, *arms, **settings).document({})


def test_arms_take_turns_on_equal_work():
    found = measured(Load(), count=5, warmup=1)
    assert [turn.arm for turn in found.turns] == list(ARMS) * 5
    patterns = [[record.pattern for record in found.records(arm)] for arm in ARMS]
    assert patterns[0] == patterns[1] == patterns[2]
    assert any(False in step for request in patterns[0] for step in request)  # something was refused


def test_speculation_is_seen_and_paid():
    slow = Script(
        planner_ms=8, first_step_ms=2, generator_ms=20, critic_ms=20, verdict_ms=16, accept_prob=0.6
    )
    found = run(Load(), script=slow, warmup=1)
    ahead = found["speculation"]
    assert ahead["speculated"] == ahead["committed"] + ahead["discarded"] > 0
    assert ahead["discarded"] > 0
    assert ahead["wasted_ms"] > 0
    assert ahead["cancel_latency_ms"]["count"] > 0
    assert 0 <= ahead["cancel_latency_ms"]["p50"] <= 5 + 5  # a denoising step of 5 ms, and the machine
    overlap = [found["arms"][arm]["overlap_ratio"] for arm in ARMS]
    assert overlap[2] > overlap[0]
    assert overlap[0] < 0.05  # one role at a time
    assert found["speedup"]["speculative_vs_sequential"]["ratio"] > 1.15


def test_closed_loop_and_offline():
    found = run(Load("closed-loop", concurrency=3), "sequential", "speculative", turns=2)
    assert found["lossless"]["equal"] == found["lossless"]["finished"] == 8
    assert found["speedup"]["speculative_vs_sequential"]["pairs"] == 2
    offline = run(Load("offline"), "speculative", turns=1, count=24)
    arm = offline["arms"]["speculative"]
    assert (arm["completed"], arm["refused"]) == (24, 0)
    assert arm["e2e_latency_ms"]["p99"] <= 1000 * arm["wall_s"] + 1
    assert offline["speedup"] == {}
    assert offline["lossless"]["requests"] == 24


def test_server_refuses_beyond_its_limits_and_says_so():
    load = Load("server", request_rate=1000.0, max_live=1, max_queued=1)
    found = measured(load, "sequential", turns=1, count=30)
    arm = found.document({})["arms"]["sequential"]
    assert arm["completed"] + arm["refused"] == 30
    assert arm["completed"] >= 2
    assert arm["refused"] >= 20
    assert arm["failed"] == 0
    refused = [record for record in found.records("sequential") if record.outcome == "overloaded"]
    assert all("full" in record.message or "wait" in record.message for record in refused)
    assert found.document({})["lossless"]["requests"] == arm["completed"]


def test_goodput_counts_what_kept_the_limits():
    arm = run(Load(slo_ms={"e2e": 100_000.0}), "sequential")["arms"]["sequential"]
    assert arm["goodput"] == arm["request_throughput"]
    assert arm["slo_attained"] == 1.0
    none = run(Load(slo_ms={"ttfi": 0.001}), "sequential")
    assert none["arms"]["sequential"]["goodput"] == 0.0


def test_duration_ends_between_turns():
    arms = run(Load(), "sequential", "speculative", duration_s=0.05, count=200)["arms"]
    assert 1 <= arms["sequential"]["completed"] == arms["speculative"]["completed"] < 200


def test_failing_requests_are_counted_and_compared():
    script = Script(planner_ms=2, first_step_ms=1, failing_prob=0.1, accept_prob=0.6)
    found = run(Load(), script=script, count=12)
    arms = found["arms"]
    assert 0 < arms["sequential"]["failed"] == arms["speculative"]["failed"] < 12
    assert sum(arms["sequential"]["failures"].values()) == arms["sequential"]["failed"]
    assert all(arms["sequential"]["failures"])
    assert found["lossless"]["equal"] == 12
    assert found["lossless"]["finished"] == arms["sequential"]["completed"]


def test_warm_up_that_fails_stops_the_run():
    with refused(BackendFailedError, "warm-up of sequential"):
        run(Load(), "sequential", script=Script(unreadable_plan_prob=1.0), warmup=1)


# ---- the command


@pytest.fixture
def bench(command):
    """All arms, as JSON."""
    return lambda *arguments: command("bench", *FAST, "--json", *arguments)


@pytest.fixture
def sequential(bench):
    """One arm, compared with its own result in `first.json`."""
    short = ("--arms", "sequential", "--num-requests", "2")
    assert bench(*short, "--output", "first.json").code == 0
    return lambda *arguments: bench(*short, "--baseline", "first.json", *arguments)


def test_stable_keys_and_files(tmp_path, bench):
    code, said, heard = bench("--output", "r.json")
    assert (code, heard) == (0, "")
    found = json.loads(said)
    assert found == json.loads((tmp_path / "r.json").read_text())
    free = ("environment.packages.", "speculation.accept_rate_by_attempt.")
    assert {key for key in flatten(found) if not key.startswith(free)} == {
        prefix + key for prefix, keys in KEYS.items() for key in keys
    }
    assert "interleave-rt" in found["environment"]["packages"]
    assert set(found["speculation"]["accept_rate_by_attempt"]) <= set("1234")
    lossless = found["lossless"]
    assert lossless["requests"] == lossless["equal"] == lossless["finished"] == 6
    assert (lossless["arms"], lossless["first_different"]) == (list(ARMS), None)
    assert bench("--arms", "sequential", "--output", "r.csv").code == 0
    rows = dict(csv.reader((tmp_path / "r.csv").read_text().splitlines()))
    assert rows["key"] == "value"
    assert int(rows["arms.sequential.completed"]) == 6
    assert float(rows["arms.sequential.e2e_latency_ms.mean"]) > 0


def test_tables_can_be_read_in_sixty_columns_and_say_that_the_machine_was_busy(monkeypatch, capsys):
    arms = ("sequential", "sequential-es", "speculative")
    found = run(Load(slo_ms={"e2e": 100_000.0}), *arms, count=2)
    found["environment"] = {"cpu": "c", "cores": 2, "missing_cores": 1.5}
    monkeypatch.setattr(measure_display, "_console", lambda: Console(width=60, color_system=None))
    measure_display.show(found)
    said = capsys.readouterr().out
    assert "…" not in said
    for arm in arms:
        assert len(re.findall(rf"^{arm} +[\d-]", said, re.MULTILINE)) == 5 + 1 + 3
    assert "other programs took 1.5 of the 2 cores" in said
    found["environment"]["missing_cores"] = 0.1
    measure_display.show(found)
    assert "warning" not in capsys.readouterr().out


def test_what_others_take_is_what_is_missing_of_our_cores(monkeypatch):
    monkeypatch.setattr(environment.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(environment, "usable_cores", lambda: 2)
    for busy, own, missing in ((20.0, 18.0, 0.0), (20.0, 0.0, 0.0), (38.0, 2.0, 1.6)):
        times = iter([(0.0, 5.0, 1.0), (10.0, 5.0 + busy, 1.0 + own)])
        monkeypatch.setattr(environment.OtherWork, "_now", lambda _, times=times: next(times))
        assert environment.OtherWork().cores() == missing


def test_progress_is_told_without_a_terminal(monkeypatch, command):
    monkeypatch.setattr(measure_display, "_SAY_S", 0.0)
    said = command("bench", *FAST, "--arms", "sequential")
    assert said.code == 0
    lines = said.err.splitlines()
    assert lines[:2] == ["warming up", "measuring"]
    assert lines[2].startswith("1 of 6 requests, at most ")
    assert command("bench", *FAST, "--arms", "sequential", "--json").err == ""


def test_two_minutes_are_the_limit_where_nobody_says_how_much(monkeypatch, command):
    asked = []
    monkeypatch.setattr(
        "interleave_rt.measure.runner.measure", lambda config, _, samples, __: asked.append((config, samples))
    )
    given = ((), ("--num-requests", 5), ("--duration", 7))
    for more in given:
        with pytest.raises(AttributeError):  # nothing was measured
            command("bench", "--runtime", "scripted", *more)
    assert [(config.duration_s, len(samples)) for config, samples in asked] == [
        (120.0, 32),
        (0.0, 5),
        (7.0, 32),
    ]


def test_tables_and_plot(tmp_path, command):
    pytest.importorskip("matplotlib")
    code, said, _ = command("bench", *FAST, "--num-requests", 2, "--plot", "p.svg", "--slo", "e2e:100000")
    assert code == 0
    for text in ("end to end", "speculative vs sequential:", "results equal in all arms: 2 of 2", "roles"):
        assert text in said
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_what_is_worse_than_a_baseline_has_an_exit_code(sequential):
    assert sequential("--fail-over", "100000").code == 0
    code, said, heard = sequential("--generator-ms", "40", "--fail-over", "50")
    assert code == 8
    assert "arms.sequential.e2e_latency_ms.mean" in heard
    assert "% worse" in heard
    assert json.loads(said)["arms"]  # the result is there all the same


def test_baselines_are_looked_at_first(sequential, monkeypatch):
    monkeypatch.setattr("interleave_rt.measure.runner.measure", None)
    code, said, heard = sequential("--scenario", "offline")
    assert (code, len(said.splitlines())) == (2, 1)
    assert "the baseline's --scenario is single-stream" in heard
    code, _, heard = sequential("--arms", "speculative")
    assert code == 2
    assert "no figure in common" in heard


def test_a_difference_between_arms_is_an_error(sequential, bench, monkeypatch):
    submit = Engine.submit

    def other_seed(self, request, *arguments, options, **changes):
        # The speculative arm is asked for something else: only the comparison can notice.
        if options.speculation != "off":
            changes["seed"] = options.seed + 1
        return submit(self, request, *arguments, options=options, **changes)

    monkeypatch.setattr(Engine, "submit", other_seed)
    code, said, heard = bench("--num-requests", "3", "--baseline", "first.json", "--fail-over", "0")
    assert code == 1  # which counts for more than a figure that fell
    assert json.loads(said)["lossless"]["equal"] == 0
    assert "3 of 3 results differ" in heard


def test_an_arm_that_finished_nothing_is_an_error(sequential, monkeypatch):
    broken = lambda **given: Script(**given, unreadable_plan_prob=1.0)  # noqa: E731
    monkeypatch.setattr("interleave_rt.backends.scripted.Script", broken)
    code, said, heard = sequential("--warmup", "0")
    assert code == 1
    assert json.loads(said)["arms"]["sequential"]["completed"] == 0
    assert "sequential finished no request: " in heard
    assert "e2e_latency_ms.mean: " in heard
    assert "-> none (nothing was measured)" in heard


def test_a_calibration_is_written(sequential, tmp_path):
    assert sequential("--save-calibration", "c.json").code in (0, 8)
    found = load_calibration(tmp_path / "c.json")
    assert len(found.requests) == 2
    assert set(found.arms) == {"sequential", "sequential-es", "speculative"}


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (BackendFailedError("the critic died", hint="start it again"), 5, "hint:  start it again"),
        (
            BadRequestError("c.json cannot be written: No space left"),
            2,
            "c.json cannot be written: No space left",
        ),
        (Interrupted(2), 130, "interrupted after the measurement"),
    ],
)
def test_a_calibration_that_fails_loses_nothing(error, code, says, tmp_path, monkeypatch, sequential):
    class Failing:
        def save(self, _path):
            raise error

    monkeypatch.setattr("interleave_rt.measure.calibrate.measure_calibration", lambda *_a, **_k: Failing())
    found, said, heard = sequential(
        "--fail-over", "1e6", "--output", "r.json", "--save-calibration", "c.json"
    )
    assert found == code
    assert says in heard
    assert json.loads(said) == json.loads((tmp_path / "r.json").read_text())
