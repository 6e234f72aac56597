"""Graphs that are written node by node, with weights that go straight from a checkpoint into a file beside the graph.

Weights lie as the checkpoint has them, a row for an output: no product needs them transposed, and products that share
their input are one product over the rows of both. Of a matrix no more than a piece is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .checkpoint import Checkpoint, Floats
from .storage import BLOCK, FP8_BLOCK, fp8_codes

__all__ = [
    "FUSED",
    "GraphWriter",
    "Nodes",
    "Precision",
    "Table",
    "WeightFile",
    "exact",
    "head_precision",
    "stored_bytes",
]

Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4"]
"""How matrices are stored; arithmetic is float32, but for the products of int8 and int4, which round activations to int8."""

FUSED = "com.microsoft"
_OPSET = 24
_IR = 11  # what this opset belongs to
_ALIGNED = 4096  # so that a weight can be mapped by itself
_PLAIN = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_BITS = {"int8": 8, "int4": 4}
_ACCURACY = 4  # activations as int8, block by block of a row: the level that is batch-invariant


class WeightFile:
    """Weights one after another in a file beside a graph (ONNX external data)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(
        self, name: str, kind: int, shape: Sequence[int], pieces: Iterable[npt.NDArray[Any]]
    ) -> TensorProto:
        """Writes a tensor; `kind` is its ONNX type."""
        start = -(-self._file.tell() // _ALIGNED) * _ALIGNED
        self._file.seek(start)
        length = sum(self._file.write(np.ascontiguousarray(piece).data.cast("B")) for piece in pieces)
        tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self._path.name), ("offset", start), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Rows of one or more weights of a checkpoint, one below the other."""

    names: tuple[str, ...]
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Table:
    """A stored weight of `count` rows; `scales`: "" where it is not quantised."""

    name: str
    scales: str
    count: int
    columns: int


class Nodes:
    """Collects nodes and tensors. Methods return the name of what they made; `out` names a value and its node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}

    def op(self, kind: str, *inputs: str, out: str, domain: str = "", **attributes: Any) -> str:
        """A node with one result."""
        return self.many(kind, *inputs, out=[out], domain=domain, **attributes)[0]

    def many(
        self, kind: str, *inputs: str, out: Sequence[str], domain: str = "", **attributes: Any
    ) -> list[str]:
        """A node with several results; those that are called "" are not made."""
        node = helper.make_node(kind, list(inputs), list(out), out[0], domain=domain, **attributes)
        self.nodes.append(node)
        return list(out)

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """A tensor within the graph, made once."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def sizes(self, *sizes: int) -> str:
        """A list of numbers, e.g. a shape."""
        return self.constant("sizes." + ".".join(map(str, sizes)), np.array(sizes, np.int64))

    def model(
        self,
        name: str,
        inputs: Iterable[tuple[str, int, Sequence[Any]]],
        outputs: Iterable[tuple[str, int, Sequence[Any]]],
    ) -> onnx.ModelProto:
        """The graph; inputs and outputs as (name, ONNX type, shape)."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(*item) for item in inputs],
            [helper.make_tensor_value_info(*item) for item in outputs],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR)


