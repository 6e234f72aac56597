"""A pipeline of diffusers whose parts are compiled: its denoiser by blocks, its text encoder as one graph, its codec."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["compile_pipeline"]

_log = logging.getLogger("interleave_rt")


def compile_pipeline(torch: Any, pipeline: Any, still: Callable[[], bool], **how: Any) -> None:
    """Compiles what a call spends its time in, when it is next used.

    Args:
        torch: The library.
        pipeline: Of diffusers, on its device.
        still: Whether the weights lie where they lay: a graph reads them by their place.
        how: Arguments of `torch.compile`.
    """
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    if getattr(denoiser, "_repeated_blocks", None):
        denoiser.compile_repeated_blocks(fullgraph=True, **how)
    else:
        denoiser.compile(**how)
    on_card = next(denoiser.parameters()).is_cuda
    encoder: Any = getattr(pipeline, "text_encoder", None)
    text = getattr(encoder, "model", None)
    for layer in getattr(getattr(text, "language_model", text), "layers", ()):
        layer.forward = torch.compile(layer.forward, **how)
    if on_card and type(text).__name__ == "Qwen3Model":
        encoder.forward = _Recorded(torch, encoder, still)
    codec = pipeline.vae
    if on_card and all(weight.dim() < 5 for weight in codec.parameters()):  # one of pictures, not of videos
        torch.backends.cudnn.benchmark = True  # pictures have few sizes
        codec.to(memory_format=torch.channels_last)
        codec.encoder.compile(**how)
        codec.decoder.compile(**how)


class _Recorded:
    """The forward pass of a text encoder as a CUDA graph: alone, its launches take several times as long as its work."""

    def __init__(self, torch: Any, encoder: Any, still: Callable[[], bool]) -> None:
        self._torch, self._plain, self._still = torch, encoder.forward, still
        self._graphs: dict[Hashable, Callable[..., Any] | None] = {}

    def __call__(self, input_ids: Any, attention_mask: Any = None, **told: Any) -> Any:
        """As the encoder's own; the next call with such a shape overwrites what this one returned."""
        if attention_mask is None:
            attention_mask = self._torch.ones_like(input_ids)
        key = tuple(input_ids.shape), tuple(sorted(told.items()))
        if not self._still():
            self._graphs[key] = None
        if key not in self._graphs:
            try:
                self._graphs[key] = self._record(input_ids, attention_mask, told)
            except RuntimeError:  # of the recording; what is wrong with the call itself is raised below
                _log.debug("a text encoder is not recorded", exc_info=True)
                self._graphs[key] = None
        run = self._graphs[key]
        if run is None:
            return self._plain(input_ids=input_ids, attention_mask=attention_mask, **told)
        return run(input_ids, attention_mask)

    def _record(self, input_ids: Any, attention_mask: Any, told: dict[str, Any]) -> Callable[..., Any]:
        torch = self._torch
        ids, seen = input_ids.clone(), self._mask(attention_mask)
        current = torch.cuda.current_stream(ids.device)
        aside = torch.cuda.Stream(ids.device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(2):  # compiles
                self._plain(input_ids=ids, attention_mask=seen, **told)
        current.wait_stream(aside)
        torch.cuda.synchronize(ids.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            made = self._plain(input_ids=ids, attention_mask=seen, **told)

        def run(input_ids: Any, attention_mask: Any) -> Any:
            ids.copy_(input_ids)
            seen.copy_(self._mask(attention_mask))
            graph.replay()
            return made

        return run

    def _mask(self, attention_mask: Any) -> Any:
        """Which token sees which, [batch, 1, tokens, tokens]: a mask of that shape is taken without a look at its values."""
        torch, tokens = self._torch, attention_mask.shape[-1]
        before = torch.ones(tokens, tokens, dtype=torch.bool, device=attention_mask.device).tril()
        return before & attention_mask.bool()[:, None, None, :]
