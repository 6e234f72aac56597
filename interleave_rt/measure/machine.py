"""What calls run on: lanes with room for several calls, and machines on which lanes slow each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from interleave_rt.checks import within
from interleave_rt.errors import BadRequestError

from .record import ROLES
from .tasks import MAX_MS

MAX_CAPACITY = 4096


@dataclass(frozen=True, slots=True)
class Lane:
    """One role's lane.

    Args:
        capacity: Calls that may be under way at once.
        device: As the scheduler knows it: lanes of one device slow each other, says the policy.
        machine: What the lane really computes on; None: its device.
        batching: `[b - 1]`: how many times as long each of b calls takes while b are under way in the lane.
        cancel_ms: From a cancel to the end of the call (planner and critic: a token).
        warm_ms: Work that a call is spared where another one of the lane has just ended.
    """

    capacity: int = 1
    device: str = "0"
    machine: str | None = None
    batching: Sequence[float] = (1.0,)
    cancel_ms: float = 0.0
    warm_ms: float = 0.0

    def __post_init__(self) -> None:
        within("[Lane] capacity", self.capacity, 1, MAX_CAPACITY)
        within("[Lane] cancel_ms", self.cancel_ms, 0, MAX_MS)
        within("[Lane] warm_ms", self.warm_ms, 0, MAX_MS)
        if not self.batching or not all(math.isfinite(x) and x >= 0.05 for x in self.batching):
            raise BadRequestError(f"[Lane] batching is {list(self.batching)}: factors above 0.05 are wanted")


@dataclass(frozen=True, slots=True)
class Machine:
    """The three lanes, and how they slow each other.

    Args:
        lanes: By role.
        rates: By machine, then by the roles that are active (`planner+critic`), then by role: its speed, 1 = alone.
            Combinations that are not named are built from the pairs (see `pair_rates`).
        submit_ms: From the end of a request to the next submission of the same client (closed loop).
        reader_ms: From the end of a request in the scheduler to the moment at which its reader has it.
    """

    lanes: Mapping[str, Lane]
    rates: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    submit_ms: float = 0.0
    reader_ms: float = 0.0

    def __post_init__(self) -> None:
        if set(self.lanes) != set(ROLES):
            raise BadRequestError(
                f"[Machine] lanes are {sorted(self.lanes)}: one for each of {', '.join(ROLES)}"
            )
        within("[Machine] submit_ms", self.submit_ms, 0, MAX_MS)
        within("[Machine] reader_ms", self.reader_ms, 0, MAX_MS)

    def unbatched(self) -> Machine:
        """The same with room for one call in every lane (no batching)."""
        return replace(self, lanes={role: replace(lane, capacity=1) for role, lane in self.lanes.items()})

    def core(self) -> dict[str, Any]:
        """For the core: its part of a load, in microseconds."""
        lanes = [
            {
                "role": role,
                "capacity": lane.capacity,
                "device": lane.device,
                "machine": lane.machine or lane.device,
                "batching": list(lane.batching),
                "cancel_us": round(1000 * lane.cancel_ms),
                "warm_us": round(1000 * lane.warm_ms),
            }
            for role, lane in ((role, self.lanes[role]) for role in ROLES)
        ]
        return {
            "lanes": lanes,
            "rates": {name: rate_table(rates) for name, rates in self.rates.items()},
            "submit_us": round(1000 * self.submit_ms),
            "reader_us": round(1000 * self.reader_ms),
            "critic_slowdown": None,  # measured online, as the following
            "generator_rate": None,
        }


def rate_table(rates: Mapping[str, Mapping[str, float]]) -> list[list[float]]:
    """[mask][role] for the core; what is not named is the product of the pairs."""
    known = {frozenset(names.split("+")): values for names, values in rates.items()}
    for names, values in known.items():
        wrong = (names | set(values)) - set(ROLES)
        bad = [v for v in values.values() if not (math.isfinite(v) and 0.001 <= v <= 4)]
        if wrong or bad:
            raise BadRequestError(
                f"[Machine] rates of {'+'.join(sorted(names))}: {dict(values)}",
                hint=f"roles are {', '.join(ROLES)}, rates are numbers above 0 (1 = as alone)",
            )
    table = []
    for mask in range(8):
        active = frozenset(role for bit, role in enumerate(ROLES) if mask >> bit & 1)
        row = []
        for role in ROLES:
            if role not in active or len(active) == 1:
                row.append(1.0)
            elif role in known.get(active, {}):
                row.append(known[active][role])
            else:
                pairs = (known.get(frozenset((role, other)), {}).get(role, 1.0) for other in active - {role})
                row.append(math.prod(pairs))
        table.append(row)
    return table


def pair_rates(critic_slowdown: float, generator_rate: float) -> dict[str, dict[str, float]]:
    """One device for all: s_c and r_g as measured, the planner beside the generator like the critic.

    Two decoders read different weights: each gets half of the bandwidth.
    """
    if not (critic_slowdown >= 1 and 0 < generator_rate <= 1):
        raise BadRequestError(
            f"[Machine] s_c is {critic_slowdown}, r_g is {generator_rate}: s_c >= 1 and 0 < r_g <= 1 are wanted"
        )
    vlm = 1 / critic_slowdown
    return {
        "planner+critic": {"planner": 0.5, "critic": 0.5},
        "generator+critic": {"generator": generator_rate, "critic": vlm},
        "planner+generator": {"generator": generator_rate, "planner": vlm},
        "planner+generator+critic": {"generator": generator_rate, "planner": vlm / 2, "critic": vlm / 2},
    }
