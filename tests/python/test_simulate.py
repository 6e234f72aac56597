"""The simulator: closed forms, an independent simulation's figures, equal draws, sweeps, the command line."""

from __future__ import annotations

import csv
import json
import math
import statistics
from dataclasses import replace

import pytest

from interleave_rt.cli import main
from interleave_rt.cli.simulate import simulate as verb
from interleave_rt.errors import BadRequestError
from interleave_rt.measure.arms import ARMS, parse_arms
from interleave_rt.measure.load import Load
from interleave_rt.measure.machine import Lane, Machine, pair_rates, preset, rate_table
from interleave_rt.measure.output import write_csv
from interleave_rt.measure.simulation import SimulationConfig, run_virtual, simulate
from interleave_rt.measure.sweep import parse_sweep, run_sweep
from interleave_rt.measure.tasks import Times, draw_tasks

SEPARATE = Machine({"planner": Lane(4, "a"), "generator": Lane(1, "b"), "critic": Lane(4, "c")})


def seconds(document, arm):
    return document["arms"][arm]["e2e_latency_ms"]["mean"] / 1000


# ---- against arithmetic


def realised(tasks):
    """(retries that were refused, last tries, steps) of every request: what the closed forms are about."""
    found = []
    for _, _, steps, t_max in tasks.of("speculative"):
        refused, last = 0, []
        for step in steps:
            says = [one[3] for one in step[:t_max]]
            tries = says.index(1) + 1 if 1 in says[: t_max - 1] else t_max
            refused += tries - 1
            last.append(tries == t_max)
        found.append((refused, last))
    return found


@pytest.mark.parametrize("name", ["h200-bf16", "h200-fp8"])
@pytest.mark.parametrize("p", [1.0, 0.8, 0.6])
def test_two_cards_meet_the_closed_forms(name, p):
    # T = plan + A (G1 + (N-1) G) + critics, on the realised pattern; planner and critic on cards of their own, since
    # the closed forms leave their contention out.
    times, machine, _ = preset(name, cards=2)
    lanes = {**machine.lanes, "planner": Lane(4, "card 2")}
    tasks = draw_tasks(times, 120, seed=3, steps=(5, 5), t_max=5, accept=(p,))
    arms = parse_arms("sequential,sequential-es,depth=1")
    document = simulate(Machine(lanes), tasks, Load(), arms)
    first, each = times.plan_first, times.plan_step
    g1, g, cv = times.generate_first, times.generate, times.verdict
    c = cv + times.verdict_tail
    plain, streamed, ahead = [], [], []
    for (refused, last), (_, _, steps, _) in zip(realised(tasks), tasks.of(""), strict=True):
        images = sum((g1 if i == 0 else g) * (step_tries(s)) for i, s in enumerate(steps))
        plain.append(first + 4 * each + images + c * (refused + 5))
        streamed.append(first + images + c * refused + cv * (5 - sum(last)))
        # Speculation hides every verdict but the last step's; G > Cv here, so depth 1 is enough. The plan's second
        # step may close after the first image.
        wait = max(0.0, each - g1) if step_tries(steps[0]) == 1 else 0.0
        ahead.append(first + wait + images + c * refused + (0 if last[-1] else cv))
    assert g > cv
    assert seconds(document, "sequential") == pytest.approx(statistics.fmean(plain) / 1000, rel=1e-3)
    assert seconds(document, "sequential-es") == pytest.approx(statistics.fmean(streamed) / 1000, rel=1e-3)
    # Not less than the closed form; a cancel quantum (a quarter of G) a refusal on top at the most.
    quantum = statistics.fmean(r for r, _ in realised(tasks)) * g / 4
    bound = statistics.fmean(ahead)
    assert bound / 1000 - 1e-3 <= seconds(document, "depth=1") <= (bound + quantum) / 1000 + 1e-3


def step_tries(step):
    says = [one[3] for one in step]
    return says.index(1) + 1 if 1 in says[:4] else 5


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
    with pytest.raises(BadRequestError, match="s_c"):
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


# ---- sweeps and the command line


