"""Reinforcement of a critic with TRL: one step, rewarded by what its refined prompts become."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import trl

from interleave_rt.errors import BackendFailedError, BadRequestError

from .models import lora_config
from .recipe import GrpoRecipe
from .regenerate import Regenerator
from .scorer import COLUMNS, PARTS, Scorer
from .sets import check_lengths, dataset_of, read_rows
from .tune import Tuning, trainer_settings

__all__ = ["train_grpo"]

_CURVE = {
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward spread",
    **{f"reward {name}": f"reward {name}" for name in PARTS},
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "cut off",
    "grad_norm": "gradient",
    **{
        name: name
        for name in (
            "accepted",
            "memo",
            "dropped",
            "groups with spread, accept",
            "groups with spread, refuse",
        )
    },
}


class _Trainer(trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's, in which a dropped answer leaves the token count and the divergence, too, and not only its group."""

    def _calculate_rewards(self, inputs: Any, *more: Any) -> Any:
        rewards = super()._calculate_rewards(inputs, *more)  # of all processes
        labels = torch.tensor([int(row["evaluation"]["success"]) for row in inputs], device=rewards.device)
        self._tell_spread(rewards[:, 0], self.accelerator.gather(labels))
        first = self.accelerator.process_index * len(inputs)
        dropped = rewards[:, 0].isnan()
        if dropped.all():
            raise BackendFailedError(
                "[train] every answer of an update was dropped", hint="run again with --resume"
            )
        self._dropped = dropped[first : first + len(inputs)]
        return rewards

    def _tell_spread(self, rewards: Any, labels: Any) -> None:
        """The share of groups whose rewards differ, by label: the others teach nothing."""
        groups = rewards.view(-1, self.num_generations)
        low = torch.where(groups.isnan(), torch.inf, groups).amin(1)
        high = torch.where(groups.isnan(), -torch.inf, groups).amax(1)
        found = defaultdict(list)
        for spread, label in zip(
            (high - low > 1e-6).tolist(), labels[:: self.num_generations].tolist(), strict=True
        ):
            found["accept" if label else "refuse"].append(spread)
        for name, spreads in found.items():
            self._metrics["train"][f"groups with spread, {name}"].append(sum(spreads) / len(spreads))

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        made = super()._generate_and_score_completions(inputs)
        if self.accelerator.gather(self._dropped.int()).any():
            made["completion_mask"] = made["completion_mask"] * (~self._dropped).unsqueeze(1)
            made["num_items_in_batch"] = self.accelerator.gather(made["completion_mask"].sum()).sum()
        return made


def train_grpo(
    recipe: GrpoRecipe, out: Path, *, resume: bool = False, regenerator: Regenerator | None = None
) -> dict[str, float]:
    """Tunes a critic from rewards; the result is a directory of the base's kind in `out`.

    Args:
        recipe: From what, with which rewards, and how.
        out: As of `train_sft`; besides `replies-*.log`, the scorer's replies.
        resume: Go on from the last checkpoint.
        regenerator: Instead of the recipe's generator and scorer.

    Returns:
        The last figures of the curve.

    Raises:
        BadRequestError: Base, data, generator or scorer cannot be used, or nothing can be written.
        BackendFailedError: Generator or scorer is down, or the loss is no number.
        BudgetSpentError: What the recipe allows is spent.
    """
    tuning = Tuning(recipe, out, resume=resume)
    rows = read_rows(tuning.data, critic=True, max_share=recipe.max_share)
    if recipe.seeds != "zero" and any(row.call is None for row in rows):
        raise BadRequestError(
            f"[data] {tuning.data} does not say where its seeds come from",
            hint='build it again with train data stage build, or choose seeds = "zero"',
        )
    longest = check_lengths(tuning.data, rows, tuning.processor, recipe, recipe.answer_tokens)
    arguments = trl.GRPOConfig(
        **trainer_settings(tuning),
        gradient_accumulation_steps=tuning.passes(recipe.batch * recipe.group),
        num_generations=recipe.group,
        max_completion_length=recipe.answer_tokens,
        temperature=recipe.temperature,
        beta=recipe.kl,
        use_vllm=False,
    )
    # TRL pads prompts on this side, and takes the kinds of tokens as the processor pads them.
    tuning.processor.tokenizer.padding_side = "left"
    made = regenerator or Regenerator(recipe, out / f"replies-{tuning.rank}.log", processes=tuning.world)

    def trainer() -> Any:
        return _Trainer(
            model=tuning.model(),
            args=arguments,
            train_dataset=dataset_of(tuning.data, rows, ("prompt", "images", *COLUMNS)),
            processing_class=tuning.processor,
            reward_funcs=Scorer(recipe, made, tuning.data.parent),
            peft_config=lora_config(recipe.lora),
        )

    try:
        return tuning.run(trainer, {"items": len(rows), "longest item": longest}, _CURVE)
    finally:
        made.close()
