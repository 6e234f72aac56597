"""PyTorch models of a pack: rebuilt from the weights that lie in its graphs.

The exporter keeps the names of some weights only; the others are transposed constants with numbers for names. But a
graph's structure depends on the architecture alone. So: export models of the same architecture with random weights,
see by their values which initializer is which parameter, and read the pack's initializers of the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

Arrays = dict[str, NDArray[Any]]
# What no graph reads: the text encoder's hidden states are taken before these, and the output matrix is tied.
UNUSED = re.compile(r"^model\.norm\.weight$|lm_head\.weight$|^bn\.")


def initializers(graph: Path) -> Arrays:
    """Weights of a graph by name, float16 storage undone."""
    found: Arrays = {}
    for tensor in onnx.load(graph).graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype in (np.float16, np.float32):
            found[tensor.name.removesuffix(".half")] = array.astype(np.float32)
    return found


def _layouts(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The ways in which the exporter stores a parameter."""
    return {"as it is": array, "transposed": array.T} if array.ndim == 2 else {"as it is": array}


def restored(model: nn.Module, twin: Sequence[Arrays], pack: Sequence[Arrays]) -> dict[str, Tensor]:
    """The state of `model` with the pack's weights in place of its own.

    `twin` are the initializers of graphs exported from `model` as it is; `pack` those of the same graphs in a pack.
    """
    places: dict[tuple[tuple[int, ...], bytes], tuple[int, str]] = {}
    for number, graph in enumerate(twin):
        for name, array in graph.items():
            places.setdefault((array.shape, np.ascontiguousarray(array).tobytes()), (number, name))
    state: dict[str, Tensor] = {}
    lost = []
    for name, value in model.state_dict().items():
        array = value.detach().numpy()
        for layout, stored in _layouts(array).items():
            place = places.get((stored.shape, np.ascontiguousarray(stored).tobytes()))
            if place is not None:
                number, key = place
                weight = pack[number][key]
                assert weight.shape == stored.shape, f"{name} ({key}): {weight.shape}, not {stored.shape}"
                weight = weight.T if layout == "transposed" else weight
                state[name] = torch.from_numpy(np.ascontiguousarray(weight))
                break
        else:
            state[name] = value
            if not UNUSED.search(name):
                lost.append(name)
    assert not lost, f"not found in the graphs: {lost[:5]} and {max(len(lost) - 5, 0)} more"
    return state


def restore_vlm(model: nn.Module, twin: Path, pack: Path) -> None:
    """Gives a planner or critic the weights of a pack's role."""
    graphs = ("decoder.onnx", "vision.onnx")
    state = restored(
        model, [initializers(twin / g) for g in graphs], [initializers(pack / g) for g in graphs]
    )
    state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
    model.load_state_dict(state)


def restore_pipeline(pipeline: Any, twin: Path, pack: Path) -> None:
    """Gives a Flux2KleinPipeline the weights of a pack's generator."""
    parts: Mapping[str, tuple[str, ...]] = {
        "text_encoder": ("text_encoder.onnx",),
        "transformer": ("transformer.onnx",),
        "vae": ("vae_encoder.onnx", "vae_decoder.onnx"),
    }
    for part, graphs in parts.items():
        model = getattr(pipeline, part)
        wanted = [initializers(pack / graph) for graph in graphs]
        state = restored(model, [initializers(twin / graph) for graph in graphs], wanted)
        if part == "text_encoder":
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        if part == "vae":
            std = wanted[1]["std"].astype(np.float64)
            state["bn.running_mean"] = torch.from_numpy(wanted[1]["mean"])
            state["bn.running_var"] = torch.from_numpy(
                (std * std - model.config.batch_norm_eps).astype(np.float32)
            )
        model.load_state_dict(state)
