"""What a recipe will take, before anything is asked: counts, calls, tokens, money and hours, by its own assumptions."""

from __future__ import annotations

from typing import Any

from .recipe import Price, Recipe
from .taxonomy import load_world

__all__ = ["estimate"]


def estimate(recipe: Recipe) -> dict[str, Any]:
    """Counts of items, what is called how often, and what that costs; no network, no journal.

    Plans are one a prompt and one a cut; items of the critic's sets are the attempts of the steps that stay, split as
    the selection says; the targets stand beside them.
    """
    how, by = recipe.prompts, recipe.estimate
    words = sum(
        len(domain.subcategories) * len(domain.banks) * how.rounds
        for domain in load_world(recipe.world, how.domains, recipe.folder)
    )
    attempts = min(by.steps * by.attempts, recipe.trajectories.generations)
    pictures = how.count * attempts
    calls = {"words": words, "plans": how.count, "verdicts": pictures, "scores": 2 * pictures}
    asked = sum(calls.values())
    tokens = asked * by.input_tokens, asked * by.output_tokens
    price = recipe.prices.get(recipe.teacher.model, Price())
    shares = sum(one.share for one in recipe.generators)
    money = {
        "teacher": (tokens[0] * price.input + tokens[1] * price.output) / 1e6,
        "pictures": sum(
            pictures * one.share / shares * recipe.prices.get(one.name, Price()).picture
            for one in recipe.generators
        ),
    }
    kept = how.count * by.steps * by.kept_steps
    rl = kept / (1 + recipe.select.sft_per_rl) * by.attempts
    sft = kept * recipe.select.sft_per_rl / (1 + recipe.select.sft_per_rl) * by.attempts
    reached = {"planner": 2.0 * how.count, "critic_sft": sft, "critic_rl": rl}
    hours = max(asked * by.call_s / recipe.teacher.concurrency, pictures * by.picture_s / by.pictures_at_once)
    return {
        "prompts": how.count,
        "pictures": round(pictures),
        "calls": {name: round(number) for name, number in calls.items()},
        "tokens": {"input": round(tokens[0]), "output": round(tokens[1])},
        "cost": {name: round(value, 2) for name, value in money.items()},
        "hours": round(hours / 3600, 1),
        "items before targets": {name: round(number) for name, number in reached.items()},
        "targets": recipe.targets.model_dump(),
        "assumed": by.model_dump(),
    }
