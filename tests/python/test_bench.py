"""`interleave-rt bench` over scripted roles: its keys, its files, its exit codes, and what it measures."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from interleave_rt.backends.scripted import Script
from interleave_rt.cli import main
from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.measure.arms import ARMS, scripted_target
from interleave_rt.measure.calibration import load_calibration
from interleave_rt.measure.compare import check_comparison, compare, read_baseline
from interleave_rt.measure.environment import _revision, describe_environment
from interleave_rt.measure.load import Load, numbered_requests, read_trace
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


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["bench", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


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
    ],
}


def test_stable_keys_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "r.json"
    code, said, heard = bench(capsys, *FAST, "--json", "--output", str(out))
    assert (code, heard) == (0, "")
    found = json.loads(said)
    assert found == json.loads(out.read_text())
    free = ("environment.packages.", "speculation.accept_rate_by_attempt.")
    assert {key for key in flatten(found) if not key.startswith(free)} == {
        prefix + key for prefix, keys in KEYS.items() for key in keys
    }
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
        (["--blocks", "-1"], "--blocks is -1", ""),
        (["--runtime", "torch"], "--runtime is 'torch'", "pack or scripted"),
        (["--fail-over", "-1"], "--fail-over is -1", "from 0"),
        (["--fail-over", "nan"], "--fail-over is nan", "from 0"),
        (["--fail-over", "inf"], "--fail-over is inf", "from 0"),
        (["--save-calibration", "nowhere/c.json"], "cannot be written", ""),
        (["--output", "a" * 300 + ".json"], "cannot be written", ""),
        (["--threads", "many"], "--threads is 'many'", "1+1"),
        (["--speculation", "depth=0"], "speculation is 'depth=0'", "depth=K"),
        (["--plot", "r.gif"], "--plot is r.gif", ".svg"),
        (["--baseline", "no.json"], "no.json cannot be read", ""),
        (["--trace", "no.jsonl"], "no.jsonl cannot be read", ""),
        (["--accept-prob", "1.5"], "accept is 1.5", ""),
        (["--verdict-ms", "90"], "verdict_ms <= critic_ms", ""),
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
    assert found["lossless"]["equal"] == 12
    assert found["lossless"]["finished"] == arms["sequential"]["completed"]


def test_warm_up_that_fails_stops_the_run():
    with pytest.raises(BackendFailedError, match="warm-up of sequential"):
        run(Load(), "sequential", script=Script(unreadable_plan_prob=1.0), warmup=1)


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


def test_calibration_is_written_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "c.json"
    arguments = ["--num-requests", "2", "--arms", "sequential", "--save-calibration", str(path), "--json"]
    assert bench(capsys, *FAST, *arguments)[0] == 0
    found = load_calibration(path)
    assert len(found.requests) == 2
    assert set(found.arms) == {"sequential", "sequential-es", "speculative"}


# ---- what a benchmark is compared with, replays, and says of where it ran


def result(mean: float | None = 100.0, throughput: float = 10.0, equal: int = 4) -> dict:
    return {
        "format_version": 1,
        "scenario": {"name": "server", "target": "scripted", "concurrency": 1, "request_rate": 2.0},
        "arms": {"sequential": {"e2e_latency_ms": {"mean": mean}, "request_throughput": throughput}},
        "speedup": {"speculative_vs_sequential": {"ratio": 1.5, "median": {"ratio": 0.1}}},
        "lossless": {"requests": 4, "equal": equal, "arms": ["sequential", "speculative"]},
        "environment": {},
    }


def test_what_falls():
    assert compare(result(), result(), 0.0) == []
    assert compare(result(), result(mean=109.0), 10.0) == []
    (fall,) = compare(result(), result(mean=120.0), 10.0)
    assert str(fall) == "arms.sequential.e2e_latency_ms.mean: 100 -> 120 (20.0 % worse)"
    (fall,) = compare(result(), result(throughput=8.0), 10.0)
    assert (fall.key, fall.percent) == ("arms.sequential.request_throughput", pytest.approx(25.0))
    with pytest.raises(BadRequestError, match="no figure in common"):
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
    for check in (
        lambda: check_comparison(before, config, "scripted"),
        lambda: compare(before, result(), 10.0),
    ):
        with pytest.raises(BadRequestError) as caught:
            check()
        assert says in caught.value.message
    check_comparison(result(), config, "scripted")
    with pytest.raises(BadRequestError, match="no figure in common"):
        check_comparison(result(), replace(config, arms=[ARMS["sequential-es"]]), "scripted")


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
    "text",
    ["{", "[]", "{}", json.dumps({**result(), "format_version": 99}), json.dumps(SIMULATED), DEEP],
)
def test_baselines_that_are_none(tmp_path: Path, text: str):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(BadRequestError, match="b.json"):
        read_baseline(path)


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
    assert [(case.options.seed, case.options.t_max, case.options.max_steps) for case in cases] == [
        (3, 2, 4),
        (9, 5, 4),
    ]


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
        ('{"text": "a", "options": [["t_max", 2]]}', "'options' is not an object"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        ('{"text": ""}', "the text is empty"),
        ('{"text": "a", "sead": 1}', "unknown field 'sead'"),
        ('{"text": "a", "options": {"t_max": 0}}', "t_max is 0"),
        ('{"text": "a", "options": {"speculation": "off"}}', "'speculation' is the arm's"),
    ],
)
def test_replayed_requests_that_are_wrong(tmp_path: Path, line: str, says: str):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(BadRequestError, match="line 2 of .*t.jsonl") as caught:
        read_trace(path, None, Options())
    assert says in caught.value.message


# ---- what would fail at the end is refused beforehand, and what fails at the end loses no figure


@pytest.fixture
def unmeasured(monkeypatch):
    """Fails where something is measured."""

    def fails(*_arguments):
        raise AssertionError("it was measured")

    monkeypatch.setattr("interleave_rt.measure.runner.measure", fails)


@pytest.mark.parametrize("option", ["--output", "--save-calibration"])
def test_folders_that_may_not_be_written_to(option: str, tmp_path: Path, monkeypatch, capsys, unmeasured):
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    code, _, heard = bench(capsys, *FAST, option, str(tmp_path / "r.json"))
    assert code == 2
    assert "r.json cannot be written: permission denied" in heard


@pytest.mark.parametrize(("name", "value"), [("keep", "best"), ("judge_last", True)])
def test_traces_that_cannot_be_calibrated(name: str, value: object, tmp_path: Path, capsys, unmeasured):
    trace = tmp_path / "t.jsonl"
    trace.write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"text": "b", "options": {name: value}}))
    arguments = ["--trace", str(trace), "--save-calibration", str(tmp_path / "c.json")]
    code, _, heard = bench(capsys, *FAST, *arguments)
    assert code == 2
    assert "request 2 cannot be replayed" in heard


def test_images_of_a_trace_are_looked_at_first(tmp_path: Path, capsys, unmeasured):
    trace = tmp_path / "t.jsonl"
    trace.write_text('{"text": "a"}\n{"text": "b", "images": ["no.png"]}\n')
    code, _, heard = bench(capsys, *FAST, "--trace", str(trace))
    assert code == 2
    assert f"line 2 of {trace}: [image] {tmp_path / 'no.png'} cannot be read" in heard
    assert f"named from {tmp_path}" in heard


def test_baselines_are_looked_at_first(tmp_path: Path, capsys, monkeypatch):
    first = tmp_path / "first.json"
    arguments = [*FAST, "--arms", "sequential", "--num-requests", "1", "--json"]
    assert bench(capsys, *arguments, "--output", str(first))[0] == 0
    monkeypatch.setattr("interleave_rt.measure.runner.measure", None)
    code, said, heard = bench(capsys, *arguments, "--baseline", str(first), "--scenario", "offline")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "the baseline's --scenario is single-stream" in heard
    code, _, heard = bench(capsys, *arguments, "--baseline", str(first), "--arms", "speculative")
    assert code == 2
    assert "no figure in common" in heard


SHORT = [*FAST, "--arms", "sequential", "--num-requests", "2", "--json"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (BackendFailedError("the critic died", hint="start it again"), 5, "hint:  start it again"),
        (OSError(28, "No space left on device"), 2, "c.json cannot be written: No space left"),
        (KeyboardInterrupt(), 130, "interrupted after the measurement"),
    ],
)
def test_a_calibration_that_fails_loses_nothing(error, code, says, tmp_path: Path, monkeypatch, capsys):
    class Failing:
        def save(self, _path):
            raise error

    monkeypatch.setattr("interleave_rt.measure.calibrate.measure_calibration", lambda *_a, **_k: Failing())
    out = tmp_path / "r.json"
    arguments = ["--output", str(out), "--save-calibration", str(tmp_path / "c.json")]
    found, said, heard = bench(capsys, *SHORT, *arguments)
    assert found == code
    assert says in heard
    assert json.loads(said) == json.loads(out.read_text())


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_an_output_that_fails_loses_nothing(ending: str, tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / f"r.{ending}"
    true_open = io.open

    def full(file, *arguments, **named):
        if str(file) == str(out):
            raise OSError(28, "No space left on device")
        return true_open(file, *arguments, **named)

    monkeypatch.setattr(io, "open", full)
    code, said, heard = bench(capsys, *SHORT, "--output", str(out))
    assert code == 2
    assert f"{out} cannot be written: No space left on device" in heard
    assert json.loads(said)["arms"]["sequential"]["completed"] == 2


def test_an_arm_that_finished_nothing_is_an_error(tmp_path: Path, capsys, monkeypatch):
    first = tmp_path / "first.json"
    assert bench(capsys, *SHORT, "--output", str(first))[0] == 0
    make = Script
    monkeypatch.setattr(
        "interleave_rt.backends.scripted.Script", lambda **given: make(**given, unreadable_plan_prob=1.0)
    )
    code, said, heard = bench(capsys, *SHORT, "--warmup", "0", "--baseline", str(first))
    assert code == 1
    assert json.loads(said)["arms"]["sequential"]["completed"] == 0
    assert "sequential finished no request: " in heard
    assert "e2e_latency_ms.mean" in heard
    assert "-> none (nothing was measured)" in heard
