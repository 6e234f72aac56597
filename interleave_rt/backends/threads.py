"""CPU threads of a pack's lanes on few cores: a second thread only where it was seen to help."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from interleave_rt import _core
from interleave_rt.config import EngineConfig, ThreadBudget, usable_cores
from interleave_rt.pack import Pack
from interleave_rt.pack.manifest import GeneratorRole, Part, VlmRole

__all__ = ["thread_budget"]

_FEW = 3  # cores, at most: with more of them every lane's share is several
_TINY = 6 << 20  # bytes of a graph: less is over before a thread has woken up (measured: 0.91 to 1.00 x)
_LARGE = 512 << 20  # more is not opened for a trial: threads share the reading of weights
_WORTH = 1.15  # times as fast, at least
_RUNS = 3
_PAST = 128  # tokens in the cache of a trial
# Tokens of a trial's picture, at most: with more of them threads help all the more, and a trial would take minutes.
_TOKENS = 512


def thread_budget(pack: Pack, config: EngineConfig) -> ThreadBudget:
    """Threads of the lanes that run a pack's graphs, and why so many.

    What the configuration says holds. Else, on up to 3 cores, a lane gets all cores where its main graph is quicker with
    them (it is timed once a process): alone it then uses what nobody else needs, and the lanes count as one device,
    since they slow each other. Other lanes get one thread.
    """
    budget, cores = config.budget(), config.threads or usable_cores()
    if config.generator_threads or config.vlm_threads or not 1 < cores <= _FEW:
        return budget
    roles = pack.manifest.roles
    makes = _gain(pack, roles.generator, config, cores)
    writes = [_gain(pack, role, config, cores) for role in (roles.planner, roles.critic)]
    gains = {"pictures": makes, "answers": min(writes)}
    generator, vlm = (cores if gain >= _WORTH else 1 for gain in gains.values())
    said = ", ".join(f"{name} {gain:.2f} x" if gain else f"{name} too short" for name, gain in gains.items())
    return ThreadBudget(
        generator, vlm, separate=generator + vlm <= cores, why=f"by {cores} threads for one: {said}"
    )


def _gain(pack: Pack, role: object, config: EngineConfig, cores: int) -> float:
    """How many times as fast the role's main graph is on all cores as on one; 0: it is not worth a trial."""
    if isinstance(role, VlmRole):
        part, shapes = _decoder(role)
    elif isinstance(role, GeneratorRole):
        part, shapes = _transformer(role)
    else:
        return 0.0
    size = sum(pack.manifest.files[name].size for name in (part.file, *part.data))
    if size < _TINY or not set(config.providers or role.providers) <= {"CPUExecutionProvider"}:
        return 0.0
    if size > _LARGE:
        return float(cores)
    return _timed(str(pack.path / part.file), tuple(shapes.items()), cores)


@lru_cache(maxsize=64)
def _timed(path: str, shapes: tuple[tuple[str, tuple[int, ...]], ...], cores: int) -> float:
    named = {name: list(shape) for name, shape in shapes}
    return _core.time_graph(path, named, 1, _RUNS) / _core.time_graph(path, named, cores, _RUNS)


def _decoder(role: VlmRole) -> tuple[Part, dict[str, Any]]:
    """A step of one token."""
    model = role.architecture
    cache = (1, model.kv_heads, min(_PAST, role.cache_length), model.head_dim)
    names = [
        f"{side}_{kind}.{layer}"
        for side in ("past", "present")
        for kind in "kv"
        for layer in range(model.layers)
    ]
    return role.parts["decoder"], dict.fromkeys(names, cache)


def _transformer(role: GeneratorRole) -> tuple[Part, dict[str, Any]]:
    """A denoising step with a reference."""
    image, words, axes = role.image, role.max_sequence_length, role.families[role.family].axes
    tokens = min(2 * (image.width // role.token_pixels) * (image.height // role.token_pixels), _TOKENS)
    latents = (1, tokens, role.latent_channels)
    return role.parts["transformer"], {
        "hidden_states": latents,
        "velocity": latents,
        "img_ids": (tokens, axes),
        "encoder_hidden_states": (1, words, role.text_dim),
        "txt_ids": (words, axes),
    }
