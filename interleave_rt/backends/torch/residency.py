"""Weights that are not always on their device: where they rest meanwhile, and whose turn it is.

On a card, weights rest in host memory that the card can read by itself; on the CPU, in a file without a name. Moving
them changes no bit. Models of one *party* are on the device together; parties take turns, a whole call at a time. The
turn goes to whoever has waited longest, and with it to all others of the same party, so that a device which is asked
for by many changes its weights once for all of them.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from interleave_rt.errors import CancelledError

from .checkpoint import need
from .turns import Cancelled

__all__ = ["ALWAYS", "Party", "Seat", "Stay", "Weights", "lean_heap", "roomy_heap"]

_ALIGN = 512  # as PyTorch's own allocator on a card
_POLL_S = 0.02
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGE = 4 << 20
Mode = Literal["whole", "parts", "stream"]


class _File:
    """A file without a name; it ends with this object."""

    def __init__(self) -> None:
        # /tmp is often memory; /var/tmp outlives a restart, so it lies on a disk.
        folder = "/var/tmp" if Path("/var/tmp").is_dir() and "TMPDIR" not in os.environ else None  # noqa: S108
        self._number, name = tempfile.mkstemp(dir=folder)
        os.unlink(name)  # noqa: PTH108 - as os.open and its number
        weakref.finalize(self, os.close, self._number)
        self._size = 0

    def grow(self, size: int) -> int:
        """Makes room; returns where it begins."""
        begin, self._size = self._size, self._size + size
        os.ftruncate(self._number, self._size)
        return begin

    def read(self, into: Any, place: int) -> None:
        """Fills an array of bytes; a single call of the system moves 2 GB at most."""
        done = 0
        while done < len(into):
            done += os.preadv(self._number, [memoryview(into)[done:]], place + done)

    def write(self, data: Any, place: int) -> None:
        """Writes an array of bytes."""
        done = 0
        while done < len(data):
            done += os.pwrite(self._number, memoryview(data)[done:], place + done)


class Weights:
    """Tensors of modules that go on and off a device together; off it when made.

    Args:
        torch: The library.
        tensors: Parameters and buffers; their storage is taken away.
        device: Where they are worked with.
        left: Called when they leave it.
        file: Where they rest, if they are worked with on the CPU; None: one of their own.
    """

    def __init__(
        self,
        torch: Any,
        tensors: Iterable[Any],
        device: Any,
        left: Callable[[], None] | None = None,
        file: _File | None = None,
    ) -> None:
        self._torch, self._device, self._left = torch, device, left
        self._tensors = list({id(tensor): tensor for tensor in tensors}.values())
        self._shapes = [tensor.shape for tensor in self._tensors]
        self._places, self.bytes = [], 0
        for tensor in self._tensors:
            # On the CPU as far from a multiple of 64 as it was: kernels add up in another order there.
            shift = tensor.data_ptr() % 64 if device.type == "cpu" else 0
            self._places.append(self.bytes + shift)
            self.bytes += -(-(shift + tensor.nbytes) // _ALIGN) * _ALIGN
        self.brought = 0  # how often
        self.here = False
        self._host: Any = None
        self._file: Any = (file or _File()) if device.type == "cpu" else None
        if self._file is None:
            self._to_host()
        else:
            self._to_file()

    def bring(self) -> None:
        """Onto the device; waits until they are there."""
        if self.here:
            return
        torch = self._torch
        with torch.inference_mode(False), torch.no_grad():
            flat = torch.empty(self.bytes, dtype=torch.uint8, device=self._device)
            if self._file is None:
                flat.copy_(self._host, non_blocking=True)
                torch.cuda.current_stream(self._device).synchronize()
            else:
                self._file.read(flat.numpy(), self._base)
            self._point_into(flat)
        self.here, self.brought = True, self.brought + 1

    def put_away(self) -> None:
        """Off the device; its memory is free."""
        if not self.here:
            return
        if self._left is not None:
            self._left()
        if self._file is None:
            self._torch.cuda.synchronize(self._device)  # other streams may still read them
            self._point_into(self._host)
            self._torch.cuda.empty_cache()
        else:
            self._empty()
            _trim_heap()
        self.here = False

    def _to_host(self) -> None:
        torch = self._torch
        with torch.no_grad():
            self._host = torch.empty(self.bytes, dtype=torch.uint8, pin_memory=True)
            for tensor, place in zip(self._tensors, self._places, strict=True):
                self._host[place : place + tensor.nbytes].copy_(_bytes(torch, tensor))
            self._point_into(self._host)

    def _to_file(self) -> None:
        self._base = self._file.grow(self.bytes)
        for tensor, place in zip(self._tensors, self._places, strict=True):
            self._file.write(_bytes(self._torch, tensor).numpy(), self._base + place)
            tensor.data = self._nothing(tensor, tensor.shape)

    def _point_into(self, flat: Any) -> None:
        for tensor, shape, place in zip(self._tensors, self._shapes, self._places, strict=True):
            end = place + shape.numel() * tensor.element_size()
            tensor.data = flat[place:end].view(tensor.dtype).view(shape)

    def _empty(self) -> None:
        for tensor, shape in zip(self._tensors, self._shapes, strict=True):
            tensor.data = self._nothing(tensor, shape)

    def _nothing(self, tensor: Any, shape: Any) -> Any:
        """One element that stands for all: type, shape and device can still be asked for."""
        with self._torch.inference_mode(False), self._torch.no_grad():
            return self._torch.zeros((), dtype=tensor.dtype).expand(shape)


@dataclass(eq=False)
class Party:
    """Models that are on a device together."""

    name: str
    weights: list[Weights] = field(default_factory=list)


@dataclass(eq=False)
class _Waiting:
    party: Party
    turn: bool = False


class Seat:
    """A device, of which one party has the use at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._moving = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._party: Party | None = None
        self._inside = 0
        self._here: weakref.WeakSet[Weights] = weakref.WeakSet()

    @staticmethod
    def of(device: str) -> Seat:
        """The one of a device, whichever engine asks."""
        with _making:
            found = _seats.get(device)
            if found is None:
                found = _seats[device] = Seat()
            return found

    @contextmanager
    def take(self, party: Party, cancelled: Cancelled) -> Iterator[None]:
        """Waits until no other party is at work. A call that is given up meanwhile raises `CancelledError`."""
        ticket = _Waiting(party)
        with self._changed:
            self._queue.append(ticket)
            self._admit()
            while not ticket.turn:
                self._changed.wait(_POLL_S)
                if cancelled() and not ticket.turn:
                    self._queue.remove(ticket)
                    raise CancelledError("[torch] the call was given up")
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._admit()

    def bring(self, wanted: Sequence[Weights]) -> None:
        """Has these weights on the device, and no others of any party."""
        with self._moving:
            for other in set(self._here) - set(wanted):
                other.put_away()
                self._here.discard(other)
            for weights in wanted:
                weights.bring()
                self._here.add(weights)

    def _admit(self) -> None:
        if not self._queue:
            return
        if self._inside == 0:
            self._party = self._queue[0].party
        elif self._queue[0].party is not self._party:
            return  # whoever comes later must not keep the others out
        for ticket in [one for one in self._queue if one.party is self._party]:
            self._queue.remove(ticket)
            ticket.turn = True
            self._inside += 1
        self._changed.notify_all()


