"""Batches that are drawn ahead: the same ones whatever the number of workers, from any iteration on."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from interleave_rt.train.shapes.stream import Stream  # noqa: E402


def _stream(workers: int = 0, seed: str = "a", draw=None) -> Stream[int, torch.Tensor]:
    return Stream(
        draw or (lambda rng: rng.randrange(10**6)),
        lambda item: item,
        torch.tensor,
        seed=seed,
        batch=4,
        workers=workers,
    )


def _drawn(stream: Stream[int, torch.Tensor], iterations: range) -> list[list[int]]:
    try:
        return [stream.at(i).tolist() for i in iterations]
    finally:
        stream.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_no_batch(workers: int) -> None:
    assert _drawn(_stream(workers), range(40)) == _drawn(_stream(), range(40))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_goes_on_meets_the_batches_that_it_would_have_met(workers: int) -> None:
    whole = _drawn(_stream(), range(30))
    assert _drawn(_stream(workers), range(17, 30)) == whole[17:]


def test_batches_hold_what_is_alike_and_come_in_random_order() -> None:
    batches = _drawn(_stream(), range(6))
    together = sorted(batches)
    assert batches != together
    assert [value for batch in together for value in batch] == sorted(v for batch in batches for v in batch)
    assert _drawn(_stream(seed="b"), range(6)) != batches


def test_an_error_of_a_worker_is_told_where_the_batch_is_asked_for() -> None:
    def draw(rng: random.Random) -> int:
        raise ValueError(f"no example of {rng.random() < 2}")

    stream = _stream(2, draw=draw)
    try:
        with pytest.raises(ValueError, match="no example of True"):
            stream.at(0)
    finally:
        stream.close()


def test_the_workers_end_with_the_stream() -> None:
    stream = _stream(2)
    stream.at(0)
    workers = list(stream._pool._pool)
    assert all(worker.is_alive() for worker in workers)
    stream.close()
    assert not any(worker.is_alive() for worker in workers)
