"""The census of kernels: it says of a graph what the proof on the whole graph says, and finds what is known to be wrong."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from interleave_rt.export.families.flux2 import _feeds
from interleave_rt.export.proof.census import _stand_in, batch_census, kernel_census, node_kinds
from interleave_rt.export.proof.invariance import batch_invariance
from interleave_rt.export.proof.sessions import open_session
from onnx import TensorProto, helper, numpy_helper

from interleave_rt.pack import EMBEDDED
from interleave_rt.pack.manifest import load_manifest

HIDDEN = 256


def save(path: Path, nodes: list[Any], weights: dict[str, Any], inputs: dict[str, Any]) -> Path:
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", floats, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    domains = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=10), path)
    return path


def quantised(path: Path, bits: int, block: int) -> Path:
    """x [b, s, 256] times an int4 or int8 matrix."""
    rng = np.random.default_rng(1)
    packed = rng.integers(0, 256, (512, HIDDEN // block, block * bits // 8), np.uint8)
    scales = rng.random((512, HIDDEN // block), np.float32)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "scales"],
        ["y"],
        domain="com.microsoft",
        K=HIDDEN,
        N=512,
        bits=bits,
        block_size=block,
        accuracy_level=4,
    )
    return save(path, [node], {"w": packed, "scales": scales}, {"x": ["b", "s", HIDDEN]})


def tokens(rows: int, chunk: int) -> dict[str, Any]:
    return {"x": np.zeros((rows, chunk, HIDDEN), np.float32)}


def decoder_feed(path: Path) -> Any:
    """Inputs of a traced decoder: random tokens behind a past, in caches of 192."""
    shapes = {
        item.name: [one.dim_value for one in item.type.tensor_type.shape.dim]
        for item in onnx.load(path, load_external_data=False).graph.input
    }
    hidden = shapes["visual_embeds"][2]

    def feed(rows: int, chunk: int) -> dict[str, Any]:
        caches = {
            name: (rows, shape[1], 192, shape[3])
            for name, shape in shapes.items()
            if name.startswith(("past_k", "past_v"))
        }
        floats = {
            "visual_embeds": (rows, chunk, hidden),
            "deepstack": (shapes["deepstack"][0], rows, chunk, hidden),
        }
        return {name: np.zeros(shape, np.float32) for name, shape in {**caches, **floats}.items()} | {
            "input_ids": np.random.default_rng(2).integers(0, 50, (rows, chunk)),
            "position_ids": np.tile(np.arange(chunk), (3, rows, 1)),
            "past_len": np.arange(rows) * 9,
            "last_index": np.tile(np.arange(chunk), (rows, 1)),
        }

    return feed


@pytest.mark.parametrize("part", ["planner", "critic"])
def test_it_agrees_with_the_proof_of_the_embedded_decoders(part: str) -> None:
    role = getattr(load_manifest(EMBEDDED).roles, part)
    path = EMBEDDED / role.parts["decoder"].file
    sizes = [
        (1, 64),
        *((1, chunk) for chunk in (1, 2, 3, 8, 31, 63)),
        *((rows, s) for rows in (2, 5, 8) for s in (1, 3, 64)),
    ]
    found = kernel_census(path, decoder_feed(path), [sizes])
    assert found.passed is role.parts["decoder"].batch_invariant, found.first
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "MatMul"]
    assert (
        0 < found.kinds["MatMul"] / sum(rows for rows, _ in sizes) <= len(nodes) / 2
    )  # layers are told once


def test_it_agrees_with_the_proof_of_the_embedded_generator() -> None:
    role = load_manifest(EMBEDDED).roles.generator
    for part, feeds in _feeds(role, 0).items():
        shared = ("img_ids", "txt_ids") if part == "transformer" else ()
        found = batch_census(EMBEDDED / role.parts[part].file, feeds[-1], slots=role.slots, shared=shared)
        assert found.passed is role.parts[part].batch_invariant, found.first


ONE_ROW = [(1, 16), (1, 1), (8, 1)]
ODD = [(1, 16), (1, 3), (1, 7)]
EVEN = [(1, 16), (1, 2), (1, 8)]


@pytest.mark.parametrize("calls", [ONE_ROW, ODD, EVEN], ids=["one row", "odd", "even"])
@pytest.mark.parametrize(("bits", "block"), [(4, 32), (8, 32), (4, 128), (8, 128)])
def test_blocks_of_quantised_matrices(tmp_path: Path, bits: int, block: int, calls: Any) -> None:
    """What the kernels do depends on the processor: with AVX-512, blocks of 128 fail for one row and for odd numbers
    of rows, with AVX2 alone 4 bits fail for one row. Even numbers of rows pass on both."""
    path = quantised(tmp_path / "graph.onnx", bits, block)
    session = open_session(path)
    x = np.random.default_rng(6).standard_normal((8, 16, HIDDEN), np.float32)
    (alone,) = zip(*(session.run(None, {"x": row[None]}) for row in x), strict=True)
    passes = all(
        np.array_equal(session.run(None, {"x": x[:rows, :chunk]})[0][row], alone[row][0, :chunk])
        for rows, chunk in calls
        for row in range(rows)
    )
    assert passes or calls is not EVEN
    found = kernel_census(path, tokens, [calls])
    assert found.passed is passes, found.first


def test_products_of_one_row_round_otherwise(tmp_path: Path) -> None:
    """Without weights that are packed, ONNX Runtime takes another kernel for one row."""
    node = helper.make_node("MatMul", ["x", "z"], ["y"])
    path = save(tmp_path / "graph.onnx", [node], {}, {"x": ["b", "s", HIDDEN], "z": ["b", HIDDEN, 96]})

    def feed(rows: int, chunk: int) -> dict[str, Any]:
        return tokens(rows, chunk) | {"z": np.zeros((rows, HIDDEN, 96), np.float32)}

    found = kernel_census(path, feed, [ONE_ROW])
    assert not found.passed
    assert found.first.startswith("MatMul: ")
    assert "1 rows of 1 tokens" in found.first


def test_a_scale_over_the_batch_is_found_by_both_proofs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    path = save(tmp_path / "graph.onnx", nodes, {}, {"x": ["b", HIDDEN]})
    feed = {"x": np.random.default_rng(3).standard_normal((4, HIDDEN), np.float32)}
    assert not batch_invariance(path, [feed], slots=4).passed
    assert not batch_census(path, feed, slots=4).passed


def test_what_cannot_be_tried_is_not_passed(tmp_path: Path) -> None:
    """Rows that are folded into one: no axis of the output counts them."""
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    path = save(tmp_path / "graph.onnx", nodes, {}, {"x": ["b", HIDDEN]})
    feed = {"x": np.ones((4, HIDDEN), np.float32)}
    assert not batch_census(path, feed, slots=4).passed


def test_rows_beside_constant_ones_cannot_be_tried(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Concat", ["x", "more"], ["all"], axis=0),
        helper.make_node("Softmax", ["all"], ["y"]),
    ]
    weights = {"more": np.zeros((2, HIDDEN), np.float32)}
    path = save(tmp_path / "graph.onnx", nodes, weights, {"x": ["b", HIDDEN]})
    found = batch_census(path, {"x": np.ones((4, HIDDEN), np.float32)}, slots=4)
    assert not found.passed
    assert "does not grow with the call" in found.first


def test_equal_layers_are_one_kernel(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    weights = {f"w{layer}": rng.standard_normal((HIDDEN, HIDDEN), np.float32) for layer in range(40)}
    weights["wide"] = rng.standard_normal((HIDDEN, 300), np.float32)
    names = ["x", *(f"x{layer}" for layer in range(40)), "y"]
    nodes = [
        helper.make_node("MatMul", [names[at], name], [names[at + 1]]) for at, name in enumerate(weights)
    ]
    path = save(tmp_path / "graph.onnx", nodes, weights, {"x": ["b", HIDDEN]})
    assert (
        len(node_kinds(onnx.load(path))) < 8
    )  # the first ones can be told by the input, the last by its width
    assert batch_census(path, {"x": np.ones((3, HIDDEN), np.float32)}, slots=3).passed


def test_another_width_is_another_kernel_however_far_its_source(tmp_path: Path) -> None:
    nodes = []
    for name in ("x", "z"):
        chain = [f"{name}{at}" if at else name for at in range(6)]
        nodes += [helper.make_node("Relu", [one], [other]) for one, other in pairwise(chain)]
        nodes.append(helper.make_node("Softmax", [chain[-1]], [f"{name}.soft"]))
    nodes.append(helper.make_node("Concat", ["x.soft", "z.soft"], ["y"], axis=1))
    path = save(tmp_path / "graph.onnx", nodes, {}, {"x": ["b", 64], "z": ["b", 300]})
    assert [node.input[0] for node in node_kinds(onnx.load(path))] == ["x5", "z5"]


def test_what_stands_in_for_a_costly_node_has_its_shapes_and_values(tmp_path: Path) -> None:
    """Of weights and caches that are zeros, as they are while shapes are looked for."""
    rng = np.random.default_rng(5)
    weights = {
        "w": np.zeros((256, 512), np.float32),
        "packed": rng.integers(0, 256, (128, 8, 32), np.uint8),
        "scales": np.zeros((128, 8), np.float32),
    }
    heads = {"num_heads": 4, "kv_num_heads": 2}
    fused = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["wide"]),
        helper.make_node(
            "MatMulNBits", ["x", "packed", "scales"], ["key"], K=256, N=128, bits=8, block_size=32, **fused
        ),
        helper.make_node(
            "GroupQueryAttention",
            ["zeros", "key", "key", "past_k", "past_v", "lasts", "longest"],
            ["attended", "present_k", "present_v"],
            **heads,
            **fused,
        ),
        helper.make_node("MatMul", ["x", "turned"], ["made"]),  # of two inputs: runs as it is
    ]
    shapes = {"x": (2, 1, 256), "zeros": (2, 1, 256), "past_k": (2, 2, 16, 64), "past_v": (2, 2, 16, 64)}
    feed = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name != "x"} | {
        "x": rng.standard_normal(shapes["x"], np.float32),
        "turned": rng.standard_normal((2, 256, 3), np.float32),
        "lasts": np.array([3, 7], np.int32),
        "longest": np.array(8, np.int32),
    }
    stored = {name: numpy_helper.from_array(value, name) for name, value in weights.items()}
    outputs = [name for node in nodes for name in node.output]

    def run(nodes: Any, initializers: Any, file: str) -> dict[str, Any]:
        graph = helper.make_graph(
            nodes,
            "small",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                for name, value in feed.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            initializers,
        )
        domains = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=10), tmp_path / file)
        return dict(zip(outputs, open_session(tmp_path / file).run(outputs, feed), strict=True))

    more: list[Any] = []
    instead = [made for node in nodes for made in _stand_in(node, stored, more)]
    assert {node.op_type for node in instead} == {"MatMul", "Mul", "Identity"}
    assert instead[-1] is nodes[-1]
    expected = run(nodes, list(stored.values()), "whole.onnx")
    found = run(instead, more, "instead.onnx")
    assert {name: value.dtype for name, value in found.items()} == {
        name: value.dtype for name, value in expected.items()
    }
    assert all(np.array_equal(found[name], expected[name]) for name in outputs)
