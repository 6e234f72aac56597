"""Three roles in PyTorch as one object: what the reference loop, the evaluation and `OutsideBackend` take."""

from __future__ import annotations

from collections.abc import Mapping

from interleave_rt.roles.base import SharedRules

from .generator import TorchGenerator
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
        self.plan, self.generate, self.judge = planner.plan, generator.generate, critic.judge

    def info(self) -> Mapping[str, str]:
        """The weakest promise of the three, and what the answers of all depend on."""
        said = [one.info() for one in (self.planner, self.generator, self.critic)]
        bitwise = all(one["lossless"] == "bitwise" for one in said)
        identity = " / ".join(one["identity"] for one in said)
        return {"name": "torch", "lossless": "bitwise" if bitwise else "replay", "identity": identity}
