"""Reinforcement of a critic with TRL: one step, rewarded by what its refined prompts become."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import trl
from transformers import TrainerCallback
from transformers.generation.streamers import BaseStreamer

from interleave_rt.errors import BackendFailedError, BadRequestError

from .models import lora_config
from .recipe import GrpoRecipe
from .record import FOLDER, Table
from .regenerate import Regenerator
from .scorer import COLUMNS, PARTS, Scorer
from .sets import check_lengths, dataset_of, read_rows
from .times import Clock
from .tune import Tuning, trainer_settings

__all__ = ["TIMES", "train_grpo"]

log = logging.getLogger(__name__)

TIMES = "times.csv"
"""In the record: seconds of each update. `generate`, `reference`, `wait` (for pictures and scores), `update` (forward,
backward, optimiser) and `other` are one after the other; `regenerate` and `score` are at work beside them."""
_PARTS = ("generate", "reference", "wait", "update", "other")
_BESIDE = ("regenerate", "score")

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


class _Listener(BaseStreamer):  # type: ignore[misc]
    """Hears the tokens of a batch as they are drawn, and tells of each answer when it ends.

    Args:
        ends: Tokens that end an answer.
        tell: Told which answer has ended, and its tokens.
    """

    def __init__(self, ends: Collection[int], tell: Callable[[int, list[int]], None]) -> None:
        self._ends, self._tell = frozenset(ends), tell
        self._open: dict[int, list[int]] | None = None

    def put(self, value: Any) -> None:
        """As transformers calls it: with the prompts, then with a token of every answer, also of those that have ended."""
        if self._open is None:
            self._open = {place: [] for place in range(len(value))}
            return
        drawn = value.tolist()
        for place, tokens in list(self._open.items()):
            tokens.append(drawn[place])
            if drawn[place] in self._ends:
                self._tell(place, self._open.pop(place))

    def end(self) -> None:
        """As transformers calls it; answers that are still open were cut off."""
        for place, tokens in (self._open or {}).items():
            self._tell(place, tokens)
        self._open = {}


class _Trainer(trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's, in which a dropped answer leaves the token count and the divergence, too, and not only its group.

    With `overlap`, pictures are begun while answers are written. Rewards are asked for after that as without: they find
    what was begun by what it is, so that nothing depends on what was heard.

    Args:
        scorer: The reward function.
        clock: Told of the parts of an update.
        overlap: As in the recipe.
        given: TRL's.
    """

    def __init__(self, *, scorer: Scorer, clock: Clock, overlap: bool, **given: Any) -> None:
        super().__init__(reward_funcs=scorer, **given)
        self._scorer, self._clock, self._overlap = scorer, clock, overlap
        self._rows: Any = ()
        self._scoring = False

    def _generate_single_turn(self, *given: Any, **more: Any) -> Any:
        with self._clock.part("generate"), self._heard() if self._overlap else nullcontext():
            return super()._generate_single_turn(*given, **more)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Answers are listened to meanwhile: TRL has no argument for it."""
        model = self.accelerator.unwrap_model(self.model_wrapped)
        model.generate = partial(model.generate, streamer=_Listener(self.eos_token_ids, self._begin))
        try:
            yield
        finally:
            del model.generate

    def _begin(self, place: int, tokens: list[int]) -> None:
        (text,) = self.processing_class.batch_decode([tokens], skip_special_tokens=True)
        self._scorer.begin(self._rows[place], text)

    def _get_per_token_logps_and_entropies(self, *given: Any, **more: Any) -> Any:
        with self._clock.part("reference") if self._scoring else nullcontext():
            return super()._get_per_token_logps_and_entropies(*given, **more)

    def _calculate_rewards(self, inputs: Any, *more: Any) -> Any:
        with self._clock.part("wait"):
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
        self._rows, self._scoring = inputs, True
        with self._clock.part("rollout"):
            made = super()._generate_and_score_completions(inputs)
        self._scoring = False
        if self.accelerator.gather(self._dropped.int()).any():
            made["completion_mask"] = made["completion_mask"] * (~self._dropped).unsqueeze(1)
            made["num_items_in_batch"] = self.accelerator.gather(made["completion_mask"].sum()).sum()
        return made


class _Times(TrainerCallback):  # type: ignore[misc]
    """Keeps how long the parts of each update took.

    Args:
        clock: That is told of them.
        table: Where it is written; None: nowhere.
    """

    def __init__(self, clock: Clock, table: Table | None) -> None:
        self._clock, self._table = clock, table
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """As transformers calls it."""
        self._clock.take()
        self._began = time.perf_counter()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """As transformers calls it."""
        seconds, spent = time.perf_counter() - self._began, defaultdict(float, self._clock.take())
        # the rest of an update is what the trainer does after it has the rewards
        spent["update"] = seconds - spent["rollout"]
        spent["other"] = spent["rollout"] - sum(spent[name] for name in ("generate", "reference", "wait"))
        if self._table is not None:
            told = {"seconds": seconds, **{name: spent[name] for name in (*_PARTS, *_BESIDE)}}
            self._table.log(state.global_step, {name: round(value, 4) for name, value in told.items()})

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """As transformers calls it: says what a usual update took."""
        if self._table is not None and (rows := list(self._table.rows.values())):
            whole, *parts = (median(row[name] for row in rows) for name in ("seconds", *_PARTS, *_BESIDE))
            shown = [
                f"{name} {100 * value / whole:.0f} %"
                for name, value in zip((*_PARTS, *_BESIDE), parts, strict=True)
            ]
            first, beside = ", ".join(shown[: len(_PARTS)]), ", ".join(shown[len(_PARTS) :])
            log.info("an update took %.3g s: %s; beside them %s", whole, first, beside)


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
        table = None if tuning.rank else Table(out / FOLDER / TIMES, ("iteration", "seconds"), tuning.start)
        return _Trainer(
            scorer=Scorer(recipe, made, tuning.data.parent),
            clock=made.clock,
            overlap=recipe.overlap,
            model=tuning.model(),
            args=arguments,
            train_dataset=dataset_of(tuning.data, rows, ("prompt", "images", *COLUMNS)),
            processing_class=tuning.processor,
            peft_config=lora_config(recipe.lora),
            callbacks=[_Times(made.clock, table)],
        )

    try:
        return tuning.run(trainer, {"items": len(rows), "longest item": longest}, _CURVE)
    finally:
        made.close()
