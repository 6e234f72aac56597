"""Which attempts are worth learning from: rules over the scores of a step, then the split, then the balance.

Everything here is a pure function of the journals' lines and the thresholds.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from .journal import Counts
from .recipe import Selection
from .score import Score, drop_from_best, fall, variance

__all__ = ["Attempt", "Selected", "StepItem", "balanced", "reason_to_drop", "select", "split", "steps_of"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as the critic learns from it.

    Args:
        prompt: What it was made from.
        picture: Its name.
        accepted: The teacher's verdict; None where it could not be read.
        refined: The teacher's better prompt, of a refusal.
        thought: What the teacher wrote before its verdict.
        score: None where it could not be read.
    """

    prompt: str
    picture: str
    accepted: bool | None
    refined: str
    thought: str
    score: Score | None


@dataclass(frozen=True, slots=True)
class StepItem:
    """A step of a trajectory: what was wished for, from which picture (None: from nothing), and its attempts.

    `seed` is the trajectory's, `index` the step's place in the plan, from 0: with an attempt's number they give its seed.
    """

    key: str
    wish: str
    before: str | None
    attempts: tuple[Attempt, ...]
    seed: int = 0
    index: int = 0

    @property
    def scores(self) -> list[float]:
        """The overall scores, where all could be read."""
        return [one.score.overall for one in self.attempts if one.score is not None]


@dataclass(frozen=True, slots=True)
class Selected:
    """Steps for SFT; items (step, number of the attempt) for SFT, after balancing, and for RL; what each rule removed."""

    sft_steps: tuple[StepItem, ...]
    sft: tuple[tuple[StepItem, int], ...]
    rl: tuple[tuple[StepItem, int], ...]
    steps: Counts
    items: Counts


def reason_to_drop(step: StepItem, rules: Selection) -> str | None:
    """The first rule that speaks against a step; None: it stays, as its scores rise or are high throughout."""
    if any(one.accepted is None or one.score is None for one in step.attempts):
        return "unreadable"
    scores = step.scores
    if fall(scores) > rules.fall:
        return "falling"
    if drop_from_best(scores) > rules.degrade:
        return "degradation"
    if max(scores) < rules.low:
        return "low"
    return None


def split(
    steps: Sequence[StepItem], rules: Selection, seed: int
) -> tuple[list[StepItem], list[StepItem], list[StepItem]]:
    """(SFT, RL, surplus): steps of high variance are for RL; counted in steps, SFT to RL is as the rules say."""
    rl = [step for step in steps if variance(step.scores) >= rules.rl_variance]
    high = {step.key for step in rl}
    sft = [step for step in steps if step.key not in high]
    most_sft, most_rl = round(len(rl) * rules.sft_per_rl), round(len(sft) / rules.sft_per_rl)
    chosen = {step.key for step in _balancing(sft, most_sft if rl else len(sft), rules.balance, seed)}
    kept_sft = [step for step in sft if step.key in chosen]
    over_sft = [step for step in sft if step.key not in chosen]
    kept_rl, over_rl = _drawn(rl, most_rl if sft else len(rl), seed, "rl")
    return kept_sft, kept_rl, over_sft + over_rl


def _balancing(steps: Sequence[StepItem], most: int, share: float, seed: int) -> list[StepItem]:
    """At most so many of the steps: as many with refusals, the others without, as leave the most items when balanced."""
    if len(steps) <= most:
        return list(steps)
    mixed, plain = (
        random.Random(f"{seed}/{name}").sample(side, len(side))
        for name, side in (
            ("mixed", [step for step in steps if not all(one.accepted for one in step.attempts)]),
            ("plain", [step for step in steps if all(one.accepted for one in step.attempts)]),
        )
    )
    (accepted, refused), (plain_accepted, _) = _verdicts(mixed), _verdicts(plain)

    def left(count: int) -> int:
        small, large = sorted((accepted[count] + plain_accepted[most - count], refused[count]))
        return small + (large if share == 1 else min(large, _allowed(small, share)))

    count = max(range(max(0, most - len(plain)), min(most, len(mixed)) + 1), key=left)
    return mixed[:count] + plain[: most - count]


