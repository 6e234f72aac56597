"""Writes the tiny deterministic ONNX graphs that the native runtime's tests run, and references.

    python tests/cpp/models/make_graphs.py OUT_DIR

`decoder.onnx` keeps the decoder contract of export/README.md: a Qwen-like decoder with grouped
queries, m-rope, deepstack and an in-place cache, random weights from a fixed seed; `decode.onnx` is its
graph for one-token steps. The embedding of
token POISON is not a number, so that tests can make a sequence fail. `decoder_reference.txt`: greedy
answers by the slow way, the whole sequence again for every token, with Python's onnxruntime.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from make_image_graphs import write_image_graphs
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SEED = 20260214
VOCAB = 96
HIDDEN = 32
LAYERS = 2
HEADS = 4
KV_HEADS = 2
HEAD_DIM = 16
DEEPSTACK = 1
IMAGE_TOKEN = 90
POISON = 95
# Which axis (time, height, width) drives each rotary frequency.
ROPE_AXES = (0, 1, 2, 0, 1, 2, 0, 0)
DECODE_POSITIONS = 320  # of the decode graph's rotary tables: the longest cache of a test

Attend = Callable[[tuple[str, str, str], int], str]


@dataclass
class GraphBuilder:
    """Collects nodes and weights; every method returns the name of what it made."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        self.count += 1
        name = out or f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def const(self, value: object, dtype: type = np.int64) -> str:
        self.count += 1
        name = f"const_{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def random(self, *shape: int, scale: float) -> str:
        return self.const(self.rng.standard_normal(shape) * scale, np.float32)

    def linear(self, x: str, rows: int, columns: int) -> str:
        return self.op("MatMul", x, self.random(rows, columns, scale=1.5 / rows**0.5))

    def norm(self, x: str, width: int) -> str:
        mean = self.op("ReduceMean", self.op("Mul", x, x), self.const([-1]), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.const(1e-6, np.float32)))
        weight = self.const(1.0 + 0.1 * self.rng.standard_normal(width), np.float32)
        return self.op("Mul", self.op("Div", x, root), weight)

    def heads(self, x: str, count: int) -> str:
        split = self.op("Reshape", x, self.const([0, 0, count, HEAD_DIM]))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def rotate(self, x: str, cos: str, sin: str) -> str:
        half = HEAD_DIM // 2
        low = self.op("Slice", x, self.const([0]), self.const([half]), self.const([3]))
        high = self.op("Slice", x, self.const([half]), self.const([HEAD_DIM]), self.const([3]))
        turned = self.op("Concat", self.op("Neg", high), low, axis=3)
        return self.op("Add", self.op("Mul", x, cos), self.op("Mul", turned, sin))


