"""Which models share a device, whether they fit, and how they take turns: decided before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interleave_rt.cgroups import free_memory
from interleave_rt.checks import one_of
from interleave_rt.errors import BadRequestError, LimitExceededError
from interleave_rt.placement import (
    CONTEXT,
    HEAP,
    RESIDENCIES,
    Arrangement,
    Demand,
    Residency,
    arrange,
    bytes_of,
    gb,
    peak,
)

from .checkpoint import Placement, free_bytes, place
from .footprint import Work, demand_of
from .residency import Party, Seat, Stay, lean_heap

__all__ = ["Opened", "Sharing", "share", "stays_of"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is to be opened.

    Args:
        directory: Of the model.
        options: Keywords of `TorchVlm` or `TorchGenerator`.
    """

    directory: Path
    options: Mapping[str, Any]

    def placement(self) -> Placement:
        """Where it goes."""
        return place(self.options.get("device"), self.options.get("dtype"))

    def key(self) -> tuple[object, ...]:
        """Planner and critic with equal ones are one model."""
        told = [str(self.options.get(name, "")) for name in ("lora", "compile", "process")]
        return self.directory.resolve(), self.placement(), *told


@dataclass(frozen=True, slots=True)
class Sharing:
    """How models share their devices.

    Args:
        stays: By role.
        arrangements: By device.
        demands: By device.
    """

    stays: Mapping[str, Stay]
    arrangements: Mapping[str, Arrangement]
    demands: Mapping[str, Sequence[Demand]]

    @property
    def overlaps(self) -> bool:
        """Whether generator and critic can work at the same time."""
        shared = self.stays.get("generator"), self.stays.get("critic")
        if None in shared or shared[0].seat is not shared[1].seat:  # type: ignore[union-attr]  # not None
            return True
        return all(one.overlaps for one in self.arrangements.values())

    def said(self) -> dict[str, str]:
        """For results: by device, what was chosen and why."""
        return {f"memory of {device}": one.why for device, one in self.arrangements.items()}


def share(
    models: Mapping[str, Opened],
    *,
    residency: Residency | None = None,
    max_memory: str | int | None = None,
    work: Work | None = None,
) -> Sharing:
    """Finds the quickest way in which models fit their devices.

    Args:
        models: By role.
        residency: One of `placement.RESIDENCIES`; None: `keep`, or with `max_memory` whichever is the quickest.
        max_memory: Of each device, as `placement.bytes_of` reads it; None: what is free.
        work: How large their calls are.

    Raises:
        LimitExceededError: They do not fit; the hint names what would.
        BadPackError: A model is not there, or cannot be read.
    """
    if residency is not None:
        one_of("[residency]", residency, RESIDENCIES)
    most = None if max_memory is None else bytes_of(max_memory)
    stays: dict[str, Stay] = {}
    arrangements: dict[str, Arrangement] = {}
    demands: dict[str, Sequence[Demand]] = {}
    by_device: dict[str, dict[str, Opened]] = {}
    for role, model in models.items():
        device = model.placement().device
        by_device.setdefault("cuda:0" if device == "cuda" else device, {})[role] = model
    for device, there in by_device.items():
        demands[device] = found = _demands(there, work or Work())
        free = free_bytes(device)
        limit = free if most is None else most - (HEAP if device == "cpu" else CONTEXT)
        if free is not None and limit is not None:
            limit = min(limit, free)
        wanted: Residency | None = residency or (None if most is not None else "keep")
        chosen = arrange(found, wanted, limit)
        if chosen is None:
            raise _refusal(there, device, found, wanted, limit or 0.0, work or Work())
        _check(chosen, there, device, found)
        if device == "cpu" and (most is not None or chosen.residency != "keep"):
            lean_heap()
        arrangements[device] = chosen
        stays.update(stays_of(device, found, chosen))
    return Sharing(stays, arrangements, demands)


