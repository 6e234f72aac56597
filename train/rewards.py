"""Rewards of a critic's answer: pure functions of the answer, the label, and scores before and after its prompt was used.

`official` is what the published code computes, `paper` what the paper's formula says; it gives no scale for its parts,
so a step of ten points of score outweighs a verdict by far.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from interleave_rt.roles.answers import read_verdict

from .data.score import overall

__all__ = ["REWARDS", "Judgement", "Reward", "Seen", "official", "paper", "read_judgement"]

_FORM = re.compile(r"\s*<think>.*?</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)
_SEMANTICS = 0.75  # of a step's reward: 0.6 of 0.8; the rest is quality


class Seen(NamedTuple):
    """What a scorer saw in a picture, 0 to 10."""

    semantics: float
    quality: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer says.

    Args:
        formed: It has the form that was asked for: a thought, then an object with a boolean and a prompt.
        accepted: The verdict, as the engine reads it; None where it cannot.
        refined: The prompt that it gives; empty where it gives none.
    """

    formed: bool
    accepted: bool | None
    refined: str


class Reward(NamedTuple):
    """A reward and its parts, each as it is weighted."""

    total: float
    form: float
    accuracy: float
    semantics: float
    quality: float


def read_judgement(text: str) -> Judgement:
    """Reads an answer as the engine does; for its form more strictly.

    A prompt of null is well-formed in an acceptance, where it is not used: sets of `train data` say it so by default.
    """
    verdict = read_verdict(text.encode("utf-8", "replace"))
    accepted = None if verdict is None else verdict.accepted
    refined = "" if verdict is None else (verdict.refined or "")
    found = _FORM.fullmatch(text)
    body = _parsed(found[1]) if found else None
    formed = body is not None and isinstance(body.get("previous_step_success"), bool)
    if formed and body is not None:
        prompt = body.get("refine_prompt", 0)
        formed = isinstance(prompt, str) or (prompt is None and body["previous_step_success"])
    return Judgement(formed, accepted, refined.strip())


def _parsed(text: str) -> Mapping[str, Any] | None:
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return found
    return None


def official(told: Judgement, label: bool, old: Seen, new: Seen | None, alpha: float = 0.2) -> Reward:
    """0.5 F + 0.5 (alpha A + (1 - alpha) (0.75 S + 0.25 Q)), each of the four from 0 to 1.

    Args:
        told: The answer.
        label: The verdict that is right.
        old: Scores of the picture that was judged.
        new: Of the one made from the answer's prompt; None where the label accepts, and nothing is made: S = Q = 0.5.
        alpha: Weight of the verdict against the step.
    """
    accuracy = float(told.accepted == label)
    semantics, quality = (
        (0.5, 0.5)
        if new is None
        else tuple(((after - before) / 10 + 1) / 2 for before, after in zip(old, new, strict=True))
    )
    return _summed(
        0.5 * told.formed,
        0.5 * alpha * accuracy,
        0.5 * (1 - alpha) * _SEMANTICS * semantics,
        0.5 * (1 - alpha) * (1 - _SEMANTICS) * quality,
    )


def paper(told: Judgement, label: bool, old: Seen, new: Seen | None, alpha: float = 0.2) -> Reward:
    """0.5 F + 0.5 (alpha A + (1 - alpha) step): A = -|verdict - label|, step = the difference of the overall scores.

    Arguments as of `official`. An answer without a verdict is as wrong as the wrong one; where the label accepts, the step
    is 0. The step stands in `semantics`.
    """
    accuracy = 0.0 if told.accepted == label else -1.0
    step = 0.0 if new is None else overall(*new) - overall(*old)
    return _summed(0.5 * told.formed, 0.5 * alpha * accuracy, 0.5 * (1 - alpha) * step, 0.0)


def _summed(form: float, accuracy: float, semantics: float, quality: float) -> Reward:
    return Reward(form + accuracy + semantics + quality, form, accuracy, semantics, quality)


REWARDS: Mapping[str, Callable[[Judgement, bool, Seen, Seen | None, float], Reward]] = {
    "official": official,
    "paper": paper,
}
