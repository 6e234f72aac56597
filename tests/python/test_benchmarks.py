"""The commands of benchmarks/: what they compare, print and refuse; the plain loops beside the engine."""

from __future__ import annotations

import json
import math
import random
import sys
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import ablation
import cuda_check
import export_memory
import load
import lossless
import numpy as np
import plot_headline
import pytest
from ablation import SWITCHES, arms_of, rows, table
from closed_form import Times
from closed_form import run as run_closed_form
from paired import gain_split, paired_ratio, rotated
from plain_loop import PngDetour, difference, run_plain
from plot_headline import BEGIN, END, draw
from wide_pack import wider

from interleave_rt import BadPackError, Engine, Request, load_pack
from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.measure.arms import scripted_target
from interleave_rt.measure.load import numbered_requests
from interleave_rt.request import Optimizations, Options
from interleave_rt.roles.scripted import ScriptedRoles

SCRIPT = Script(planner_ms=8, first_step_ms=2, generator_ms=4, critic_ms=4, verdict_ms=2, accept_prob=0.3)
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def settings(arm):
    switches = {field.name: getattr(arm.optimizations, field.name) for field in fields(Optimizations)}
    return {**switches, "speculation": arm.speculation != "off", "batching": arm.batching}


def test_every_optimization_has_an_arm_without_it_and_one_of_its_own():
    arms = arms_of(list(SWITCHES), "depth=2", batching=True)
    assert len(arms) == 2 + 2 * len(SWITCHES)
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


def test_rows_say_what_an_optimization_saves():
    pairs = {"all": [1.0, 2.0], "none": [4.0, 8.0], "all - batching": [1.5, 3.0]}
    pairs["batching alone"] = [2.0, 4.0]
    times = {name: 10 * took for name, took in pairs.items()}  # few pairs have no interval
    found = rows(["batching"], times, "single-stream")
    assert found[0]["without_it"]["ratio"] == pytest.approx(1.5)
    assert found[0]["alone"]["ratio"] == pytest.approx(2.0)
    assert found[1]["alone"]["ratio"] == pytest.approx(4.0)
    assert "1.500 [1.500, 1.500]" in table(found)


def run(monkeypatch, capsys, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    code = module.main()
    return code, capsys.readouterr()


def test_ablation_of_made_up_roles(monkeypatch, capsys, tmp_path):
    output = tmp_path / "ablation.json"
    arguments = ["--runtime", "scripted", "--requests", 3, "--scale", 0.1, "--accept-prob", 1]
    code, said = run(monkeypatch, capsys, ablation, *arguments, "--output", output)
    assert code == 0
    found = json.loads(output.read_text())
    assert [row["optimization"] for row in found["rows"]] == [*ablation.SCRIPTED, "all"]
    assert found["requests_that_differ"] == []
    # A plan of 16 ms is waited for or not; with every verdict accepted speculation is never in vain.
    whole = {row["optimization"]: row["alone"]["ratio"] for row in found["rows"]}
    assert whole["all"] > 1.2
    assert "different results: 0" in said.err


def test_ablation_sees_arms_that_differ(monkeypatch, capsys):
    true_run = ablation.run_request

    def broken(engine, arm, index, case, due=None):
        record = true_run(engine, arm, index, case, due)
        if arm.name == "early_verdict alone" and index == 1:
            record.digest = "other"
        return record

    monkeypatch.setattr(ablation, "run_request", broken)
    arguments = ["--runtime", "scripted", "--requests", 2, "--scale", 0.02, "--only", "early_verdict"]
    code, said = run(monkeypatch, capsys, ablation, *arguments)
    assert code == 1
    assert "different results: 1" in said.err


def test_ablation_refuses_what_does_not_act(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, ablation, "--runtime", "scripted", "--only", "cache_vision")
    assert "scripted has stream_plan, speculation, early_verdict, skip_last_judge" in capsys.readouterr().err


@pytest.mark.parametrize("in_files", [True, False])
def test_a_detour_through_png_changes_no_result(in_files, tmp_path):
    roles = ScriptedRoles(SCRIPT)
    request, options = Request("a", (np.full((8, 8, 3), 7, np.uint8),)), Options(seed=3, t_max=4)
    plain = run_plain(request, options, roles)
    there = run_plain(request, options, roles, lambda one: PngDetour(one, tmp_path if in_files else None))
    assert there.canonical == plain.canonical
    assert there.pictures.keys() == plain.pictures.keys()
    assert len(plain.pictures) > len(plain.steps) > 0  # something was refused
    assert len(list(tmp_path.glob("*.png"))) == (len(plain.pictures) + 1 if in_files else 0)
    assert all(step.pixels is not None for step in there.steps)
    with Engine(ScriptedBackend(SCRIPT)) as engine:
        ours = engine.run(request, options=options)
        assert difference(ours, plain) is None
        # A critic that is asked after the last try, too, changes nothing that counts.
        assert difference(ours, run_plain(request, replace(options, judge_last=True), roles)) is None
        for spoiled in (replace(options, seed=4), replace(options, t_max=1)):
            assert difference(ours, run_plain(request, spoiled, roles)) is not None


def test_the_row_of_raw_buffers(monkeypatch):
    cases = numbered_requests(2, 1, Options(t_max=2))
    row, apart = ablation.raw_images(ScriptedRoles(SCRIPT), cases)
    assert row["optimization"] == "raw_images"
    assert row["alone"]["ratio"] > 0.5
    assert apart == set()
    monkeypatch.setattr(ablation.PngDetour, "hash_of", lambda _self, _picture: 0)
    assert ablation.raw_images(ScriptedRoles(SCRIPT), cases)[1] == {0, 1}


def test_headline_table_replaces_what_stands_between_the_marks(monkeypatch, capsys, tmp_path):
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
    readme.write_text(f"# A\n{BEGIN}\nold\n{END}\ntail\n")
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


def test_headline_marks_stand_in_the_readme():
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)


