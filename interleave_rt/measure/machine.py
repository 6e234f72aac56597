"""What calls run on: lanes with room for several calls, and machines on which lanes slow each other.

Presets are GPUs that one may not have: roofline arithmetic, not measurements.

Lower bounds of a call, from work and bandwidth (a FLUX.2-klein-9B generator with 4 denoising steps at 1024 x 1024, a
Qwen3-VL-8B planner and critic):

    compute      FLOP / rate, 700 TFLOP/s in bf16, 1400 in fp8 (attention stays bf16)
    decode       tok(B) = (weights * bytes + B * context * KV bytes) / bandwidth, 4.8 TB/s (H200), 3.35 TB/s (H800)
    generator    text encoder + VAE encode + 4 denoising steps + VAE decode
    critic       C = 2 ViT + prefill(3576 tokens) + 300 tok;  Cv = 2 ViT + prefill + 200 tok
    planner      prefill(1200 tokens) + 60 tok, then 150 tok a step

Two cards: generator on one; planner and critic on the other, where two decodes share the bandwidth (different
checkpoints read different weights): each runs at 1/2. One card: while a decode runs, the generator has the share
1 - s of the multiprocessors (s = 0.02 at the roofline), and decodes have 0.92 of the bandwidth beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from interleave_rt.checks import within
from interleave_rt.errors import BadRequestError

from .record import ROLES
from .tasks import MAX_MS, Times

MAX_CAPACITY = 4096
DECODE_SHARE = 0.92  # of the bandwidth, beside a generator
DECODE_SMS = 0.02  # of the multiprocessors, at the roofline
CRITIC_TOKENS, VERDICT_TOKENS, PLAN_HEAD, PLAN_STEP = 300, 200, 60, 150
SLOTS = 4


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


@dataclass(frozen=True, slots=True)
class Card:
    """Milliseconds of one call."""

    generate_first: float  # text to image
    generate: float  # one reference image
    prefill: float  # critic's time to its first token: images and 3576 tokens
    token: float  # decode of one sequence
    token_of_four: float  # decode of four sequences together
    plan: float  # planner's time to its first token and 810 tokens


PRESETS = {
    "h200-bf16": Card(469, 973, 93, 3.27, 3.61, 2670),
    "h200-fp8": Card(281, 622, 52, 1.69, 2.03, 1380),
    "h800-bf16": Card(469, 973, 93, 4.68, 5.17, 3820),
    "h800-fp8": Card(281, 622, 52, 2.42, 2.92, 1980),
}


def preset(name: str, cards: int = 2, decode_sms: float = DECODE_SMS) -> tuple[Times, Machine, str]:
    """Times and machine of a preset, and what to say of it.

    Args:
        name: One of `PRESETS`.
        cards: 1: all on one card; 2: the generator has one of its own.
        decode_sms: One card: the share of the multiprocessors that a running decode takes from the generator.

    Raises:
        BadRequestError: There is no such preset, or a number is out of range.
    """
    if name not in PRESETS:
        raise BadRequestError(f"there is no preset {name!r}", hint=f"presets: {', '.join(PRESETS)}")
    within("--cards", cards, 1, 2)
    if not 0 <= decode_sms < 1:
        raise BadRequestError(f"--decode-sms is {decode_sms}: a share from 0 to below 1 is wanted")
    card = PRESETS[name]
    head = card.plan - (PLAN_HEAD + 5 * PLAN_STEP) * card.token  # prefill of the planner
    times = Times(
        plan_first=head + (PLAN_HEAD + PLAN_STEP) * card.token,
        plan_step=PLAN_STEP * card.token,
        generate_first=card.generate_first,
        generate=card.generate,
        verdict=card.prefill + VERDICT_TOKENS * card.token,
        verdict_tail=(CRITIC_TOKENS - VERDICT_TOKENS) * card.token,
    )
    generator = "card 0"
    vlm = generator if cards == 1 else "card 1"
    lanes = {
        "planner": Lane(
            SLOTS, vlm, batching=_curve(head, PLAN_HEAD + 5 * PLAN_STEP, card), cancel_ms=card.token
        ),
        "generator": Lane(1, generator),
        "critic": Lane(SLOTS, vlm, batching=_curve(card.prefill, CRITIC_TOKENS, card), cancel_ms=card.token),
    }
    rates = pair_rates(1 / DECODE_SHARE, 1 - decode_sms)
    if cards == 2:
        rates = {"planner+critic": rates["planner+critic"]}
    note = f"{name}, {cards} card{'s' * (cards > 1)}: roofline arithmetic (lower bounds of the calls), not measured"
    return times, Machine(lanes, {vlm: rates}), note


def _curve(prefill: float, tokens: float, card: Card) -> list[float]:
    """Of b calls together: prefills are compute, one after the other; decodes share the reading of the weights."""
    more = (card.token_of_four - card.token) / 3
    alone = prefill + tokens * card.token
    return [(prefill * b + tokens * (card.token + more * (b - 1))) / alone for b in range(1, SLOTS + 1)]
