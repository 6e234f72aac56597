"""Runs the arms over the same requests, interleaved, so that a slow minute of the machine hits all of them."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from interleave_rt.checks import within
from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError

from .arms import ARMS, Arm, Engines, Target, Threads
from .document import document, lossless, records_of, speedups
from .environment import peak_rss_mb, reset_peak_rss
from .load import MAX_REQUESTS, Load, SampleRequest
from .record import RequestRecord, Turn, check_answers, closed_loop, open_loop

PROBES = 4  # requests that compare thread splits
ROUNDS = 3
_MOST_THREADS = 1024
MAX_QUEUED = 64  # where the load has no limit


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """What is measured.

    Args:
        load: How requests come in.
        arms: In the order in which they take turns.
        turns: Of each arm; 0: one a request in single-stream, else eight.
        duration_s: No new round of turns is begun after so many seconds, a third of which may go into comparing thread
            splits; 0: all requests are run.
        warmup: Requests before the measurement, by each engine.
        threads: One split for all arms; None: the best of each arm is looked for.
    """

    load: Load
    arms: Sequence[Arm]
    turns: int = 0
    duration_s: float = 0.0
    warmup: int = 2
    threads: Threads | None = None

    def __post_init__(self) -> None:
        if not self.arms:
            raise BadRequestError("no arm is left", hint="name at least one of the arms")
        within("--blocks", self.turns, 0, MAX_REQUESTS)
        within("--duration", self.duration_s, 0)
        within("--warmup", self.warmup, 0, MAX_REQUESTS)
        within("--concurrency", self.load.under_way or 1, 1, _MOST_THREADS)  # each has a thread of its own

    @property
    def paired_by_request(self) -> bool:
        """Whether the arms take turns after every request."""
        return self.load.scenario == "single-stream"

    def engine_config(self) -> EngineConfig:
        """Room for what is under way; offline and closed loops are never refused, a server keeps to `max_queued`."""
        load = self.load
        live = max(load.max_live, load.under_way or 1)
        queued = MAX_QUEUED if load.max_queued is None else load.max_queued
        if load.scenario != "server":
            queued = max(queued, live)
        return EngineConfig(max_live=live, max_queued=queued)


@dataclass(slots=True)
class Measurement:
    """Everything that was written down."""

    config: BenchConfig
    target: str
    samples: Sequence[SampleRequest]
    turns: list[Turn] = field(default_factory=list)
    threads: dict[str, str] = field(default_factory=dict)
    probes: dict[str, dict[str, float]] = field(default_factory=dict)  # arm, split: mean ms a request
    rss_by_arm: bool = True

    def of(self, arm: str) -> list[Turn]:
        """The turns of one arm."""
        return [turn for turn in self.turns if turn.arm == arm]

    def records(self, arm: str) -> list[RequestRecord]:
        """All requests of one arm."""
        return records_of(self.of(arm))

    def document(self, environment: dict[str, Any]) -> dict[str, Any]:
        """Plain data: what `--json` prints and `--output` writes."""
        config, load = self.config, self.config.load
        turns = {arm.name: self.of(arm.name) for arm in config.arms}
        slow_first = sorted(turns, key=lambda name: [*ARMS, name].index(name))
        made = document(load, self.target, config.arms, turns)
        engine = config.engine_config()
        made["scenario"] |= {
            "concurrency": load.under_way or 1,
            "max_live": engine.max_live,
            "max_queued": engine.max_queued,
            "warmup": config.warmup,
            "threads": dict(self.threads),
            "thread_probes_ms": dict(self.probes),
            "peak_rss_is_of": "the arm's turns" if self.rss_by_arm else "the process",
        }
        for name, of in turns.items():
            peak = max((turn.peak_rss_mb for turn in of), default=0.0)
            made["arms"][name]["peak_rss_mb"] = round(peak, 1)
        made["speedup"] = speedups(
            {name: turns[name] for name in slow_first}, by_request=config.paired_by_request, seed=load.seed
        )
        return {**made, "lossless": lossless(turns), "environment": environment}


class Progress:
    """Hears how far it is; shows nothing."""

    def start(self, total: int) -> None:
        """So many requests will be run."""

    def phase(self, text: str) -> None:
        """What is done from now on."""

    def say(self, text: str) -> None:
        """One line that a reader should see."""

    def step(self) -> None:
        """One request has ended."""


def measure(
    config: BenchConfig, target: Target, samples: Sequence[SampleRequest], progress: Progress | None = None
) -> Measurement:
    """Runs every arm over all samples.

    Raises:
        BackendFailedError: The warm-up failed; nothing that follows would mean anything.
    """
    found = Measurement(config, target.name, samples)
    with Engines(target, config.engine_config()) as engines:
        _Bench(config, target, list(enumerate(samples)), progress or Progress(), engines, found).run()
    return found


@dataclass(slots=True)
class _Bench:
    config: BenchConfig
    target: Target
    samples: list[tuple[int, SampleRequest]]
    progress: Progress
    engines: Engines
    found: Measurement

    def run(self) -> None:
        config, samples = self.config, self.samples
        began = time.perf_counter()
        chosen = {arm.name: self._choose(arm) for arm in config.arms}
        self.engines.close_all_but(list(chosen.values()))
        self.progress.phase("warming up")
        for arm in config.arms:
            self._warm(chosen[arm.name], arm, config.warmup)
        self.progress.phase("measuring")
        self.progress.start(len(samples) * len(config.arms))
        # Every arm meets the same arrivals, those of virtual time; a turn is a stretch of them.
        at = [0] * len(samples) if config.load.under_way else config.load.arrivals_us(len(samples))
        for number, indices in enumerate(self._stretches()):
            if config.duration_s and number and time.perf_counter() - began >= config.duration_s:
                break
            here = [at[index] - at[indices[0]] for index in indices]
            for arm in config.arms:
                part = [samples[index] for index in indices]
                self.found.turns.append(self._turn(chosen[arm.name], arm, number, part, here))

    def _stretches(self) -> list[range]:
        count = len(self.samples)
        turns = self.config.turns or (count if self.config.paired_by_request else 8)
        turns = max(1, min(turns, count))
        edges = [round(i * count / turns) for i in range(turns + 1)]
        return [range(a, b) for a, b in itertools.pairwise(edges)]

    def _turn(
        self,
        engine: Engine,
        arm: Arm,
        number: int,
        part: Sequence[tuple[int, SampleRequest]],
        at_us: Sequence[int],
    ) -> Turn:
        self.found.rss_by_arm = reset_peak_rss() and self.found.rss_by_arm
        load, step = self.config.load, self.progress.step
        began = time.perf_counter()
        if load.scenario == "server":
            records = open_loop(engine, arm, part, at_us, step)
        elif load.scenario == "offline":
            # Twice as many as run at once: the engine is never short of work, and no thread waits for nothing.
            wide = min(len(part), 2 * self.config.engine_config().max_live)
            records = closed_loop(engine, arm, part, wide, step, due=time.perf_counter())
        else:
            records = closed_loop(engine, arm, part, load.under_way or 1, step)
        ended, peak = max((record.ended for record in records), default=began), peak_rss_mb()
        check_answers(engine, arm, records)
        return Turn(arm.name, number, records, ended - began, peak)

    def _warm(self, engine: Engine, arm: Arm, count: int) -> None:
        for index in range(count):
            _, sample = self.samples[index % len(self.samples)]
            record = closed_loop(engine, arm, [(index, sample)], 1)[0]
            if record.outcome in ("backend_failed", "bad_request", "internal") and index == 0:
                raise BackendFailedError(f"[bench] the warm-up of {arm.name} failed: {record.message}")

    def _choose(self, arm: Arm) -> Engine:
        """The engine with the thread split under which the arm is fastest, tried on a few of the requests."""
        config, engines = self.config, self.engines
        splits = [config.threads] if config.threads else list(self.target.splits)
        if not splits:
            return engines.of(arm, None)
        if len(splits) == 1:
            self.found.threads[arm.name] = str(splits[0])
            return engines.of(arm, splits[0])
        self.progress.phase(f"comparing thread splits of {arm.name}")
        began = time.perf_counter()
        share_s = config.duration_s / 3 / len(config.arms) or math.inf
        for split in splits:
            self._warm(engines.of(arm, split), arm, max(1, config.warmup))
        speed = dict.fromkeys(splits, math.inf)
        for number in range(ROUNDS):  # in turns: a slow moment of the machine hits all of them
            if number and time.perf_counter() - began >= share_s:
                break
            for split in splits:
                speed[split] = min(speed[split], self._probe(engines.of(arm, split), arm))
        best = min(speed, key=lambda split: speed[split])
        self.found.threads[arm.name] = str(best)
        self.found.probes[arm.name] = {str(split): round(ms, 3) for split, ms in speed.items()}
        tried = ", ".join(f"{split}: {ms:.1f} ms" for split, ms in speed.items())
        self.progress.say(f"threads of {arm.name} (generator+vlm): {best}  ({tried} a request)")
        return engines.of(arm, best)

    def _probe(self, engine: Engine, arm: Arm) -> float:
        """Milliseconds a request."""
        load = self.config.load
        probes = self.samples[: max(PROBES, load.under_way or 1)]
        wide = load.under_way or min(len(probes), self.config.engine_config().max_live)
        began = time.perf_counter()
        records = closed_loop(engine, arm, probes, wide)
        if wide > 1:
            return 1000 * (time.perf_counter() - began) / len(probes)
        return 1000 * statistics.fmean(record.e2e_s for record in records)
