"""The held-out proof: no plan and no request of validation or test is ever trained on, nor is in both.

Requests from outside the world and questions about the program are exempt: they have no plan of pictures, the former
share their few answers on purpose and have a hand-written test of their own (`test_outside`), the latter are five.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import pytest
from draws import draws

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import Request, operations, split_of
from interleave_rt.worlds.shapes.scene import random_transition

pytestmark = pytest.mark.slow
_EXEMPT = ("outside", "about")
_TRAINED, _HELD = draws(7000), draws(500)
_MODES: tuple[requests.Mode, ...] = ("narrative", "guidance")


@pytest.fixture(scope="module")
def trained() -> list[Request]:
    """What the planner's training draws."""
    rng = random.Random(5)
    every = (requests.any_request(rng) for _ in itertools.count())
    kept = (request for request in every if request.split == "train" and request.kind not in _EXEMPT)
    return list(itertools.islice(kept, _TRAINED))


@pytest.fixture(scope="module")
def held() -> dict[str, list[Request]]:
    """What is measured, by split."""
    splits: tuple[requests.Split, ...] = ("validation", "test")
    return {
        split: [
            request
            for mode in _MODES
            for request in requests.sample(split, _HELD // 2 + 10, 1, mode)
            if request.kind not in _EXEMPT
        ]
        for split in splits
    }


def _plans(found: Iterable[Request]) -> set[str]:
    return {request.plan_key for request in found}


def _asked(found: Iterable[Request]) -> set[tuple[str, ...]]:
    """Words and given pictures."""
    return {(request.text, *(scene.describe() for scene in request.images)) for request in found}


def test_the_samples_are_large_and_of_every_kind(
    trained: list[Request], held: dict[str, list[Request]]
) -> None:
    assert len(trained) == _TRAINED
    kinds = Counter(request.kind for request in trained)
    for group in held.values():
        assert len(_asked(group)) == len(group) >= _HELD
        # Requests in the words of people are held out as sentences of their own, written by hand.
        assert {request.kind for request in group} == set(kinds) - {"spoken"}
    assert all(request.split == split for split, group in held.items() for request in group)


@pytest.mark.parametrize("parts_of", [_plans, _asked])
def test_no_plan_and_no_request_is_in_two_splits(
    trained: list[Request], held: dict[str, list[Request]], parts_of: Callable[[list[Request]], set[object]]
) -> None:
    train, validation, test = (parts_of(group) for group in (trained, held["validation"], held["test"]))
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_a_plan_is_in_one_split_however_it_is_asked_for(
    trained: list[Request], held: dict[str, list[Request]]
) -> None:
    """The proof above would be luck without this: plans do come up again in other words."""
    texts, splits = defaultdict(set), defaultdict(set)
    for request in (*trained, *held["validation"], *held["test"]):
        texts[request.plan_key].add(request.text)
        splits[request.plan_key].add(request.split)
    repeated = [key for key, found in texts.items() if len(found) > 1]
    assert len(repeated) > 200
    assert sum(splits[key] != {"train"} for key in repeated) > 50
    assert all(len(found) == 1 for found in splits.values())


def test_a_tenth_is_held_out_and_halved() -> None:
    rng = random.Random(6)
    splits = Counter(split_of(operations([random_transition(rng)])) for _ in range(20000))
    assert splits["train"] / 20000 == pytest.approx(0.9, abs=0.01)
    assert splits["validation"] / splits["test"] == pytest.approx(1, abs=0.12)
