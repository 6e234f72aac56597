"""Three roles in PyTorch as one object: what the reference loop, the evaluation and `OutsideBackend` take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interleave_rt.placement import Residency
from interleave_rt.roles.base import SharedRules

from .generator import TorchGenerator
from .sharing import Opened, share
from .vlm import TorchVlm

__all__ = ["TorchRoles"]


class TorchRoles(SharedRules):
    """`Roles` of three models.

    Example:
        >>> roles = TorchRoles(
        ...     planner=TorchVlm("models/planner", "planner"),
        ...     generator=TorchGenerator("models/FLUX.2-klein-4B"),
        ...     critic=TorchVlm("models/critic", "critic"),
        ... )  # doctest: +SKIP
        >>> with Engine(OutsideBackend(roles)) as engine:  # doctest: +SKIP
        ...     engine.run("Draw a snowman step by step")
    """

    def __init__(self, planner: TorchVlm, generator: TorchGenerator, critic: TorchVlm) -> None:
        self.planner, self.generator, self.critic = planner, generator, critic
        self.references = generator.references
        self.plan, self.generate, self.judge = planner.plan, generator.generate, critic.judge

    @classmethod
    def open(
        cls,
        planner: Mapping[str, Any],
        generator: Mapping[str, Any],
        critic: Mapping[str, Any],
        *,
        residency: Residency | None = None,
        max_memory: str | int | None = None,
    ) -> TorchRoles:
        """Opens three models that share their devices.

        Args:
            planner: Arguments of `TorchVlm`, with `directory`.
            generator: Arguments of `TorchGenerator`, with `directory`.
            critic: As `planner`.
            residency: As of `share`.
            max_memory: As of `share`.

        Raises:
            LimitExceededError: They do not fit; the hint names what would.
        """
        told = {"planner": dict(planner), "generator": dict(generator), "critic": dict(critic)}
        models = {role: Opened(Path(options.pop("directory")), options) for role, options in told.items()}
        stays = share(models, residency=residency, max_memory=max_memory).stays
        opened: dict[str, Any] = {}
        for role, model in models.items():
            arguments: dict[str, Any] = {**model.options, "stay": stays[role]}
            if role == "generator":
                opened[role] = TorchGenerator(model.directory, **arguments)
            else:
                opened[role] = TorchVlm(
                    model.directory, **arguments, role="planner" if role == "planner" else "critic"
                )
        return cls(**opened)

    def info(self) -> Mapping[str, str]:
        """The weakest promise of the three, and what the answers of all depend on."""
        said = [one.info() for one in (self.planner, self.generator, self.critic)]
        bitwise = all(one["lossless"] == "bitwise" for one in said)
        identity = " / ".join(one["identity"] for one in said)
        return {"name": "torch", "lossless": "bitwise" if bitwise else "replay", "identity": identity}
