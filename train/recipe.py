"""How a model is tuned: a TOML file for `train sft` or `train grpo`. The same keys for an 8B model and a tiny one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .data.recipe import (
    Amount,
    Any0,
    Budget,
    GeneratorChoice,
    Part,
    Price,
    Share,
    Some,
    TeacherChoice,
    read_recipe,
)

__all__ = ["PRESETS", "GrpoRecipe", "LoraChoice", "SftRecipe", "TuneRecipe", "load_grpo", "load_sft"]

PRESETS = Path(__file__).parent / "recipes"


class LoraChoice(Part):
    """Low-rank changes of the language model's linear layers."""

    rank: Some = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Share = 0.0


class TuneRecipe(Part):
    """What SFT and GRPO have in common; recipe, data and base determine the result.

    Args:
        base: Directory of a Qwen3-VL model in Hugging Face layout, or `shapes:critic` or `shapes:planner`: the embedded
            pack's, written into the run's folder.
        data: A set of `train data` for TRL (`trl_*.jsonl`).
        lora: With this table only its adapter is learned, and merged at the end; without, all weights that are not frozen.
        freeze_vision: Vision tower and projectors keep their bits.
        batch: Items an update, over all processes.
        per_device: Items (of GRPO: answers) that go through the model at once.
        steps: Updates; 0: as `epochs` says.
        schedule: Of the learning rate, after a warm-up of the share `warmup`.
        precision: `bfloat16`: activations; the weights that are learned stay float32.
        max_tokens: Of an item with its pictures; a longer one is refused, never cut.
        max_share: Largest share that one verdict may have in a critic's set; 1: any.
        save_every: Updates between checkpoints.
        processes: So many must be there; 0: any number.
    """

    name: str
    base: str
    data: str
    seed: Any0 = 0
    lora: LoraChoice | None = None
    freeze_vision: bool = True
    batch: Some = 16
    per_device: Some = 16
    epochs: Amount = 1.0
    steps: Any0 = 0
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup: Share = 0.0
    weight_decay: Amount = 0.0
    clip: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_activations: bool = False
    max_tokens: Some = 16384
    max_share: Share = 0.6
    save_every: Some = 100
    processes: Any0 = 0
    folder: Annotated[Path, Field(exclude=True)] = Path()


class SftRecipe(TuneRecipe):
    """`train sft`: planner or critic learns the answers of a set."""


class GrpoRecipe(TuneRecipe):
    """`train grpo`: a critic learns from rewards; `batch` counts items, each answered `group` times.

    Args:
        group: Answers that are compared with each other.
        temperature: Of sampling.
        kl: Weight of the divergence from `base`; 0: none, as in the official configuration (the paper: 1e-3).
        answer_tokens: Of an answer at most.
        reward: `official`, as the published code; `paper`, as the formula there.
        alpha: Share of the verdict in what is not format; 0: the step alone, 1: the verdict alone.
        seeds: Of a picture that is made anew, the same for a whole group: `next`, the one that the engine would use for the
            next attempt; `stored`, the failed attempt's own; `zero`, as the published code.
        generator: Makes pictures from refined prompts.
        scorer: Scores them.
        width: Of a picture; 0: the generator's own.
        height: Likewise.
        at_once: Pictures that are made and scored side by side.
        overlap: A picture is begun as soon as the answer that it is made from has ended, while other answers are still
            written and the base's probabilities computed; without, after all that. No bit of the result differs.
        memo: A picture that was made in this run is not made again; without, it is. No bit of the result differs.
        budget: Of all processes, each of which has its share; after --resume the money for pictures is counted anew.
    """

    generator: GeneratorChoice
    scorer: TeacherChoice
    group: Annotated[int, Field(ge=2)] = 8
    temperature: Annotated[float, Field(gt=0)] = 1.0
    kl: Amount = 1e-3
    answer_tokens: Some = 4096
    reward: Literal["official", "paper"] = "official"
    alpha: Share = 0.2
    seeds: Literal["next", "stored", "zero"] = "next"
    width: Any0 = 0
    height: Any0 = 0
    at_once: Some = 4
    overlap: bool = True
    memo: bool = True
    learning_rate: Annotated[float, Field(gt=0)] = 2e-6
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    max_share: Share = 0.95
    price: Price = Price()
    budget: Budget = Budget()

    @model_validator(mode="after")
    def _fits(self) -> GrpoRecipe:
        if self.per_device % self.group and self.group % self.per_device:
            raise ValueError("per_device must be a multiple of group, or the other way round")
        return self


def load_sft(given: str) -> SftRecipe:
    """A file, or a recipe that comes along; see `read_recipe`."""
    return read_recipe(SftRecipe, PRESETS, given)


def load_grpo(given: str) -> GrpoRecipe:
    """A file, or a recipe that comes along; see `read_recipe`."""
    return read_recipe(GrpoRecipe, PRESETS, given)
