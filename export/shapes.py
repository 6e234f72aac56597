"""The recipe of the embedded pack: what the weights alone do not say."""

from __future__ import annotations

from dataclasses import dataclass

from interleave_rt.worlds.shapes.language import EXAMPLES

__all__ = ["ShapesRecipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapesRecipe:
    """Settings of the shapes pack; the defaults are the ones that its models were trained with."""

    name: str = "shapes"
    version: str = "0.2.0"
    description: str = "Tiny planner, generator and critic for a closed world of shapes on a 96x96 canvas: demo, test bed, benchmark."
    license: str = "Apache-2.0"
    source: str = "trained from scratch by interleave_rt.train in the shapes world"
    examples: tuple[str, ...] = EXAMPLES
    # The two layers of the tiny text encoder; FLUX.2-klein uses (9, 18, 27).
    text_layers: tuple[int, ...] = (1, 2)
    max_sequence_length: int = 32
    image_side: int = 96
    inference_steps: int = 4
    cache_length: int = 640  # of the planner: a decoder step costs more the longer its cache is
    critic_cache_length: int = 256
    slots: int = 8
    prefill_chunk: int = 64
    generator_slots: int = 4
    max_new_tokens: int = 512
    verdict_threshold: float = 0.5  # on validation no other was better by more than a point
    decode_graph: bool = False  # a second graph for one-token steps, beside each decoder

    def cache_of(self, role: str) -> int:
        """Cache length of a role's decoder, in tokens."""
        return self.critic_cache_length if role == "critic" else self.cache_length
