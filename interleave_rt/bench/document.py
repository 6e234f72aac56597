"""From a measurement to the document with stable keys (format_version 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from .load import Block, Record
from .runner import Measurement
from .statistics import describe, median_ratio, ratio_of_means

__all__ = ["FORMAT_VERSION", "document"]

FORMAT_VERSION = 1
ROLES = ("planner", "generator", "critic")
_RANK = {"sequential": 0, "sequential-es": 1, "speculative": 2}


def document(found: Measurement, environment: dict[str, Any]) -> dict[str, Any]:
    """Plain data: what `--json` prints and `--output` writes."""
    plan = found.plan
    config = plan.engine_config()
    return {
        "format_version": FORMAT_VERSION,
        "scenario": {
            "name": plan.scenario,
            "target": found.target,
            "requests": len({record.index for block in found.blocks for record in block.records}),
            "concurrency": plan.concurrency,
            "request_rate": plan.request_rate if plan.scenario == "server" else None,
            "burstiness": plan.burstiness if plan.scenario == "server" else None,
            "max_live": config.max_live,
            "max_queued": config.max_queued,
            "seed": plan.seed,
            "warmup": plan.warmup,
            "slo_ms": dict(plan.slo_ms),
            "threads": dict(found.threads),
            "thread_probes_ms": dict(found.probes),
            "peak_rss_is_of": "the arm's turns" if found.rss_by_arm else "the process",
        },
        "arms": {arm.name: _arm(found, arm.name) for arm in plan.arms},
        "speedup": _speedups(found),
        "speculation": _speculation(found),
        "lossless": _lossless(found),
        "environment": environment,
    }


def _arm(found: Measurement, name: str) -> dict[str, Any]:
    blocks, records = found.of(name), found.records(name)
    ended = [record for record in records if record.finished]
    wall = sum(block.wall_s for block in blocks)
    cuts = found.plan.percentiles

    def ms(values: Iterable[float]) -> dict[str, float | None]:
        return describe([1000 * value for value in values], cuts)

    good = [record for record in ended if _keeps(record, found.plan.slo_ms)]
    steps = sum(record.steps for record in ended)
    return {
        "e2e_latency_ms": ms(record.e2e_s for record in ended),
        "ttfi_ms": ms(record.ttfi_s for record in ended if record.ttfi_s is not None),
        "time_per_step_ms": ms(record.e2e_s / record.steps for record in ended if record.steps),
        "inter_image_latency_ms": ms(gap for record in ended for gap in record.image_gaps_s),
        "time_to_verdict_ms": ms(one for record in ended for one in record.verdict_s),
        "request_throughput": _rate(len(ended), wall),
        "steps_per_s": _rate(steps, wall),
        "goodput": _rate(len(good), wall) if found.plan.slo_ms else None,
        "slo_attained": round(len(good) / len(records), 4) if found.plan.slo_ms and records else None,
        "completed": len(ended),
        "failed": sum(not record.finished and record.outcome != "overloaded" for record in records),
        "refused": sum(record.outcome == "overloaded" for record in records),
        "steps": steps,
        "wall_s": round(wall, 4),
        "peak_rss_mb": round(max((block.peak_rss_mb for block in blocks), default=0.0), 1),
        "stages": _stages(blocks),
        "overlap_ratio": overlap_ratio(blocks),
    }


def _keeps(record: Record, slo_ms: dict[str, float]) -> bool:
    first = record.ttfi_s if record.ttfi_s is not None else record.e2e_s
    took = {"e2e": 1000 * record.e2e_s, "ttfi": 1000 * first}
    return all(took[name] <= limit for name, limit in slo_ms.items())


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 4) if seconds > 0 else None


def _stages(blocks: Sequence[Block]) -> dict[str, Any]:
    wall = sum(block.wall_s for block in blocks)
    stages = {}
    for role in ROLES:
        took = [s for block in blocks for r in block.records for name, s in r.service_s if name == role]
        busy = sum(busy_s(block, role) for block in blocks)
        stages[role] = {
            "ms": round(1000 * sum(took) / len(took), 4) if took else None,
            "busy": round(busy / wall, 4) if wall > 0 else None,
            "calls": sum(name == role for block in blocks for r in block.records for name, _, _ in r.calls),
        }
    return stages


def busy_s(block: Block, role: str) -> float:
    """Seconds in which at least one call of the role was on its lane."""
    spans = sorted((a, b) for record in block.records for name, a, b in record.calls if name == role)
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def overlap_ratio(blocks: Sequence[Block]) -> float | None:
    """1 - wall / (sum of the roles' busy time): 0 where one role works at a time without a gap."""
    wall = sum(block.wall_s for block in blocks)
    busy = sum(busy_s(block, role) for block in blocks for role in ROLES)
    return round(1.0 - wall / busy, 4) if busy > 0 else None


def _speedups(found: Measurement) -> dict[str, Any]:
    names = [arm.name for arm in found.plan.arms]
    pairs = {}
    for one, two in combinations(sorted(names, key=lambda name: _RANK[name]), 2):
        key = f"{two.replace('-', '_')}_vs_{one.replace('-', '_')}"
        pairs[key] = _speedup(found, one, two)
    return pairs


def _speedup(found: Measurement, base: str, other: str) -> dict[str, Any]:
    """How many times as fast `other` is; paired by request in single-stream, else by turns."""
    seed = found.plan.seed
    turns = list(zip(found.of(base), found.of(other), strict=True))
    if found.plan.paired_by_request:
        a = {record.index: record.e2e_s for record in found.records(base) if record.finished}
        b = {record.index: record.e2e_s for record in found.records(other) if record.finished}
        both = sorted(a.keys() & b.keys())
        times = [a[index] for index in both], [b[index] for index in both]
    else:
        times = [_mean_e2e(one) for one, _ in turns], [_mean_e2e(two) for _, two in turns]
    walls = [_wall_each(one) for one, _ in turns], [_wall_each(two) for _, two in turns]
    mean, median = ratio_of_means(*times, seed=seed), median_ratio(*times, seed=seed)
    through = ratio_of_means(*walls, seed=seed)
    empty = {"ratio": None, "low": None, "high": None, "pairs": 0}
    return {
        **(mean.as_dict() if mean else empty),
        "median": median.as_dict() if median else empty,
        "throughput": through.as_dict() if through else empty,
    }


def _mean_e2e(block: Block) -> float:
    took = [record.e2e_s for record in block.records if record.finished]
    return sum(took) / len(took) if took else 0.0


def _wall_each(block: Block) -> float:
    """Seconds of the turn for each request that it finished."""
    finished = sum(record.finished for record in block.records)
    return block.wall_s / finished if finished else 0.0


def _speculation(found: Measurement) -> dict[str, Any] | None:
    """Of the arm that speculates; None where none was run."""
    arm = next((arm for arm in found.plan.arms if arm.speculation != "off"), None)
    if arm is None:
        return None
    records = found.records(arm.name)
    judged: dict[int, list[bool]] = {}
    for record in records:
        for attempt, accepted in record.verdicts:
            judged.setdefault(attempt, []).append(accepted)
    wasted = sum(record.wasted_s for record in records)
    computed = sum(end - start for record in records for _, start, end in record.calls)
    return {
        "setting": arm.speculation,
        "speculated": sum(record.speculated for record in records),
        "committed": sum(record.used for record in records),
        "discarded": sum(record.discarded for record in records),
        "wasted_ms": round(1000 * wasted, 3),
        "wasted_share": round(wasted / computed, 4) if computed > 0 else None,
        "accept_rate_by_attempt": {
            str(attempt): round(sum(said) / len(said), 4) for attempt, said in sorted(judged.items())
        },
        "overlap_ratio": overlap_ratio(found.of(arm.name)),
        "cancel_latency_ms": _cancels(found, records, ROLES),
        "cancel_latency_by_role_ms": {role: _cancels(found, records, (role,)) for role in ROLES[1:]},
    }


def _cancels(found: Measurement, records: Sequence[Record], roles: Sequence[str]) -> dict[str, Any]:
    took = [1000 * seconds for record in records for role, seconds in record.cancel_s if role in roles]
    return {**describe(took, found.plan.percentiles), "count": len(took)}


def _lossless(found: Measurement) -> dict[str, Any]:
    """Canonical results of all arms side by side; requests that an arm refused cannot be compared."""
    names = [arm.name for arm in found.plan.arms]
    by_index: dict[int, list[Record]] = {}
    for name in names:
        for record in found.records(name):
            by_index.setdefault(record.index, []).append(record)
    whole = [
        records
        for records in by_index.values()
        if len(records) == len(names) and all(record.outcome != "overloaded" for record in records)
    ]
    different = sorted(rs[0].index for rs in whole if len({record.digest for record in rs}) > 1)
    return {
        "requests": len(whole),
        "equal": len(whole) - len(different),
        "finished": sum(all(record.finished for record in records) for records in whole),
        "arms": names,
        "first_different": different[0] if different else None,
    }