def test_wider_hidden_layers_say_the_same():
    width, hidden = 4, 6
    draw_one = np.random.default_rng(0).standard_normal
    read, write, x = draw_one((2 * hidden, width)), draw_one((width, hidden)), draw_one(width)

    def layer(read, write):
        gate, up = np.split(read @ x, 2)
        return write @ (gate / (1 + np.exp(-gate)) * up)

    def wide(name, value):
        return wider(name, value, 3, hidden, width)

    gate, up = np.split(read, 2)
    text = np.concatenate([wide("mlp.gate_proj.weight", gate), wide("mlp.up_proj.weight", up)])
    image = wide("ff.linear_in.weight", read)
    single = wide("single.0.to_qkv_mlp_proj.weight", np.concatenate([draw_one((3 * width, width)), read]))
    out = wide("single.0.to_out.weight", np.concatenate([np.eye(width), write], axis=1))
    for read_wide, write_wide in (
        (text, wide("mlp.down_proj.weight", write)),
        (image, wide("ff.linear_out.weight", write)),
        (single[3 * width :], out[:, width:]),
    ):
        assert write_wide.shape == (width, 3 * hidden)
        np.testing.assert_allclose(layer(read_wide, write_wide), layer(read, write), rtol=1e-12)
    assert wide("attn.to_out.0.weight", write) is write


def test_plot_is_small(tmp_path):
    pytest.importorskip("matplotlib")
    times = {"all": [1.0, 2.0], "none": [4.0, 9.0], "all - batching": [1.5, 3.5]}
    times["batching alone"] = [2.0, 4.0]
    pytorch = {"e2e_ms": {"PyTorch, as the demo": {"p50": 1000.0}, "sequential": {"p50": 90.0}}}
    draw(tmp_path / "a.svg", pytorch, {"rows": rows(["batching"], times, "single-stream")})
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").count("<svg") == 1


