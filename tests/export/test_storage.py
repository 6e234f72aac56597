"""float16 storage changes no number, stores nothing twice, and says what it left alone."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from interleave_rt.export.storage import store_half
from onnx import TensorProto, helper, numpy_helper


def _model(weights: dict[str, np.ndarray], nodes: list[onnx.NodeProto], width: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", None])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def _half(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16).astype(np.float32)


_W = _half((32, 40), 1)
_TWICE = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "again"], ["y"])]


@pytest.mark.parametrize(
    ("weights", "nodes", "halved", "shared", "kept"),
    [
        ({"w": _W}, [helper.make_node("MatMul", ["x", "w"], ["y"])], 1, 0, 0.5),
        ({"w": _W[:, :32], "again": _W[:, :32].copy()}, _TWICE, 1, 1, 0.25),
        ({"w": _W, "again": np.ascontiguousarray(_W.T)}, _TWICE, 1, 1, 0.25),
    ],
    ids=["alone", "equal", "transposed"],
)
def test_exact_weights_are_halved_and_stored_once_with_the_same_bits(
    weights, nodes, halved, shared, kept
) -> None:
    model = _model(weights, nodes, 32)
    x = np.random.default_rng(2).standard_normal((3, 32)).astype(np.float32)
    before = _run(model, x)
    report = store_half(model)
    assert (report.halved, report.shared, report.inexact) == (halved, shared, ())
    assert report.bytes_after == kept * report.bytes_before
    assert [tensor.data_type for tensor in model.graph.initializer] == [TensorProto.FLOAT16]
    assert _run(model, x).tobytes() == before.tobytes()


@pytest.mark.parametrize("value", [1 / 3, 1e6, 1e-9], ids=["fraction", "too large", "too small"])
def test_inexact_weights_stay_as_they_are(value: float, caplog: pytest.LogCaptureFixture) -> None:
    w = _half((64, 64), 1)
    w[5, 5] = value
    model = _model({"w": w.copy()}, [helper.make_node("MatMul", ["x", "w"], ["y"])], 64)
    with caplog.at_level(logging.WARNING):
        report = store_half(model)
    assert report.inexact == ("w",)
    assert report.halved == 0
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), w)
    assert "not exactly float16" in caplog.text
    assert "round them when training ends" in caplog.text


def test_small_and_integer_tensors_are_left_alone() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["h"]),
        helper.make_node("Gather", ["h", "pick"], ["y"], axis=1),
    ]
    pick = np.arange(100, dtype=np.int64) % 8
    model = _model({"scale": np.full(8, 0.5, np.float32), "pick": pick}, nodes, 8)
    report = store_half(model)
    assert (report.halved, report.shared) == (0, 0)
    assert [tensor.data_type for tensor in model.graph.initializer] == [TensorProto.FLOAT, TensorProto.INT64]


def test_graphs_with_branches_are_refused() -> None:
    w = _half((32, 32), 1)
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [32, 32])],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["m"], then_branch=branch, else_branch=branch),
        helper.make_node("MatMul", ["x", "m"], ["y"]),
    ]
    model = _model({"w": w, "flag": np.array(True)}, nodes, 32)
    with pytest.raises(ValueError, match="subgraph"):
        store_half(model)
