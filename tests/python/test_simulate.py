"""The simulator: closed forms, an independent simulation's figures, equal draws, sweeps; calibrations and their fit."""

from __future__ import annotations

import csv
import json
import random
import statistics
from dataclasses import replace

import pytest
from closed_form import Times as Fixed
from closed_form import closed_form
from helpers import complains, refused

from interleave_rt import Options
from interleave_rt.backends.scripted import Script
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadRequestError
from interleave_rt.measure.arms import ARMS, parse_arms, scripted_target
from interleave_rt.measure.calibrate import measure_calibration
from interleave_rt.measure.calibration import Calibration, load_calibration
from interleave_rt.measure.fit import fit_rates
from interleave_rt.measure.load import Load, numbered_requests
from interleave_rt.measure.machine import Lane, Machine, pair_rates, preset, rate_table
from interleave_rt.measure.output import write_csv
from interleave_rt.measure.record import closed_loop
from interleave_rt.measure.simulation import SimulationConfig, run_virtual, simulate, turn_of
from interleave_rt.measure.sweep import parse_sweep, run_sweep
from interleave_rt.measure.tasks import Tasks, Times, draw_tasks

SEPARATE = Machine({"planner": Lane(4, "a"), "generator": Lane(1, "b"), "critic": Lane(4, "c")})


# ---- against arithmetic


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
    assert closed_form(pattern, Fixed()) == pytest.approx(wanted)


def test_closed_form_waits_for_the_cancel_point():
    # Steps of 30 ms: refused at 140 while step 2 has been drawn since 100; the answer's rest is short (142), so the
    # generator, free at 160, decides.
    times = Fixed(generate=60.0, quantum=30.0, judge=42.0, plan=60.0)
    assert closed_form([[False, True], [True]], times) == pytest.approx(160 + 60 + 60 + 40)


def pattern_of(says: list[int]) -> list[bool | None]:
    """What a step's committed attempts look like: up to the first acceptance, the last try is not judged."""
    tries = says.index(1) + 1 if 1 in says[:-1] else len(says)
    return [None if number == len(says) else bool(says[number - 1]) for number in range(1, tries + 1)]


def simulated(odds: list[float], arm: str) -> tuple[list[float], list[list[list[bool | None]]]]:
    """Latencies of 300 requests in virtual time, and the patterns of their verdicts."""
    times, t_max = Fixed(), 5
    rng = random.Random(20)
    tasks, patterns = [], []
    for _ in range(300):
        count, p = rng.randint(1, 6), rng.choice(odds)
        says = [[int(rng.random() < p) for _ in range(t_max)] for _ in range(count)]
        closes = [times.plan_step(index, count) for index in range(count)]
        steps = [[(times.generate, times.verdict, times.judge, one) for one in step] for step in says]
        tasks.append((times.plan, closes, steps, t_max))
        patterns.append([pattern_of(step) for step in says])
    machine = Machine({"planner": Lane(1, "a"), "generator": Lane(1, "b"), "critic": Lane(4, "c")})
    given = Tasks(lambda _arm: tasks, [len(task[2]) for task in tasks], denoising_steps=4)
    report = run_virtual(machine, given, Load(), parse_arms(arm)[0])
    return [(one["ended_us"] - one["submitted_us"]) / 1000 for one in report["requests"]], patterns


def one_after_the_other(pattern: list[list[bool | None]], streamed: bool) -> float:
    """Milliseconds without speculation; streamed: a step's plan, an early verdict, no verdict on the last try."""
    times = Fixed()
    if not streamed:
        return times.plan + sum(map(len, pattern)) * (times.generate + times.judge)
    judged = {False: times.judge, True: times.verdict, None: 0.0}
    at = 0.0
    for index, step in enumerate(pattern):
        at = max(at, times.plan_step(index, len(pattern)))
        at += sum(times.generate + judged[verdict] for verdict in step)
    return max(at, times.plan)


