"""Graphs as TensorRT's strongly typed networks want them: every type is said in the graph.

Matrices are float16, or int8 and FP8 E4M3 between QuantizeLinear and DequantizeLinear. Norms, softmax and everything that
a sine or cosine is taken of stay float32: in float16 an angle of some hundred radians is wrong in its first digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from ..graph import save_graph
from ..proof.sessions import open_session
from ..storage import plain_weights

__all__ = ["CACHE", "EnginePrecision", "half", "quantise", "set_lengths", "unknown_operators"]

EnginePrecision = Literal["fp16", "int8", "fp8"]
CACHE = ("past_k.", "past_v.", "present_k.", "present_v.")
"""How the names of K/V caches begin. TensorRT updates a cache in place only where it is an input of its own type."""

_EXACT = ("RMSNormalization", "LayerNormalization", "GroupNormalization", "Softmax")
_ANGLES = ("Sin", "Cos")
_MATRICES = ("MatMul", "Gemm")
_KINDS: dict[str, tuple[Any, float]] = {
    "int8": (np.int8, 127.0),
    "fp8": (ml_dtypes.float8_e4m3fn, 448.0),
}
"""Element type and largest value."""
_NOT_INFERRED_FROM = 1024  # bytes of a weight
_SMALLEST = 2.0**-14  # scales are float16 in the end: none of them may be subnormal


def unknown_operators(model: onnx.ModelProto) -> list[str]:
    """Operators outside of ONNX's own set, which TensorRT's parser does not read."""
    return sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")})


def set_lengths(model: onnx.ModelProto, lengths: Mapping[str, int]) -> None:
    """Give symbolic sizes of inputs and outputs a number."""
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in lengths:
                size.dim_value = lengths[size.dim_param]


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in float16. Inputs and outputs stay as they are, but for K/V caches, which become float16."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    plain_weights(model)
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    model.graph.value_info.extend(  # the type inference of onnx stops at some of these
        helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
        for node in model.graph.node
        if node.op_type in _EXACT
    )
    made: onnx.ModelProto = convert_float_to_float16(
        _typed(model),  # which values are float32 must be known for all of them
        keep_io_types=[name for name in names if not name.startswith(CACHE)],
        disable_shape_infer=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_EXACT, *_ANGLES],
        node_block_list=_behind_angles(model),
    )
    made.graph.ClearField("value_info")
    _keep_exact(made, {node.name for node in model.graph.node})
    return made


def _typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the types that ONNX infers, which is told it without large weights: 2 GiB are the most it reads."""
    large = {
        tensor.name: tensor.raw_data
        for tensor in model.graph.initializer
        if len(tensor.raw_data) > _NOT_INFERRED_FROM
    }
    for tensor in model.graph.initializer:
        if tensor.name in large:
            tensor.ClearField("raw_data")
    made: onnx.ModelProto = shape_inference.infer_shapes(model)
    for tensor in made.graph.initializer:
        if tensor.name in large:
            tensor.raw_data = large[tensor.name]
    return made


def _keep_exact(model: onnx.ModelProto, known: set[str]) -> None:
    """Between two operators that stay float32 the converter goes by way of float16: what it rounds is read unrounded."""
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.name not in known]
    source = {node.output[0]: node.input[0] for node in casts}
    for node in casts:
        if node.attribute[0].i == onnx.TensorProto.FLOAT and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
    exact = {
        node.output[0]: source[node.output[0]]
        for node in casts
        if node.attribute[0].i == onnx.TensorProto.FLOAT and source[node.output[0]] != node.input[0]
    }
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = exact.get(name, name)


def quantise(
    model: onnx.ModelProto, feeds: Sequence[Mapping[str, Any]], precision: EnginePrecision, scratch: Path
) -> int:
    """Put QuantizeLinear and DequantizeLinear around every product with a constant matrix; returns their number.

    Activations have one scale for a tensor, from the largest values that `feeds` lead to, weights one a column.
    """
    plain_weights(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in _MATRICES and node.input[1] in weights]
    if not products:
        return 0
    kind, top = _KINDS[precision]
    largest = _largest(model, {node.input[0] for node in products}, feeds, scratch)
    made: list[onnx.TensorProto] = [numpy_helper.from_array(np.zeros((), kind), "quantised.zero")]
    before: dict[str, list[onnx.NodeProto]] = {}
    done: set[str] = set()
    for node in products:
        source, weight = node.input[:2]
        nodes = before.setdefault(node.output[0], [])
        if f"{source}.scale" not in done:
            scale = np.float32(max(largest[source] / top, _SMALLEST))
            made.append(numpy_helper.from_array(scale, f"{source}.scale"))
            numbers = [f"{source}.scale", "quantised.zero"]
            nodes += [
                helper.make_node("QuantizeLinear", [source, *numbers], [f"{source}.quantised"]),
                helper.make_node(
                    "DequantizeLinear", [f"{source}.quantised", *numbers], [f"{source}.rounded"]
                ),
            ]
        axis = 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
        stored = f"{weight}.quantised.{axis}"
        if stored not in done:
            values, scales = _rounded(numpy_helper.to_array(weights[weight]), axis, kind, top)
            zeros = np.zeros(scales.shape, kind)
            for name, array in (("", values), (".scale", scales), (".zero", zeros)):
                made.append(numpy_helper.from_array(array, stored + name))
            inputs = [stored, f"{stored}.scale", f"{stored}.zero"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{stored}.rounded"], axis=axis))
        done |= {f"{source}.scale", stored}
        node.input[0], node.input[1] = f"{source}.rounded", f"{stored}.rounded"
    nodes = [one for node in model.graph.node for one in (*before.get(node.output[0], []), node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *made])
    return len(products)


def _rounded(
    weight: npt.NDArray[Any], axis: int, kind: Any, top: float
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """A matrix in `kind`, and the scale of every row (axis 0) or column (1)."""
    whole = weight.astype(np.float32)
    scales = (
        np.maximum(np.abs(whole).max(axis=1 - axis) / top, _SMALLEST).astype(np.float16).astype(np.float32)
    )
    values = whole / (scales[:, None] if axis == 0 else scales)
    values = np.clip(np.rint(values) if kind is np.int8 else values, -top, top)
    return values.astype(kind), scales


def _largest(
    model: onnx.ModelProto, names: set[str], feeds: Sequence[Mapping[str, Any]], scratch: Path
) -> dict[str, float]:
    """The largest absolute values of these tensors in runs on the CPU."""
    told = onnx.ModelProto()
    told.CopyFrom(model)
    inputs = {value.name for value in model.graph.input}
    asked = sorted(names - inputs)
    known = {value.name for value in told.graph.output}
    told.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in asked
        if name not in known
    )
    save_graph(told, scratch / "calibration.onnx", check=False)
    session = open_session(scratch / "calibration.onnx")
    found = dict.fromkeys(names, 0.0)
    for feed in feeds:
        for name, value in zip(asked, session.run(asked, dict(feed)), strict=True):
            found[name] = max(found[name], float(np.abs(value).max(initial=0)))
        for name in names & inputs:
            found[name] = max(found[name], float(np.abs(feed[name]).max(initial=0)))
    return found


def _behind_angles(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that a sine or cosine depends on."""
    made_by = {out: node for node in model.graph.node for out in node.output}
    waiting = [node for node in model.graph.node if node.op_type in _ANGLES]
    found: dict[str, None] = {}
    while waiting:
        for name in waiting.pop().input:
            node = made_by.get(name)
            if node is not None and node.name not in found:
                found[node.name] = None
                waiting.append(node)
    return list(found)
