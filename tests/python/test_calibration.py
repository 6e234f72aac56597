"""Calibrations: measured on a scripted engine, written, read, fitted; the simulator over them against the engine."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from interleave_rt import Options
from interleave_rt.backends.scripted import Script
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadRequestError
from interleave_rt.measure.arms import ARMS, parse_arms, scripted_target
from interleave_rt.measure.calibrate import measure_calibration
from interleave_rt.measure.calibration import Calibration, load_calibration
from interleave_rt.measure.fit import fit_rates
from interleave_rt.measure.load import Load, numbered_requests
from interleave_rt.measure.machine import Lane, Machine
from interleave_rt.measure.record import closed_loop
from interleave_rt.measure.simulation import SimulationConfig, run_virtual, simulate, turn_of
from interleave_rt.measure.sweep import run_sweep
from interleave_rt.measure.tasks import Times, draw_tasks

# ---- calibrations

SCRIPT = Script(
    planner_ms=60, first_step_ms=20, generator_ms=24, critic_ms=24, verdict_ms=16, accept_prob=0.7
)


@pytest.fixture(scope="module")
def calibration():
    return measure_calibration(
        scripted_target(SCRIPT), numbered_requests(8, 1, Options()), repeats=1, loads=(2, 4)
    )


def test_a_calibration_finds_what_the_script_does(calibration):
    file = calibration
    tries = [one for request in file.requests for step in request.arms["speculative"].steps for one in step]
    assert statistics.median(one.generate_ms for one in tries) == pytest.approx(24, rel=0.15)
    assert statistics.median(o.verdict_ms for o in tries if o.accepted) == pytest.approx(16, rel=0.2)
    assert statistics.median(o.judge_ms for o in tries if o.accepted is False) == pytest.approx(24, rel=0.15)
    assert statistics.median(r.arms["sequential"].plan_ms for r in file.requests) == pytest.approx(
        60, rel=0.1
    )
    assert file.critic_slowdown < 1.3
    assert file.generator_rate > 0.75
    assert file.arms["sequential"].lanes["critic"].capacity == 1
    assert file.arms["speculative"].lanes["critic"].capacity == 4


@pytest.mark.parametrize("concurrency", [1, 4, 8])
@pytest.mark.parametrize("arm", ["sequential-es", "speculative"])
def test_the_simulator_says_what_the_engine_does(calibration, arm, concurrency):
    # Exact latencies; the tolerance is that of a busy machine with 8 requests. benchmarks/simulator.py has the limits.
    cases = numbered_requests(8, 1, Options())
    with scripted_target(SCRIPT).open(EngineConfig(batching=ARMS[arm].batching)) as engine:
        records = closed_loop(engine, ARMS[arm], list(enumerate(cases)), concurrency)
    wall = max(record.ended for record in records) - min(record.submitted for record in records)
    load = Load(scenario="closed-loop", concurrency=concurrency)
    found = simulate(calibration.machine, calibration.tasks(), load, [ARMS[arm]])["arms"][arm]
    mean = statistics.fmean(1000 * record.e2e_s for record in records)
    assert found["e2e_latency_ms"]["mean"] == pytest.approx(mean, rel=0.2)
    assert found["wall_s"] == pytest.approx(wall, rel=0.2)


def test_a_calibration_is_written_and_read_again(calibration, tmp_path):
    path = calibration.save(tmp_path / "c.json")
    again = load_calibration(path)
    assert again == calibration
    settings = SimulationConfig(calibration=path, num_requests=20, concurrency=2)
    document = settings.run()
    assert document["scenario"]["requests"] == 20
    assert "calibrated on 8 requests" in document["source"]["note"]
    with pytest.raises(BadRequestError, match="not measured"):
        broken = json.loads(path.read_text())
        for place in (broken, *broken["requests"]):
            del place["arms"]["speculative"]
        Calibration.of(broken).machine("depth=2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(format_version=2), "format_version 2"),
        (lambda d: d.update(format="other"), "format"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d["arms"]["sequential"]["lanes"].pop("critic"), "one for each"),
        (lambda d: d["requests"][0]["arms"].pop("sequential"), "requests.0"),
        (lambda d: d["requests"][0]["arms"]["sequential"].update(plan_ms=-1), "plan_ms"),
        (lambda d: d.update(requests=[]), "requests"),
        (lambda d: d["arms"]["sequential"]["lanes"]["critic"].update(batching=[0]), "batching"),
        (lambda d: d["arms"]["sequential"]["lanes"]["critic"].update(capacity=10**30), "capacity"),
        (lambda d: d["arms"]["sequential"]["lanes"]["critic"].update(capacity=4097), "capacity"),
        (lambda d: d["arms"]["sequential"]["lanes"]["critic"].update(cancel_ms=1e17), "cancel_ms"),
        (lambda d: d["arms"]["sequential"]["lanes"]["critic"].update(device="\ud800"), "device"),
        (lambda d: d["arms"]["sequential"].update(submit_ms=1e10), "submit_ms"),
        (lambda d: d["requests"][0]["arms"]["sequential"].update(plan_ms=1e10), "plan_ms"),
        (lambda d: d.update(arms={}, requests=[{"t_max": 5, "arms": {}}]), "arms"),
    ],
)
def test_a_broken_calibration_names_the_field(calibration, change, said):
    document = calibration.model_dump(mode="json")
    Calibration.of(document)
    change(document)
    with pytest.raises(BadRequestError, match=said) as failure:
        Calibration.of(document, "F.json")
    assert "F.json" in failure.value.message


def test_an_unreadable_calibration(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for path in (tmp_path / "bad.json", tmp_path / "deep.json", tmp_path / "none.json"):
        with pytest.raises(BadRequestError, match="cannot be read"):
            load_calibration(path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("planner_ms", 1.0), ("generator_ms", 1.0), ("critic_ms", 1.0), ("verdict_ms", 1.0)),
        *(("accept_prob", "0.5"), ("t_max", 3), ("steps", "3"), ("jitter", 0.1), ("denoising_steps", 1001)),
        *(("lanes", "shared"), ("slots", 2), ("cards", 1), ("decode_sms", 0.1)),
    ],
)
def test_what_a_calibration_says_cannot_be_given(calibration, tmp_path, option, value):
    path = calibration.save(tmp_path / "c.json")
    with pytest.raises(BadRequestError, match="--" + option.replace("_", "-")):
        SimulationConfig(calibration=path, **{option: value}).run()


@pytest.mark.parametrize(
    "axis", ["p", "t_max", "steps", "generator", "critic", "verdict", "cards", "decode_sms"]
)
def test_what_a_calibration_says_cannot_be_swept(calibration, tmp_path, axis):
    path = calibration.save(tmp_path / "c.json")
    with pytest.raises(BadRequestError, match=f"--sweep {axis}"):
        run_sweep(SimulationConfig(calibration=path), {axis: [1.0, 2.0]})


def test_a_calibration_takes_the_denoising_steps_that_are_given(calibration, tmp_path):
    path = calibration.save(tmp_path / "c.json")

    def cancel_latency(**given):
        document = SimulationConfig(calibration=path, num_requests=40, depth=1, **given).run()
        return document["speculation"]["cancel_latency_ms"]

    few, own, many = cancel_latency(denoising_steps=1), cancel_latency(), cancel_latency(denoising_steps=100)
    assert min(few["count"], own["count"], many["count"]) > 0
    assert few["mean"] > own["mean"] > many["mean"]


def test_the_benchmark_checks_a_given_calibration_before_it_measures(
    calibration, tmp_path, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.delitem(sys.modules, "simulator", raising=False)
    import simulator

    monkeypatch.setattr(simulator, "Measurement", lambda *_: pytest.fail("it measured"))
    path = str(calibration.save(tmp_path / "c.json"))
    command = ["simulator.py", "--runtime", "scripted", "--calibration"]
    for rest, said in (
        ([path, "--requests", "9"], "has 8 requests, --requests is 9"),
        ([path, "--requests", "8", "--arms", "depth=1"], "has no arm depth=1"),
        ([str(tmp_path / "none.json")], "cannot be read"),
    ):
        monkeypatch.setattr(sys, "argv", [*command, *rest])
        with pytest.raises(SystemExit, match="2"):
            simulator.main()
        assert said in capsys.readouterr().err
    sys.modules.pop("simulator")


# ---- the fit


def test_the_fit_finds_the_rates_that_made_the_calls():
    # Calls are made by the simulator on a known machine; the fit sees starts and ends only.
    times = Times(plan_first=48, plan_step=32, generate=70, verdict=45, verdict_tail=20, jitter=0.25)
    tasks = draw_tasks(times, 60, seed=4, steps=(3, 4), t_max=3, accept=(0.7,))
    known = {
        "planner+generator": {"planner": 0.8, "generator": 0.9},
        "planner+critic": {"planner": 0.6, "critic": 0.55},
        "generator+critic": {"generator": 0.85, "critic": 0.7},
        "planner+generator+critic": {"planner": 0.45, "generator": 0.75, "critic": 0.4},
    }
    curve = (1.0, 1.3, 1.6, 1.9)
    lanes = {
        "planner": Lane(4, "a", "m", curve),
        "generator": Lane(2, "b", "m", (1.0, 1.8), warm_ms=6.0),
        "critic": Lane(4, "a", "m", curve),
    }
    machine = Machine(lanes, {"m": known})
    base = observed(machine, tasks, 1, 0, stream=False)
    loads = [observed(machine, tasks, at, depth) for at, depth in ((1, 0), (1, 1), (2, 0), (4, 0), (8, 0))]
    rates, work = fit_rates([base], loads, capacity=4)
    found = rates.named()
    for names, values in known.items():
        for role, rate in values.items():
            assert found[names][role] == pytest.approx(rate, rel=0.1), (names, role)
    assert rates.curve["critic"][:3].tolist() == pytest.approx(curve[:3], rel=0.1)
    assert rates.curve["generator"][1] == pytest.approx(1.8, rel=0.1)
    assert rates.warm["generator"] == pytest.approx(6e-3, abs=2e-3)
    assert rates.warm["critic"] == pytest.approx(0.0, abs=2e-3)
    errors = []
    for index, (_, _, steps, _) in enumerate(tasks.of("")):
        for number, step in enumerate(steps):
            errors += [abs(1000 * work[index, "generator", number, 1, 0] / step[0][0] - 1)]
    assert statistics.median(errors) < 0.03


def observed(machine, tasks, concurrency, depth, stream=True):
    (arm,) = parse_arms(f"depth={depth}" if depth else "sequential-es")
    arm = replace(arm, batching=True, optimizations=replace(arm.optimizations, stream_plan=stream))
    load = Load("closed-loop", concurrency=concurrency)
    return [
        call
        for record in turn_of("", run_virtual(machine, tasks, load, arm)).records
        for call in record.calls
    ]