def test_a_sweep_is_a_grid():
    assert parse_sweep("p=0.2:1:0.4,rate=1|3") == {"p": [0.2, 0.6, 1.0], "rate": [1.0, 3.0]}
    points = run_sweep(SimulationConfig(num_requests=40, arms="speculative"), parse_sweep("p=0.4:1:0.3"))
    means = [document["arms"]["speculative"]["e2e_latency_ms"]["mean"] for _, document in points]
    assert [at["p"] for at, _ in points] == [0.4, 0.7, 1.0]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize(
    "text",
    [
        *("q=1", "p=1:0:1", "p=0:1:0", "p=0.1,p=0.2", "", "p=0:1:0.0001", "p=0:1", "p=0:1:0.1:1"),
        *("p=0:1:1e-9", "p=0:1e308:1e-308", "rate=-1e308:1e308:1"),
        *("concurrency=nan", "depth=inf", "p=0:inf:1", "p=nan:1:1", "p=0:1:nan"),
        *("concurrency=1.5", "depth=1:2:0.5", "cards=1.2", "steps=2.5", "t_max=0.5"),
    ],
)
def test_sweeps_that_cannot_be(text):
    with pytest.raises(BadRequestError, match="--sweep"):
        parse_sweep(text)


@pytest.mark.parametrize(
    ("given", "sweep", "said"),
    [
        *(
            ({"preset": "h200-fp8"}, f"{axis}=1|2", f"--sweep {axis}")
            for axis in ("generator", "critic", "verdict")
        ),
        ({"preset": "h200-fp8"}, "decode_sms=0.1|0.2", "--sweep decode_sms"),
        ({}, "cards=1|2", "--sweep cards"),
        ({}, "decode_sms=0.1|0.2", "--sweep decode_sms"),
        ({"arms": "sequential"}, "depth=1|2", "--sweep depth"),
        ({"scenario": "offline"}, "concurrency=1|2", "--concurrency"),
        ({"concurrency": 4}, "concurrency=1|2", "--concurrency and --sweep concurrency"),
        ({"accept_prob": "0.7"}, "p=0.5|1", "--accept-prob and --sweep p"),
        ({}, "rate=1|2,load=0.5", "rate and load"),
        ({}, "concurrency=1e300", "concurrency"),
        ({"preset": "h200-fp8", "calibration": "f"}, "p=0.5", "together"),
    ],
)
def test_an_axis_that_changes_nothing_is_refused(given, sweep, said):
    with pytest.raises(BadRequestError, match=said):
        run_sweep(SimulationConfig(num_requests=5, **given), parse_sweep(sweep))


def test_an_option_that_some_point_reads_is_not_refused():
    settings = SimulationConfig(num_requests=5, preset="h200-fp8", decode_sms=0.3)
    assert len(run_sweep(settings, parse_sweep("cards=1|2"))) == 2


def test_load_is_a_share_of_what_the_generator_can_do():
    settings = SimulationConfig(num_requests=300, t_max=1, accept_prob="1", steps="4", arms="speculative")
    assert settings.generator_capacity() == pytest.approx(1000 / 240)
    points = run_sweep(settings, {"load": [0.5]})
    assert points[0][1]["arms"]["speculative"]["stages"]["generator"]["busy"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preset": "b200"}, "no preset"),
        ({"preset": "h200-fp8", "cards": 3}, "--cards"),
        ({"accept_prob": "2"}, "--accept-prob"),
        ({"steps": "5-3"}, "--steps"),
        ({"scenario": "server"}, "--request-rate"),
        ({"verdict_ms": 99.0}, "--verdict-ms"),
        ({"first_step_ms": 999.0}, "first step"),
        ({"jitter": -1.0}, "--jitter"),
        ({"concurrency": 2, "request_rate": 1.0}, "together"),
        ({"scenario": "offline", "concurrency": 2}, "--scenario offline"),
        ({"scenario": "offline", "request_rate": 1.0}, "--scenario offline"),
        ({"request_rate": math.inf}, "--request-rate"),
        ({"request_rate": math.nan}, "--request-rate"),
        ({"request_rate": 1e-300}, "--request-rate"),
        ({"request_rate": 1.0, "burstiness": math.inf}, "--burstiness"),
        ({"request_rate": 1e-200, "burstiness": 1e-200}, "--burstiness"),
        ({"denoising_steps": 0}, "--denoising-steps"),
        ({"slots": 10**30}, "capacity"),
        ({"max_queued": 10**30}, "--max-queued"),
        ({"max_live": 10**30}, "--max-live"),
        ({"concurrency": 10**30}, "concurrency"),
        ({"generator_ms": 1e300}, "generate_first, ms,"),
        ({"steps": "1" + "0" * 400}, "--steps"),
        ({"arms": "sequential", "depth": 2}, "--depth"),
    ],
)
def test_settings_that_cannot_be(change, said):
    with pytest.raises(BadRequestError, match=said):
        replace(SimulationConfig(num_requests=5), **change).run()


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        (None, "cards decode_sms critic_slowdown generator_rate burstiness"),
        (
            "h200-fp8",
            "planner_ms first_step_ms generator_ms first_image_ms critic_ms verdict_ms slots decode_sms",
        ),
    ],
)
def test_options_that_nothing_reads(preset, names):
    for name in names.split():
        with pytest.raises(BadRequestError, match="--" + name.replace("_", "-") + " changes nothing"):
            SimulationConfig(preset=preset, **{name: 0.5}).run()
    with pytest.raises(BadRequestError, match="--lanes changes nothing"):
        SimulationConfig(preset="h200-fp8", lanes="shared").run()


