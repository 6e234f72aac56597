"""What an export needs beyond the weights: names, sizes and limits of a pack and of each of its roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from interleave_rt.worlds.shapes.language import EXAMPLES, HONEST

__all__ = ["GeneratorRecipe", "Recipe", "VlmRecipe", "shapes_recipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmRecipe:
    """A planner or critic.

    Args:
        family: The file of `families` that exports it.
        cache_length: Tokens of a sequence; a decoder step costs more the longer its cache is.
        slots: Sequences at once.
        prefill_chunk: Tokens of a prompt in one call.
        max_new_tokens: Of an answer.
        verdict_threshold: p(success) from which a verdict is true; None for a planner.
        declines: How a planner's words begin where it cannot do what is asked.
        decode_graph: Write a second graph for one-token steps beside the decoder.
        external_data: Weights in files beside the graphs; None: where a graph is over 2 GiB.
    """

    family: str = "qwen3_vl"
    cache_length: int
    slots: int = 8
    prefill_chunk: int = 64
    max_new_tokens: int = 512
    verdict_threshold: float | None = None
    declines: tuple[str, ...] = ()
    decode_graph: bool = False
    external_data: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorRecipe:
    """An image generator.

    Args:
        family: The file of `families` that exports it.
        text_layers: Hidden layers of the text encoder that are read; FLUX.2-klein uses (9, 18, 27).
        max_sequence_length: Tokens of a prompt.
        image_side: Pixels of a side by default.
        inference_steps: Denoising steps by default.
        slots: Images at once.
        external_data: Weights in files beside the graphs; None: where a graph is over 2 GiB.
    """

    family: str = "flux2"
    text_layers: tuple[int, ...]
    max_sequence_length: int
    image_side: int
    inference_steps: int = 4
    slots: int = 4
    external_data: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A pack: what its manifest says of it, and its roles by name."""

    name: str
    version: str
    description: str
    license: str
    source: str
    examples: tuple[str, ...] = ()
    roles: Mapping[str, VlmRecipe | GeneratorRecipe] = field(default_factory=lambda: MappingProxyType({}))


def shapes_recipe(name: str = "shapes", *, decode_graph: bool = False) -> Recipe:
    """The embedded pack, with the settings that its models were trained with."""
    planner = VlmRecipe(cache_length=640, decode_graph=decode_graph)
    return Recipe(
        name=name,
        version="0.5.0",
        description="Tiny planner, generator and critic for a closed world of shapes on a 96x96 canvas: demo, test bed, benchmark.",
        license="Apache-2.0",
        source="trained from scratch by interleave_rt.train in the shapes world",
        examples=EXAMPLES,
        roles={
            "planner": replace(planner, declines=(HONEST,)),
            # on validation no other threshold was better by more than a point
            "critic": replace(planner, cache_length=256, verdict_threshold=0.5),
            "generator": GeneratorRecipe(text_layers=(1, 2), max_sequence_length=32, image_side=96),
        },
    )
