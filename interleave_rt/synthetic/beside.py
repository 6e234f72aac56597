"""How much critic and generator slow each other on one device: tokens and denoising steps, alone and side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from interleave_rt.backends.torch.step import Step

from .parts import Report, make_ready, seen_step
from .roles import MadeGenerator, MadeModel, compiler, made_pictures

__all__ = ["beside_figures"]

_SHARES = (0.875, 0.75)  # of the multiprocessors that a generator in a green context may use


def beside_figures(
    report: Report,
    generator: MadeGenerator,
    vlm: MadeModel,
    *,
    compiled: bool,
    seconds: float,
) -> None:
    """s_c (times as long a token takes beside denoising) and r_g (speed of denoising beside tokens), stream by stream.

    Kinds: `plain` streams; the critic's with `priority`; in addition the generator kept to a share of the
    multiprocessors by a green context, which leaves the rest to the critic. The critic's kernels carry their priority
    in its graph.
    """
    device = report.device
    on_card = torch.device(device).type == "cuda"
    if compiled:
        report.set(eager_step_ms_by_attention=make_ready(generator))
    denoise = seen_step(generator, made_pictures(int(generator.raw["side"]), 1)[0])
    length = int(vlm.prompt(made_pictures(int(vlm.raw["side"]), 2)).inputs["input_ids"].shape[1])

    def tokens(priority: int) -> Callable[[], Any]:
        step = Step(
            vlm.model,
            -(-(length + 128) // 512) * 512,
            compile=compiled,
            priority=priority,
            backend=compiler(device),
        )
        return lambda: int(step(5, length, float(length)).argmax())

    def stream(priority: int = 0) -> Any:
        return torch.cuda.Stream(device, priority=priority) if on_card else None  # type: ignore[no-untyped-call]

    plain = _Worker(tokens(0), stream(), device), _Worker(denoise, stream(), device)
    first = _Worker(tokens(-1), stream(-1), device)
    for worker in (*plain, first):  # compiles and records
        worker.run(0.0)
    alone = {
        name: _rates([worker], seconds)[0]
        for name, worker in zip(("critic", "generator"), plain, strict=True)
    }
    report.set(
        token_ms_alone=round(1e3 / alone["critic"], 3), step_ms_alone=round(1e3 / alone["generator"], 3)
    )

    def measure(kind: str, critic: _Worker, denoiser: _Worker) -> None:
        both = _rates([critic, denoiser], seconds)
        slower, rate = alone["critic"] / both[0], both[1] / alone["generator"]
        kinds = dict(report.found.get("kinds", {}))
        kinds[kind] = {
            "s_c": round(slower, 3),
            "r_g": round(rate, 3),
            # Speculation gains where more than this share of verdicts accept.
            "break_even_p": round((slower - 1) / (slower * rate), 3) if rate else None,
        }
        report.set(kinds=kinds)

    report.attempt("plain", lambda: measure("plain", *plain))
    report.attempt("priority", lambda: measure("priority", first, plain[1]))
    for share in _SHARES:
        kind = f"priority, generator on {share:.0%} of the multiprocessors"

        def kept_apart(share: float = share, kind: str = kind) -> None:
            context, green = _green_stream(share, device)  # the context must outlive its stream
            denoiser = _Worker(denoise, green, device)
            denoiser.run(0.0)
            fewer = _rates([denoiser], seconds)[0] / alone["generator"]
            measure(kind, first, denoiser)
            kinds = report.found["kinds"]
            kinds[kind]["generator_alone"] = round(fewer, 3)
            report.set(kinds=kinds)
            torch.cuda.synchronize(device)
            del context

        if on_card:
            report.attempt(kind, kept_apart)
        else:
            report.set(kinds={**report.found.get("kinds", {}), kind: "not available"})


def best_of(figures: Mapping[str, Any]) -> tuple[float, float] | None:
    """s_c and r_g of the lanes' own way, streams with priority; None where they were not measured."""
    found = figures.get("kinds", {}).get("priority")
    return (max(1.0, found["s_c"]), min(1.0, max(1e-3, found["r_g"]))) if isinstance(found, Mapping) else None


def _green_stream(share: float, device: str) -> tuple[Any, Any]:
    """A context of a share of the multiprocessors, and the stream whose kernels use them.

    Raises:
        RuntimeError: PyTorch or the driver does not offer that.
    """
    from torch.cuda.green_contexts import GreenContext

    count = torch.cuda.get_device_properties(device).multi_processor_count
    told: dict[str, Any] = {
        "num_sms": int(count * share) // 8 * 8,
        "device_id": torch.device(device).index or 0,
    }
    context: Any = GreenContext.create(**told)
    if hasattr(context, "Stream"):
        return context, context.Stream()
    return context, context  # of a version without streams of its own: it is made current instead


class _Worker:
    """One kind of work, again and again, in a thread of its own and on a stream of its own."""

    def __init__(self, work: Callable[[], Any], stream: Any, device: str) -> None:
        self._work, self._stream, self._device = work, stream, device
        self.rate = 0.0
        self.error: BaseException | None = None

    def _entered(self) -> AbstractContextManager[Any]:
        if self._stream is None:
            return nullcontext()
        if hasattr(self._stream, "set_context"):
            return _Current(self._stream)
        return torch.cuda.stream(self._stream)

    def run(self, seconds: float, begun: threading.Barrier | None = None) -> None:
        """Works for so long, at least three times; `rate` is then the runs a second."""
        try:
            with self._entered():
                if begun is not None:
                    begun.wait(60)
                count, start = 0, time.perf_counter()
                while count < 3 or time.perf_counter() - start < seconds:
                    self._work()
                    if self._stream is not None:
                        torch.cuda.current_stream(self._device).synchronize()
                    count += 1
                self.rate = count / (time.perf_counter() - start)
        except BaseException as error:  # noqa: BLE001 - raised where the threads are joined
            self.error = error
            if begun is not None:
                begun.abort()


class _Current:
    """A green context as the current one."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._context.set_context()

    def __exit__(self, *_: object) -> None:
        self._context.pop_context()


def _rates(workers: list[_Worker], seconds: float) -> list[float]:
    begun = threading.Barrier(len(workers))
    threads = [threading.Thread(target=worker.run, args=(seconds, begun)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        if worker.error is not None:
            raise worker.error
    return [worker.rate for worker in workers]