class GraphWriter(Nodes):
    """Nodes with the weights of a checkpoint; matrices are named by the weights that they are."""

    def __init__(self, checkpoint: Checkpoint, weights: WeightFile) -> None:
        super().__init__()
        self._checkpoint, self._weights = checkpoint, weights

    def vector(self, *names: str) -> str:
        """Weights that are read as they are, one behind the other: a norm, biases."""
        return self.constant("+".join(names), np.concatenate([self._checkpoint.read(name) for name in names]))

    def rank(self, name: str) -> int:
        """Axes of a weight."""
        return len(self._checkpoint.tensors[name].shape)

    def declare(self, model: onnx.ModelProto) -> None:
        """Names ONNX Runtime's own operators among the operators of a graph."""
        if all(opset.domain != FUSED for opset in model.opset_import):
            model.opset_import.append(helper.make_opsetid(FUSED, 1))

    def linear(self, x: str, *names: str, out: str, precision: Precision) -> str:
        """X [..., columns] times the rows of these weights, [..., rows]."""
        if precision in _BITS:
            matrix = self._matrix(names)
            packed, scales = self._quantised(matrix, _BITS[precision], out=f"{out}.weight")
            return self.op(
                "MatMulNBits", x, packed, scales, out=out, domain=FUSED,
                K=matrix.columns, N=matrix.rows, bits=_BITS[precision], block_size=BLOCK, accuracy_level=_ACCURACY,
            )  # fmt: skip
        weight = (
            self._fp8(names, out=f"{out}.weight")
            if precision == "fp8"
            else self.plain(*names, out=f"{out}.weight", precision=precision)
        )
        return self.op("FusedMatMul", x, weight, out=out, domain=FUSED, transB=1)

    def plain(self, *names: str, out: str, precision: Precision) -> str:
        """Weights as a float32 tensor, stored as `precision` says: of one weight in its shape, of several by rows."""
        stored = self.stored(*names, out=out, precision=precision)
        return stored if stored == out else self.op("Cast", stored, out=out, to=TensorProto.FLOAT)

    def stored(self, *names: str, out: str, precision: Precision) -> str:
        """The same before its cast to float32."""
        matrix = self._matrix(names)
        shape = self._checkpoint.tensors[names[0]].shape if len(names) == 1 else (matrix.rows, matrix.columns)
        kind = _PLAIN[precision]
        name = out if precision == "fp32" else f"{out}.{precision}"
        pieces = (_encoded(piece, precision) for piece in self._pieces(matrix))
        self.initializers[name] = self._weights.append(name, kind, shape, pieces)
        return name

    def table(self, name: str, *, precision: Precision) -> Table:
        """A weight whose rows are read by their numbers, and which may be the last product as well: stored once."""
        if precision not in _BITS:
            return Table(self.stored(name, out=name, precision=precision), "", 0, 0)
        matrix = self._matrix((name,))
        packed, scales = self._quantised(matrix, 8, out=name)  # see `head_precision`
        return Table(packed, scales, matrix.rows, matrix.columns)

    def rows(self, table: Table, ids: str, *, out: str) -> str:
        """Rows of a table by their numbers, as float32: [..., columns] for ids [...]."""
        if not table.scales:
            found = self.op("Gather", table.name, ids, out=f"{out}.stored", axis=0)
            return self.op("Cast", found, out=out, to=TensorProto.FLOAT)
        flat = TensorProto()
        flat.CopyFrom(self.initializers[table.name])  # the same bytes by another shape
        flat.name = f"{table.name}.flat"
        del flat.dims[:]
        flat.dims.extend([table.count, -(-table.columns // BLOCK) * BLOCK])
        self.initializers[flat.name] = flat
        return self.op(
            "GatherBlockQuantized", flat.name, ids, table.scales, out=out, domain=FUSED,
            bits=8, block_size=BLOCK, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def times_table(self, x: str, table: Table, *, out: str) -> str:
        """X [n, columns] times all rows of a table, [n, rows]."""
        if not table.scales:
            whole = self.op("Cast", table.name, out=f"{table.name}.float", to=TensorProto.FLOAT)
            return self.op("Gemm", x, whole, out=out, transB=1)
        return self.op(
            "MatMulNBits", x, table.name, table.scales, out=out, domain=FUSED,
            K=table.columns, N=table.count, bits=8, block_size=BLOCK, accuracy_level=_ACCURACY,
        )  # fmt: skip

    def norm(self, x: str, name: str, *, out: str, epsilon: float) -> str:
        """RMS norm over the last axis."""
        return self.op("RMSNormalization", x, self.vector(name), out=out, axis=-1, epsilon=epsilon)

    def add_norm(
        self, x: str, skip: str, name: str, *, out: str, epsilon: float, keep: bool = True
    ) -> tuple[str, str]:
        """The norm of a sum, and the sum where it is kept."""
        out_sum = f"{out}.sum" if keep else ""
        self.many(
            "SkipSimplifiedLayerNormalization", x, skip, self.vector(name),
            out=[out, "", "", out_sum], domain=FUSED, epsilon=epsilon,
        )  # fmt: skip
        return out, out_sum

    def _matrix(self, names: Sequence[str]) -> _Matrix:
        shapes = [self._checkpoint.tensors[name].shape for name in names]
        columns = int(np.prod(shapes[0][1:]))
        return _Matrix(tuple(names), sum(shape[0] for shape in shapes), columns)

    def _pieces(self, matrix: _Matrix) -> Iterator[Floats]:
        for name in matrix.names:
            yield from self._checkpoint.pieces(name)

    def _fp8(self, names: Sequence[str], *, out: str) -> str:
        """Rows of weights as float32, stored as E4M3 with a scale for every block of a row."""
        matrix = self._matrix(names)
        scales: list[Floats] = []

        def codes() -> Iterator[npt.NDArray[Any]]:
            for piece in self._pieces(matrix):
                found, scale = fp8_codes(piece)
                scales.append(scale)
                yield found.view(np.uint8)

        shape = matrix.rows, matrix.columns
        stored, scaled = f"{out}.fp8", f"{out}.scales"
        self.initializers[stored] = self._weights.append(stored, TensorProto.FLOAT8E4M3FN, shape, codes())
        blocks = -(-matrix.columns // FP8_BLOCK)
        self.initializers[scaled] = self._weights.append(
            scaled, TensorProto.FLOAT, (matrix.rows, blocks), scales
        )
        return self.op("DequantizeLinear", stored, scaled, out=out, axis=1, block_size=FP8_BLOCK)

    def _quantised(self, matrix: _Matrix, bits: int, *, out: str) -> tuple[str, str]:
        scales: list[Floats] = []

        def packed() -> Iterator[npt.NDArray[np.uint8]]:
            for piece in self._pieces(matrix):
                codes, scale = _quantised(piece, bits)
                scales.append(scale)
                yield codes

        blocks = -(-matrix.columns // BLOCK)
        names = f"{out}.int{bits}", f"{out}.scales"
        shape = matrix.rows, blocks, BLOCK * bits // 8
        self.initializers[names[0]] = self._weights.append(names[0], TensorProto.UINT8, shape, packed())
        self.initializers[names[1]] = self._weights.append(
            names[1], TensorProto.FLOAT, (matrix.rows, blocks), scales
        )
        return names


def head_precision(precision: Precision) -> Precision:
    """Of embeddings, heads and vision, where errors count for more than bytes: 8 bits in int4 packs, 16 in those of fp8."""
    kept: dict[Precision, Precision] = {"int4": "int8", "fp8": "bf16"}
    return kept.get(precision, precision)


def exact(precision: Precision) -> Precision:
    """Of matrices that are read rather than multiplied: as they are in a checkpoint where products are quantised."""
    return "bf16" if precision in (*_BITS, "fp8") else precision


def stored_bytes(rows: int, columns: int, precision: Precision) -> int:
    """What a matrix takes in a file."""
    if precision in _BITS:
        blocks = -(-columns // BLOCK)
        return rows * blocks * (BLOCK * _BITS[precision] // 8 + 4)
    if precision == "fp8":
        return rows * (columns + -(-columns // FP8_BLOCK) * 4)
    return rows * columns * (4 if precision == "fp32" else 2)


def _encoded(piece: Floats, precision: Precision) -> npt.NDArray[Any]:
    if precision == "fp16":
        limit = np.finfo(np.float16).max  # a weight beyond it would be infinite
        return np.clip(piece, -limit, limit).astype(np.float16)
    if precision == "bf16":
        bits = piece.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to the nearest, ties to even
    return piece


def _quantised(piece: Floats, bits: int) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Codes [rows, blocks, bytes] and scales [rows, blocks] of blocks of a row: value = (code - zero) * scale.

    The value that is largest in size gets the code with the most room, 0, whatever its sign.
    """
    zero = 1 << (bits - 1)
    blocks = -(-piece.shape[1] // BLOCK)
    padded = np.pad(piece, ((0, 0), (0, blocks * BLOCK - piece.shape[1])))
    cut = padded.reshape(-1, blocks, BLOCK)
    largest = np.take_along_axis(cut, np.abs(cut).argmax(-1)[..., None], -1)
    scale = largest / np.float32(-zero)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    codes = np.clip(np.rint(cut * inverse) + zero, 0, 2 * zero - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[..., ::2] | codes[..., 1::2] << 4
    return codes, scale[..., 0]