def test_card_check_says_what_is_missing(monkeypatch, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    code, said = run(monkeypatch, capsys, cuda_check)
    assert code == 2
    assert "has no CUDAExecutionProvider (it has CPUExecutionProvider)" in said.err
    assert "interleave-rt[cuda]" in said.err
    assert cuda_check.providers_of("cpu") == ("CPUExecutionProvider",)


@pytest.mark.parametrize(
    ("wrong", "code"), [("", 0), ("law", 1), ("bench", 1), ("bits", 1), ("token", 1), ("time", 1)]
)
def test_script_for_a_card_goes_on_and_says_what_failed(wrong, code, monkeypatch, capsys, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    first_of = cuda_check.feeds_of
    monkeypatch.setattr(cuda_check, "feeds_of", lambda pack: islice(first_of(pack), 1))
    row = {"requests": 2, "equal": 1 if wrong == "law" else 2}
    stream = {"lossless": {"requests": 2, "equal": 1 if wrong == "bench" else 2}}
    for name, found in (
        ("draw_cases", []),
        ("fitting", []),
        ("prove", ([row], None)),
        ("denoising_step", []),
        ("single_stream", stream),
    ):
        monkeypatch.setattr(cuda_check, name, lambda *_a, found=found, **_k: found)

    def token(*_arguments):
        if wrong == "token":
            raise RuntimeError("no kernel for it")
        return []

    monkeypatch.setattr(cuda_check, "token", token)
    if wrong == "bits":
        joined = cuda_check.joined
        monkeypatch.setattr(cuda_check, "joined", lambda feeds: joined([feeds[0]] * len(feeds)))
    output = tmp_path / "cuda.json"
    minutes = 0 if wrong == "time" else 8
    arguments = ["--device", "cpu", "--size", "tiny", "--minutes", minutes, "--output", output]
    assert run(monkeypatch, capsys, cuda_check, *arguments)[0] == code
    found = json.loads(output.read_text())
    if wrong == "time":
        assert found["law_1"] == found["denoising"] == "not run: no time left"
        return
    assert found["denoising"]["found"] == []
    assert [(line["part"], line["copies"]) for line in found["copies"]["found"]] == [("planner/decoder", 0)]
    table = found["invariance"]["found"]
    assert [line["batch"] for line in table] == list(range(2, 9))
    assert all(line["holds"] for line in table) == (wrong != "bits")
    if wrong == "token":
        assert found["token"]["error"] == "RuntimeError: no kernel for it"


def test_script_for_a_card_does_what_is_asked(monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(cuda_check, "session_on", None)  # needs the export, which the extra for a card is not
    stream = {"lossless": {"requests": 1, "equal": 1}}
    monkeypatch.setattr(cuda_check, "single_stream", lambda *_: stream)
    code, said = run(monkeypatch, capsys, cuda_check, "--device", "cpu", "--only", "stream")
    assert code == 0
    found = json.loads(said.out)
    assert found["stream"]["found"] == stream
    assert not set(cuda_check.PARTS) & set(found) - {"stream"}
    for wrong, text in (("--only", "no part bench; there are copies"), ("--requests", "at least 1")):
        with pytest.raises(SystemExit) as refused:
            run(monkeypatch, capsys, cuda_check, wrong, "bench" if wrong == "--only" else 0)
        assert refused.value.code == 2
        assert text in capsys.readouterr().err


def test_rows_of_a_part_that_breaks_off_are_kept(capsys, tmp_path):
    def rows():
        yield {"what": "first"}
        raise RuntimeError("no kernel for the second")

    output = tmp_path / "cuda.json"
    cuda_check.Checks(60, output).part("token", rows)
    found = json.loads(output.read_text())["token"]
    assert found["found"] == [{"what": "first"}]
    assert found["error"] == "RuntimeError: no kernel for the second"
    assert "in rows" in capsys.readouterr().err  # the whole traceback


def test_requests_that_fit_the_time(monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    cases, pack = cuda_check.draw_cases(5, 1), cuda_check.load_pack()
    cpu = ("CPUExecutionProvider",)
    assert cuda_check.fitting(pack, cpu, cases, 1.0, 1e6) == cases
    assert cuda_check.fitting(pack, cpu, cases, 1.0, 0.0) == cases[:1]
    assert "1 of 5 are run" in capsys.readouterr().err


def test_attention_of_a_decoder_in_half(tmp_path):
    onnx = pytest.importorskip("onnx")
    make = onnx.helper.make_tensor_value_info
    names = ("q", "k", "v", "past_k.0", "past_v.0")
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    node = onnx.helper.make_node(
        "GroupQueryAttention", [*names, "lasts", "longest"], ["seen", "present_k.0", "present_v.0"]
    )
    outputs = [make(name, single, None) for name in node.output]
    graph = onnx.helper.make_graph([node], "decoder", [make(name, single, None) for name in names], outputs)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "bf16.onnx")
    made = onnx.load(cuda_check.half_attention(tmp_path / "bf16.onnx")).graph
    assert [one.op_type for one in made.node] == ["Cast", "Cast", "Cast", "GroupQueryAttention", "Cast"]
    attention = made.node[3]
    assert list(attention.input[:3]) == [one.output[0] for one in made.node[:3]]
    assert list(attention.input[3:]) == ["past_k.0", "past_v.0", "lasts", "longest"]
    assert (made.node[4].input[0], made.node[4].output[0]) == (attention.output[0], "seen")
    kinds = {one.name: one.type.tensor_type.elem_type for one in (*made.input, *made.output)}
    assert {name for name, kind in kinds.items() if kind == half} == {
        *("past_k.0", "past_v.0", "present_k.0", "present_v.0")
    }


@pytest.mark.slow
def test_script_for_a_card_measures_without_one(monkeypatch, capsys):
    for needed in ("onnxruntime", "onnx", "torch", "transformers", "diffusers"):
        pytest.importorskip(needed)
    arguments = ["--device", "cpu", "--size", "tiny", "--requests", 1, "--only", "token,denoising,stream"]
    code, said = run(monkeypatch, capsys, cuda_check, *arguments)
    found = json.loads(said.out)
    assert code == 0, found
    assert found["stream"]["found"]["lossless"]["equal"] == 1
    times = [*found["token"]["found"], *found["denoising"]["found"]]
    assert [line["precision"] for line in times] == [
        *("PyTorch, bf16", "bf16", "bf16", "int8", "int8"),
        *("PyTorch, bf16", "bf16 stored"),
    ]
    assert all(line["native_ms"] > 0 < line["pytorch_bf16_ms"] for line in times if "ms" not in line)


def test_lossless_refuses_arms_that_are_none(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, capsys, lossless, "--arms", "off,fast")
    assert caught.value.code == 2
    assert "no arm 'fast'" in capsys.readouterr().err


def test_lossless_without_a_run_proves_nothing(monkeypatch, capsys):
    code, said = run(monkeypatch, capsys, lossless, "--requests", 0, "--arms", "stream_plan alone")
    assert code == 1
    assert json.loads(said.out)["runs"] == 0


@pytest.mark.parametrize("spoil", ["", "slow", "left"])
def test_overload_looks_at_refusals_and_at_what_is_left(spoil, monkeypatch):
    arguments = SimpleNamespace(
        overload=10.0, overload_s=0.1, requests=60, max_queued=4, concurrency=8, seed=1, memory_mb=1e6
    )
    arguments.refusal_ms = 0.0 if spoil == "slow" else 1e4
    if spoil == "left":
        monkeypatch.setattr(load, "left", lambda _engine: {"live": 0, "images": 1})
    measured = {"requests_per_s": 200.0, "threads": {"speculative": "1+1"}, "peak_rss_mb": 0.0}
    found = load.overload(scripted_target(SCRIPT), numbered_requests(8, 1, Options()), arguments, measured)
    assert found["refused"] > 0
    assert found["holds"] is (not spoil), found


def test_real_threads_stay_near_the_closed_form():
    """A short run of the command, with room for a busy machine: half of what speculation gains is asked for."""
    row = run_closed_form(0.8, 3, 1, Times())
    assert row["lossless"]["equal"] == row["requests"] == 3
    assert 0.99 <= row["of_closed_form"] < 1.15
    assert row["over_sequential"]["ratio"] > row["over_sequential_es"]["ratio"] > 1.1


# ---- the PyTorch baseline: the same results as the native engine, and the arithmetic of the gain split


def test_paired_ratio_is_the_geometric_mean_with_an_interval_around_it():
    rng = np.random.default_rng(3)
    base = rng.uniform(1, 9, 400)
    found = paired_ratio(base * 2.0 * np.exp(rng.normal(0, 0.1, 400)), base)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(2.0, rel=0.02)
    assert found.high / found.low == pytest.approx(math.exp(2 * 1.96 * 0.1 / 20), rel=0.01)
    same = paired_ratio([2.0, 4.0], [1.0, 2.0])
    assert (same.low, same.value, same.high) == pytest.approx((2, 2, 2))
    one = paired_ratio([3.0], [2.0])
    assert (one.value, one.low, one.high) == (pytest.approx(1.5), None, None)
    assert str(one) == "1.500"


@pytest.mark.parametrize(("one", "two"), [([1.0], []), ([], []), ([1.0, 0.0], [1.0, 1.0]), ([1.0], [-1.0])])
def test_paired_ratio_refuses_what_is_not_paired(one, two):
    with pytest.raises(ValueError, match="paired_ratio"):
        paired_ratio(one, two)


def test_gain_split_multiplies_to_the_whole():
    times = np.random.default_rng(5).uniform(0.1, 3, (4, 17))
    arms = [(str(i), row.tolist()) for i, row in enumerate(times)]
    split = gain_split(arms)
    assert [name for name, _ in split] == ["1", "2", "3"]
    product = math.prod(ratio.value for _, ratio in split)
    assert product == pytest.approx(paired_ratio(arms[0][1], arms[-1][1]).value)
    with pytest.raises(ValueError, match="gain_split"):
        gain_split(arms[:1])


def test_rotation_gives_every_arm_every_place():
    names = ["a", "b", "c"]
    assert [rotated(names, turn) for turn in range(3)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_same_success_means_each_share_in_the_others_interval():
    pytest.importorskip("torch")
    from pytorch_loop import same_success

    from interleave_rt.worlds.shapes.evaluation.intervals import share

    def of(hits):
        return {
            kind: share([True] * hits + [False] * (100 - hits)).as_dict() for kind in ("steps", "sequences")
        }

    assert same_success(of(80), of(82))
    assert not same_success(of(80), of(60))
    one = {**of(80), "sequences": of(5)["sequences"]}
    assert not same_success(of(80), one)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pytorch_loop_gives_the_native_results(tmp_path):
    torch = pytest.importorskip("torch")
    for needed in ("transformers", "diffusers", "onnx"):
        pytest.importorskip(needed)
    from interleave_rt.train.shapes.from_pack import load_torch_pack
    from torch_roles import TorchRoles

    from interleave_rt.worlds.shapes.requests import sample
    from interleave_rt.worlds.shapes.scene import drawn_story

    torch.set_num_threads(1)
    pack = load_pack()
    roles = TorchRoles(pack, load_torch_pack(pack))
    picture = sample("test", 4, 2, "guidance")
    wishes = [*sample("test", 2, 2, "narrative"), next(one for one in picture if one.scenes)]
    with Engine.load(pack, constrained="off") as engine:
        for number, wish in enumerate(wishes):
            pictures = drawn_story(wish.images, random.Random(number))
            request = Request(wish.text, tuple(pictures))
            options = Options(seed=40 + number, t_max=2)
            ours = engine.run(request, options=options)
            detour = (lambda one: PngDetour(one, tmp_path)) if number == 1 else (lambda one: one)
            theirs = run_plain(request, replace(options, judge_last=True), roles, detour)
            assert difference(ours, theirs) is None
            assert any(step.pixels is not None for step in theirs.steps)
            broken = replace(ours, steps=ours.steps[:-1])
            assert difference(broken, theirs) == "another plan"
            if number == 0:  # other seeds, other images
                other = run_plain(request, replace(options, seed=900), roles)
                assert difference(ours, other) is not None
    assert len(list(tmp_path.glob("*.png"))) >= 2


def test_a_pack_of_another_architecture_is_refused(tmp_path):
    pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from interleave_rt.train.shapes.from_pack import _fill
    from torch import nn

    weight = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "val_1")
    node = onnx.helper.make_node("MatMul", ["x", "val_1"], ["linear"])
    graph = onnx.helper.make_graph([node], "g", [], [], [weight])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "g.onnx")
    import torch

    right = nn.Sequential(nn.Linear(3, 2, bias=False))
    _fill(right, [(tmp_path / "g.onnx", {})], lambda: right(torch.zeros(1, 3)))
    assert right[0].weight.detach().numpy().tolist() == [[1, 1, 1], [1, 1, 1]]
    wide = nn.Sequential(nn.Linear(4, 2, bias=False))
    with pytest.raises(BadPackError, match=r"no weight of shape \[2, 4\] for 0.weight"):
        _fill(wide, [(tmp_path / "g.onnx", {})], lambda: wide(torch.zeros(1, 4)))
    deep = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False))
    with pytest.raises(BadPackError, match="1 unnamed matrices for 2 layers"):
        _fill(deep, [(tmp_path / "g.onnx", {})], lambda: deep(torch.zeros(1, 3)))


def test_bounds_of_an_export_and_of_a_load_that_do_not_hold():
    good = {"export": "int8", "peak_mb": 600, "largest_mb": 150, "over_ideal": 1.01}
    assert export_memory.broken(good) == []
    assert export_memory.broken(good | {"peak_mb": 2500})[0].startswith("peak_mb is 2500")
    assert export_memory.broken(good | {"over_ideal": 1.03}) == ["over_ideal is 1.03, over 1.02"]
    load = {"load": "int8", "peak_mb": 400, "over_files": 2.0, "hashing_again_s": 0.01}
    assert export_memory.broken(load) == []
    assert export_memory.broken(load | {"peak_mb": 4000, "over_files": 2.0})[0].startswith("peak_mb is 4000")
    assert export_memory.broken(load | {"load": "bf16", "peak_mb": 4000}) == []  # cast when it is opened
    assert export_memory.broken(load | {"hashing_again_s": 3.0}) == ["hashing_again_s is 3.0, over 2"]