@pytest.mark.parametrize(
    ("arm", "wanted"),
    [
        ("sequential", lambda pattern: one_after_the_other(pattern, streamed=False)),
        ("sequential-es", lambda pattern: one_after_the_other(pattern, streamed=True)),
        ("depth=1", lambda pattern: closed_form(pattern, Fixed())),
    ],
)
def test_the_scheduler_meets_the_closed_forms_in_virtual_time(arm, wanted):
    """The core, without threads, needs exactly what the arithmetic says."""
    took, patterns = simulated([0.2, 0.6, 0.8, 1.0], arm)
    assert took == pytest.approx([wanted(pattern) for pattern in patterns], abs=0.01)


@pytest.mark.parametrize("p", [1.0, 0.8, 0.6])
def test_auto_stays_by_the_closed_form_in_virtual_time(p: float):
    took, patterns = simulated([p], "speculative")
    assert sum(took) <= 1.02 * sum(closed_form(pattern, Fixed()) for pattern in patterns)
    off, _ = simulated([p], "sequential-es")
    assert sum(off) / sum(took) > 1.1


def seconds(document, arm):
    return document["arms"][arm]["e2e_latency_ms"]["mean"] / 1000


@pytest.mark.parametrize(
    ("name", "p", "sequential", "streamed", "depth1", "depth2"),
    [
        ("h200-bf16", 1.0, 12.40, 9.46, 6.27, 5.84),
        ("h200-bf16", 0.8, 14.71, 11.83, 8.77, 8.52),
        ("h200-bf16", 0.6, 18.61, 15.71, 12.81, 12.69),
        ("h200-fp8", 0.8, 8.27, 6.78, 5.07, 5.01),
        ("h800-bf16", 0.8, 18.48, 14.61, 11.00, 10.85),
    ],
)
def test_two_cards_agree_with_an_independent_simulation(name, p, sequential, streamed, depth1, depth2):
    # Seconds of a fluid simulation with other code (N = 5, T = 5, 1500 runs): within 5 %.
    times, machine, _ = preset(name, cards=2)
    tasks = draw_tasks(times, 400, seed=1, steps=(5, 5), t_max=5, accept=(p,))
    arms = parse_arms("sequential,sequential-es,depth=1,depth=2")
    document = simulate(machine, tasks, Load(), arms)
    wanted = (sequential, streamed, depth1, depth2)
    for arm, value in zip(document["arms"], wanted, strict=True):
        assert seconds(document, arm) == pytest.approx(value, rel=0.05), arm


def test_one_card_gains_less_and_more_so_when_decodes_take_multiprocessors():
    def gain(cards, sms=0.02):
        times, machine, _ = preset("h200-bf16", cards, sms)
        tasks = draw_tasks(times, 100, seed=1, steps=(5, 5), t_max=5, accept=(0.8,))
        document = simulate(machine, tasks, Load(), parse_arms("sequential,depth=1"))
        return document["speedup"]["depth=1_vs_sequential"]["ratio"]

    two, one, shared = gain(2), gain(1), gain(1, 0.3)
    assert two > one > shared > 1
    assert one == pytest.approx(1.59, rel=0.05)  # the same independent simulation


# ---- draws


def test_arms_and_points_see_the_same_calls():
    times = Times(generate=60.0, verdict=30.0, jitter=0.3)
    low = draw_tasks(times, 20, seed=5, steps=(2, 6), t_max=3, accept=(0.3,)).of("")
    high = draw_tasks(times, 30, seed=5, steps=(2, 6), t_max=3, accept=(0.9,)).of("")
    for one, two in zip(low, high, strict=False):
        assert one[:2] == two[:2]
        for a, b in zip(one[2], two[2], strict=True):
            assert [x[:3] for x in a] == [x[:3] for x in b]
            assert all(y[3] >= x[3] for x, y in zip(a, b, strict=True))  # a higher p only accepts more
    other = draw_tasks(times, 20, seed=6, steps=(2, 6), t_max=3, accept=(0.3,)).of("")
    assert other != low


def test_a_latency_keeps_its_mean_under_jitter():
    draws = [Times(jitter=0.5).drawn(100.0, (i + 0.5) / 4000) for i in range(4000)]
    assert statistics.fmean(draws) == pytest.approx(100, rel=0.01)
    assert statistics.median(draws) < 95


# ---- machines