_seats: weakref.WeakValueDictionary[str, Seat] = weakref.WeakValueDictionary()
_making = threading.Lock()


@dataclass(eq=False)
class Stay:
    """How one model stays on its device.

    Args:
        seat: Of the device.
        party: Whom it shares it with; None: it always is there.
        mode: `whole`; `parts` take turns; `stream`: as `parts`, and layers are brought one by one.
    """

    seat: Seat
    party: Party | None
    mode: Mode = "whole"
    _piecewise: bool = field(default=False, init=False)
    _settled: bool = field(default=False, init=False)

    @contextmanager
    def during(self, cancelled: Cancelled) -> Iterator[None]:
        """For a call of the model."""
        if self.party is None:
            yield
            return
        with self.seat.take(self.party, cancelled):
            if not self._piecewise:
                self.seat.bring(self.party.weights)
            yield

    def settle(
        self,
        torch: Any,
        parts: Sequence[Sequence[Any]],
        device: str,
        left: Callable[[], None] | None = None,
    ) -> None:
        """Takes the modules of a model, part by part, off the device until they are wanted; once.

        Args:
            torch: The library.
            parts: Modules that work together; of a pipeline those that read the text, and the others.
            device: Where they work.
            left: Called when the weights leave it.
        """
        if self._settled:  # planner and critic are one model
            return
        self._settled = True
        if self.party is None:
            for module in (module for part in parts for module in part):
                module.to(device)
            return
        where = torch.device(device)
        for module in (module for part in parts for module in part):
            _free_buffers(torch, module)
        self._piecewise = self.mode != "whole" and len(parts) > 1
        if not self._piecewise:
            parts = [[module for part in parts for module in part]]
        for part in parts:
            layers = [one for module in part for one in _streamed(module)] if self.mode == "stream" else []
            tensors = list({id(one): one for module in part for one in _tensors(module)}.values())
            inside = {id(one) for layer in layers for one in layer.parameters()}
            weights = Weights(torch, [one for one in tensors if id(one) not in inside], where, left)
            self.party.weights.append(weights)
            _stream(torch, layers, where)
            if self._piecewise:
                _bring_when_called(part, partial(self.seat.bring, [weights]), where)


