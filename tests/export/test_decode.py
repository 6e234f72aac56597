"""The decode graph: what it is made of, its proof, and the models that it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from interleave_rt.export.families.qwen3_decode import decode_model, export_decode_graph
from interleave_rt.export.families.qwen3_vl import decoder_spec, decoder_trace
from interleave_rt.export.graph import export_graph
from interleave_rt.export.proof.invariance import decode_invariance
from interleave_rt.export.proof.sessions import DecoderRunner, open_session
from onnx import numpy_helper

from interleave_rt.errors import BadPackError

LENGTH = 40


@pytest.fixture(scope="module")
def model(tiny: Any) -> Any:
    return tiny.build_vlm(tiny.build_tokenizer(), seed=5, layers=1, vision_layers=1)


@pytest.fixture(scope="module")
def graphs(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decode") / "planner"
    with decoder_trace(model):
        export_graph(decoder_spec(model), folder / "decoder.onnx")
    export_decode_graph(model, folder / "decode_graph.onnx", LENGTH)
    return folder


def _runner(folder: Path, *, fused: bool) -> DecoderRunner:
    decode = open_session(folder / "decode_graph.onnx") if fused else None
    return DecoderRunner(open_session(folder / "decoder.onnx"), 2, LENGTH, decode)


def test_a_layer_has_few_nodes(model: Any) -> None:
    found = Counter(node.op_type for node in decode_model(model, LENGTH).graph.node)
    assert found["MatMul"] == 5  # qkv, out, gate and up, down; the head
    assert found["GroupQueryAttention"] == 1
    assert found["SkipSimplifiedLayerNormalization"] == 2


def test_both_graphs_say_the_same(graphs: Path) -> None:
    rng = np.random.default_rng(0)
    plain, fused = _runner(graphs, fused=False), _runner(graphs, fused=True)
    for step in range(8):
        rows = {row: (int(rng.integers(0, 900)), step) for row in range(2) if step % 3 or row == 0}
        one, other = plain.answer(rows), fused.answer(rows)
        for row in rows:
            np.testing.assert_allclose(other[row], one[row], rtol=0, atol=1e-4)
            assert other[row].argmax() == one[row].argmax()
    assert np.abs(one).max() > 0.1
    for row in range(2):
        for a, b in zip(plain.cache_of(row), fused.cache_of(row), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


def test_rows_do_not_depend_on_each_other(graphs: Path) -> None:
    found = decode_invariance(
        graphs / "decoder.onnx", graphs / "decode_graph.onnx", slots=3, length=LENGTH, seed=0
    )
    assert found.passed
    assert found.part == "planner/decode_graph"
    assert {"cache length", "ragged batch", "ragged batch, 2 threads"} <= set(found.kinds)


def test_a_graph_that_mixes_its_rows_is_found(graphs: Path, tmp_path: Path) -> None:
    """The longest row of the batch leaks into the logits of all."""
    made = onnx.load(graphs / "decode_graph.onnx")
    for node in made.graph.node:
        for place, name in enumerate(node.output):
            if name == "logits":
                node.output[place] = "logits.clean"
    made.graph.initializer.append(numpy_helper.from_array(np.float32(1e-3), "leak"))
    made.graph.node.extend(
        [
            onnx.helper.make_node("Cast", ["total_length"], ["total.float"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", ["total.float", "leak"], ["leaked"]),
            onnx.helper.make_node("Add", ["logits.clean", "leaked"], ["logits"]),
        ]
    )
    onnx.save(made, tmp_path / "decode_graph.onnx")
    found = decode_invariance(
        graphs / "decoder.onnx", tmp_path / "decode_graph.onnx", slots=3, length=LENGTH, seed=0
    )
    assert not found.passed
    assert found.first.startswith("ragged batch")


@pytest.mark.parametrize(
    ("change", "why"), [({"hidden_act": "gelu"}, "not silu"), ({"head_dim": 24}, "multiple of 16")]
)
def test_a_model_that_it_cannot_say_is_refused(
    model: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str
) -> None:
    for name, value in change.items():
        monkeypatch.setattr(model.config.text_config, name, value)
    with pytest.raises(BadPackError, match=why) as caught:
        decode_model(model, LENGTH)
    assert "without --decode-graph" in str(caught.value.hint)