def _verdicts(steps: Sequence[StepItem]) -> tuple[list[int], list[int]]:
    """How many attempts of the first 0, 1, ... steps are accepted, and refused."""
    accepted = [sum(bool(one.accepted) for one in step.attempts) for step in steps]
    refused = [len(step.attempts) - number for step, number in zip(steps, accepted, strict=True)]
    return list(accumulate(accepted, initial=0)), list(accumulate(refused, initial=0))


def _allowed(small: int, share: float) -> int:
    return int(small * share / (1 - share) + 1e-9)


def balanced(items: Sequence[tuple[StepItem, int]], most: float, seed: int) -> list[tuple[StepItem, int]]:
    """Items of which neither verdict has a larger share than `most`: the surplus of the larger side is left out."""
    sides: tuple[list[int], list[int]] = ([], [])
    for place, (step, number) in enumerate(items):
        sides[bool(step.attempts[number].accepted)].append(place)
    small = min(map(len, sides))
    allowed = _allowed(small, most) if most < 1 else len(items)
    kept = [place for side in sides for place in _drawn(side, allowed, seed, "balance")[0]]
    return [items[place] for place in sorted(kept)]


def select(steps: Sequence[StepItem], rules: Selection, seed: int) -> Selected:
    """All rules in order."""
    removed: Counter[str] = Counter()
    stay = []
    for step in steps:
        reason = reason_to_drop(step, rules)
        if reason is None:
            stay.append(step)
        else:
            removed["unreadable" if reason == "unreadable" else f"dropped: {reason}"] += 1
    sft_steps, rl_steps, surplus = split(stay, rules, seed)
    removed["dropped: ratio"] = len(surplus)
    told = Counts({"in": len(steps), "kept: SFT": len(sft_steps), "kept: RL": len(rl_steps), **removed})
    told.check("select")
    expanded = _expanded(sft_steps)
    sft, rl = balanced(expanded, rules.balance, seed), _expanded(rl_steps)
    items = Counts({"in": len(expanded), "kept": len(sft), "dropped: balance": len(expanded) - len(sft)})
    items.check("balance")
    return Selected(tuple(sft_steps), tuple(sft), tuple(rl), told, items)


def _expanded(steps: Iterable[StepItem]) -> list[tuple[StepItem, int]]:
    return [(step, number) for step in steps for number in range(len(step.attempts))]


def _drawn(items: Sequence[Any], most: int, seed: int, why: str) -> tuple[list[Any], list[Any]]:
    """(`most` of the items, drawn by chance; the others), each in order."""
    if len(items) <= most:
        return list(items), []
    chosen = set(random.Random(f"{seed}/{why}").sample(range(len(items)), most))
    return [one for i, one in enumerate(items) if i in chosen], [
        one for i, one in enumerate(items) if i not in chosen
    ]


def steps_of(
    key: str, line: Mapping[str, Any], score_of: Callable[[str | None, str, str], Sequence[float] | None]
) -> list[StepItem]:
    """The steps of a trajectory's line that have attempts; `score_of` (before, after, wish) finds scores."""
    found = []
    before: str | None = None
    for step in line["steps"]:
        if not step["attempts"]:
            continue
        wish = line["plan"][step["index"]]["prompt"]
        attempts = []
        for raw in step["attempts"]:
            verdict = raw["verdict"]
            scores = score_of(before, raw["picture"], wish)
            attempts.append(
                Attempt(
                    raw["prompt"],
                    raw["picture"],
                    None if verdict is None else verdict["previous_step_success"],
                    (verdict or {}).get("refine_prompt") or "",
                    (verdict or {}).get("reasoning") or "",
                    None if scores is None else Score(*scores),
                )
            )
        found.append(
            StepItem(f"{key}/{step['index']}", wish, before, tuple(attempts), line["seed"], step["index"])
        )
        before = step["attempts"][-1]["picture"]
    return found