def stays_of(device: str, demands: Sequence[Demand], chosen: Arrangement) -> dict[str, Stay]:
    """By role, what the models of one device are opened with, or are told by `settle` where they were made in memory.

    Example:
        >>> from interleave_rt.placement import Part
        >>> demands = [Demand(("planner", "critic"), (Part(4e9),)), Demand(("generator",), (Part(8e9), Part(8e9)))]
        >>> chosen = arrange(demands, None, bytes_of("12GB") - CONTEXT)
        >>> stays = stays_of("cuda:0", demands, chosen)
        >>> chosen.residency, stays["generator"].mode
        ('parts', 'parts')
        >>> generator.settle(stays["generator"])  # doctest: +SKIP
    """
    seat, parties, found = Seat.of(device), dict[str, Party](), dict[str, Stay]()
    for demand in demands:
        name = chosen.party(demand)
        party = None if name is None else parties.setdefault(name, Party(name))
        stay = Stay(seat, party)
        if demand.name in chosen.streamed:
            stay.mode = "stream"
        elif chosen.in_parts(demand):
            stay.mode = "parts"
        found.update(dict.fromkeys(demand.roles, stay))
    return found


def _demands(models: Mapping[str, Opened], work: Work) -> list[Demand]:
    grouped: dict[object, list[str]] = {}
    for role, model in models.items():
        grouped.setdefault(role if role == "generator" else model.key(), []).append(role)
    found = []
    for roles in grouped.values():
        model = models[roles[0]]
        placement = model.placement()
        answer = max(int(models[role].options.get("max_new_tokens", work.answer)) for role in roles)
        found.append(
            demand_of(
                model.directory, placement.dtype, placement.device, tuple(roles), replace(work, answer=answer),
                model.options.get("settings"),
            )
        )  # fmt: skip
    return found


def _check(chosen: Arrangement, models: Mapping[str, Opened], device: str, demands: Sequence[Demand]) -> None:
    if chosen.residency == "keep":
        return
    for role, model in models.items():
        if model.options.get("compile"):
            raise BadRequestError(
                f"[torch] {role} is compiled, so its weights cannot move: {chosen.why}",
                hint="leave compile out, or give residency keep and a device that holds everything",
            )
        if model.options.get("process") == "own":
            raise BadRequestError(
                f"[torch] {role} runs in a process of its own, so it cannot take turns: {chosen.why}",
                hint="leave process=own out, or give residency keep and a device that holds everything",
            )
    if device != "cpu":
        resting = sum(part.weights for demand in demands for part in demand.parts)
        free = free_memory()
        if free is not None and resting > free:
            raise LimitExceededError(
                f"[torch] weights of {gb(resting)} rest in host memory, of which {gb(free)} are free ({chosen.why})",
                hint="give the process more memory, or dtype bfloat16",
            )


def _refusal(
    models: Mapping[str, Opened],
    device: str,
    demands: Sequence[Demand],
    wanted: Residency | None,
    limit: float,
    work: Work,
) -> LimitExceededError:
    """What does not fit, and everything that would."""
    ways: list[str] = []
    least = {name: size for name in RESIDENCIES if (size := arrange_size(demands, name)) <= limit}
    if least and wanted is not None:
        quickest = next(iter(least))
        ways.append(f"residency {quickest} ({gb(least[quickest])})")
    half = {
        role: Opened(model.directory, {**model.options, "dtype": "bfloat16"})
        for role, model in models.items()
        if model.placement().dtype == "float32"
    }
    if half and (chosen := arrange(_demands({**models, **half}, work), wanted, limit)):
        ways.append(f"dtype=bfloat16 ({chosen.residency}, {gb(chosen.peak)})")
    if chosen := arrange(_demands(models, replace(work, side=512)), wanted, limit):
        ways.append(f"pictures of 512 x 512 ({gb(chosen.peak)})")
    smallest = min(arrange_size(demands, name) for name in RESIDENCIES)
    least_cap = smallest + (HEAP if device == "cpu" else CONTEXT)
    ways.append(
        "another device or smaller models" if ways else f"at least {gb(least_cap)}, or smaller models"
    )
    roles = ", ".join(demand.name for demand in demands)
    return LimitExceededError(
        f"[torch] {roles} need {gb(peak(demands, wanted) if wanted else smallest)} on {device}"
        f"{f' with residency {wanted}' if wanted else ' however they take turns'}; {gb(max(0.0, limit))} may be used",
        hint="what would fit: " + "; ".join(ways),
    )


def arrange_size(demands: Sequence[Demand], name: Residency) -> float:
    """Bytes that an arrangement needs; of `stream` with everything brought layer by layer."""
    streamed = frozenset(demand.name for demand in demands) if name == "stream" else frozenset[str]()
    return peak(demands, name, streamed)
