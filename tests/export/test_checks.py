"""The proofs can fail: graphs that depend on their batch, their chunk or their threads are found out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from interleave_rt.export.families.flux2 import flow_sigmas
from interleave_rt.export.proof.checks import Comparison, Parity, all_passed
from interleave_rt.export.proof.invariance import batch_invariance, decoder_invariance, thread_invariance
from onnx import TensorProto, helper


def _save(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, list], outputs: dict[str, list]) -> Path:
    def info(name: str, shape: list) -> onnx.ValueInfoProto:
        whole = {"input_ids", "position_ids", "past_len", "last_index"}
        return helper.make_tensor_value_info(
            name, TensorProto.INT64 if name in whole else TensorProto.FLOAT, shape
        )

    graph = helper.make_graph(
        nodes, "test", [info(*item) for item in inputs.items()], [info(*item) for item in outputs.items()]
    )
    opset = [helper.make_opsetid("", 24)]
    path.parent.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=11), path)
    return path


_MIXED = [helper.make_node("ReduceMax", ["x"], ["m"]), helper.make_node("Sub", ["x", "m"], ["y"])]


@pytest.mark.parametrize(
    ("nodes", "passed"), [([helper.make_node("Relu", ["x"], ["y"])], True), (_MIXED, False)]
)
def test_a_graph_that_mixes_the_rows_of_a_batch_is_found(tmp_path: Path, nodes: list, passed: bool) -> None:
    path = _save(tmp_path / "generator" / "net.onnx", nodes, {"x": ["b", 4]}, {"y": ["b", 4]})
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    found = batch_invariance(path, [{"x": x}], slots=3)
    assert (found.passed, found.part) == (passed, "generator/net")
    assert found.compared == 2 * 3 * (1 + 2 + 3)  # threads x first rows x batch sizes
    assert passed or (found.largest > 0 and ("batch 2" in found.first or "batch 3" in found.first))
    assert thread_invariance(path, [{"x": x}]).passed


def _decoder(path: Path, logits_of: str) -> Path:
    """A one-layer stand-in with the interface of a decoder; `logits_of`: the value [b, s, 4] that they are taken from."""
    nodes = [
        helper.make_node("Constant", [], ["axis1"], value_ints=[1]),
        helper.make_node("Constant", [], ["keys"], value_ints=[0, 1, -1, 4]),
        helper.make_node("Reshape", ["visual_embeds", "keys"], ["chunk"]),
        helper.make_node("TensorScatter", ["past_k.0", "chunk", "past_len"], ["present_k.0"], axis=2),
        helper.make_node("TensorScatter", ["past_v.0", "chunk", "past_len"], ["present_v.0"], axis=2),
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["ids", "axis2"], ["column"]),
        helper.make_node("Constant", [], ["axis2"], value_ints=[2]),
        helper.make_node("Add", ["visual_embeds", "column"], ["rowwise"]),
        helper.make_node("ReduceSum", ["rowwise", "axis1"], ["total"], keepdims=1),
        helper.make_node("Add", ["rowwise", "total"], ["chunkwise"]),
        helper.make_node("Unsqueeze", ["last_index", "axis2"], ["where"]),
        helper.make_node("Constant", [], ["shape"], value_ints=[1, 1, 4]),
        helper.make_node("Expand", ["where", "shape"], ["index"]),
        helper.make_node("GatherElements", [logits_of, "index"], ["logits"], axis=1),
    ]
    order = {name: place for place, name in enumerate(["axis1", "axis2", "keys", "shape"])}
    nodes.sort(key=lambda node: order.get(node.output[0], 99))
    cache = ["b", 1, "L", 4]
    inputs = {
        "input_ids": ["b", "s"],
        "position_ids": [3, "b", "s"],
        "past_len": ["b"],
        "last_index": ["b", "k"],
        "visual_embeds": ["b", "s", 4],
        "past_k.0": cache,
        "past_v.0": cache,
    }
    return _save(path, nodes, inputs, {"logits": ["b", "k", 4], "present_k.0": cache, "present_v.0": cache})


@pytest.mark.parametrize(("source", "passed"), [("rowwise", True), ("chunkwise", False)])
def test_a_decoder_that_mixes_its_chunk_is_found(tmp_path: Path, source: str, passed: bool) -> None:
    path = _decoder(tmp_path / "planner" / "decoder.onnx", source)
    found = decoder_invariance(path, slots=3, chunk=4, length=40, image=1, seed=0)
    assert found.passed is passed
    assert found.compared > 20
    assert {"chunk size", "cache length", "ragged batch", "ragged batch, 2 threads"} <= set(found.kinds)
    if not passed:
        assert found.first.startswith("chunk size: chunk 1")


def test_a_nan_or_a_missing_value_is_no_match() -> None:
    tally = Comparison("part")
    tally.compare("kind", "case", [np.zeros(2, np.float32)], [np.array([0, np.nan], np.float32)])
    tally.compare("kind", "shape", [np.zeros(2, np.float32)], [np.zeros(3, np.float32)])
    assert tally.different == 2
    assert not Comparison("nothing").passed
    assert not Parity("part", "error", float("nan"), 1.0).passed
    assert not all_passed([Parity("part", "error", 0.5, 1.0), Parity("part", "error", 1.5, 1.0)])


@pytest.mark.parametrize(("steps", "tokens"), [(4, 9), (1, 9), (8, 1024), (28, 4096), (4, 6000)])
def test_sigmas_are_those_of_the_pipeline(steps: int, tokens: int) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential")
    mu = compute_empirical_mu(image_seq_len=tokens, num_steps=steps)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    ours = flow_sigmas(steps, tokens)
    assert ours.shape == (steps + 1,)
    np.testing.assert_allclose(ours, scheduler.sigmas.numpy(), rtol=2e-6, atol=0)
