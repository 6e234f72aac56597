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

from .storage import DATA_SUFFIX, HalfReport, store_half

__all__ = [
    "DATA_SUFFIX",
    "GraphSpec",
    "export_graph",
    "op",
    "parameters",
    "save_graph",
    "strip_debug",
    "swapped",
    "trace",
]

log = logging.getLogger(__name__)

_MOST_INLINE = (1 << 31) - (64 << 20)  # bytes of weights; protobuf ends at 2 GiB


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """A module and the interface that its graph gets.

    `inputs`: name, an example, and the symbolic dimensions by axis, in the order of the arguments of
    `module.forward`; those from `variadic` on are its variadic ones.
    """

    module: nn.Module
    inputs: Sequence[tuple[str, Tensor, dict[int, str]]]
    outputs: Sequence[str]
    opset: int
    variadic: int | None = None


def op(opset: int, kind: str, *inputs: Tensor, **attributes: Any) -> Tensor:
    """A single node in a traced graph, with the dtype and the shape of its first input."""
    first = inputs[0]
    return torch.onnx.ops.symbolic(
        kind, inputs, attributes, dtype=first.dtype, shape=first.shape, version=opset
    )


def parameters(*modules: nn.Module) -> int:
    """How many numbers the weights of these modules are."""
    return sum(weight.numel() for module in modules for weight in module.parameters())


@contextlib.contextmanager
def swapped(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes and put back what was there, the difference between own and inherited included."""
    missing = object()
    before = {name: vars(owner).get(name, missing) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


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


def trace(spec: GraphSpec) -> torch.onnx.ONNXProgram:
    """What PyTorch's exporter makes of a module."""
    names, sample, dynamic = zip(*spec.inputs, strict=True)
    named, rest = dynamic[: spec.variadic], () if spec.variadic is None else (dynamic[spec.variadic :],)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            spec.module,
            sample,
            dynamo=True,
            dynamic_shapes=(*named, *rest),
            input_names=list(names),
            output_names=list(spec.outputs),
            opset_version=spec.opset,
            external_data=False,
            verbose=False,
            optimize=True,
        )
    if program is None:
        raise RuntimeError(f"[trace] the exporter returned nothing for {type(spec.module).__name__}")
    return program


def export_graph(spec: GraphSpec, path: Path, *, external: bool | None = None) -> HalfReport:
    """Write `spec` as an ONNX file with its weights stored as float16; returns what that storage did.

    `external` as in `save_graph`.
    """
    model = trace(spec).model_proto
    report = store_half(model)
    strip_debug(model)
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


def strip_debug(model: onnx.ModelProto) -> None:
    """Stack traces and shapes of inner values: paths of the exporting machine, and a third of a small file."""
    graph = model.graph
    for group in (graph, *model.functions):
        group.ClearField("value_info")
    nodes = [node for group in (graph, *model.functions) for node in group.node]
    for item in (model, graph, *model.functions, *nodes, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
