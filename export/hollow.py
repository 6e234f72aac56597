"""Traced graphs of modules that are never loaded: the exporter sees shapes, the weights go from file to file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import onnx_ir
import torch
from onnxscript import rewriter
from torch import Tensor, nn

from .checkpoint import Checkpoint
from .graph import DATA_SUFFIX, GraphSpec, strip_debug, swapped, trace
from .written import FUSED, GraphWriter, Precision, WeightFile, exact

__all__ = ["export_hollow", "fill_hollow"]

_PRODUCT = "FusedMatMul"


def fill_hollow(module: nn.Module) -> None:
    """Gives a module on the device `meta` weights that take no memory: one number for all places of a weight.

    The numbers differ and are not neutral: the exporter takes equal weights for one, and drops those that do nothing.
    """
    for number, (name, weight) in enumerate(list(module.named_parameters())):
        owner, _, leaf = name.rpartition(".")
        value = torch.tensor(1.5 + number / 4096).expand(weight.shape)
        setattr(module.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))


def export_hollow(
    spec: GraphSpec,
    path: Path,
    checkpoint: Checkpoint,
    names: Mapping[str, str],
    stored_as: Callable[[str], Precision],
) -> None:
    """Writes the graph of a module with hollow weights, and the checkpoint's beside it.

    Args:
        spec: The module and its interface.
        path: Where to.
        checkpoint: Whose weights.
        names: What the checkpoint calls each parameter of the module.
        stored_as: Precision of a weight, by the checkpoint's name; where that is fp8, int8 or int4, of matrices that are
            multiplied, others as bfloat16.
    """
    # This rule of the exporter's looks at the whole graph for every node of it: minutes, where there are many layers.
    rules = tuple(rule for rule in rewriter._DEFAULT_REWRITE_RULES if rule.name != "SlicesSplit")
    with swapped(nn.Linear, forward=_product), swapped(rewriter, _DEFAULT_REWRITE_RULES=rules):
        traced = trace(spec).model
    graph = traced.graph
    lost = sorted(set(names) - set(graph.initializers))
    if lost:
        raise RuntimeError(f"[export_hollow] the exporter has changed or dropped weights, e.g. {lost[0]}")
    for name in names:
        value = graph.initializers[name]
        value.const_value = onnx_ir.ExternalTensor(
            "none", 0, 0, onnx_ir.DataType.FLOAT, shape=onnx_ir.Shape(value.shape or ()), name=name
        )
    model = onnx_ir.to_proto(traced)
    strip_debug(model)
    with WeightFile(path.with_name(path.name + DATA_SUFFIX)) as weights:
        _fill_in(model, GraphWriter(checkpoint, weights), names, stored_as)
    onnx.save(model, path)


def _product(layer: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer that reads its weight row by row, as it lies: a transposed one would be a copy of it."""
    shape = (*x.shape[:-1], layer.out_features)
    product: Tensor = torch.onnx.ops.symbolic(
        f"{FUSED}::{_PRODUCT}", (x, layer.weight), {"transB": 1}, dtype=x.dtype, shape=shape, version=1
    )
    return product if layer.bias is None else product + layer.bias


def _fill_in(
    model: onnx.ModelProto,
    writer: GraphWriter,
    names: Mapping[str, str],
    stored_as: Callable[[str], Precision],
) -> None:
    """Puts the checkpoint's weights into the graph, in the order of the nodes that read them."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in names]
    given: dict[str, str] = {}

    def weight(name: str) -> str:
        if name not in given:
            source = names[name]
            given[name] = (
                writer.vector(source)
                if writer.rank(source) < 2
                else writer.plain(source, out=name, precision=exact(stored_as(source)))
            )
        return given[name]

    for node in model.graph.node:
        if node.op_type == _PRODUCT and node.input[1] in names:
            source = names[node.input[1]]
            writer.linear(node.input[0], source, out=node.output[0], precision=stored_as(source))
            continue
        for place, name in enumerate(node.input):
            if name in names:
                node.input[place] = weight(name)
        writer.nodes.append(node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(writer.nodes)
    model.graph.initializer.extend([*kept, *writer.initializers.values()])
    writer.declare(model)
