"""How many threads PyTorch computes on where several models share the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadRequestError
from interleave_rt.pack import Pack
from interleave_rt.runtimes import open_backend


@pytest.fixture(autouse=True)
def as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def threads_of(vlm: Path, generator: str) -> int:
    torch.set_num_threads(1)
    pack = Pack.of_roles(
        planner=f"torch:{vlm},device=cpu", critic=f"torch:{vlm},device=cpu", generator=generator
    )
    open_backend(pack, config=EngineConfig(threads=6)).detach()
    return torch.get_num_threads()


@pytest.mark.parametrize(
    ("option", "environment", "threads"), [("", None, 3), (",threads=2", None, 2), ("", "1", 1)]
)
def test_models_that_share_the_cpu_get_half_of_its_cores(
    vlm, klein, monkeypatch, option, environment, threads
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    assert threads_of(vlm, f"torch:{klein},device=cpu{option}") == threads


def test_a_model_alone_takes_what_pytorch_takes(vlm, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_of(vlm, "scripted") == 1


def test_no_number_of_threads(vlm, klein):
    with pytest.raises(BadRequestError, match="threads is 0"):
        threads_of(vlm, f"torch:{klein},device=cpu,threads=0")
