"""From selected steps and plans to items: what a model is asked, as texts and names of pictures, and what it shall answer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interleave_rt.request import IMAGE_MARK
from interleave_rt.roles.prompts import Prompts

from .select import StepItem

__all__ = ["WHITE", "Item", "Part", "critic_item", "cut_item", "plan_answer", "plan_item"]

WHITE = "white"
"""The name of the picture that a critic is shown where there was none before."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of what a model is asked: a text, or the name of a picture."""

    text: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a set.

    Args:
        key: Of what it was made from.
        source: `text`, `cut`, the name of an imported set, or `critic`.
        asked: The message, in order.
        answer: What is learned.
        more: Columns of the RL set.
    """

    key: str
    source: str
    asked: tuple[Part, ...]
    answer: str
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> list[str]:
        """Names, in the order in which they are shown."""
        return [part.picture for part in self.asked if part.picture]


def _answer(thought: str, body: Any) -> str:
    return f"<think>{thought}</think><answer>{json.dumps(body, ensure_ascii=False)}</answer>"


def plan_answer(thought: str, steps: Sequence[Mapping[str, Any]]) -> str:
    """A planner's answer, as it is to be written."""
    return _answer(thought, {"execution_plan": list(steps)})


def plan_item(key: str, line: Mapping[str, Any], prompts: Prompts) -> Item:
    """The plan of a text prompt."""
    parts = prompts.templates.render_plan("narrative", line["text"], 0)
    return Item(key, "text", _asked(parts, []), plan_answer(line["reasoning"], line["plan"]))


def cut_item(key: str, line: Mapping[str, Any], prompts: Prompts, seed: int) -> Item | None:
    """A trajectory cut at a random step: what is there is asked, with its pictures; the rest of the plan is the answer.

    None where there is no step to cut at: each step before needs its picture, and one must follow.
    """
    shown = []
    for step in line["steps"]:
        if not step["committed"] or not step["attempts"]:
            break
        shown.append(step["attempts"][-1]["picture"])
    places = range(1, min(len(shown), len(line["plan"]) - 1) + 1)
    if not places:
        return None
    cut = random.Random(f"{seed}/cut/{key}").choice(places)
    told = "".join(
        f"\nStep {raw['step_number']}: {raw['auxiliary_text'] or raw['instruction'] or raw['step_name']} {IMAGE_MARK}"
        for raw in line["plan"][:cut]
    )
    return continued(key, "cut", line["text"] + told, shown[:cut], line["plan"][cut:], prompts)


def continued(
    key: str,
    source: str,
    text: str,
    pictures: Sequence[str],
    rest: Sequence[Mapping[str, Any]],
    prompts: Prompts,
) -> Item | None:
    """A request with pictures, to be continued; None where its text holds marks that are no pictures' places."""
    if text.count(IMAGE_MARK) != len(pictures):
        return None
    parts = prompts.templates.render_plan("guidance", text, len(pictures))
    return Item(key, source, _asked(parts, pictures), plan_answer("", rest))


def critic_item(
    step: StepItem, number: int, prompts: Prompts, *, repeat: bool, first_empty: bool = False
) -> Item:
    """An attempt to be judged; its columns are the official ones of the RL set, and where its seed comes from."""
    attempt = step.attempts[number]
    assert attempt.score is not None
    before = step.before or WHITE
    used = "" if first_empty and number == 0 else attempt.prompt
    parts = prompts.templates.render_critic(step.wish, used)
    refined = (attempt.prompt if repeat else None) if attempt.accepted else attempt.refined
    answer = _answer(attempt.thought, {"previous_step_success": attempt.accepted, "refine_prompt": refined})
    more = {
        "origin_prompt": step.wish,
        "rewritten_prompt": attempt.prompt,
        "origin_image_path": before,
        "edited_image_path": attempt.picture,
        "evaluation": {
            "semantics": attempt.score.semantics,
            "quality": attempt.score.quality,
            "success": attempt.accepted,
        },
        "call": {"seed": step.seed, "step": step.index, "attempt": number + 1},
    }
    return Item(f"{step.key}/{number}", "critic", _asked(parts, [before, attempt.picture]), answer, more)


def _asked(parts: Sequence[Any], pictures: Sequence[str]) -> tuple[Part, ...]:
    left: Iterator[str] = iter(pictures)
    return tuple(
        Part(text=part.text) if hasattr(part, "text") else Part(picture=next(left)) for part in parts
    )
