"""One builder for `tensorrt` and `tensorrt_rtx`, whose Python interfaces have these calls in common."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interleave_rt.backends.engines import LIBRARIES
from interleave_rt.errors import BadPackError

from .profiles import Profile

__all__ = ["Plan", "build"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a builder is told of one engine.

    Args:
        part: `ROLE/PART`, for messages.
        graph: sha256 of the graph, and behind a + that of its weights where they lie outside.
        library: Module that builds it.
        target: Compute capability, as in `sm86`.
        precision: Of the matrices; the graph says every type itself.
        profile: Shapes of the inputs.
    """

    part: str
    graph: str
    library: str
    target: str
    precision: str
    profile: Profile

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def build(trt: Any, plan: Plan, graph: Path, timing: Path | None = None) -> bytes:
    """The serialized engine of a graph.

    Args:
        trt: The library's module.
        plan: What to build.
        graph: The ONNX file.
        timing: File of the timings of kernels, read and written; None: not kept (TensorRT-RTX takes none).

    Raises:
        BadPackError: The library does not read the graph, or cannot build it; its own words are in the message.
    """
    log = _logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        said = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        raise _failed(plan, "does not read its graph", [*said, *log.said])
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            # Where no fused kernel fits the shapes and types, attention may be made of its parts.
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True
    config = builder.create_builder_config()
    if not LIBRARIES[plan.library].needs_card:  # the other one builds for the card that it runs on
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, plan.target.upper()), 0)
    cache = None
    if timing is not None:
        cache = config.create_timing_cache(timing.read_bytes() if timing.is_file() else b"")
        config.set_timing_cache(cache, False)
    profile = builder.create_optimization_profile()
    for name, shapes in plan.profile.items():
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise _failed(plan, "does not take its sizes", log.said)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _failed(plan, "cannot build it", log.said)
    if timing is not None and cache is not None:
        timing.write_bytes(bytes(cache.serialize()))
    return bytes(engine)


def _failed(plan: Plan, what: str, said: list[str]) -> BadPackError:
    return BadPackError(
        f"[engines] {plan.part} for {plan.target} in {plan.precision}: {plan.library} {what}: "
        + ("; ".join(dict.fromkeys(said)) or "it gives no reason"),
        hint="try another --precision, or keep this pack on CUDA",
    )


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps the library's errors for the message of ours."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            errors = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)
            # Without a driver the library says so once; building needs none.
            if severity in errors and "CUDA driver version is insufficient" not in message:
                self.said.append(message.strip())

    return Logger()
