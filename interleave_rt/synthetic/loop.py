"""The loop on one device: the real scheduler and the lanes of `backends.torch`, with the weights of all roles resident."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.torch import TorchRoles
from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.measure.arms import Arm, Target
from interleave_rt.measure.environment import describe_environment
from interleave_rt.measure.load import Load, numbered_requests
from interleave_rt.measure.runner import BenchConfig, Progress, measure
from interleave_rt.request import Options, Request

from .parts import Report
from .roles import MadeGenerator, MadeModel, MadeVlm, Script, made_pictures

__all__ = ["loop_figures"]


def loop_figures(
    report: Report,
    generator: MadeGenerator,
    vlm: MadeModel,
    *,
    arms: list[Arm],
    script: Script,
    requests: int,
    seconds: float,
    slowdown: tuple[float, float] | None,
    progress: Progress | None = None,
) -> None:
    """Arms in turns on the same requests; every result is held to the sequential loop over its own answers.

    Args:
        report: Gets what `interleave-rt bench` says of arms.
        generator: Of all arms.
        vlm: Planner and critic.
        arms: What is compared.
        script: What planner and critic write.
        requests: At the most.
        seconds: No request is begun after that.
        slowdown: s_c and r_g as measured; None: `auto` learns them from finished calls, and does not speculate before.
        progress: Hears of every request.
    """
    device = report.device

    def roles() -> TorchRoles:
        # What one arm has left in the caches of prompts and pictures must not serve the next.
        model = vlm.apart()
        return TorchRoles(MadeVlm(model, "planner", script), generator, MadeVlm(model, "critic", script))

    def opened(config: EngineConfig) -> Engine:
        if slowdown is not None:
            config = replace(config, critic_slowdown=slowdown[0], generator_rate=slowdown[1])
        return Engine(OutsideBackend(roles(), device=device, name="synthetic"), config)

    # In a thread, as lanes work: what is compiled in one of another state would be compiled anew.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_warm, roles(), generator, vlm).result()
    steps = int(generator.settings.steps or 4)
    target = Target(f"synthetic {generator.name} + {vlm.name}", steps, opened)
    samples = numbered_requests(requests, 0, Options())
    config = BenchConfig(Load(), arms, duration_s=seconds, warmup=0)
    found = measure(config, target, samples, progress)
    document = found.document(describe_environment(gpu=False))
    report.set(**{key: document[key] for key in ("arms", "speedup", "speculation", "lossless")})
    report.set(
        slowdown=slowdown, script={name: getattr(script, name) for name in Script.__dataclass_fields__}
    )


def _warm(roles: TorchRoles, generator: MadeGenerator, vlm: MadeModel) -> None:
    """A call of each kind, so that nothing is compiled or recorded while the arms run."""
    before, after = made_pictures(int(vlm.raw["side"]), 2)
    prompts = {"planner": vlm.prompt([]), "critic": vlm.prompt([before, after])}
    writers: list[Any] = [roles.planner, roles.critic]
    longest = max(prompts[one.role].inputs["input_ids"].shape[1] + one.longest for one in writers)
    vlm.reserve(longest, 2)  # planner and critic write at the same time
    said = "request 0, picture 0"
    drawn = roles.generate(said, None, 0, Options())
    roles.generate(said, drawn if generator.references else None, 0, Options())
    roles.plan(Request("request 0"), 25, 0, 0)
    roles.judge(before, after, said, said, 0, 0)
