"""`interleave-rt bench` over scripted roles: its keys, its files, its exit codes, and what it measures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from interleave_rt.backends.scripted import Script
from interleave_rt.measure import ARMS, Plan, ScriptedTarget, document, measure, numbered_requests
from interleave_rt.measure.statistics import flatten
from interleave_rt.cli import main
from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.request import Options

FAST = [
    *("--runtime", "scripted", "--planner-ms", "8", "--first-step-ms", "2", "--generator-ms", "4"),
    *("--critic-ms", "4", "--verdict-ms", "2", "--steps", "3", "--num-requests", "6", "--warmup", "1"),
]
SCRIPT = Script(
    planner_ms=8, first_step_ms=2, generator_ms=4, critic_ms=4, verdict_ms=2, accept_prob=0.6, seed=4
)


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["bench", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


LATENCIES = ["e2e_latency_ms", "ttfi_ms", "time_per_step_ms", "inter_image_latency_ms", "time_to_verdict_ms"]
RATIO = ["ratio", "low", "high", "pairs"]


def golden_keys() -> set[str]:
    keys = {"format_version"}
    keys |= {
        f"scenario.{name}"
        for name in (
            *("name", "target", "requests", "concurrency", "request_rate", "burstiness", "seed", "warmup"),
            *("max_live", "max_queued", "peak_rss_is_of"),
        )
    }
    for arm in ("sequential", "sequential-es", "speculative"):
        keys |= {
            f"arms.{arm}.{one}.{cut}" for one in LATENCIES for cut in ("mean", "p50", "p90", "p95", "p99")
        }
        keys |= {
            f"arms.{arm}.{one}"
            for one in (
                *("request_throughput", "steps_per_s", "goodput", "slo_attained", "completed", "failed"),
                *("refused", "steps", "wall_s", "peak_rss_mb", "overlap_ratio"),
            )
        }
        keys |= {
            f"arms.{arm}.stages.{role}.{one}"
            for role in ("planner", "generator", "critic")
            for one in ("ms", "busy", "calls")
        }
    for pair in (
        "sequential_es_vs_sequential",
        "speculative_vs_sequential",
        "speculative_vs_sequential_es",
    ):
        keys |= {f"speedup.{pair}.{part}{one}" for part in ("", "median.", "throughput.") for one in RATIO}
    keys |= {
        f"speculation.{one}"
        for one in (
            *("setting", "speculated", "committed", "discarded", "wasted_ms", "wasted_share"),
            "overlap_ratio",
        )
    }
    cancels = (
        "cancel_latency_ms",
        "cancel_latency_by_role_ms.generator",
        "cancel_latency_by_role_ms.critic",
    )
    keys |= {
        f"speculation.{cancel}.{one}"
        for cancel in cancels
        for one in ("mean", "p50", "p90", "p95", "p99", "count")
    }
    keys |= {f"lossless.{one}" for one in ("requests", "equal", "finished", "arms", "first_different")}
    keys |= {
        f"environment.{one}"
        for one in (*("cpu", "cores", "gpu", "load_average", "platform", "python", "revision", "command"),)
    }
    return keys


def test_stable_keys_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "r.json"
    code, said, heard = bench(capsys, *FAST, "--json", "--output", str(out))
    assert (code, heard) == (0, "")
    found = json.loads(said)
    assert found == json.loads(out.read_text())
    free = ("environment.packages.", "speculation.accept_rate_by_attempt.")
    assert {key for key in flatten(found) if not key.startswith(free)} == golden_keys()
    assert "interleave-rt" in found["environment"]["packages"]
    assert set(found["speculation"]["accept_rate_by_attempt"]) <= set("1234")
    assert found["lossless"] == {
        "requests": 6,
        "equal": 6,
        "finished": 6,
        "arms": ["sequential", "sequential-es", "speculative"],
        "first_different": None,
    }
    table = tmp_path / "r.csv"
    assert bench(capsys, *FAST, "--arms", "sequential", "--json", "--output", str(table))[0] == 0
    with table.open(newline="") as file:
        rows = dict(csv.reader(file))
    assert rows["key"] == "value"
    assert int(rows["arms.sequential.completed"]) == 6
    assert float(rows["arms.sequential.e2e_latency_ms.mean"]) > 0


def test_tables_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "p.svg"
    code, said, _ = bench(capsys, *FAST, "--num-requests", "2", "--plot", str(plot), "--slo", "e2e:100000")
    assert code == 0
    for text in ("end to end", "speculative vs sequential:", "results equal in all arms: 2 of 2", "stages"):
        assert text in said
    assert "<svg" in plot.read_text()


def test_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = tmp_path / "first.json"
    arguments = [*FAST, "--arms", "sequential", "--json"]
    assert bench(capsys, *arguments, "--output", str(first))[0] == 0
    again = [*arguments, "--baseline", str(first)]
    assert bench(capsys, *again, "--fail-over", "100000")[0] == 0
    slow = [*again, "--generator-ms", "40", "--fail-over", "50"]
    code, said, heard = bench(capsys, *slow)
    assert code == 8
    assert "arms.sequential.e2e_latency_ms.mean" in heard
    assert "% worse" in heard
    assert json.loads(said)["arms"]  # the result is there all the same


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--scenario", "burst"], "--scenario is 'burst'", "single-stream or closed-loop"),
        (["--arms", "sequential,fast"], "no arm 'fast'", "sequential-es"),
        (["--arms", "sequential,sequential"], "named twice", ""),
        (["--arms", ","], "no arm is left", ""),
        (["--runtime", "torch"], "--runtime is 'torch'", "pack or scripted"),
        (["--lanes", "two"], "--lanes is 'two'", "separate or shared"),
        (["--percentiles", "50,101"], "--percentiles", "0 to 100"),
        (["--slo", "e2e"], "--slo is 'e2e'", "e2e:500"),
        (["--slo", "tpot:5"], "no limit 'tpot'", "ttfi"),
        (["--concurrency", "0", "--scenario", "closed-loop"], "--concurrency is 0", ""),
        (["--scenario", "server", "--request-rate", "0"], "--request-rate is 0", ""),
        (["--scenario", "server", "--burstiness", "-1"], "--burstiness is -1", ""),
        (["--num-requests", "0"], "--num-requests is 0", ""),
        (["--seed", "-1"], "--seed is -1", "2^63 - 1"),
        (["--seed", str(2**63)], f"--seed is {2**63}", "2^63 - 1"),
        (["--fail-over", "-1"], "--fail-over is -1", "from 0"),
        (["--fail-over", "nan"], "--fail-over is nan", "from 0"),
        (["--fail-over", "inf"], "--fail-over is inf", "from 0"),
        (["--save-calibration", "nowhere/c.json"], "cannot be written", ""),
        (["--output", "a" * 300 + ".json"], "cannot be written", ""),
        (["--threads", "many"], "--threads is 'many'", "1+1"),
        (["--speculation", "depth=0"], "speculation is 'depth=0'", "depth=K"),
        (["--output", "r.txt"], "--output is r.txt", ".csv"),
        (["--output", "nowhere/r.json"], "cannot be written", ""),
        (["--plot", "r.gif"], "--plot is r.gif", ".svg"),
        (["--baseline", "no.json"], "no.json cannot be read", ""),
        (["--trace", "no.jsonl"], "no.jsonl cannot be read", ""),
        (["--accept-prob", "1.5"], "accept is 1.5", ""),
        (["--verdict-ms", "90"], "verdict_ms <= critic_ms", ""),
        (["--t-max", "0"], "t_max is 0", ""),
        (["--pack", "."], "exclude each other", ""),
    ],
)
def test_arguments_that_are_wrong(
    arguments: list[str],
    says: str,
    hint: str,
    tmp_path: Path,
    monkeypatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    code, said, heard = bench(capsys, *FAST, *arguments)
    assert (code, said) == (2, "")
    assert says in heard
    assert hint in heard
    assert not list(tmp_path.iterdir())


def run(plan: Plan, script: Script = SCRIPT, count: int = 8, **options) -> dict:
    return document(measure(plan, ScriptedTarget(script), numbered_requests(count, 4, Options(**options))), {})


def test_arms_take_turns_on_equal_work():
    plan = Plan("single-stream", list(ARMS.values()), warmup=1)
    found = measure(plan, ScriptedTarget(SCRIPT), numbered_requests(5, 4, Options()))
    assert [block.arm for block in found.blocks] == list(ARMS) * 5
    patterns = [[record.pattern for record in found.records(arm)] for arm in ARMS]
    assert patterns[0] == patterns[1] == patterns[2]
    assert any(False in step for request in patterns[0] for step in request)  # something was refused


def test_speculation_is_seen_and_paid():
    slow = Script(
        planner_ms=8, first_step_ms=2, generator_ms=20, critic_ms=20, verdict_ms=16, accept_prob=0.6
    )
    found = run(Plan("single-stream", list(ARMS.values()), warmup=1), slow)
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
    plan = Plan("closed-loop", [ARMS["sequential"], ARMS["speculative"]], concurrency=3, blocks=2, warmup=0)
    found = run(plan)
    assert found["lossless"]["equal"] == found["lossless"]["finished"] == 8
    assert found["speedup"]["speculative_vs_sequential"]["pairs"] == 2
    offline = run(Plan("offline", [ARMS["speculative"]], blocks=1, warmup=0), count=24)
    arm = offline["arms"]["speculative"]
    assert (arm["completed"], arm["refused"]) == (24, 0)
    assert arm["e2e_latency_ms"]["p99"] <= 1000 * arm["wall_s"] + 1
    assert offline["speedup"] == {}
    assert offline["lossless"]["requests"] == 24


def test_server_refuses_beyond_its_limits_and_says_so():
    plan = Plan(
        "server", [ARMS["sequential"]], request_rate=1000.0, blocks=1, warmup=0, max_live=1, max_queued=1
    )
    measured = measure(plan, ScriptedTarget(SCRIPT), numbered_requests(30, 4, Options()))
    arm = document(measured, {})["arms"]["sequential"]
    assert arm["completed"] + arm["refused"] == 30
    assert arm["completed"] >= 2
    assert arm["refused"] >= 20
    assert arm["failed"] == 0
    refused = [record for record in measured.records("sequential") if record.outcome == "overloaded"]
    assert all("full" in record.message or "wait" in record.message for record in refused)
    assert document(measured, {})["lossless"]["requests"] == arm["completed"]


def test_goodput_counts_what_kept_the_limits():
    plan = Plan("single-stream", [ARMS["sequential"]], warmup=0, slo_ms={"e2e": 100_000.0})
    arm = run(plan)["arms"]["sequential"]
    assert arm["goodput"] == arm["request_throughput"]
    assert arm["slo_attained"] == 1.0
    none = run(Plan("single-stream", [ARMS["sequential"]], warmup=0, slo_ms={"ttfi": 0.001}))
    assert none["arms"]["sequential"]["goodput"] == 0.0


def test_duration_ends_between_turns():
    plan = Plan("single-stream", [ARMS["sequential"], ARMS["speculative"]], warmup=0, duration_s=0.05)
    found = run(plan, count=200)
    arms = found["arms"]
    assert 1 <= arms["sequential"]["completed"] == arms["speculative"]["completed"] < 200


def test_failing_requests_are_counted_and_compared():
    plan = Plan("single-stream", list(ARMS.values()), warmup=0)
    found = run(plan, Script(planner_ms=2, first_step_ms=1, failing_prob=0.1, accept_prob=0.6), count=12)
    arms = found["arms"]
    assert 0 < arms["sequential"]["failed"] == arms["speculative"]["failed"] < 12
    assert found["lossless"]["equal"] == 12
    assert found["lossless"]["finished"] == arms["sequential"]["completed"]


def test_warm_up_that_fails_stops_the_run():
    plan = Plan("single-stream", [ARMS["sequential"]], warmup=1)
    with pytest.raises(BackendFailedError, match="warm-up of sequential"):
        run(plan, Script(unreadable_plan_prob=1.0))


def test_a_difference_between_arms_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    submit, seen = Engine.submit, []

    def other_seed(self, request, *arguments, options, **changes):
        # The speculative arm is asked for something else: only the comparison can notice.
        seen.append(options.speculation)
        if options.speculation != "off":
            changes["seed"] = options.seed + 1
        return submit(self, request, *arguments, options=options, **changes)

    first = tmp_path / "first.json"
    assert bench(capsys, *FAST, "--json", "--output", str(first))[0] == 0
    monkeypatch.setattr(Engine, "submit", other_seed)
    baseline = ["--baseline", str(first), "--fail-over", "0"]
    code, said, heard = bench(capsys, *FAST, "--json", "--num-requests", "3", *baseline)
    assert code == 1
    assert "3 of 3 results differ" in heard
    code, said, heard = bench(capsys, *FAST, "--json", "--num-requests", "3")
    assert {"off", "auto"} <= set(seen)
    assert code == 1
    assert json.loads(said)["lossless"]["equal"] == 0
    assert "3 of 3 results differ" in heard


def test_plan_refuses_what_makes_no_sense():
    with pytest.raises(BadRequestError, match="--blocks is -1"):
        Plan("single-stream", [ARMS["sequential"]], blocks=-1)


def test_calibration_is_written_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from interleave_rt.measure import load_calibration

    path = tmp_path / "c.json"
    arguments = ["--num-requests", "2", "--arms", "sequential", "--save-calibration", str(path), "--json"]
    assert bench(capsys, *FAST, *arguments)[0] == 0
    found = load_calibration(path)
    assert len(found.file.requests) == 2
    assert set(found.file.arms) == {"sequential", "sequential-es", "speculative"}