def test_rates_of_all_combinations():
    table = rate_table(
        {"planner+critic": {"planner": 0.5, "critic": 0.6}, "generator+critic": {"critic": 0.8}}
    )
    assert table[0b101] == [0.5, 1.0, 0.6]
    assert table[0b111] == [0.5, 1.0, pytest.approx(0.48)]  # not named: the product of the pairs
    assert table[0b001] == [1.0, 1.0, 1.0]
    with refused(BadRequestError, "s_c"):
        pair_rates(0.5, 1.0)


def test_goodput_busy_shares_and_waste():
    tasks = draw_tasks(Times(), 50, seed=2, steps=(3, 3), t_max=3, accept=(0.6,))
    document = simulate(SEPARATE, tasks, Load(slo_ms={"e2e": 700.0}), list(ARMS.values()))
    for name, arm in document["arms"].items():
        took = arm["e2e_latency_ms"]
        assert took["p50"] <= took["p90"] <= took["p99"]
        assert arm["goodput"] == pytest.approx(arm["request_throughput"] * arm["slo_attained"], rel=0.01)
        assert 0 < arm["stages"]["generator"]["busy"] <= 1
        assert (arm["waste"]["generator_ms"] > 0) == (name == "speculative")
    ahead = document["speculation"]
    assert ahead["speculated"] == ahead["committed"] + ahead["discarded"] > ahead["discarded"] > 0
    assert 0 < ahead["cancel_latency_ms"]["p99"] <= 25.0  # a denoising step of four
    assert document["arms"]["sequential"]["time_to_verdict_ms"]["p50"] == pytest.approx(80.0)


def test_arms_are_compared_on_the_requests_that_both_finished():
    # One at a time and room for one more: each arm refuses others.
    tasks = draw_tasks(Times(jitter=1.0), 60, seed=2, steps=(1, 8), t_max=3, accept=(0.6,))
    load = Load(scenario="server", request_rate=2.0, max_live=1, max_queued=1)
    arms = [ARMS["sequential"], ARMS["speculative"]]
    found = simulate(SEPARATE, tasks, load, arms)["speedup"]["speculative_vs_sequential"]
    took = [
        {
            index: one["ended_us"] - one["submitted_us"]
            for index, one in enumerate(run_virtual(SEPARATE, tasks, load, arm)["requests"])
            if not one["refused"]
        }
        for arm in arms
    ]
    both = took[0].keys() & took[1].keys()
    assert 0 < len(both) == found["pairs"] < min(map(len, took))
    ratios = [took[0][index] / took[1][index] for index in both]
    assert found["median"] == pytest.approx(statistics.median(ratios), abs=1e-3)
    means = [statistics.fmean(one[index] for index in both) for one in took]
    assert found["ratio"] == pytest.approx(means[0] / means[1], abs=1e-3)


# ---- sweeps and the command


def test_a_sweep_is_a_grid():
    assert parse_sweep("p=0.2:1:0.4,rate=1|3") == {"p": [0.2, 0.6, 1.0], "rate": [1.0, 3.0]}
    points = run_sweep(SimulationConfig(num_requests=40, arms="speculative"), parse_sweep("p=0.4:1:0.3"))
    means = [document["arms"]["speculative"]["e2e_latency_ms"]["mean"] for _, document in points]
    assert [at["p"] for at, _ in points] == [0.4, 0.7, 1.0]
    assert means == sorted(means, reverse=True)


def test_an_option_that_some_point_reads_is_not_refused():
    settings = SimulationConfig(num_requests=5, preset="h200-fp8", decode_sms=0.3)
    assert len(run_sweep(settings, parse_sweep("cards=1|2"))) == 2


def test_load_is_a_share_of_what_the_generator_can_do():
    settings = SimulationConfig(num_requests=300, t_max=1, accept_prob="1", steps="4", arms="speculative")
    assert settings.generator_capacity() == pytest.approx(1000 / 240)
    points = run_sweep(settings, {"load": [0.5]})
    assert points[0][1]["arms"]["speculative"]["stages"]["generator"]["busy"] == pytest.approx(0.5, abs=0.06)


