"""The engine: loads a pack, runs requests, ends them cleanly."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

from interleave_rt import _core

from .backends import Backend
from .backends.record import CallStore
from .backends.tokenizer_worker import TokenizerWorker
from .config import EngineConfig
from .ending import Ending
from .errors import BackendFailedError, BadRequestError, LimitExceededError, from_code
from .handle import SLICE_MS, Handle, core_errors
from .pack import Pack, choose_pack
from .pack.images import load_image
from .pump import Pump
from .reader import EventReader
from .reports import save_result as _  # noqa: F401 - what Result.save writes
from .request import OptionChanges, Options, Request
from .result import Event, FinishedEvent, Result
from .roles.replay import replay
from .runtimes import exact_roles, open_backend

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .request import ImageSource

__all__ = ["Engine"]

_HINTS = {
    "overloaded": "wait for a request to end, or raise max_queued of EngineConfig",
    "closed": "load another engine",
}

_DEVICE_WORDS = ("cpu", "cuda", "device", "devices", "gpu", "provider")
_DEVICE_HINT = (
    'graphs of a pack: providers=["CUDAExecutionProvider"]; '
    'models in PyTorch: device=cuda:0 behind their place, e.g. planner="torch:DIR,device=cuda:0"'
)


class Engine:
    """Runs requests over the three roles of a pack; may be used from several threads.

    Example:
        >>> with Engine.load() as engine:  # doctest: +SKIP
        ...     result = engine.run("Draw a snowman step by step", seed=7)
        ...     result.save("out/")
    """

    def __init__(self, backend: Backend, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self.backend = backend
        if not getattr(backend, "overlaps", True):
            # Generator and critic take turns: what is known need not be learned. A speculation then never pays.
            rates = replace(self.config, critic_slowdown=2.0, generator_rate=0.5)
            self.config = self.config if self.config.critic_slowdown else rates
        self._exact: dict[str, Callable[..., Any]] | None = None  # loaded by the first replay
        self._replaying = threading.Lock()  # they answer one call at a time
        self._ending = Ending()
        # The end of what is begun is known before it begins: whatever strikes in between leaves no thread behind.
        weakref.finalize(self, self._ending.begin).atexit = False
        try:
            self._core = _core.Engine(self.config.for_core())
            self._pump = Pump(self._core)
            worker = TokenizerWorker(self._core, backend, self.config.switch_interval_ms)
            self._ending.add(backend.detach)
            self._ending.add(worker.stop)
            # The core first: its lanes may wait for the worker until they are told to stop.
            self._ending.add(partial(self._pump.stop, self._core.close))
            backend.attach(self._core, self.config)
            worker.start()
        # What the system refuses: threads, memory, the mapping of a library.
        except (RuntimeError, MemoryError, ImportError) as error:
            self._ending.finish()
            raise BackendFailedError(
                f"[Engine] it cannot start: {str(error) or 'out of memory'}",
                hint=f"pip install {error.name}"
                if isinstance(error, ModuleNotFoundError)
                else "end other programs, or raise this process's limits (ulimit -u, ulimit -v)",
            ) from error
        except BaseException:
            self._ending.finish()
            raise

    @classmethod
    def load(
        cls,
        pack: str | PathLike[str] | Pack | None = None,
        config: EngineConfig | None = None,
        *,
        planner: str | None = None,
        generator: str | None = None,
        critic: str | None = None,
        prompts: str | PathLike[str] | None = None,
        record: str | PathLike[str] | None = None,
        verify: bool = True,
        **changes: Any,
    ) -> Engine:
        """An engine over a pack, or over models of your own.

        Args:
            pack: A directory, a `Pack`, or None for the embedded one, which draws shapes.
            config: Limits and resources.
            planner: What runs the planner in place of the pack's, as `RoleSpec.parse` reads it, e.g. `torch:DIR` or
                `openai:URL#MODEL`. Where all three are given and no pack, there is none.
            generator: As `planner`.
            critic: As `planner`.
            prompts: Folder of what planner and critic are asked with where they run elsewhere; None: the pack's, or ours.
            record: Folder in which the answers of calls that do not run on graphs are kept; what it holds already is
                not asked again, so a run that was killed goes on where it was.
            verify: Compare every file of the pack with its manifest.
            **changes: Single fields of the configuration, e.g. `threads=2`.

        Raises:
            BadPackError: The pack or the ONNX Runtime is not usable; the hint says what to do.
        """
        unknown = sorted(set(changes) - set(EngineConfig.__dataclass_fields__))
        if unknown:
            raise BadRequestError(
                f"[Engine.load] EngineConfig has no field {unknown[0]!r}",
                hint=_DEVICE_HINT
                if unknown[0] in _DEVICE_WORDS
                else "its fields are " + ", ".join(EngineConfig.__dataclass_fields__),
            )
        chosen = choose_pack(
            pack, verify=verify, prompts=prompts, planner=planner, generator=generator, critic=critic
        )
        store = None if record is None else CallStore(record)
        told = replace(config or EngineConfig(), **changes)
        return cls(open_backend(chosen, store, told), told)

    def submit(
        self,
        request: Request | str,
        images: Sequence[ImageSource] = (),
        options: Options | None = None,
        **changes: Unpack[OptionChanges],
    ) -> Handle:
        """Takes a request and returns at once.

        A request keeps its place among `max_live` until its last event has been taken, so that nothing piles up
        for readers who are slow. One thread that holds more handles than that reads them in the order of their
        submission: while it waits for a younger one, nobody makes room for it.

        Args:
            request: A text, or a `Request` that brings its own images.
            images: Pictures to go on from.
            options: How to run it.
            **changes: Single fields of the options, e.g. `seed=7`, `speculation="off"`.

        Raises:
            BadRequestError: Input or options are wrong.
            LimitExceededError: The text is longer than the planner can read.
            OverloadedError: Too many requests wait.
            ClosedError: The engine was closed.
        """
        if isinstance(request, Request):
            if images:
                raise BadRequestError("[Engine.submit] images are given twice: in the request and beside it")
        else:
            request = Request(request, images)
        chosen = Options.of(options, **changes)
        self.backend.check(chosen, len(request.images))
        size, most = len(request.marked_text.encode()), self.backend.max_text_bytes
        if most is not None and size > most:
            # Before it is tokenised, which takes long and holds up all others.
            raise LimitExceededError(
                f"[Engine.submit] the text has {size} bytes: the planner can read {most} at most",
                hint="shorten the request, or use a pack with a longer cache",
            )
        limit = self.config.max_image_pixels
        sides = self.backend.image_sides
        pixels = tuple(load_image(image, max_pixels=limit, sides=sides) for image in request.images)
        told = {**chosen.for_core(), "text": request.marked_text, "mode": request.mode}
        told["references"] = max(1, self.backend.references)
        try:
            submitted_us = self._core.now_us()
            request_id = self._core.submit(told, pixels)
        except _core.CoreError as error:
            code, message = error.args
            raise from_code(code, message, hint=_HINTS.get(code)) from None
        reader = EventReader(self._core, request, chosen, pixels, self.backend, submitted_us)
        return Handle(
            self, self._core, request_id, reader, partial(_forget, self._core, self.backend, request_id)
        )

    def run(
        self,
        request: Request | str,
        images: Sequence[ImageSource] = (),
        options: Options | None = None,
        **changes: Unpack[OptionChanges],
    ) -> Result:
        """Runs a request to its end; arguments as for `submit`.

        Raises:
            InterleaveError: The request did not finish; `.partial` holds what was committed.
        """
        handle = self.submit(request, images, options, **changes)
        try:
            return handle.result()
        finally:
            handle.close()

    def stream(
        self,
        request: Request | str,
        images: Sequence[ImageSource] = (),
        options: Options | None = None,
        **changes: Unpack[OptionChanges],
    ) -> Iterator[Event]:
        """The events of a request as they happen; the last is a `FinishedEvent`, which raises nothing.

        Leaving the loop early cancels the request.
        """
        handle = self.submit(request, images, options, **changes)
        return _events(handle)

    async def arun(
        self,
        request: Request | str,
        images: Sequence[ImageSource] = (),
        options: Options | None = None,
        **changes: Unpack[OptionChanges],
    ) -> Result:
        """`run` for asyncio; cancelling the task cancels the request."""
        async for event in self.astream(request, images, options, **changes):
            if isinstance(event, FinishedEvent):
                end = event
        if end.error is not None:
            raise end.error
        return end.result

    async def astream(
        self,
        request: Request | str,
        images: Sequence[ImageSource] = (),
        options: Options | None = None,
        **changes: Unpack[OptionChanges],
    ) -> AsyncIterator[Event]:
        """`stream` for asyncio; leaving the loop early cancels the request.

        No thread is parked: any number of these may wait, and asyncio's own pool is never used.
        """
        submit = partial(self.submit, request, images, options, **changes)
        pictures = images or (request.images if isinstance(request, Request) else ())
        # To read and to copy pictures takes long; the rest of a submission takes microseconds.
        if pictures:
            with core_errors():
                self._core.live()  # refuses a process that was forked: its threads would never answer
            handle = await self._pump.off_the_loop(submit)
        else:
            async with self._pump.turn():
                await asyncio.sleep(0)
                handle = submit()
        try:
            news, index = self._pump.watch(handle.id), 0
            while True:
                event = handle.event(index, 0)
                if event is None:
                    await news.wait()
                    continue
                yield event
                if isinstance(event, FinishedEvent):
                    return
                index += 1
        finally:
            handle.close()

    def replay(self, result: Result) -> dict[str, Any]:
        """The canonical result of the sequential loop over the answers that the calls of a run got.

        It equals `result.canonical()`: whatever was done ahead, the run came to what the loop comes to. It does not say
        that the models would answer the same again. Roles on graphs are loaded once more and called again, as their answers
        do not leave C++ and are not recorded: so a pack whose graphs need not repeat their bits (`lossless: replay` with
        roles of its own) cannot be replayed. Pictures that `EngineConfig.record_bytes` left no room for are taken from the
        result.

        Args:
            result: Of a run of this engine that finished.

        Raises:
            BadRequestError: The run did not finish, or its roles neither repeat themselves nor were recorded.
            InterleaveError: The loop asks for a call that the run did not make.
        """
        with self._replaying:
            if self._exact is None:
                self._exact = exact_roles(self.backend, self.config)
            return replay(result, self._exact)

    def cancel(self, handle: Handle) -> None:
        """The same as `handle.cancel()`."""
        handle.cancel()

    def counters(self) -> dict[str, Any]:
        """What the lanes and the scheduler have counted since the start.

        | keys | meaning |
        |---|---|
        | `planner`, `generator`, `critic` | calls of the role: `started`, of these `speculated` (ahead of a verdict); `promoted` (became part of the path while they ran), `preempted` (gave their slot to a certain call), `cancelled`, `done`, `failed`, `restarted`; `committed` (used by a result), `speculation_used`, `speculation_wasted` |
        | `judged_by_attempt`, `accepted_by_attempt` | readable verdicts, and those that accepted, by attempt: the first entry is attempt 1 |
        | `plans_unreadable`, `verdicts_unreadable`, `refined_unreadable` | answers that could not be read |
        | `requests_accepted`, `requests_refused`, `requests_ended` | the last by outcome |
        | `decisions` | why calls were started ahead of a verdict, or not: how often, by reason |
        | `lanes_lost`, `strays` | how often lanes went down; reports about calls that had ended |
        | `begun_anew` | how often all requests were given up because there was no memory to keep account of them |
        | `text_requests`, `text_cache_hits`, `prefetches_dropped` | of the thread that encodes texts |
        | `live`, `unforgotten`, `running_calls`, `images`, `image_bytes` | now: requests that hold a place, ended requests whose trace was not taken, calls under way, pictures in the store and their bytes |
        """
        with core_errors():
            return dict(self._core.counters())

    def lanes(self) -> list[dict[str, Any]]:
        """Every lane's `role`, `capacity` (calls at once) and `device` (equal names: they slow each other).

        `up` is False while a lane whose model has failed repeatedly rests; it tries again after 0.1 to 3.2 s.
        `times_down` counts these rests, `why_down` has the reason of the last one.
        """
        with core_errors():
            return self._core.lanes()

    def drain(self, timeout: float | None = None) -> bool:
        """Takes no new requests and waits for those under way; False when `timeout` seconds have passed."""
        until = None if timeout is None else time.monotonic() + timeout
        with core_errors():
            self._core.set_draining(True)
            while self._core.live() > 0:
                if until is not None and time.monotonic() >= until:
                    return False
                time.sleep(SLICE_MS / 5000)
        return True

    def close(self) -> None:
        """Cancels what is under way and frees the lanes. Images that callers hold stay valid.

        Returns after ten seconds at the latest; what hangs in a model is then left behind. May be called again, and by
        several threads; Ctrl-C ends the wait, not the end.
        """
        with core_errors():
            self._core.live()  # refuses a process that was forked
        self._ending.finish()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _forget(core: _core.Engine, backend: Backend, request: int) -> None:
    core.forget(request)  # cancels it first
    backend.take_calls(request)


def _events(handle: Handle) -> Iterator[Event]:
    try:
        yield from handle
    finally:
        handle.close()
