"""From records to the document with stable keys (format_version 1), the same of an engine and of virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from .arms import Arm
from .load import Load
from .record import ROLES, CallRecord, RequestRecord, Turn
from .statistics import describe, median_ratio, ratio_of_means

FORMAT_VERSION = 1
Turns = Mapping[str, Sequence[Turn]]  # by arm


def document(load: Load, target: str, arms: Sequence[Arm], turns: Turns) -> dict[str, Any]:
    """What `bench` and `simulate` have in common; each adds its own."""
    server = load.scenario == "server"
    return {
        "format_version": FORMAT_VERSION,
        "scenario": {
            "name": load.scenario,
            "target": target,
            "requests": len(
                {record.index for of in turns.values() for turn in of for record in turn.records}
            ),
            "concurrency": load.under_way,
            "request_rate": load.request_rate if server else None,
            "burstiness": load.burstiness if server else None,
            "seed": load.seed,
            "slo_ms": dict(load.slo_ms),
        },
        "arms": {arm.name: _arm(turns[arm.name], load) for arm in arms},
        "speedup": {},
        "speculation": _speculation(arms, turns, load),
    }


def records_of(turns: Sequence[Turn]) -> list[RequestRecord]:
    """All requests of an arm."""
    return [record for turn in turns for record in turn.records]


def _calls(turns: Sequence[Turn]) -> list[CallRecord]:
    return [call for record in records_of(turns) for call in record.calls]


def _ms(seconds: Iterable[float], load: Load) -> dict[str, float | None]:
    return describe([1000 * value for value in seconds], load.percentiles)


def _arm(turns: Sequence[Turn], load: Load) -> dict[str, Any]:
    records = records_of(turns)
    ended = [record for record in records if record.finished]
    wall = sum(turn.wall_s for turn in turns)
    good = sum(_keeps(record, load.slo_ms) for record in ended)
    steps = sum(record.steps for record in ended)
    failures = Counter(
        record.message or record.outcome
        for record in records
        if not record.finished and record.outcome != "overloaded"
    )
    return {
        "e2e_latency_ms": _ms((record.e2e_s for record in ended), load),
        "ttfi_ms": _ms((record.ttfi_s for record in ended if record.ttfi_s is not None), load),
        "time_per_step_ms": _ms((record.e2e_s / record.steps for record in ended if record.steps), load),
        "inter_image_latency_ms": _ms((gap for record in ended for gap in record.image_gaps_s), load),
        "time_to_verdict_ms": _ms((one for record in ended for one in record.verdict_s), load),
        "request_throughput": _rate(len(ended), wall),
        "steps_per_s": _rate(steps, wall),
        "goodput": _rate(good, wall) if load.slo_ms else None,
        "slo_attained": round(good / len(records), 4) if load.slo_ms and records else None,
        "completed": len(ended),
        "failed": failures.total(),
        "failures": dict(failures),
        "refused": sum(record.outcome == "overloaded" for record in records),
        "steps": steps,
        "wall_s": round(wall, 4),
        "stages": _stages(turns),
        "overlap_ratio": overlap_ratio(turns),
        "waste": _waste(_calls(turns)),
    }


def _keeps(record: RequestRecord, slo_ms: Mapping[str, float]) -> bool:
    first = record.ttfi_s if record.ttfi_s is not None else record.e2e_s
    took = {"e2e": 1000 * record.e2e_s, "ttfi": 1000 * first}
    return all(took[name] <= limit for name, limit in slo_ms.items())


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 4) if seconds > 0 else None


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole > 0 else None


def _stages(turns: Sequence[Turn]) -> dict[str, Any]:
    wall = sum(turn.wall_s for turn in turns)
    stages = {}
    for role in ROLES:
        calls = [call for call in _calls(turns) if call.role == role]
        took = [call.end - call.start for call in calls if call.served]
        stages[role] = {
            "ms": round(1000 * sum(took) / len(took), 4) if took else None,
            "busy": _share(sum(busy_s(turn, role) for turn in turns), wall),
            "calls": len(calls),
        }
    return stages


def busy_s(turn: Turn, role: str) -> float:
    """Seconds in which at least one call of the role was on its lane."""
    spans = sorted((c.start, c.end) for record in turn.records for c in record.calls if c.role == role)
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def overlap_ratio(turns: Sequence[Turn]) -> float | None:
    """1 - wall / (sum of the roles' busy time): 0 where one role works at a time without a gap."""
    wall = sum(turn.wall_s for turn in turns)
    busy = sum(busy_s(turn, role) for turn in turns for role in ROLES)
    return round(1.0 - wall / busy, 4) if busy > 0 else None


def _time(calls: Iterable[CallRecord]) -> float:
    return sum(call.end - call.start for call in calls)


def _waste(calls: Sequence[CallRecord]) -> dict[str, float]:
    """Time of calls whose results nobody used, and its share of all call time, by role."""
    found = {}
    for role in ROLES:
        of = [call for call in calls if call.role == role]
        wasted = _time(call for call in of if not call.used)
        found[f"{role}_ms"] = round(1000 * wasted, 3)
        found[f"{role}_share"] = _share(wasted, _time(of)) or 0.0
    return found


def _speculation(arms: Sequence[Arm], turns: Turns, load: Load) -> dict[str, Any] | None:
    """Of the first arm that speculates; None where none was run."""
    arm = next((arm for arm in arms if arm.speculation != "off"), None)
    if arm is None:
        return None
    calls = _calls(turns[arm.name])
    ahead = [call for call in calls if call.speculative]
    wasted = _time(call for call in ahead if not call.used)
    used = sum(call.used for call in ahead)
    verdicts: dict[int, list[bool]] = {}
    for record in records_of(turns[arm.name]):
        for attempt, accepted in record.verdicts:
            verdicts.setdefault(attempt, []).append(accepted)
    return {
        "arm": arm.name,
        "setting": arm.speculation,
        "speculated": len(ahead),
        "committed": used,
        "discarded": len(ahead) - used,
        "wasted_ms": round(1000 * wasted, 3),
        "wasted_share": _share(wasted, _time(calls)),
        "accept_rate_by_attempt": {
            str(attempt): round(sum(said) / len(said), 4) for attempt, said in sorted(verdicts.items())
        },
        "overlap_ratio": overlap_ratio(turns[arm.name]),
        "cancel_latency_ms": _cancels(calls, load, ROLES),
        "cancel_latency_by_role_ms": {role: _cancels(calls, load, (role,)) for role in ROLES[1:]},
    }


def _cancels(calls: Sequence[CallRecord], load: Load, roles: Sequence[str]) -> dict[str, Any]:
    took = [call.cancel_s for call in calls if call.cancel_s is not None and call.role in roles]
    return {**_ms(took, load), "count": len(took)}


def speedups(turns: Turns, *, by_request: bool, intervals: bool = True, seed: int = 0) -> dict[str, Any]:
    """How many times as fast each later arm is: on the requests that both finished, or turn by turn.

    Virtual time is exact: without `intervals` each figure is a number.
    """
    found = {}
    for base, other, key in _pairs(turns):
        one, two = turns[base], turns[other]
        times = (
            _paired_requests(one, two)
            if by_request
            else (list(map(_mean_e2e, one)), list(map(_mean_e2e, two)))
        )
        walls = list(map(_wall_each, one)), list(map(_wall_each, two))
        mean, median, through = (
            ratio(*samples, seed=seed, intervals=intervals)
            for ratio, samples in ((ratio_of_means, times), (median_ratio, times), (ratio_of_means, walls))
        )
        if intervals:
            empty = {"ratio": None, "low": None, "high": None, "pairs": 0}
            mean_, median_, through_ = (one.as_dict() if one else empty for one in (mean, median, through))
            found[key] = {**mean_, "median": median_, "throughput": through_}
        else:
            named = {"ratio": mean, "median": median, "throughput": through}
            found[key] = {name: round(one.ratio, 4) if one else None for name, one in named.items()}
            found[key]["pairs"] = mean.pairs if mean else 0
    return found


def _pairs(turns: Turns) -> list[tuple[str, str, str]]:
    return [
        (one, two, f"{two.replace('-', '_')}_vs_{one.replace('-', '_')}")
        for one, two in combinations(turns, 2)
    ]


def _paired_requests(base: Sequence[Turn], other: Sequence[Turn]) -> tuple[list[float], list[float]]:
    a, b = (
        {record.index: record.e2e_s for record in records_of(turns) if record.finished}
        for turns in (base, other)
    )
    both = sorted(a.keys() & b.keys())
    return [a[index] for index in both], [b[index] for index in both]


def _mean_e2e(turn: Turn) -> float:
    took = [record.e2e_s for record in turn.records if record.finished]
    return sum(took) / len(took) if took else 0.0


def _wall_each(turn: Turn) -> float:
    """Seconds of the turn for each request that it finished."""
    finished = sum(record.finished for record in turn.records)
    return turn.wall_s / finished if finished else 0.0


def lossless(turns: Turns) -> dict[str, Any]:
    """Canonical results of all arms side by side; requests that an arm refused cannot be compared."""
    by_index: dict[int, list[RequestRecord]] = {}
    for of in turns.values():
        for record in records_of(of):
            by_index.setdefault(record.index, []).append(record)
    whole = [
        records
        for records in by_index.values()
        if len(records) == len(turns) and all(record.outcome != "overloaded" for record in records)
    ]
    different = sorted(rs[0].index for rs in whole if len({record.digest for record in rs}) > 1)
    return {
        "requests": len(whole),
        "equal": len(whole) - len(different),
        "finished": sum(all(record.finished for record in records) for records in whole),
        "arms": list(turns),
        "first_different": different[0] if different else None,
    }
