"""The reward function of GRPO: from a critic's answers to their rewards, by pictures that are made from their prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .data.formats import BLANK
from .regenerate import Regenerator, Wanted, seed_of_call
from .rewards import REWARDS, Seen, read_judgement

if TYPE_CHECKING:
    from .recipe import GrpoRecipe

__all__ = ["COLUMNS", "PARTS", "Scorer"]

COLUMNS = ("origin_prompt", "rewritten_prompt", "origin_image_path", "evaluation", "call")
"""Of a set, that rewards are made from."""
PARTS = ("form", "accuracy", "semantics", "quality")


class Scorer:
    """The reward function: reads answers, has pictures made where the label refuses, and adds up.

    Args:
        recipe: Which reward, and whose seeds.
        regenerator: Makes and scores the pictures.
        folder: Of the set: its pictures lie there.
    """

    __name__ = "critic"  # as TRL calls its figures

    def __init__(self, recipe: GrpoRecipe, regenerator: Regenerator, folder: Path) -> None:
        self._recipe, self._regenerator, self._folder = recipe, regenerator, folder
        self._reward = REWARDS[recipe.reward]

    def begin(self, row: Mapping[str, Any], text: str) -> None:
        """Has the picture of an answer made that has just ended, if it needs one; `__call__` will find it.

        Args:
            row: Of the set.
            text: The answer.

        Raises:
            BudgetSpentError: What the recipe allows is spent.
        """
        if not row["evaluation"]["success"]:
            self._regenerator.begin(self._wanted(row, read_judgement(text).refined))

    def __call__(
        self,
        completions: Sequence[Any],
        log_metric: Callable[[str, float], None] = lambda *_: None,
        **columns: Any,
    ) -> list[float | None]:
        """As TRL calls it: a reward for each answer, None where generator or scorer has failed."""
        rows = [{name: columns[name][i] for name in COLUMNS} for i in range(len(completions))]
        told = [read_judgement(_text(one)) for one in completions]
        wanted: dict[int, Wanted] = {}
        for place, (row, judged) in enumerate(zip(rows, told, strict=True)):
            if not row["evaluation"]["success"]:
                wanted[place] = self._wanted(row, judged.refined)
        scores, made = self._regenerator.scores(list(wanted.values()))
        new = dict(zip(wanted, scores, strict=True))
        rewards: list[float | None] = []
        for place, (row, judged) in enumerate(zip(rows, told, strict=True)):
            label = row["evaluation"]["success"]
            failed = not label and new[place] is None
            log_metric("dropped", float(failed))
            log_metric("accepted", float(judged.accepted is True))
            if failed:
                rewards.append(None)
                continue
            old = Seen(row["evaluation"]["semantics"], row["evaluation"]["quality"])
            reward = self._reward(judged, label, old, new.get(place), self._recipe.alpha)
            for name in PARTS:
                log_metric(f"reward {name}", getattr(reward, name))
            rewards.append(reward.total)
        if wanted:
            log_metric("memo", 1 - made / len(wanted))
        return rewards

    def _wanted(self, row: Mapping[str, Any], refined: str) -> Wanted:
        blank = row["origin_image_path"].endswith(BLANK.removeprefix("pictures/"))
        call = row["call"]  # a set without it was let through for seeds of zero alone
        return Wanted(
            None if blank else str(self._folder / row["origin_image_path"]),
            refined or row["rewritten_prompt"],
            0
            if call is None
            else seed_of_call(self._recipe.seeds, call["seed"], call["step"], call["attempt"]),
            row["origin_prompt"],
        )


def _text(completion: Any) -> str:
    content = completion[-1]["content"] if isinstance(completion, list) else completion
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
