"""Matrix weights as int8: ONNX Runtime's `MatMulNBits`, a scale for every block of a column.

At accuracy level 4 the operator rounds a row's activations to int8 as well, block by block and within the row, so that
a row's result does not depend on its batch. (At level 0 it does, and a scale for a whole tensor always would.)
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from .fp16_weights import store_half

__all__ = ["BLOCK", "store_int8"]

BLOCK = 32
"""Weights that share a scale."""
_BITS = 8
_ACCURACY = 4  # int8 activations, the level that is batch-invariant


def _with_plain_weights(model: onnx.ModelProto) -> None:
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


def store_int8(source: Path, target: Path, block: int = BLOCK) -> int:
    """Write the graph `source` to `target` with its matrices as int8; all other weights as float16 where exact.

    Returns how many matrices that are; where there is none, nothing is written.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(source)
    _with_plain_weights(model)
    logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)  # it tells of every node
    quantiser = MatMulNBitsQuantizer(
        model, bits=_BITS, block_size=block, is_symmetric=True, accuracy_level=_ACCURACY
    )
    quantiser.process()
    made: onnx.ModelProto = quantiser.model.model
    count: int = sum(bool(node.op_type == "MatMulNBits") for node in made.graph.node)
    if count:
        store_half(made)
        onnx.save(made, target)
    return count