@pytest.fixture
def command(capsys):
    def run(*arguments):
        code = main(["simulate", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_prints_a_table_and_json(tmp_path, command):
    code, said, _ = command("--preset", "h200-bf16", "--num-requests", 20, "--output", tmp_path / "o.csv")
    assert code == 0
    assert "not measured" in said
    assert "speculative vs sequential:" in said
    row = next(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert float(row["arms.speculative.e2e_latency_ms.p50"]) > 0
    document = json.loads(command("--json", "--num-requests", 20, "--depth", 2, "--lanes", "shared")[1])
    assert document["speculation"]["setting"] == "depth=2"
    assert set(document["arms"]) == set(ARMS)


def test_the_command_sweeps(tmp_path, command):
    pytest.importorskip("matplotlib")
    table, picture = tmp_path / "s.csv", tmp_path / "s.svg"
    sweep = ["--num-requests", 10, "--sweep", "p=0.5|1", "--sweep", "depth=1|2"]
    assert command(*sweep, "--output", table, "--plot", picture)[0] == 0
    assert len(list(csv.DictReader(table.read_text().splitlines()))) == 4
    assert "<svg" in picture.read_text()


@pytest.mark.parametrize("name", ["o.json", "o.csv"])
@pytest.mark.parametrize("sweep", [None, ["p=0.5|1"]])
def test_an_output_that_fails_is_said(tmp_path, name, sweep):
    path = tmp_path / name
    path.symlink_to("/dev/full")
    with pytest.raises(BadRequestError, match="cannot be written"):
        verb(num_requests=2, output=path, sweep=sweep)


@pytest.mark.parametrize("option", ["output", "plot"])
def test_an_output_is_looked_at_before_the_run(tmp_path, monkeypatch, option):
    monkeypatch.setattr(SimulationConfig, "document", lambda self: pytest.fail("it ran"))
    monkeypatch.setattr("os.access", lambda *_: False)
    name = "o.csv" if option == "output" else "o.svg"
    with pytest.raises(BadRequestError, match="cannot be written"):
        verb(sweep=["p=0.5|1"], **{option: tmp_path / name})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--plot", "o.svg"], "--sweep"),
        (["--sweep", "p=1", "--plot", "o.txt"], ".png"),
        (["--output", "folder.json"], "cannot be written"),
        (["--output", "/dev/full/o.json"], "a folder that exists"),
        (["--sweep", "p=0:1:1e-9"], "points"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, says, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()
    code, _, heard = command("--num-requests", 1, *arguments)
    assert code == 2
    assert says in heard


def test_csv_has_all_columns(tmp_path):
    write_csv([{"a": 1}, {"b": 2}], tmp_path / "x.csv")
    assert list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines())) == [
        {"a": "1", "b": ""},
        {"a": "", "b": "2"},
    ]
