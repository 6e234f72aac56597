"""Traced graphs of modules that are never loaded: the exporter sees shapes, the weights go from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir
import torch
from torch import nn

from .checkpoint import Checkpoint
from .graph import DATA_SUFFIX, GraphSpec, strip_debug, trace
from .written import GraphWriter, Precision, WeightFile, exact, is_quantised

__all__ = ["export_hollow", "fill_hollow"]


def fill_hollow(module: nn.Module) -> None:
    """Gives a module on the device `meta` weights that take no memory: one number for all places of a weight.

    The numbers differ and are not neutral: the exporter takes equal weights for one, and drops those that do nothing.
    """
    for number, (name, weight) in enumerate(list(module.named_parameters())):
        owner, _, leaf = name.rpartition(".")
        value = torch.tensor(1.5 + number / 4096).expand(weight.shape)
        setattr(module.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))


def export_hollow(
    spec: GraphSpec, path: Path, checkpoint: Checkpoint, names: Mapping[str, str], precision: Precision
) -> None:
    """Writes the graph of a module with hollow weights, and the checkpoint's beside it.

    Args:
        spec: The module and its interface.
        path: Where to.
        checkpoint: Whose weights.
        names: What the checkpoint calls each parameter of the module.
        precision: Of the matrices; where that is int8, of those that are multiplied, others as bfloat16.
    """
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
        _fill_in(model, GraphWriter(checkpoint, weights), names, precision)
    onnx.save(model, path)


def _fill_in(
    model: onnx.ModelProto, writer: GraphWriter, names: Mapping[str, str], precision: Precision
) -> None:
    """Puts the checkpoint's weights into the graph, in the order of the nodes that read them."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in names]
    given: dict[str, str] = {}

    def weight(name: str, *, vector: bool) -> str:
        if name in names and name not in given:
            source = names[name]
            given[name] = (
                writer.vector(source)
                if vector
                else writer.plain(source, out=name, precision=exact(precision))
            )
        return given.get(name, name)

    for node in model.graph.node:
        product = node.op_type == "Gemm" and node.input[1] in names
        if product and is_quantised(precision):
            if [attribute.i for attribute in node.attribute if attribute.name == "transB"] != [1]:
                raise RuntimeError(f"[export_hollow] {node.name} does not read its weight row by row")
            bias = weight(node.input[2], vector=True) if len(node.input) > 2 else None
            writer.linear(
                node.input[0], names[node.input[1]], out=node.output[0], precision=precision, bias=bias
            )
            continue
        for place, name in enumerate(node.input):
            if name in names:
                node.input[place] = weight(name, vector=writer.rank(names[name]) < 2)
        writer.nodes.append(node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(writer.nodes)
    model.graph.initializer.extend([*kept, *writer.initializers.values()])
    writer.declare(model)
