"""Where a run keeps its state, and how finished models are replaced."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from interleave_rt.files import Staged, check_file, replacing, sync

from .optim import Optimizers

__all__ = ["load_state", "save_model", "save_state"]

_STATE = "state.pt"


class _Saveable(Protocol):
    def save_pretrained(self, directory: Any) -> Any: ...


def save_state(
    out: Path,
    model: nn.Module,
    optimizers: Optimizers,
    rng: random.Random,
    iteration: int,
    more: dict[str, Any],
) -> None:
    """Write what a run needs to go on from `iteration`; `more` is the part's own: plain data and tensors."""
    check_file(out / _STATE)
    state = {
        "model": model.state_dict(),
        "optimizers": optimizers.state_dict(),
        "rng": rng.getstate(),
        "torch": torch.get_rng_state(),
        "cards": torch.cuda.get_rng_state_all(),
        "iteration": iteration,
        "more": more,
    }
    with replacing(out / _STATE) as fresh:
        torch.save(state, fresh)
        sync(fresh)


def load_state(
    out: Path, model: nn.Module, optimizers: Optimizers, rng: random.Random
) -> tuple[int, dict[str, Any]]:
    """Restore what `save_state` wrote; returns the iteration to go on from (0: there is no state) and the part's own.

    Raises:
        ValueError: The state is of a version in which a resumed run was not the same as an uninterrupted one.
    """
    if not (out / _STATE).exists():
        return 0, {}
    state = torch.load(out / _STATE, map_location="cpu", weights_only=False)
    if "more" not in state:
        raise ValueError(f"[train] {out / _STATE} is of an earlier version: train this part from the start")
    model.load_state_dict(state["model"])
    optimizers.load_state_dict(state["optimizers"])
    rng.setstate(state["rng"])
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state_all(state.get("cards", [])[: torch.cuda.device_count()])
    return int(state["iteration"]), state["more"]


def save_model(model: _Saveable, directory: Path, mark: str = "config.json") -> None:
    """`save_pretrained` beside the target, whose files are then replaced one by one; others of the target stay.

    `mark` is the file without which the library does not load the model: it is gone until all others are there.
    """
    made = Staged(directory, mark)
    try:
        model.save_pretrained(made.path)
        for file in made.path.rglob("*"):
            sync(file)
        made.commit(())
    except BaseException:
        made.discard()
        raise