def rotary(g: GraphBuilder) -> tuple[str, str]:
    """Cosines and sines [b, 1, s, head_dim] of `position_ids`."""
    positions = g.op("Cast", "position_ids", to=TensorProto.FLOAT)
    chosen = g.op("Gather", positions, g.const(ROPE_AXES), axis=0)  # [half, b, s]
    axes = g.op("Transpose", chosen, perm=[1, 2, 0])
    frequencies = 100.0 ** (-np.arange(HEAD_DIM // 2) / (HEAD_DIM // 2))
    angles = g.op("Mul", axes, g.const(frequencies, np.float32))
    both = g.op("Unsqueeze", g.op("Concat", angles, angles, axis=2), g.const([1]))
    return g.op("Cos", both), g.op("Sin", both)


def slot_mask(g: GraphBuilder) -> str:
    """[b, 1, s, L]: a query sees the cache slots up to its own."""
    chunk = g.op("Gather", g.op("Shape", "input_ids"), g.const(1), axis=0)
    length = g.op("Gather", g.op("Shape", "past_k.0"), g.const(2), axis=0)
    zero, one = g.const(0), g.const(1)
    in_chunk = g.op("Range", zero, chunk, one)
    slots = g.op("Range", zero, length, one)
    own = g.op("Add", g.op("Unsqueeze", "past_len", g.const([1])), in_chunk)
    return g.op("LessOrEqual", slots, g.op("Unsqueeze", own, g.const([1, 3])))


def attend(g: GraphBuilder, qkv: tuple[str, str, str], index: int, rope: tuple[str, str], mask: str) -> str:
    """Attention of a chunk over the cache, [b, s, heads * head_dim]."""
    query = g.rotate(g.heads(qkv[0], HEADS), *rope)
    key, value = g.rotate(g.heads(qkv[1], KV_HEADS), *rope), g.heads(qkv[2], KV_HEADS)
    keys = g.op("TensorScatter", f"past_k.{index}", key, "past_len", out=f"present_k.{index}", axis=2)
    values = g.op("TensorScatter", f"past_v.{index}", value, "past_len", out=f"present_v.{index}", axis=2)
    # As the exporter: heads that share a key are folded into the sequence, so that one token is no path of its own.
    folded = g.op("Reshape", query, g.const([0, KV_HEADS, -1, HEAD_DIM]))
    shared = g.op("Tile", mask, g.const([1, 1, HEADS // KV_HEADS, 1]))
    seen = g.op("Attention", folded, keys, values, shared)
    unfolded = g.op("Reshape", seen, g.const([0, HEADS, -1, HEAD_DIM]))
    return g.op("Reshape", g.op("Transpose", unfolded, perm=[0, 2, 1, 3]), g.const([0, 0, -1]))


def attend_fused(g: GraphBuilder, qkv: tuple[str, str, str], index: int, rope: tuple[str, str]) -> str:
    """The same for one token of text."""
    out = f"fused_{index}"
    cache = (f"past_k.{index}", f"past_v.{index}", "past_len", "total_length")
    node = helper.make_node(
        "GroupQueryAttention",
        [*qkv, *cache, *rope, "position_ids"],
        [out, f"present_k.{index}", f"present_v.{index}"],
        domain="com.microsoft",
        num_heads=HEADS,
        kv_num_heads=KV_HEADS,
        do_rotary=1,
    )
    g.nodes.append(node)
    return out


def layer(g: GraphBuilder, x: str, index: int, attention: Attend) -> str:
    normed = g.norm(x, HIDDEN)
    query = g.linear(normed, HIDDEN, HEADS * HEAD_DIM)
    key = g.linear(normed, HIDDEN, KV_HEADS * HEAD_DIM)
    value = g.linear(normed, HIDDEN, KV_HEADS * HEAD_DIM)
    merged = attention((query, key, value), index)
    x = g.op("Add", x, g.linear(merged, HEADS * HEAD_DIM, HIDDEN))
    wide = g.linear(g.norm(x, HIDDEN), HIDDEN, 2 * HIDDEN)
    gated = g.op("Mul", wide, g.op("Sigmoid", wide))
    return g.op("Add", x, g.linear(gated, 2 * HIDDEN, HIDDEN))


def embedding(g: GraphBuilder) -> str:
    table = g.rng.standard_normal((VOCAB, HIDDEN)).astype(np.float32)
    table[POISON] = np.nan
    return g.op("Gather", g.const(table, np.float32), "input_ids", axis=0)


def head(g: GraphBuilder, last: str) -> None:
    scores = g.op("MatMul", g.norm(last, HIDDEN), g.random(HIDDEN, VOCAB, scale=0.7))
    never = np.where(np.arange(VOCAB) == POISON, -1e4, 0.0)  # POISON comes from prompts alone
    g.op("Add", scores, g.const(never, np.float32), out="logits")


def model_of(
    g: GraphBuilder, inputs: list[tuple[str, int, list[object]]], logits: list[object]
) -> onnx.ModelProto:
    """The model of the collected nodes: `inputs`, logits, and the cache."""
    f32 = TensorProto.FLOAT
    cache = ["b", KV_HEADS, "L", HEAD_DIM]
    layers = [(f"{side}.{i}", f32, cache) for i in range(LAYERS) for side in ("k", "v")]
    inputs = [*inputs, *((f"past_{name}", kind, shape) for name, kind, shape in layers)]
    outputs = [("logits", f32, logits)]
    outputs += [(f"present_{name}", kind, shape) for name, kind, shape in layers]
    graph = helper.make_graph(
        g.nodes,
        "decoder",
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        g.weights,
    )
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11)


def decoder() -> onnx.ModelProto:
    """A decoder graph with the contract's inputs and outputs."""
    g = GraphBuilder(np.random.default_rng(SEED))
    is_image = g.op("Unsqueeze", g.op("Equal", "input_ids", g.const(IMAGE_TOKEN)), g.const([2]))
    x = g.op("Where", is_image, "visual_embeds", embedding(g))
    rope, mask = rotary(g), slot_mask(g)
    for index in range(LAYERS):
        x = layer(g, x, index, lambda qkv, i: attend(g, qkv, i, rope, mask))
        if index < DEEPSTACK:
            x = g.op("Add", x, g.op("Gather", "deepstack", g.const(index), axis=0))
    head(g, g.op("GatherND", x, g.op("Unsqueeze", "last_index", g.const([2])), batch_dims=1))
    f32, i64 = TensorProto.FLOAT, TensorProto.INT64
    inputs: list[tuple[str, int, list[object]]] = [
        ("input_ids", i64, ["b", "s"]),
        ("position_ids", i64, [3, "b", "s"]),
        ("past_len", i64, ["b"]),
        ("last_index", i64, ["b", "k"]),
        ("visual_embeds", f32, ["b", "s", HIDDEN]),
        ("deepstack", f32, [DEEPSTACK, "b", "s", HIDDEN]),
    ]
    return model_of(g, inputs, ["b", "k", VOCAB])


def decode() -> onnx.ModelProto:
    """The graph for one-token steps with the weights of `decoder`: the same seed, drawn in the same order."""
    g = GraphBuilder(np.random.default_rng(SEED))
    x = embedding(g)
    frequencies = 100.0 ** (-np.arange(HEAD_DIM // 2) / (HEAD_DIM // 2))
    angles = np.arange(DECODE_POSITIONS)[:, None] * frequencies.astype(np.float32)
    rope = (g.const(np.cos(angles), np.float32), g.const(np.sin(angles), np.float32))
    for index in range(LAYERS):
        x = layer(g, x, index, lambda qkv, i: attend_fused(g, qkv, i, rope))
    head(g, x)
    i64, i32 = TensorProto.INT64, TensorProto.INT32
    inputs: list[tuple[str, int, list[object]]] = [
        ("input_ids", i64, ["b", 1]),
        ("position_ids", i64, ["b", 1]),
        ("past_len", i32, ["b"]),
        ("total_length", i32, []),
    ]
    return model_of(g, inputs, ["b", 1, VOCAB])


def features(which: int, count: int) -> NDArray[np.float32]:
    """Made-up image features; models/decoder_fixture.h computes the same."""
    values = (np.arange(count) * 7919 + which * 104729) % 2001
    return ((values - 1000) / np.float32(1000)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A prompt with one IMAGE_TOKEN an image; images are (rows, columns, which features)."""

    ids: tuple[int, ...]
    images: tuple[tuple[int, int, int], ...]
    answer: int


def expand(case: Case) -> tuple[list[int], list[list[int]], NDArray[np.float32], NDArray[np.float32]]:
    """Expanded ids, three position lists, visual embeddings and deepstack of the prompt."""
    ids: list[int] = []
    positions: list[list[int]] = [[], [], []]
    visual: list[NDArray[np.float32]] = []
    deep: list[NDArray[np.float32]] = []
    images = iter(case.images)
    for token in case.ids:
        start = max((max(axis) for axis in positions if axis), default=-1) + 1
        if token != IMAGE_TOKEN:
            ids.append(token)
            for axis in positions:
                axis.append(start)
            visual.append(np.zeros((1, HIDDEN), np.float32))
            deep.append(np.zeros((DEEPSTACK, 1, HIDDEN), np.float32))
            continue
        rows, columns, which = next(images)
        tokens = rows * columns
        ids.extend([IMAGE_TOKEN] * tokens)
        positions[0].extend([start] * tokens)
        positions[1].extend(start + i // columns for i in range(tokens))
        positions[2].extend(start + i % columns for i in range(tokens))
        visual.append(features(which, tokens * HIDDEN).reshape(tokens, HIDDEN))
        deep.append(features(which + 1, DEEPSTACK * tokens * HIDDEN).reshape(DEEPSTACK, tokens, HIDDEN))
    return ids, positions, np.concatenate(visual), np.concatenate(deep, axis=1)


def answer(session: onnxruntime.InferenceSession, case: Case) -> list[int]:
    """Greedy tokens; every one from a run over the whole sequence with an empty cache."""
    ids, positions, visual, deep = expand(case)
    tokens: list[int] = []
    for _ in range(case.answer):
        n = len(ids)
        pad = n - visual.shape[0]
        feed = {
            "input_ids": np.asarray([ids], np.int64),
            "position_ids": np.asarray(positions, np.int64)[:, None],
            "past_len": np.zeros(1, np.int64),
            "last_index": np.asarray([[n - 1]], np.int64),
            "visual_embeds": np.pad(visual, ((0, pad), (0, 0)))[None],
            "deepstack": np.pad(deep, ((0, 0), (0, pad), (0, 0)))[:, None],
        }
        empty = np.zeros((1, KV_HEADS, n, HEAD_DIM), np.float32)
        feed |= {f"past_{side}.{i}": empty for i in range(LAYERS) for side in ("k", "v")}
        logits = session.run(["logits"], feed)[0][0, 0]
        tokens.append(int(logits.argmax()))
        ids.append(tokens[-1])
        following = max(max(axis) for axis in positions) + 1
        for axis in positions:
            axis.append(following)
    return tokens


def write_references(out: Path) -> None:
    """One case a line: counts before each list; ids, images (three numbers each), answer."""
    rng = np.random.default_rng(SEED)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(out / "decoder.onnx", options)
    lines = []
    for index in range(12):
        images = tuple(
            (int(rng.integers(1, 4)), int(rng.integers(1, 5)), 10 * index + i) for i in range(index % 3)
        )
        ids = rng.integers(0, IMAGE_TOKEN, int(rng.integers(1, 12))).tolist()
        for _ in images:
            ids.insert(int(rng.integers(0, len(ids) + 1)), IMAGE_TOKEN)
        case = Case(tuple(ids), images, answer=12)
        flat = [number for image in images for number in image]
        parts = [len(case.ids), *case.ids, len(images), *flat, case.answer, *answer(session, case)]
        lines.append(" ".join(map(str, parts)))
    (out / "decoder_reference.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, model in (("decoder", decoder()), ("decode", decode())):
        onnx.checker.check_model(model)
        onnx.save(model, out / f"{name}.onnx")
    write_references(out)
    write_image_graphs(out)


if __name__ == "__main__":
    main()
