"""Optimisers and schedules of the small runs: Muon for matrices, AdamW for the rest, cosine-free linear decay."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Ema", "Muon", "Optimizers", "decay", "round_to_half"]


def _orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrices, float32 [n, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Muon for weights of any rank of two or more; trailing dimensions are flattened (torch's own is 2-D only).

    Weights of one shape share one batched iteration, which matters on a single CPU core.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    shapes.setdefault(tuple(weight.shape), []).append(weight)
            for weights in shapes.values():
                self._update(weights, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, weights: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        gradients, momenta = [], []
        values: list[Tensor] = list(weights)
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(weight)
            gradients.append(weight.grad)
            momenta.append(state["momentum"])
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, momenta, momentum)  # noqa: SLF001 - no public name
        directions = _orthogonal(torch.stack([update.flatten(1) for update in updates]))
        scale = max(1.0, directions.shape[1] / directions.shape[2]) ** 0.5
        if weight_decay:
            torch._foreach_mul_(values, 1 - lr * weight_decay)
        steps = [direction.reshape(weights[0].shape) for direction in directions]
        torch._foreach_add_(values, steps, alpha=-lr * scale)


def decay(iteration: int, total: int, warmup: int, hold: float, floor: float = 0.03) -> float:
    """Factor of the learning rate: linear warm-up, constant until `hold` of the run, then linear down to `floor`."""
    progress = max(0.0, iteration / total - hold) / (1 - hold)
    return min(1.0, (iteration + 1) / warmup) * (1 - (1 - floor) * min(1.0, progress))


class Optimizers:
    """Muon on the matrices chosen by name and AdamW on everything else, driven as one."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        is_matrix: Callable[[str, nn.Parameter], bool],
        *,
        muon_lr: float = 0.02,
        adam_lr: float = 2e-3,
        weight_decay: float = 0.0,
        beta2: float = 0.98,
    ) -> None:
        named = [item for module in modules for item in module.named_parameters() if item[1].requires_grad]
        matrices = [weight for name, weight in named if is_matrix(name, weight)]
        chosen = {id(weight) for weight in matrices}
        rest = [weight for _, weight in named if id(weight) not in chosen]
        self.parameters = matrices + rest
        self._members: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=muon_lr, weight_decay=weight_decay),
            torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, beta2), weight_decay=0.0),
        ]
        self._rates = [muon_lr, adam_lr]

    def step(self, loss: Tensor, factor: float, clip: float | None = 1.0) -> None:
        """Backward pass and one update at `factor` times the base learning rates."""
        for member, rate in zip(self._members, self._rates, strict=True):
            for group in member.param_groups:
                group["lr"] = rate * factor
            member.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, clip)
        for member in self._members:
            member.step()

    def state_dict(self) -> list[dict[str, object]]:
        """State of both optimisers, for a checkpoint."""
        return [member.state_dict() for member in self._members]

    def load_state_dict(self, states: list[dict[str, object]]) -> None:
        """Continue from a checkpoint."""
        for member, state in zip(self._members, states, strict=True):
            member.load_state_dict(state)


Model = TypeVar("Model", bound=nn.Module)


class Ema(Generic[Model]):
    """A running average of a model's weights, with the usual warm-up of the decay."""

    def __init__(self, source: Model, limit: float = 0.9985) -> None:
        self._source = source
        self.model = copy.deepcopy(source)
        self.model.requires_grad_(False).eval()
        self._limit = limit
        self._updates = 0

    def state_dict(self) -> dict[str, Any]:
        """The average and its age, for a checkpoint."""
        return {"model": self.model.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self._updates = state["updates"]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model that it was made of."""
        self._updates += 1
        keep = min(self._limit, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(list(self.model.parameters()), list(self._source.parameters()), 1 - keep)


@torch.no_grad()
def round_to_half(model: nn.Module) -> nn.Module:
    """Replace every weight by its nearest float16 value, kept as float32, and return the model.

    The pack stores float16; what is measured after training is then exactly what ships.
    """
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    return model