def test_the_command_prints_a_table_and_json(tmp_path, command):
    code, said, _ = command("simulate", "--preset", "h200-bf16", "--num-requests", 20, "--output", "o.csv")
    assert code == 0
    assert "not measured" in said
    assert "speculative vs sequential:" in said
    row = next(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert float(row["arms.speculative.e2e_latency_ms.p50"]) > 0
    said = command("simulate", "--json", "--num-requests", 20, "--depth", 2, "--lanes", "shared").out
    assert json.loads(said)["speculation"]["setting"] == "depth=2"
    assert set(json.loads(said)["arms"]) == set(ARMS)


def test_the_command_sweeps(tmp_path, command):
    pytest.importorskip("matplotlib")
    sweep = ["--num-requests", 10, "--sweep", "p=0.5|1", "--sweep", "depth=1|2"]
    assert command("simulate", *sweep, "--output", "s.csv", "--plot", "s.svg").code == 0
    assert len(list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))) == 4
    assert "<svg" in (tmp_path / "s.svg").read_text()


def test_csv_has_all_columns(tmp_path):
    write_csv([{"a": 1}, {"b": 2}], tmp_path / "x.csv")
    assert list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines())) == [
        {"a": "1", "b": ""},
        {"a": "", "b": "2"},
    ]


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


@pytest.fixture
def file(calibration, tmp_path):
    return calibration.save(tmp_path / "c.json")


def test_a_calibration_is_written_and_read_again(calibration, file):
    assert load_calibration(file) == calibration
    document = SimulationConfig(calibration=file, num_requests=20, concurrency=2).run()
    assert document["scenario"]["requests"] == 20
    assert "calibrated on 8 requests" in document["source"]["note"]
    broken = json.loads(file.read_text())
    for place in (broken, *broken["requests"]):
        del place["arms"]["speculative"]
    with refused(BadRequestError, "not measured"):
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
    with refused(BadRequestError, "F.json", said):
        Calibration.of(document, "F.json")


def test_an_unreadable_calibration(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("bad.json", "deep.json", "none.json"):
        with refused(BadRequestError, name, "cannot be read"):
            load_calibration(tmp_path / name)


@pytest.mark.parametrize(
    "option",
    [
        *("--planner-ms 1", "--generator-ms 1", "--critic-ms 1", "--verdict-ms 1", "--accept-prob 0.5"),
        *("--t-max 3", "--steps 3", "--jitter 0.1", "--denoising-steps 1001", "--lanes shared", "--slots 2"),
        *("--cards 1", "--decode-sms 0.1", "--sweep p=0.5|1", "--sweep t_max=1|2", "--sweep steps=1|2"),
        *("--sweep generator=1|2", "--sweep critic=1|2", "--sweep verdict=1|2"),
        *("--sweep cards=1|2", "--sweep decode_sms=0.1|0.2"),
    ],
)
def test_what_a_calibration_says_cannot_be_given_or_swept(file, option, command):
    complains(
        command("simulate", "--calibration", file, *option.split()), 2, option.split("=")[0].rsplit(" ", 1)[0]
    )


def test_a_calibration_takes_the_denoising_steps_that_are_given(file):
    def cancel_latency(**given):
        document = SimulationConfig(calibration=file, num_requests=40, depth=1, **given).run()
        return document["speculation"]["cancel_latency_ms"]

    few, own, many = cancel_latency(denoising_steps=1), cancel_latency(), cancel_latency(denoising_steps=100)
    assert min(few["count"], own["count"], many["count"]) > 0
    assert few["mean"] > own["mean"] > many["mean"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["c.json", "--requests", "9"], "has 8 requests, --requests is 9"),
        (["c.json", "--requests", "8", "--arms", "depth=1"], "has no arm depth=1"),
        (["none.json"], "cannot be read"),
    ],
)
def test_the_benchmark_checks_a_given_calibration_before_it_measures(
    arguments, said, file, monkeypatch, capsys
):
    import simulator

    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(simulator, "Measurement", lambda *_: pytest.fail("it measured"))
    monkeypatch.setattr("sys.argv", ["simulator.py", "--runtime", "scripted", "--calibration", *arguments])
    with pytest.raises(SystemExit, match="2"):
        simulator.main()
    assert said in capsys.readouterr().err


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
    errors = [
        abs(1000 * work[index, "generator", number, 1, 0] / step[0][0] - 1)
        for index, (_, _, steps, _) in enumerate(tasks.of(""))
        for number, step in enumerate(steps)
    ]
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