def _tensors(module: Any) -> Iterator[Any]:
    yield from module.parameters()
    yield from module.buffers()


def _free_buffers(torch: Any, module: Any) -> None:
    """Gives a module buffers of its own in place of views: a view keeps what it was cut from, even when its own data is gone.

    Libraries cut them from the file of the weights, which would stay mapped as a whole. Their memory stays where it is.
    """
    with torch.inference_mode(False), torch.no_grad():
        for owner in module.modules():
            for name, buffer in owner.named_buffers(recurse=False):
                if buffer._base is not None:  # noqa: SLF001 - PyTorch's public word for what a view was cut from
                    alone = torch.empty(0, dtype=buffer.dtype, device=buffer.device)
                    owner.register_buffer(
                        name,
                        alone.set_(
                            buffer.untyped_storage(), buffer.storage_offset(), buffer.shape, buffer.stride()
                        ),
                        persistent=name not in owner._non_persistent_buffers_set,  # noqa: SLF001
                    )


def _streamed(module: Any) -> list[Any]:
    """Where the many layers of a model are: of a language model its decoder and its head, else all of it.

    Vision towers stay whole: they ask their weights where to work. Autoencoders are small.
    """
    if hasattr(module, "get_decoder"):
        head = module.get_output_embeddings()
        return [module.get_decoder(), *([head] if head is not None else [])]
    return [module] if hasattr(module, "dtype") and not hasattr(module, "decode") else []


def _stream(torch: Any, modules: Sequence[Any], device: Any) -> None:
    if device.type != "cpu":
        (hooks,) = need("diffusers.hooks")
        for module in modules:
            hooks.apply_group_offloading(
                module,
                onload_device=device,
                offload_device=torch.device("cpu"),
                offload_type="leaf_level",
                use_stream=True,
            )
        return
    file, made = _File(), dict[tuple[int, ...], Weights]()
    for layer in (layer for module in modules for layer in module.modules()):
        direct = list(layer.parameters(recurse=False))
        key = tuple(map(id, direct))  # a head may share its matrix with the embedding
        if direct:
            weights = made[key] if key in made else Weights(torch, direct, device, file=file)
            made[key] = weights
            layer.register_forward_pre_hook(lambda *_, weights=weights: weights.bring())
            layer.register_forward_hook(lambda *_, weights=weights: weights.put_away(), always_call=True)


def _bring_when_called(modules: Sequence[Any], bring: Callable[[], None], device: Any) -> None:
    """Before any of a part's modules works; a pipeline reads from the hook where it is to work."""
    hooks, utilities = need("accelerate.hooks", "accelerate.utils")

    class Bring(hooks.ModelHook):  # type: ignore[misc, name-defined]  # untyped
        execution_device = device

        def pre_forward(self, _module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            bring()
            return utilities.send_to_device(args, device), utilities.send_to_device(kwargs, device)

    for module in modules:
        hooks.add_hook_to_module(module, Bring())


def _bytes(torch: Any, tensor: Any) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def lean_heap() -> None:
    """Memory of large tensors on the CPU goes back to the system as soon as it is free, where the C library is glibc.

    Left alone, it learns from the first of them to keep such memory: the peak of a process is then the sum of what its
    models need one after the other. It costs some page faults.
    """
    _set_heap(_LARGE, 4 * _LARGE)


def roomy_heap() -> None:
    """The opposite, for a process that does one thing again and again: memory of tensors up to 32 MiB is used again
    instead of given back, so that no step pays for its pages anew.
    """
    _set_heap(32 << 20, 2**31 - 1)


def _set_heap(mapped: int, kept: int) -> None:
    """Bytes from which a block is mapped on its own, and what may lie free before it is given back; glibc's alone."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, mapped)
        library.mallopt(_M_TRIM_THRESHOLD, kept)


def _trim_heap() -> None:
    """What lies free between small blocks goes back to the system too: some ten megabytes of features and answers."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


ALWAYS = Stay(Seat(), None)
"""Of models that are on their device all the time."""
