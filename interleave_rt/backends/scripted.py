"""Roles that follow a script instead of running models: exact latencies and verdicts for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from interleave_rt import _core
from interleave_rt.checks import whole, within
from interleave_rt.config import EngineConfig
from interleave_rt.errors import from_code
from interleave_rt.request import Options

__all__ = ["Script", "ScriptedBackend"]

_MOST_MS = 1e9


@dataclass(frozen=True, slots=True)
class Script:
    """What the scripted roles do: pure functions of their inputs and `seed`, after the given milliseconds."""

    planner_ms: float = 4.0
    first_step_ms: float = 1.0
    generator_ms: float = 4.0
    denoise_steps: int = 4
    critic_ms: float = 4.0
    verdict_ms: float = 1.0
    planner_cap: int = 4
    generator_cap: int = 1
    critic_cap: int = 4
    shared: bool = False  # all lanes on one device
    jitter: float = 0.0  # of every latency, relative
    slowdown: float = 1.0  # of lanes on one device that are busy together
    min_steps: int = 3
    max_steps: int = 3
    accept_prob: float = 0.6
    text_only_prob: float = 0.0
    unreadable_plan_prob: float = 0.0
    violated_plan_prob: float = 0.0
    unreadable_verdict_prob: float = 0.0
    unreadable_refined_prob: float = 0.0
    failing_prob: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("planner_ms", "first_step_ms", "generator_ms", "critic_ms", "verdict_ms", "slowdown"):
            within(f"[Script] {name}", getattr(self, name), 0, _MOST_MS)
        for name in ("planner_cap", "generator_cap", "critic_cap"):
            whole(f"[Script] {name}", getattr(self, name), 1, 1024)


class ScriptedBackend:
    """Three scripted lanes."""

    encodes = ()
    image_sides = None
    references = 1
    declines = ()
    max_text_bytes = None

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()

    def info(self) -> Mapping[str, str]:
        """A name for reports."""
        return {"name": "scripted", "version": "0", "lossless": "bitwise"}

    def check(self, options: Options, pictures: int) -> None:
        """Every option is served."""

    def attach(self, core: _core.Engine, config: EngineConfig) -> None:
        """Adds the three lanes."""
        script = asdict(self.script)
        if not config.batching:
            script.update(planner_cap=1, generator_cap=1, critic_cap=1)
        try:
            core.add_scripted(script)
        except _core.CoreError as error:
            raise from_code(*error.args) from None

    def encode(self, core: _core.Engine, job: _core.TextJob) -> None:
        """Scripted roles read no text: whoever asks is mistaken."""
        core.fail_text(job.id, "internal", "[ScriptedBackend.encode] scripted roles need no text")

    def take_calls(self, request: int) -> Mapping[str, Any]:  # noqa: ARG002
        """None: the answers are pure functions."""
        return {}

    def detach(self) -> None:
        """There is nothing of it in Python."""
