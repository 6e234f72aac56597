"""From a traced module to an ONNX file: one place that calls PyTorch's exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from .storage import HalfReport, store_half

__all__ = ["DATA_SUFFIX", "GraphSpec", "export_graph", "save_graph"]

log = logging.getLogger(__name__)

DATA_SUFFIX = ".data"
"""Of the file beside a graph that holds its weights, where the graph does not."""
_MOST_INLINE = (1 << 31) - (64 << 20)  # bytes of weights; protobuf ends at 2 GiB


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """A module and the interface that its graph gets.

    `dynamic` has one entry per positional argument of `module.forward`: a dictionary from axis to the name of
    the symbolic dimension (a tuple of such dictionaries where the argument is variadic).
    """

    module: nn.Module
    sample: tuple[Tensor, ...]
    inputs: Sequence[str]
    outputs: Sequence[str]
    dynamic: tuple[Any, ...]
    opset: int


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks about its own internals; what goes wrong is raised anyway."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def export_graph(spec: GraphSpec, path: Path, *, external: bool | None = None) -> HalfReport:
    """Write `spec` as an ONNX file with its weights stored as float16; returns what that storage did.

    `external` as in `save_graph`.
    """
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            spec.module,
            spec.sample,
            dynamo=True,
            dynamic_shapes=spec.dynamic,
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            opset_version=spec.opset,
            external_data=False,
            verbose=False,
            optimize=True,
        )
    if program is None:
        raise RuntimeError(f"[export_graph] the exporter returned nothing for {path.name}")
    model = program.model_proto
    report = store_half(model)
    _strip_debug(model)
    save_graph(model, path, external=external)
    log.info("wrote %s: %d bytes, opset %d", path.name, path.stat().st_size, spec.opset)
    return report


def save_graph(
    model: onnx.ModelProto, path: Path, *, external: bool | None = None, check: bool = True
) -> None:
    """Write a graph.

    Args:
        model: The graph; weights that go to a file of their own are taken out of it.
        path: Where to.
        external: Weights in a file beside it (`DATA_SUFFIX`); None: where protobuf's limit of 2 GiB asks for it.
        check: By the rules of ONNX.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if external is None:
        external = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _MOST_INLINE
    if not external:
        if check:
            onnx.checker.check_model(model)
        onnx.save(model, path)
        return
    data = path.with_name(path.name + DATA_SUFFIX)
    data.unlink(missing_ok=True)  # else it would be appended to
    onnx.save_model(model, path, save_as_external_data=True, location=data.name, size_threshold=1024)
    if check:
        onnx.checker.check_model(str(path))


def _strip_debug(model: onnx.ModelProto) -> None:
    """Stack traces and shapes of inner values: paths of the exporting machine, and a third of a small file."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    graph = model.graph
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for function in model.functions:
        function.ClearField("metadata_props")
        function.ClearField("value_info")
        for node in function.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
