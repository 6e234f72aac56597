"""Batch invariance by a census of kernels: every distinct one of a graph is proved by itself, in minutes for any depth.

The graph is optimised as it will run, with zeros for weights that take no memory. Nodes with the same operator, attributes, types and
shapes run the same kernel: one of each is run with random weights over the allowed batches and chunks, and every row must keep its
bits. Where ONNX does not infer a shape, it is taken to follow from the nodes and constants up to `_DEPTH` nodes before. What copies, compares or computes with one rounding per element cannot depend on a neighbour. So rows that every node
keeps apart are kept apart by the graph. Numbers of tokens that are not tried, and caches longer than `_LONGEST`, are taken to
behave as those that are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    external_data_helper,
    helper,
    numpy_helper,
    shape_inference,
)

from ..graph import DATA_SUFFIX
from .checks import Comparison
from .invariance import THREADS
from .sessions import Floats, session_options

__all__ = ["Call", "Feed", "batch_census", "kernel_census", "node_kinds", "takes_census"]

Array = npt.NDArray[Any]
Call = tuple[int, int]
"""Rows of a call, and tokens of each."""
Feed = Callable[[int, int], Mapping[str, Array]]
"""Inputs of the graph for so many rows and tokens: integers as they would come, floats of any value."""

MOST_WHOLE = 1 << 30
"""Bytes of a graph and its weights up to which the whole graph is run for its proof."""

_LARGE = 1 << 16  # values of a weight that is not read
_LONGEST = 2048  # tokens of a cache that an attention is tried with
_PAST = 37  # tokens that lie in it before
_ZEROS = "zeros"
_SCALE = 0.02  # of random weights
_DEPTH = 4
_SIZES = 8  # integers that may be the sizes of a shape

# No rounding, or one for an element: no neighbour can change it.
_EXACT = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "ArgMax",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "CumSum",
        "Div",
        "DequantizeLinear",
        "Equal",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "NonZero",
        "Not",
        "Or",
        "Pad",
        "Range",
        "Relu",
        "ReorderInput",
        "ReorderOutput",
        "Reshape",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Sign",
        "Size",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tile",
        "TensorScatter",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
    ]
)


@dataclass(frozen=True, slots=True)
class _Axes:
    """Which axis of a tensor counts rows and which tokens; one axis may count both, rows first."""

    shape: tuple[int, ...]
    rows: int | None
    tokens: int | None

    def cut(self, value: Array, call: Call, rows: Sequence[int], first: int, tokens: int) -> Array:
        """These rows, and `tokens` of them from `first` on; `call`: how much of both the value holds."""
        if self.rows is not None and self.rows == self.tokens:
            each = value.shape[self.rows] // prod(call)
            block = value.reshape(*value.shape[: self.rows], *call, each, *value.shape[self.rows + 1 :])
            block = block.take(rows, self.rows).take(range(first, first + tokens), self.rows + 1)
            shape = (*value.shape[: self.rows], -1, *value.shape[self.rows + 1 :])
            return np.ascontiguousarray(block.reshape(shape))
        for axis, chosen, count in (
            (self.rows, rows, call[0]),
            (self.tokens, range(first, first + tokens), call[1]),
        ):
            if axis is not None:
                each = value.shape[axis] // count
                value = value.take([one * each + i for one in chosen for i in range(each)], axis)
        return np.ascontiguousarray(value)


def kernel_census(path: Path, feed: Feed, groups: Sequence[Sequence[Call]]) -> Comparison:
    """Whether every kernel of a graph gives a row the same bits in all calls of a group.

    Args:
        path: The graph; its weights are not read where they are large.
        feed: Inputs of the graph.
        groups: Calls whose rows must agree. The reference is one row with the most tokens of the group.

    A node that cannot be tried counts as different.
    """
    tally = Comparison.of(path, "kernels")
    with tempfile.TemporaryDirectory(prefix="census.") as scratch:
        model = _optimised(path, Path(scratch))
        kinds = node_kinds(model)
        probe = _cut_out(model, kinds)
        onnx.save(probe, Path(scratch) / "probe.onnx")
        session = _session(Path(scratch) / "probe.onnx", 1, optimise=False)
        chunks = max(tokens for group in groups for _, tokens in group) > 1
        few = [(2, 4), (3, 4), (2, 6)] if chunks else [(1, 1), (2, 1)][: max(rows for rows, _ in groups[0])]
        shapes = [(call, _shapes(session, feed, call)) for call in few]
        for group in groups:
            most = max(rows for rows, _ in group), max(tokens for _, tokens in group)
            values = _run(session, feed, most)
            for node in kinds:
                try:
                    axes = {
                        name: _axes(name, shapes)
                        for name in (*node.input, *node.output)
                        if name in shapes[0][1]
                    }
                    _Kernel(model, node, axes, values, most, Path(scratch)).prove(group, tally)
                except Exception as error:  # noqa: BLE001 (whatever stops a kernel, it is not proved)
                    tally.compared += 1
                    tally.different += 1
                    tally.first = tally.first or f"{node.op_type} {node.name} was not tried: {error}"
    return tally


def takes_census(path: Path) -> bool:
    """Whether a graph is so large that its kernels are proved, not the whole of it."""
    files = (path, path.with_name(path.name + DATA_SUFFIX))
    return sum(file.stat().st_size for file in files if file.is_file()) > MOST_WHOLE


def batch_census(
    path: Path, feed: Mapping[str, Array], *, slots: int, shared: Sequence[str] = ()
) -> Comparison:
    """`batch_invariance` by kernels: a graph without state, over batches of up to `slots` rows.

    `feed`: inputs with `slots` rows each, but for those in `shared`, which have no batch axis.
    """

    def rows_of(rows: int, _: int) -> dict[str, Array]:
        return {name: value if name in shared else value[:rows] for name, value in feed.items()}

    return kernel_census(path, rows_of, [[(rows, 1) for rows in range(1, slots + 1)]])


def node_kinds(model: ModelProto) -> list[NodeProto]:
    """One node of every distinct kernel whose arithmetic might depend on its neighbours.

    ONNX Runtime tells no shapes between nodes, and ONNX does not infer all of them. What fixes the others is compared: the
    constants and inputs of a node, and operators, attributes and constants of what it reads from, `_DEPTH` nodes far.
    """
    graph = model.graph
    shapes = {
        item.name: tuple(one.dim_value for one in item.type.tensor_type.shape.dim)
        for item in shape_inference.infer_shapes(model).graph.value_info
    }
    constants = {item.name: item for item in graph.initializer}
    given = {item.name: item.type.SerializeToString() for item in graph.input}
    maker = {name: (at, node) for node in graph.node for at, name in enumerate(node.output)}

    def told(name: str, depth: int) -> Any:
        if name in constants:
            item = constants[name]
            sizes = item.data_type == TensorProto.INT64 and prod(item.dims) <= _SIZES
            return item.data_type, *item.dims, _values(item) if sizes else ()
        if name not in maker:
            return given.get(name)
        at, node = maker[name]
        return (at, *kind(node, depth - 1)) if depth else None

    def kind(node: NodeProto, depth: int) -> tuple[Any, ...]:
        attributes = tuple(sorted(item.SerializeToString() for item in node.attribute))
        return node.domain, node.op_type, attributes, tuple(told(name, depth) for name in node.input)

    made = set(constants)
    found: dict[Any, NodeProto] = {}
    for node in graph.node:
        if all(name in made for name in node.input):
            made.update(node.output)  # of constants alone
        elif node.op_type not in _EXACT:
            found.setdefault((kind(node, _DEPTH), *map(shapes.get, node.input)), node)
    return list(found.values())


def _values(item: TensorProto) -> tuple[int, ...]:
    return tuple(numpy_helper.to_array(item).ravel().tolist())


def _optimised(path: Path, scratch: Path) -> ModelProto:
    """The graph as ONNX Runtime will run it. Large weights are a file of zeros without blocks on the disk."""
    model = onnx.load(path, load_external_data=False)
    size = 0
    large = {}
    for item in model.graph.initializer:
        if prod(item.dims) >= _LARGE:
            large[item.name] = item
            size = max(size, _hollow(item))
        elif external_data_helper.uses_external_data(item):
            external_data_helper.load_external_data_for_tensor(item, str(path.parent))
            item.data_location = TensorProto.DEFAULT
            del item.external_data[:]
    for node in list(model.graph.node):
        if node.op_type == "Cast" and node.input[0] in large:  # folded at load
            item = model.graph.initializer.add()
            item.CopyFrom(large[node.input[0]])
            item.name, item.data_type = node.output[0], node.attribute[0].i
            size = max(size, _hollow(item))
            model.graph.node.remove(node)
    with (scratch / _ZEROS).open("wb") as zeros:
        zeros.truncate(size)
    onnx.save(model, scratch / "hollow.onnx")
    _session(scratch / "hollow.onnx", 1, write=scratch / "optimised.onnx")
    return onnx.load(scratch / "optimised.onnx", load_external_data=False)


def _hollow(item: TensorProto) -> int:
    """Makes it zeros that lie outside; returns how many bytes of them."""
    bits = {TensorProto.INT4: 4, TensorProto.UINT4: 4}.get(item.data_type)
    width = helper.tensor_dtype_to_np_dtype(item.data_type).itemsize * 8 if bits is None else bits
    size: int = (prod(item.dims) * width + 7) // 8
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        item.ClearField(field)
    item.data_location = TensorProto.EXTERNAL
    del item.external_data[:]
    for key, value in (("location", _ZEROS), ("offset", "0"), ("length", str(size))):
        item.external_data.add(key=key, value=value)
    return size


def _session(path: Path, threads: int, *, optimise: bool = True, write: Path | None = None) -> Any:
    import onnxruntime

    options = session_options(threads)
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if write is not None or not optimise:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if write is not None:
        options.optimized_model_filepath = str(write)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _cut_out(model: ModelProto, kinds: Iterable[NodeProto]) -> ModelProto:
    """What the inputs and outputs of these nodes need, and nothing else; all of them are outputs."""
    graph = model.graph
    constants = {item.name for item in graph.initializer}
    given = {item.name for item in graph.input}
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output}
    told = dict.fromkeys(
        name
        for node in kinds
        for name in (*node.input, *node.output)
        if name and name not in constants and name not in given
    )
    needed, waiting = set(), [name for node in kinds for name in (*node.input, *node.output)]
    while waiting:
        index = maker.get(waiting.pop())
        if index is not None and index not in needed:
            needed.add(index)
            waiting += graph.node[index].input
    nodes = [node for index, node in enumerate(graph.node) if index in needed]
    used = {name for node in nodes for name in node.input}
    types = {item.name: item for item in (*graph.value_info, *graph.output)}
    outputs = [types.get(name) or helper.make_empty_tensor_value_info(name) for name in told]
    made = GraphProto(name="probe", output=outputs)
    made.input.extend(item for item in graph.input if item.name in used)
    weights = {item.name: item for item in graph.initializer}
    for node in nodes:
        made.node.extend(_stand_in(node, weights, made.initializer))
    used = {name for node in made.node for name in node.input}
    made.initializer.extend(item for item in graph.initializer if item.name in used)
    return ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=made)


def _stand_in(
    node: NodeProto, weights: Mapping[str, TensorProto], more: MutableSequence[TensorProto]
) -> list[NodeProto]:
    """What gives the shapes and, as weights and caches are zeros, the values of a node at little cost."""
    if node.op_type == "GroupQueryAttention" and node.input[1]:
        pairs = zip((node.input[0], *node.input[3:5]), node.output, strict=False)
        return [helper.make_node("Identity", [one], [other]) for one, other in pairs]
    attributes = {item.name: item.i for item in node.attribute}
    if node.op_type == "MatMulNBits":
        rows, columns, kind = attributes["K"], attributes["N"], weights[node.input[2]].data_type
    elif node.op_type == "MatMul" and len(weights.get(node.input[1], TensorProto()).dims) == 2:
        weight = weights[node.input[1]]
        (rows, columns), kind = weight.dims, weight.data_type
    else:
        return [node]
    name, dtype = node.output[0], helper.tensor_dtype_to_np_dtype(kind)
    for suffix, shape in (("column", (rows, 1)), ("row", (columns,))):
        more.append(numpy_helper.from_array(np.zeros(shape, dtype), f"{name}.{suffix}"))
    return [
        helper.make_node("MatMul", [node.input[0], f"{name}.column"], [f"{name}.one"]),
        helper.make_node("Mul", [f"{name}.one", f"{name}.row"], [name]),
    ]


def _run(session: Any, feed: Feed, call: Call) -> dict[str, Array]:
    """Every tensor of the probe."""
    wanted = {item.name for item in session.get_inputs()}
    given = {name: value for name, value in feed(*call).items() if name in wanted}
    names = [item.name for item in session.get_outputs()]
    return {**given, **dict(zip(names, session.run(names, given), strict=True))}


def _shapes(session: Any, feed: Feed, call: Call) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in _run(session, feed, call).items()}


def _axes(name: str, found: Sequence[tuple[Call, Mapping[str, tuple[int, ...]]]]) -> _Axes:
    """Read from how a shape changes with the call: the second has more rows, the third more tokens."""
    (call, shapes), *others = found
    shape = shapes[name]
    changed: list[int | None] = [None, None]
    for which, (other, theirs) in enumerate(others):
        for axis, size in enumerate(shape):
            if theirs[name][axis] != size:
                if theirs[name][axis] * call[which] != size * other[which] or changed[which] is not None:
                    raise ValueError(f"{name} {shape} does not grow with the call")
                changed[which] = axis
    return _Axes(shape, *changed)


class _Kernel:
    """One node with random weights, and values for its inputs."""

    def __init__(
        self,
        model: ModelProto,
        node: NodeProto,
        axes: Mapping[str, _Axes],
        values: Mapping[str, Array],
        most: Call,
        scratch: Path,
    ) -> None:
        self._node, self._axes, self._most = node, axes, most
        self._rng = rng = np.random.default_rng(0)
        initializers = {item.name: item for item in model.graph.initializer}
        names = [name for name in dict.fromkeys(node.input) if name]
        self._values = {
            name: rng.standard_normal(values[name].shape, np.float32).astype(values[name].dtype)
            if values[name].dtype.kind == "f"
            else values[name]
            for name in names
            if name not in initializers
        }
        self._outputs = [name for name in node.output if name]
        graph = GraphProto(name="kernel", node=[node])
        for name, value in self._values.items():
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, [None] * value.ndim))
        graph.output.extend(helper.make_empty_tensor_value_info(name) for name in self._outputs)
        file = scratch / "weights"
        with file.open("wb") as weights:
            for name in names:
                if name in initializers:
                    graph.initializer.append(_weight(initializers[name], rng, weights))
        self._path = scratch / "kernel.onnx"
        onnx.save(
            ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph), self._path
        )

    def prove(self, group: Sequence[Call], tally: Comparison) -> None:
        """Every call of the group against the rows alone, on one thread and on two."""
        attention = self._node.op_type == "GroupQueryAttention"
        go = self._attend if attention else self._compute
        alone = _session(self._path, THREADS[0])
        rows, tokens = self._most
        expected = [go(alone, [row], 0, tokens, tokens) for row in range(rows)]
        sizes = " ".join("x".join(map(str, value.shape)) for value in self._values.values())
        for threads in THREADS:
            session = _session(self._path, threads)
            suffix = "" if threads == 1 else f", {threads} threads"
            for count, chunk in group:
                chosen = [int(row) for row in self._rng.permutation(rows)[:count]]
                first = 0 if attention else int(self._rng.integers(0, tokens - chunk + 1))
                stop = tokens // chunk * chunk if attention else chunk
                found = go(session, chosen, first, stop, chunk)
                for place, row in enumerate(chosen):
                    wanted = [self._part(item, (1, tokens), [0], first, stop) for item in expected[row]]
                    got = [self._part(item, (count, stop), [place], 0, stop) for item in found]
                    case = f"{self._node.name} {sizes}: {count} rows of {chunk} tokens, place {place}"
                    tally.compare(
                        f"{self._node.op_type}{suffix}", case, [v for _, v in wanted], [v for _, v in got]
                    )

    def _part(
        self, item: tuple[str, Array], call: Call, rows: Sequence[int], first: int, tokens: int
    ) -> tuple[str, Array]:
        name, value = item
        return name, self._axes[name].cut(value, call, rows, first, tokens)

    def _compute(
        self, session: Any, rows: Sequence[int], first: int, tokens: int, _: int
    ) -> list[tuple[str, Floats]]:
        feed = {
            name: self._axes[name].cut(value, self._most, rows, first, tokens)
            for name, value in self._values.items()
        }
        return list(zip(self._outputs, session.run(self._outputs, feed), strict=True))

    def _attend(
        self, session: Any, rows: Sequence[int], _: int, tokens: int, chunk: int
    ) -> list[tuple[str, Floats]]:
        """Tokens `chunk` by `chunk` behind a past, which grows; pasts of several rows differ."""
        names = self._node.input
        shape = list(self._values[names[3]].shape)
        shape[2] = min(shape[2], _LONGEST)
        rng = np.random.default_rng(1)
        cache = {
            name: rng.standard_normal((self._most[0], *shape[1:]), np.float32)[list(rows)]
            for name in names[3:5]
        }
        past = np.array([_PAST * (1 + row) for row in rows])
        pieces = []
        for start in range(0, tokens, chunk):
            feed = {
                name: self._axes[name].cut(value, self._most, rows, start, chunk)
                for name, value in self._values.items()
            }
            lengths = past + start + chunk
            feed |= cache | {
                names[5]: (lengths - 1).astype(np.int32),
                names[6]: np.array(lengths.max(), np.int32),
            }
            out, *present = session.run(self._outputs[:3], feed)
            cache = dict(zip(names[3:5], present, strict=True))
            pieces.append(out)
        return [(self._outputs[0], np.concatenate(pieces, 1))]


def _weight(item: TensorProto, rng: np.random.Generator, file: Any) -> TensorProto:
    """A small one as it is; of a large one type and shape, with random values in the file."""
    if not external_data_helper.uses_external_data(item):
        return item
    dtype = helper.tensor_dtype_to_np_dtype(item.data_type)
    made = TensorProto()
    made.CopyFrom(item)
    size = _hollow(made)
    if dtype.kind in "fV" and dtype.itemsize > 1:
        some = (rng.standard_normal(1 << 20, np.float32) * _SCALE).astype(dtype).tobytes()
    else:
        some = rng.integers(0, 256, 1 << 20, np.uint8).tobytes()
    del made.external_data[:]
    offset = (file.tell() + 4095) // 4096 * 4096
    file.seek(offset)
    for at in range(0, size, len(some)):
        file.write(some[: size - at])
    for key, value in (("location", Path(file.name).name), ("offset", str(offset)), ("length", str(size))):
        made.external_data.add(key=key, value=value)
    return made
