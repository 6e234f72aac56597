"""The PyTorch baseline of benchmarks/: the same results as the native engine, and the arithmetic of the gain split."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == BENCHMARKS:
            del sys.modules[name]


def test_paired_ratio_is_the_geometric_mean_with_an_interval_around_it(benchmarks):
    from paired import paired_ratio

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
def test_paired_ratio_refuses_what_is_not_paired(benchmarks, one, two):
    from paired import paired_ratio

    with pytest.raises(ValueError, match="paired_ratio"):
        paired_ratio(one, two)


def test_gain_split_multiplies_to_the_whole(benchmarks):
    from paired import gain_split, paired_ratio

    times = np.random.default_rng(5).uniform(0.1, 3, (4, 17))
    arms = [(str(i), row.tolist()) for i, row in enumerate(times)]
    split = gain_split(arms)
    assert [name for name, _ in split] == ["1", "2", "3"]
    product = math.prod(ratio.value for _, ratio in split)
    assert product == pytest.approx(paired_ratio(arms[0][1], arms[-1][1]).value)
    with pytest.raises(ValueError, match="gain_split"):
        gain_split(arms[:1])


def test_rotation_gives_every_arm_every_place(benchmarks):
    from paired import rotated

    names = ["a", "b", "c"]
    assert [rotated(names, turn) for turn in range(3)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_same_success_means_each_share_in_the_others_interval(benchmarks):
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
def test_pytorch_loop_gives_the_native_results(benchmarks, tmp_path):
    torch = pytest.importorskip("torch")
    for needed in ("transformers", "diffusers", "onnx"):
        pytest.importorskip(needed)
    from dataclasses import replace

    from torch_pack import load_torch_pack
    from torch_roles import TorchLoop, difference

    from interleave_rt import Engine, Options, Request, load_pack
    from interleave_rt.worlds.shapes.requests import sample
    from interleave_rt.worlds.shapes.scene import drawn_story

    torch.set_num_threads(1)
    pack = load_pack()
    models = load_torch_pack(pack)
    picture = sample("test", 4, 2, "guidance")
    wishes = [*sample("test", 2, 2, "narrative"), next(one for one in picture if one.scenes)]
    with Engine.load(pack, constrained="off") as engine:
        for number, wish in enumerate(wishes):
            pictures = drawn_story(wish.images, random.Random(number))
            request = Request(wish.text, tuple(pictures))
            options = Options(seed=40 + number, t_max=2)
            ours = engine.run(request, options=options)
            theirs = TorchLoop(pack, models, tmp_path if number == 1 else None).run(request, options)
            assert difference(ours, theirs) is None
            assert any(step.pixels is not None for step in theirs.steps)
            broken = replace(ours, steps=ours.steps[:-1])
            assert difference(broken, theirs) == "another plan"
            if number == 0:  # other seeds, other images
                other = TorchLoop(pack, models).run(request, replace(options, seed=900))
                assert difference(ours, other) is not None
    assert len(list(tmp_path.glob("*.png"))) >= 2


def test_a_pack_of_another_architecture_is_refused(benchmarks, tmp_path):
    pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from torch import nn
    from torch_pack import _fill

    from interleave_rt import BadPackError

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
