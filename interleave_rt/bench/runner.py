"""Runs the arms over the same requests, interleaved, so that a slow minute of the machine hits all of them."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError

from .arms import Arm, Engines, Target, Threads
from .environment import peak_rss_mb, reset_peak_rss
from .load import Block, Record, closed_loop, open_loop
from .workload import Case, arrivals

__all__ = ["Measurement", "Plan", "Progress", "measure"]

Scenario = Literal["single-stream", "closed-loop", "server", "offline"]
PROBES = 4  # requests that compare thread splits
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Args:
        scenario: `single-stream`: one request at a time; `closed-loop`: `concurrency` at a time; `server`: they come
            in at `request_rate` a second; `offline`: all at once.
        arms: In the order in which they take turns.
        blocks: Turns of each arm; 0: one a request in single-stream, else eight.
        duration_s: No new round of turns is begun after so many seconds; 0: all requests are run.
        warmup: Requests before the measurement, by each engine.
        threads: One split for all arms; None: the best of each arm is looked for.
        slo_ms: Limits by name (`e2e`, `ttfi`): a request that keeps all of them counts for the goodput.
    """

    scenario: Scenario
    arms: Sequence[Arm]
    concurrency: int = 1
    request_rate: float = math.inf
    burstiness: float = 1.0
    blocks: int = 0
    duration_s: float = 0.0
    warmup: int = 2
    seed: int = 0
    threads: Threads | None = None
    max_live: int = 8
    max_queued: int = 64
    percentiles: Sequence[float] = (50.0, 90.0, 95.0, 99.0)
    slo_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.arms:
            raise BadRequestError("[bench] no arm is left", hint="name at least one of the arms")
        for name, value, low in (
            ("--concurrency", self.concurrency, 1),
            ("--blocks", self.blocks, 0),
            ("--duration", self.duration_s, 0),
            ("--warmup", self.warmup, 0),
        ):
            if not value >= low:
                raise BadRequestError(f"[bench] {name} is {value}: at least {low} is wanted")
        if not 0 <= self.seed < 2**63:
            raise BadRequestError(
                f"[bench] --seed is {self.seed}", hint="a whole number from 0 to 2^63 - 1, e.g. 7"
            )
        if not self.request_rate > 0:
            raise BadRequestError(f"[bench] --request-rate is {self.request_rate}: give requests a second")
        if not self.burstiness > 0:
            raise BadRequestError(f"[bench] --burstiness is {self.burstiness}: a number above 0 is wanted")
        unknown = sorted(set(self.slo_ms) - {"e2e", "ttfi"})
        if unknown:
            raise BadRequestError(f"[bench] --slo has no limit {unknown[0]!r}", hint="limits: e2e, ttfi")

    @property
    def paired_by_request(self) -> bool:
        """Whether the arms take turns after every request."""
        return self.scenario == "single-stream"

    def engine_config(self) -> EngineConfig:
        """Room for what is under way; offline and closed loops are never refused, a server keeps to `max_queued`."""
        live = max(self.max_live, self.concurrency)
        queued = self.max_queued if self.scenario == "server" else max(self.max_queued, live)
        return EngineConfig(max_live=live, max_queued=queued)


@dataclass(slots=True)
class Measurement:
    """Everything that was written down."""

    plan: Plan
    target: str
    cases: Sequence[Case]
    blocks: list[Block] = field(default_factory=list)
    threads: dict[str, str] = field(default_factory=dict)
    probes: dict[str, dict[str, float]] = field(default_factory=dict)  # arm, split: mean ms a request
    rss_by_arm: bool = True

    def of(self, arm: str) -> list[Block]:
        """The turns of one arm."""
        return [block for block in self.blocks if block.arm == arm]

    def records(self, arm: str) -> list[Record]:
        """The requests of one arm."""
        return [record for block in self.of(arm) for record in block.records]


class Progress:
    """Hears how far it is; shows nothing."""

    def start(self, total: int) -> None:
        """So many requests will be run."""

    def say(self, text: str) -> None:
        """One line that a reader should see."""

    def step(self) -> None:
        """One request has ended."""


