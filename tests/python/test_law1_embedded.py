"""Law 1 on the embedded pack: every latency device, alone and together, equals the sequential loop.

The same harness as `benchmarks/lossless.py`, with fewer requests (IRT_LAW_1_REQUESTS).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import lossless
import pytest

from interleave_rt import Engine

REQUESTS = int(os.environ.get("IRT_LAW_1_REQUESTS", "20"))
MORE, SEED = max(REQUESTS, 190), 20261121  # more where speculation has much to try


@pytest.fixture(scope="module")
def cases():
    print(f"{REQUESTS} or {MORE} requests, seed {SEED}")
    drawn = lossless.draw_cases(MORE, SEED)
    assert {case.options.t_max for case in drawn} == {1, 2, 3, 5}
    return drawn


@pytest.fixture(scope="module")
def wanted(cases, pack):
    return lossless.references(pack, cases)


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[bool, Engine]]:
    made = {batching: Engine.load(batching=batching, max_live=16) for batching in (True, False)}
    yield made
    for engine in made.values():
        engine.close()


# Alone, speculation has most to try; between the two it is cut short most often; at eight the lanes are full.
RUNS = [
    pytest.param(arm, concurrency, id=f"{arm.name}-{concurrency}")
    for arm in lossless.ARMS
    for concurrency in ((1, 8) if arm.speculation == "off" else (1, 2, 8))
]
discarded: dict[str, int] = {}


@pytest.mark.parametrize(("arm", "concurrency"), RUNS)
def test_every_result_equals_the_reference(arm, concurrency, cases, wanted, engines):
    count = MORE if arm.speculation != "off" and concurrency == 1 else REQUESTS
    row = lossless.compare(engines[arm.batching], arm, cases[:count], wanted[:count], concurrency)
    print(row)
    assert row["first_difference"] is None
    assert row["equal"] == row["requests"]
    assert row["finished"] >= 0.99 * row["requests"]
    discarded[f"{arm.name}-{concurrency}"] = row["discarded"]


def test_the_requests_try_the_law(cases, wanted):
    shares = lossless.shares(wanted, cases)
    print(shares)
    assert shares["with_a_rejection"] >= 0.30
    assert shares["reaching_t_max"] >= 0.05


def test_speculation_was_wrong_often_enough(cases, wanted, engines):
    """On a busy machine less is begun ahead, so the deepest arm runs until it has guessed wrongly often enough."""
    (deepest,) = (arm for arm in lossless.ARMS if arm.speculation == "depth=3")
    wrong = sum(discarded.values())
    for _ in range(10 if len(discarded) == len(RUNS) else 0):  # not where somebody picked single runs
        if wrong >= 200:
            break
        row = lossless.compare(engines[deepest.batching], deepest, cases, wanted, 1)
        assert row["equal"] == row["requests"]
        wrong += row["discarded"]
    print(discarded, wrong)
    assert wrong >= 200 or len(discarded) < len(RUNS)


def test_a_difference_is_found_and_named():
    same = {"steps": [{"accepted": True, "attempts": [{"seed": 1}]}], "plan_truncated": False}
    other = {"steps": [{"accepted": True, "attempts": [{"seed": 2}]}], "plan_truncated": False}
    assert lossless.difference(same, same) is None
    assert lossless.difference(same, other) == ".steps[0].attempts[0].seed: 1 instead of 2"
