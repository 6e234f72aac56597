"""Supervised tuning of planner or critic with TRL: the answers of a set, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trl
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from interleave_rt.errors import BadRequestError

from .models import lora_config
from .recipe import SftRecipe
from .sets import check_lengths, dataset_of, read_rows
from .tune import Tuning, trainer_settings

__all__ = ["train_sft"]

_CURVE = {
    "loss": "loss",
    "mean_token_accuracy": "token accuracy",
    "entropy": "entropy",
    "grad_norm": "gradient",
}


class _Collator(DataCollatorForVisionLanguageModeling):  # type: ignore[misc]
    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """As TRL's; an item whose answer has no token to learn from ends the run."""
        batch: dict[str, Any] = super().torch_call(examples)
        if ((batch["labels"] != -100).sum(1) == 0).any():
            raise BadRequestError(
                "[train] an item has no token to learn from", hint="look at the chat template"
            )
        return batch


def train_sft(recipe: SftRecipe, out: Path, *, resume: bool = False) -> dict[str, float]:
    """Tunes a model; the result is a directory of the base's kind in `out`.

    Args:
        recipe: What is learned, from what, and how.
        out: Weights, with a LoRA also `adapter/`; `record/`, `checkpoints/`.
        resume: Go on from the last checkpoint, to the same weights as a run that was never interrupted.

    Returns:
        The last figures of the curve.

    Raises:
        BadRequestError: Base or data cannot be used, an item is too long, or nothing can be written.
        BackendFailedError: The loss is 0 or no number.
    """
    tuning = Tuning(recipe, out, resume=resume)
    rows = read_rows(tuning.data, max_share=recipe.max_share)
    longest = check_lengths(tuning.data, rows, tuning.processor, recipe)
    arguments = trl.SFTConfig(
        **trainer_settings(tuning),
        gradient_accumulation_steps=tuning.passes(recipe.batch),
        max_length=None,
        packing=False,
    )

    def trainer() -> Any:
        return trl.SFTTrainer(
            model=tuning.model(),
            args=arguments,
            train_dataset=dataset_of(tuning.data, rows, ("prompt", "completion", "images")),
            processing_class=tuning.processor,
            data_collator=_Collator(tuning.processor, completion_only_loss=True),
            peft_config=lora_config(recipe.lora),
        )

    return tuning.run(trainer, {"items": len(rows), "longest item": longest}, _CURVE, zero_is_wrong=True)
