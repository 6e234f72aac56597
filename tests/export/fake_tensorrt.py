"""TensorRT's Python interface as its reference documents it, without the library: refuses what the library refuses.

Only what building needs. `make(compute_capabilities=False)` is `tensorrt` 10, which builds for the card it runs on;
`True` is `tensorrt_rtx`. An engine of the fake is the list of its inputs with their profile.
"""

from __future__ import annotations

import enum
import json
from types import SimpleNamespace
from typing import Any

import onnx


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ComputeCapability(enum.IntEnum):
    SM75, SM80, SM86, SM89, SM120, SM121 = 75, 80, 86, 89, 120, 121


class LayerType(enum.Enum):
    ATTENTION_INPUT, OTHER = range(2)


class ILayer:
    def __init__(self, kind: LayerType) -> None:
        self.type = kind
        self._attention = SimpleNamespace(decomposable=False)


class IAttentionInputLayer(ILayer):
    @property
    def attention(self) -> Any:
        return self._attention


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.graph: Any = None
        self.layers: list[ILayer] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> ILayer:
        return self.layers[index]


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        assert isinstance(logger, ILogger)
        self._network = network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: self._errors[index])

    def parse_from_file(self, model: str) -> bool:
        """What a strongly typed network with updated caches must keep to."""
        found = onnx.load(model)  # with its weights: they must lie beside it
        inputs = {value.name: value for value in found.graph.input}
        for node in found.graph.node:
            if node.domain not in ("", "ai.onnx"):
                self._errors.append(f"no importer for {node.domain}.{node.op_type}")
            if node.op_type == "TensorScatter":
                cache = inputs.get(node.input[0])
                if cache is None:
                    self._errors.append("The cache tensor must be a network input.")
                elif cache.type.tensor_type.shape.dim[2].dim_param:
                    self._errors.append("The KV cache tensor must have a static sequence length dimension.")
            attention = node.op_type == "Attention"
            self._network.layers.append(ILayer(LayerType.ATTENTION_INPUT if attention else LayerType.OTHER))
        self._network.graph = found.graph
        return not self._errors


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        shapes = tuple(tuple(shape) for shape in (min, opt, max))
        if len({len(shape) for shape in shapes}) != 1 or any(
            not 0 <= a <= b <= c for a, b, c in zip(*shapes, strict=True)
        ):
            raise ValueError(f"{input}: {shapes}")
        self.shapes[input] = shapes


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data or b"timings"


class _Config:
    __slots__ = ("profiles", "timing")  # a misspelt setting is an error

    def __init__(self) -> None:
        self.profiles: list[IOptimizationProfile] = []
        self.timing: ITimingCache | None = None

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timing = cache
        return True

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class _ConfigForAll(_Config):
    __slots__ = ("capabilities", "num_compute_capabilities")

    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
        assert 0 <= index < self.num_compute_capabilities
        self.capabilities = (compute_capability,)
        return True


class Builder:
    config: type[_Config] = _Config

    def __init__(self, logger: ILogger) -> None:
        assert isinstance(logger, ILogger)
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> _Config:
        return self.config()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: _Config) -> bytes | None:
        """None, with the reason in the log, where the library has none."""
        if reason := self._wrong(network, config):
            self.logger.log(ILogger.Severity.ERROR, reason)
            return None
        return json.dumps(config.profiles[0].shapes, sort_keys=True).encode()

    def _wrong(self, network: INetworkDefinition, config: _Config) -> str | None:
        if not network.flags >> NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1:
            return "the network is not strongly typed"
        if isinstance(config, _ConfigForAll) and not hasattr(config, "capabilities"):
            return "no compute capability"
        if any(
            layer.type is LayerType.ATTENTION_INPUT and not layer._attention.decomposable
            for layer in network.layers
        ):
            return "Attention operation was not supported by a dedicated kernel."
        for value in network.graph.input:
            said = config.profiles[0].shapes.get(value.name) if config.profiles else None
            sizes = value.type.tensor_type.shape.dim
            if said is None or len(said[0]) != len(sizes):
                return f"{value.name} has no profile of its rank"
            for size, *given in zip(sizes, *said, strict=True):
                if not size.dim_param and set(given) != {size.dim_value}:
                    return f"{value.name} has the size {size.dim_value}, its profile {given}"
        return None


class _BuilderForAll(Builder):
    config = _ConfigForAll


def make(*, compute_capabilities: bool) -> Any:
    """The module."""
    names = (ILogger, NetworkDefinitionCreationFlag, LayerType, IAttentionInputLayer, OnnxParser)
    module = SimpleNamespace(**{item.__name__: item for item in names})
    module.Builder = _BuilderForAll if compute_capabilities else Builder
    if compute_capabilities:
        module.ComputeCapability = ComputeCapability
    return module


CALLS = {
    "Builder": (
        Builder,
        (
            "create_network",
            "create_builder_config",
            "create_optimization_profile",
            "build_serialized_network",
        ),
    ),
    "OnnxParser": (OnnxParser, ("__init__", "parse_from_file", "get_error")),
    "INetworkDefinition": (INetworkDefinition, ("get_layer",)),
    "IOptimizationProfile": (IOptimizationProfile, ("set_shape",)),
    "IBuilderConfig": (
        _ConfigForAll,
        ("create_timing_cache", "set_timing_cache", "add_optimization_profile", "set_compute_capability"),
    ),
    "ITimingCache": (ITimingCache, ("serialize",)),
}
"""What the builder calls, to be held against an installed library."""
