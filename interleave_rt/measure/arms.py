"""What is compared: settings of the optimisations, and the engines that run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.config import EngineConfig, usable_cores
from interleave_rt.engine import Engine
from interleave_rt.errors import BadRequestError
from interleave_rt.pack.manifest import GeneratorRole
from interleave_rt.request import Optimizations, Options

if TYPE_CHECKING:
    from interleave_rt.pack import Pack


@dataclass(frozen=True, slots=True)
class Arm:
    """One setting of the optimisations; batching is a matter of the engine."""

    name: str
    speculation: str
    optimizations: Optimizations
    batching: bool


NOTHING = Optimizations(**dict.fromkeys(Optimizations.__dataclass_fields__, False))
ARMS = {
    arm.name: arm
    for arm in (
        # The plain loop: one call after the other, every answer read to its end.
        Arm("sequential", "off", NOTHING, batching=False),
        # The honest baseline: a streamed plan and answers that end early need no speculation.
        Arm(
            "sequential-es", "off", Optimizations(encode_text_ahead=False, cache_vision=False), batching=False
        ),
        Arm("speculative", "auto", Optimizations(), batching=True),
    )
}


def parse_arms(text: str, speculation: str = "auto") -> list[Arm]:
    """Reads names of arms, separated by commas; `depth=K` is `speculative` with a fixed depth.

    Args:
        text: For example `sequential,speculative`.
        speculation: Of the arm `speculative`: `auto` or `depth=K`.

    Raises:
        BadRequestError: There is no such arm, or one is named twice, or none at all.
    """
    Options(speculation=speculation)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise BadRequestError("no arm is left", hint="name at least one of the arms: " + ", ".join(ARMS))
    if len(set(names)) < len(names):
        raise BadRequestError(f"--arms is {text!r}: an arm is named twice")
    found = []
    for name in names:
        if name.startswith("depth="):
            Options(speculation=name)
            found.append(replace(ARMS["speculative"], name=name, speculation=name))
        elif name in ARMS:
            arm = ARMS[name]
            found.append(replace(arm, speculation=speculation) if arm.speculation == "auto" else arm)
        else:
            raise BadRequestError(f"there is no arm {name!r}", hint=f"arms: {', '.join(ARMS)}, depth=K")
    return found


@dataclass(frozen=True, slots=True)
class Threads:
    """CPU threads of the generator, and of planner and critic."""

    generator: int
    vlm: int

    def __str__(self) -> str:
        return f"{self.generator}+{self.vlm}"

    @classmethod
    def parse(cls, text: str) -> Threads:
        """Reads `G+V`.

        Raises:
            BadRequestError: It is something else.
        """
        parts = text.split("+")
        if len(parts) == 2 and all(part.isdecimal() and int(part) >= 1 for part in parts):
            return cls(int(parts[0]), int(parts[1]))
        raise BadRequestError(f"--threads is {text!r}", hint="auto, or generator+vlm threads, e.g. 1+1")


def thread_splits(cores: int | None = None) -> list[Threads]:
    """Splits worth trying: all cores for whoever computes, and shares of the cores."""
    count = cores or usable_cores()
    splits = [Threads(count, count), Threads(count, max(1, count // 2))]
    splits += [Threads(count - vlm, vlm) for vlm in {max(1, count // 4), max(1, count // 2)} if vlm < count]
    return list(dict.fromkeys(splits))


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured.

    Args:
        name: In documents.
        denoising_steps: Of an image where a request does not say; a cancelled one ends with the step it is in.
        open: Makes an engine of its own.
        splits: Thread splits that are worth comparing; none: threads do not matter.
    """

    name: str
    denoising_steps: int
    open: Callable[[EngineConfig], Engine]
    splits: Sequence[Threads] = ()


def scripted_target(script: Script) -> Target:
    """Made-up roles with exact latencies; their lanes have no cores to share."""
    return Target("scripted", script.denoise_steps, lambda config: Engine(ScriptedBackend(script), config))


def pack_target(pack: Pack, providers: Sequence[str] | None = None, **memory: Any) -> Target:
    """A pack on this machine, on its own execution providers where none are named.

    `memory`: `max_memory` and `residency` of `EngineConfig`.
    """
    generator = pack.manifest.roles.generator
    steps = generator.scheduler.num_inference_steps if isinstance(generator, GeneratorRole) else 4

    def load(config: EngineConfig) -> Engine:
        return Engine.load(pack, replace(config, providers=providers or config.providers, **memory))

    return Target(pack.name, steps, load, thread_splits())


class Engines:
    """One engine an arm and split, opened when first asked for; a context that closes them.

    Two arms never share an engine: encodings, prompt embeddings and prefixes that the first has left in its caches
    would make the second quicker on the same requests.
    """

    def __init__(self, target: Target, base: EngineConfig) -> None:
        self._target, self._base = target, base
        self._open: dict[tuple[str, bool, Threads | None], Engine] = {}

    def of(self, arm: Arm, threads: Threads | None) -> Engine:
        """The engine for an arm."""
        key = (arm.name, arm.batching, threads)
        if key not in self._open:
            config = replace(self._base, batching=arm.batching)
            if threads is not None:
                config = replace(config, generator_threads=threads.generator, vlm_threads=threads.vlm)
            self._open[key] = self._target.open(config)
        return self._open[key]

    def close_all_but(self, used: Sequence[Engine]) -> None:
        """Frees what was only tried."""
        for key, engine in list(self._open.items()):
            if engine not in used:
                engine.close()
                del self._open[key]

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_all_but(())
