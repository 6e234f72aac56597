"""The ablation, the headline and the check for cards in benchmarks/: what they compare, print and refuse."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from interleave_rt.backends.scripted import Script
from interleave_rt.errors import BackendFailedError
from interleave_rt.measure import ScriptedTarget, numbered_requests
from interleave_rt.request import Devices, Options

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == BENCHMARKS:
            del sys.modules[name]


def settings(arm):
    switches = {field.name: getattr(arm.devices, field.name) for field in fields(Devices)}
    return {**switches, "speculation": arm.speculation != "off", "batching": arm.batching}


def test_every_device_has_an_arm_without_it_and_one_of_its_own(benchmarks):
    from ablation import SWITCHES, arms_of

    arms = arms_of(list(SWITCHES), "depth=2", batching=True)
    assert len(arms) == 2 + 2 * 7
    assert all(settings(arms["all"]).values())
    assert not any(settings(arms["none"]).values())
    switched = set()
    for name in SWITCHES:
        off = {key for key, on in settings(arms[f"all - {name}"]).items() if not on}
        on = {key for key, on in settings(arms[f"{name} alone"]).items() if on}
        assert off == on
        assert len(on) == 1
        switched |= on
    assert switched == set(settings(arms["all"]))


def test_rows_say_what_a_device_saves(benchmarks):
    from ablation import rows, table

    pairs = {"all": [1.0, 2.0], "none": [4.0, 8.0], "all - S3": [1.5, 3.0], "S3 alone": [2.0, 4.0]}
    times = {name: 10 * took for name, took in pairs.items()}  # few pairs have no interval
    found = rows(["S3"], times, "single-stream")
    assert found[0]["without_it"]["ratio"] == pytest.approx(1.5)
    assert found[0]["alone"]["ratio"] == pytest.approx(2.0)
    assert found[1]["alone"]["ratio"] == pytest.approx(4.0)
    assert "1.500 [1.500, 1.500]" in table(found)


def run(monkeypatch, capsys, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    code = module.main()
    return code, capsys.readouterr()


def test_ablation_of_made_up_roles(benchmarks, monkeypatch, capsys, tmp_path):
    import ablation

    output = tmp_path / "ablation.json"
    arguments = ["--runtime", "scripted", "--requests", 3, "--scale", 0.1, "--accept-prob", 1]
    code, said = run(monkeypatch, capsys, ablation, *arguments, "--output", output)
    assert code == 0
    found = json.loads(output.read_text())
    assert [row["device"] for row in found["rows"]] == ["S1", "S2", "S3", "S4", "all"]
    assert found["requests_that_differ"] == []
    # A plan of 16 ms is waited for or not; with every verdict accepted speculation is never in vain.
    whole = {row["device"]: row["alone"]["ratio"] for row in found["rows"]}
    assert whole["all"] > 1.2
    assert "different results: 0" in said.out


def test_ablation_sees_arms_that_differ(benchmarks, monkeypatch, capsys):
    import ablation

    true_run = ablation.run_request

    def broken(engine, arm, index, case, due=None):
        record = true_run(engine, arm, index, case, due)
        if arm.name == "S3 alone" and index == 1:
            record.digest = "other"
        return record

    monkeypatch.setattr(ablation, "run_request", broken)
    arguments = ["--runtime", "scripted", "--requests", 2, "--scale", 0.02, "--devices", "S3"]
    code, said = run(monkeypatch, capsys, ablation, *arguments)
    assert code == 1
    assert "different results: 1" in said.out


def test_ablation_refuses_devices_that_do_not_act(benchmarks, monkeypatch, capsys):
    import ablation

    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, ablation, "--runtime", "scripted", "--devices", "S6")
    assert "scripted has S1, S2, S3, S4" in capsys.readouterr().err


def test_headline_table_replaces_what_stands_between_the_marks(benchmarks, monkeypatch, capsys, tmp_path):
    import plot_headline

    ratio = {"ratio": 1.25, "low": 1.2, "high": 1.3, "pairs": 9}
    bench = {
        "speedup": {"speculative_vs_sequential_es": ratio},
        "lossless": {"equal": 9, "requests": 9},
    }
    pytorch = {
        "whole": {"ratio": 4.0, "interval": [3.5, 4.5], "pairs": 9},
        "gain": {"sequential": {"ratio": 4.0, "interval": [3.5, 4.5], "pairs": 9}},
        "factors": {"sequential": "graph runtime"},
        "equal_to_pytorch": {"requests": 9, "as the demo": 8},
    }
    for name, content in (("bench", bench), ("pytorch", pytorch)):
        (tmp_path / name).write_text(json.dumps(content))
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n{plot_headline.BEGIN}\nold\n{plot_headline.END}\ntail\n")
    paths = ["--bench", tmp_path / "bench", "--pytorch", tmp_path / "pytorch", "--readme", readme]
    code, _ = run(monkeypatch, capsys, plot_headline, *paths)
    text = readme.read_text()
    assert code == 0
    assert "old" not in text
    assert text.startswith("# A\n")
    assert text.endswith("\ntail\n")
    assert "| speculative over sequential-es | 1.25 x [1.20, 1.30] | `interleave-rt bench` |" in text
    assert "| - of that graph runtime | 4.00 x [3.50, 4.50] |" in text
    assert "| results equal to PyTorch's | 8 of 9 |" in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="has no <!-- headline"):
        run(monkeypatch, capsys, plot_headline, *paths)


def test_headline_marks_stand_in_the_readme(benchmarks):
    from plot_headline import BEGIN, END

    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)


def test_plot_is_small(benchmarks, tmp_path):
    pytest.importorskip("matplotlib")
    from ablation import rows
    from plot_headline import draw

    times = {"all": [1.0, 2.0], "none": [4.0, 9.0], "all - S3": [1.5, 3.5], "S3 alone": [2.0, 4.0]}
    pytorch = {"e2e_ms": {"PyTorch, as the demo": {"p50": 1000.0}, "sequential": {"p50": 90.0}}}
    draw(tmp_path / "a.svg", pytorch, {"rows": rows(["S3"], times, "single-stream")})
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").count("<svg") == 1


def test_card_check_says_what_is_missing(benchmarks, monkeypatch, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    import gpu_check

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    code, said = run(monkeypatch, capsys, gpu_check)
    assert code == 2
    assert "has no CUDAExecutionProvider (it has CPUExecutionProvider)" in said.err
    assert "interleave-rt[cuda]" in said.err
    assert gpu_check.providers_of("cpu") == ("CPUExecutionProvider",)


@pytest.mark.parametrize(("stage", "code"), [("law", 1), ("bench", 1), ("neither", 0)])
def test_card_check_counts_every_comparison(stage, code, benchmarks, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    import gpu_check

    row = {"requests": 2, "equal": 1 if stage == "law" else 2}
    stream = {"lossless": {"requests": 2, "equal": 1 if stage == "bench" else 2}}
    for name, found in (
        ("providers_of", ("CPUExecutionProvider",)),
        ("load_pack", None),
        ("draw_cases", []),
        ("prove", ([row], None)),
        ("single_stream", stream),
    ):
        monkeypatch.setattr(gpu_check, name, lambda *_a, found=found: found)
    assert run(monkeypatch, capsys, gpu_check)[0] == code

    def fails(*_arguments):
        raise BackendFailedError("the card is gone", hint="look at it")

    monkeypatch.setattr(gpu_check, "single_stream", fails)
    code, said = run(monkeypatch, capsys, gpu_check)
    assert code == 2
    assert "the card is gone" in said.err


def test_lossless_refuses_arms_that_are_none(benchmarks, monkeypatch, capsys):
    import lossless

    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, capsys, lossless, "--arms", "off,fast")
    assert caught.value.code == 2
    assert "no arm 'fast'" in capsys.readouterr().err


def test_lossless_without_a_run_proves_nothing(benchmarks, monkeypatch, capsys):
    import lossless

    code, said = run(monkeypatch, capsys, lossless, "--requests", 0, "--arms", "S1 alone")
    assert code == 1
    assert json.loads(said.out)["runs"] == 0


@pytest.mark.parametrize("spoil", ["", "slow", "left"])
def test_overload_looks_at_refusals_and_at_what_is_left(spoil, benchmarks, monkeypatch):
    import load

    script = Script(planner_ms=8, first_step_ms=2, generator_ms=4, critic_ms=4, verdict_ms=2)
    arguments = SimpleNamespace(
        overload=10.0, overload_s=0.1, requests=60, max_queued=4, concurrency=8, seed=1, memory_mb=1e6
    )
    arguments.refusal_ms = 0.0 if spoil == "slow" else 1e4
    if spoil == "left":
        monkeypatch.setattr(load, "left", lambda _engine: {"live": 0, "images": 1})
    measured = {"requests_per_s": 200.0, "threads": {"speculative": "1+1"}, "peak_rss_mb": 0.0}
    found = load.overload(ScriptedTarget(script), numbered_requests(8, 1, Options()), arguments, measured)
    assert found["refused"] > 0
    assert found["holds"] is (not spoil), found