def measure(
    plan: Plan, target: Target, cases: Sequence[Case], progress: Progress | None = None
) -> Measurement:
    """Runs every arm over all cases.

    Raises:
        BackendFailedError: The warm-up failed; nothing that follows would mean anything.
    """
    heard = progress or Progress()
    found = Measurement(plan, target.name, cases)
    rounds = _rounds(plan, len(cases))
    with Engines(target, plan.engine_config()) as engines:
        chosen = {arm.name: _choose(plan, engines, target, arm, cases, found, heard) for arm in plan.arms}
        engines.close_all_but(list(chosen.values()))
        for arm in plan.arms:
            _warm(chosen[arm.name], arm, cases, plan.warmup)
        heard.start(len(cases) * len(plan.arms))
        began = time.perf_counter()
        for number, indices in enumerate(rounds):
            if plan.duration_s and number and time.perf_counter() - began >= plan.duration_s:
                break
            for arm in plan.arms:
                part = [(index, cases[index]) for index in indices]
                found.blocks.append(_turn(plan, chosen[arm.name], arm, number, part, found, heard.step))
    return found


def _rounds(plan: Plan, count: int) -> list[range]:
    blocks = plan.blocks or (count if plan.paired_by_request else 8)
    blocks = max(1, min(blocks, count))
    edges = [round(i * count / blocks) for i in range(blocks + 1)]
    return [range(a, b) for a, b in itertools.pairwise(edges)]


def _turn(
    plan: Plan,
    engine: Engine,
    arm: Arm,
    number: int,
    part: Sequence[tuple[int, Case]],
    found: Measurement,
    step: Callable[[], None],
) -> Block:
    found.rss_by_arm = reset_peak_rss() and found.rss_by_arm
    began = time.perf_counter()
    records = _drive(plan, engine, arm, number, part, step)
    ended = max((record.ended for record in records), default=began)
    return Block(arm.name, number, records, ended - began, peak_rss_mb())


def _drive(
    plan: Plan,
    engine: Engine,
    arm: Arm,
    number: int,
    part: Sequence[tuple[int, Case]],
    step: Callable[[], None],
) -> list[Record]:
    if plan.scenario == "server":
        # Every arm meets the same arrivals.
        at = arrivals(len(part), plan.request_rate, plan.burstiness, plan.seed * 1_000_003 + number)
        return open_loop(engine, arm, part, at, step)
    if plan.scenario == "offline":
        # Twice as many as run at once: the engine is never short of work, and no thread waits for nothing.
        wide = min(len(part), 2 * plan.engine_config().max_live)
        return closed_loop(engine, arm, part, wide, step, due=time.perf_counter())
    return closed_loop(engine, arm, part, plan.concurrency, step)


def _warm(engine: Engine, arm: Arm, cases: Sequence[Case], count: int) -> None:
    for index in range(count):
        record = closed_loop(engine, arm, [(index, cases[index % len(cases)])], 1, _nothing)[0]
        if record.outcome in ("backend_failed", "bad_request", "internal") and index == 0:
            raise BackendFailedError(f"[bench] the warm-up of {arm.name} failed: {record.message}")


def _choose(
    plan: Plan,
    engines: Engines,
    target: Target,
    arm: Arm,
    cases: Sequence[Case],
    found: Measurement,
    heard: Progress,
) -> Engine:
    """The engine with the thread split under which the arm is fastest, tried on a few of the requests."""
    splits = [plan.threads] if plan.threads else list(target.splits())
    if not splits:
        return engines.of(arm, None)
    if len(splits) == 1:
        found.threads[arm.name] = str(splits[0])
        return engines.of(arm, splits[0])
    probes = [(i, cases[i]) for i in range(min(len(cases), max(PROBES, 2 * plan.concurrency)))]
    for split in splits:
        _warm(engines.of(arm, split), arm, cases, max(1, plan.warmup))
    speed = dict.fromkeys(splits, math.inf)
    for _ in range(ROUNDS):  # in turns: a slow moment of the machine hits all of them
        for split in splits:
            speed[split] = min(speed[split], _probe(plan, engines.of(arm, split), arm, probes))
    best = min(speed, key=lambda split: speed[split])
    found.threads[arm.name] = str(best)
    found.probes[arm.name] = {str(split): round(ms, 3) for split, ms in speed.items()}
    tried = ", ".join(f"{split}: {ms:.1f} ms" for split, ms in speed.items())
    heard.say(f"threads of {arm.name} (generator+vlm): {best}  ({tried} a request)")
    return engines.of(arm, best)


def _probe(plan: Plan, engine: Engine, arm: Arm, probes: Sequence[tuple[int, Case]]) -> float:
    began = time.perf_counter()
    wide = plan.concurrency if plan.scenario == "closed-loop" else 1
    if plan.scenario in ("offline", "server"):
        wide = min(len(probes), plan.engine_config().max_live)
    records = closed_loop(engine, arm, probes, wide, _nothing)
    if wide > 1:
        return 1000 * (time.perf_counter() - began) / len(probes)
    return 1000 * statistics.fmean(record.e2e_s for record in records)


def _nothing() -> None:
    pass
