"""How weights are stored: once, as float16 behind a Cast, or as int8 or fp8 with a scale for every block of a column.

float16 is storage only: a tensor is touched only where every value of it is exactly a float16, so the graph computes the
same float32 numbers as before; ONNX Runtime folds the Cast when it loads the graph. int8 is ONNX Runtime's
`MatMulNBits`. At accuracy level 4 the operator rounds a row's activations to int8 as well, block by block and within
the row, so that a row's result does not depend on its batch. (At level 0 it does, and a scale for a whole tensor
always would.) fp8 (E4M3, behind a DequantizeLinear that is folded at load) is storage too: the products are float32's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

__all__ = [
    "BLOCK",
    "DATA_SUFFIX",
    "FP8_BLOCK",
    "HalfReport",
    "fp8_codes",
    "plain_weights",
    "quantise",
    "quantise_fp8",
    "store_half",
]

log = logging.getLogger(__name__)

# Smaller tensors stay as they are: tables and scalars computed by the exporter, and the Cast would cost more.
_MIN_ELEMENTS = 64
BLOCK = 32
"""int8 weights that share a scale."""
FP8_BLOCK = 128
"""fp8 weights that share a scale, as in checkpoints that are published in fp8."""
_FP8_MOST = 448  # the largest E4M3
DATA_SUFFIX = ".data"
"""Of the file beside a graph that holds its weights, where the graph does not."""
_BITS = 8
_ACCURACY = 4  # int8 activations, the level that is batch-invariant
# Above this a float32 tensor is worth a warning: it is a weight, not a table.
_WARN_ELEMENTS = 4096


@dataclass(frozen=True, slots=True)
class HalfReport:
    """What `store_half` did: tensors stored as float16, shared or left, and bytes before and after."""

    halved: int
    shared: int
    inexact: tuple[str, ...]
    bytes_before: int
    bytes_after: int


def store_half(model: onnx.ModelProto) -> HalfReport:
    """Rewrite the initializers of `model` in place: equal ones stored once, float32 ones as float16.

    A transposed copy (the output matrix of tied embeddings) becomes a Transpose of the first one, which is folded
    at load as well.
    """
    graph = model.graph
    before = sum(_nbytes(tensor) for tensor in graph.initializer)
    casts: list[onnx.NodeProto] = []
    kept: list[onnx.TensorProto] = []
    rename: dict[str, str] = {}
    seen: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    halved = 0
    inexact: list[str] = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size < _MIN_ELEMENTS:
            kept.append(tensor)
            continue
        if (twin := seen.get(_key(array))) is not None:
            rename[tensor.name] = twin
            continue
        if array.ndim == 2 and (twin := seen.get(_key(array.T))) is not None:
            casts.append(helper.make_node("Transpose", [twin], [tensor.name], perm=[1, 0]))
            continue
        seen[_key(array)] = tensor.name
        if array.dtype != np.float32:
            kept.append(tensor)
            continue
        half = _as_half(array)
        if half is None:
            kept.append(tensor)
            if array.size >= _WARN_ELEMENTS:
                inexact.append(tensor.name)
            continue
        halved += 1
        stored = f"{tensor.name}.half"
        kept.append(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [tensor.name], to=onnx.TensorProto.FLOAT))
    shared = len(graph.initializer) - len(kept)
    _rename_inputs(model, rename)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    if inexact:
        log.warning(
            "[store_half] %d weights are not exactly float16 and stay float32 (first: %s): round them when training ends",
            len(inexact),
            inexact[0],
        )
    return HalfReport(halved, shared, tuple(inexact), before, sum(_nbytes(tensor) for tensor in kept))


def _as_half(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float16] | None:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else None


def _key(array: npt.NDArray[np.generic]) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes()


def _nbytes(tensor: onnx.TensorProto) -> int:
    return int(numpy_helper.to_array(tensor).nbytes)


def _rename_inputs(model: onnx.ModelProto, rename: dict[str, str]) -> None:
    for node in model.graph.node:
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
            for attribute in node.attribute
        ):
            raise ValueError(
                f"[store_half] {node.name} has a subgraph: sharing weights would miss its inputs"
            )
        for position, name in enumerate(node.input):
            if name in rename:
                node.input[position] = rename[name]


def plain_weights(model: onnx.ModelProto) -> None:
    """Turn what `store_half` made of a weight (a Cast, a Transpose) back into a float32 one, as the quantiser wants it."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type not in ("Cast", "Transpose") or node.input[0] not in stored:
            kept.append(node)
            continue
        array = numpy_helper.to_array(stored[node.input[0]])
        array = array.astype(np.float32) if node.op_type == "Cast" else np.ascontiguousarray(array.T)
        stored[node.output[0]] = numpy_helper.from_array(array, node.output[0])
    used = {name for node in kept for name in node.input} | {item.name for item in model.graph.output}
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensor for name, tensor in stored.items() if name in used)


def quantise(model: onnx.ModelProto, block: int = BLOCK) -> tuple[onnx.ModelProto, int]:
    """The graph with its matrices as int8 and all other weights as float16 where exact; and how many matrices that are."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    plain_weights(model)
    logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)  # it tells of every node
    quantiser = MatMulNBitsQuantizer(
        model, bits=_BITS, block_size=block, is_symmetric=True, accuracy_level=_ACCURACY
    )
    quantiser.process()
    made: onnx.ModelProto = quantiser.model.model
    count: int = sum(bool(node.op_type == "MatMulNBits") for node in made.graph.node)
    if count:
        store_half(made)
    return made, count


def fp8_codes(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """E4M3 codes [n, columns] and scales [n, blocks] of rows [n, columns]: value = code * scale of its block of a row."""
    columns = rows.shape[1]
    blocks = -(-columns // FP8_BLOCK)
    cut = np.pad(rows, ((0, 0), (0, blocks * FP8_BLOCK - columns))).reshape(-1, blocks, FP8_BLOCK)
    scale = (np.abs(cut).max(-1) / np.float32(_FP8_MOST)).astype(np.float32)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > np.finfo(np.float32).tiny)
    codes = (cut * inverse[..., None]).astype(ml_dtypes.float8_e4m3fn)
    return codes.reshape(-1, blocks * FP8_BLOCK)[:, :columns], scale


def quantise_fp8(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """As `quantise`, with the matrices as fp8."""
    plain_weights(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    made: set[str] = set()
    for node in model.graph.node:
        name = node.input[1] if node.op_type == "MatMul" else ""
        if name in weights and len(weights[name].dims) == 2:
            if name not in made:
                made.add(name)
                codes, scales = fp8_codes(numpy_helper.to_array(weights[name]).T)
                stored = {f"{name}.codes": codes, f"{name}.scales": scales}
                model.graph.initializer.extend(
                    numpy_helper.from_array(np.ascontiguousarray(array.T), key)
                    for key, array in stored.items()
                )
                nodes.append(
                    helper.make_node(
                        "DequantizeLinear", [*stored], [f"{name}.fp8"], axis=0, block_size=FP8_BLOCK
                    )
                )
            node.input[1] = f"{name}.fp8"
        nodes.append(node)
    if not made:
        return model, 0
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    store_half(model)
    return model, len(made)
