"""The whole loop in torch, judged by the oracle: quick figures while training (the native engine gives the real ones)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interleave_rt.worlds.shapes.language import Verdict, apply
from interleave_rt.worlds.shapes.oracle import matches, read
from interleave_rt.worlds.shapes.requests import Request, sample
from interleave_rt.worlds.shapes.scene import WHITE, Scene

from .critic import Case, Encoder, verdict_of
from .generator import load_generator
from .huggingface import Qwen3VLForConditionalGeneration
from .planner import PlanEncoder, plan_is_right, plan_of
from .tokenizer import load_tokenizer
from .vlm import batched_vision, greedy

__all__ = ["evaluate"]

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
_UNKNOWN = Verdict(False, "", "")


class _Trio:
    def __init__(self, directory: Path) -> None:
        self.tokenizer = load_tokenizer(directory / "tokenizer")
        self.studio = load_generator(directory / "generator")
        self.planner: Any = Qwen3VLForConditionalGeneration.from_pretrained(directory / "planner").eval()
        self.critic: Any = Qwen3VLForConditionalGeneration.from_pretrained(directory / "critic").eval()
        self.plans, self.cases = PlanEncoder(self.tokenizer), Encoder(self.tokenizer)

    def plan(self, requests: list[Request]) -> list[list[dict[str, Any]]]:
        ids = self.plans.ids
        prompts = [self.plans.prompt(request) for request in requests]
        answers = greedy(self.planner, prompts, image=ids.image, end=ids.end, limit=480)
        return [plan_of(self.plans.text(answer)) for answer in answers]

    def judge(self, asked: list[tuple[Pixels, Pixels, str, str]]) -> list[tuple[bool | None, str | None]]:
        ids = self.cases.ids
        blank = Scene(0)
        cases = [Case(None, blank, blank, [a, b], p, r, _UNKNOWN) for a, b, p, r in asked]
        prompts = [self.cases.prompt(case) for case in cases]
        answers = greedy(self.critic, prompts, image=ids.image, end=ids.end, limit=110)
        return [verdict_of(self.cases.text(answer)) for answer in answers]

    def paint(self, asked: list[tuple[Pixels | None, str]], seed: int) -> list[Pixels]:
        made: list[Pixels] = [WHITE] * len(asked)
        for edits in (False, True):
            rows = [i for i, (image, _) in enumerate(asked) if (image is not None) == edits]
            if rows:
                sources = (
                    np.stack([image for i in rows if (image := asked[i][0]) is not None]) if edits else None
                )
                for i, image in zip(
                    rows, self.studio.paint([asked[i][1] for i in rows], sources, seed), strict=True
                ):
                    made[i] = image
        return made


def _loop(
    trio: _Trio, requests: list[Request], plans: list[list[dict[str, Any]]], most: int
) -> dict[str, float]:
    """Run all requests side by side; step success = the final picture is what the plan's prompt means."""
    last: list[Pixels | None] = [None] * len(requests)
    good: list[bool] = []
    whole = [bool(plan) for plan in plans]
    rejected = [False] * len(requests)
    kinds: dict[str, list[bool]] = {
        "right accepted": [],
        "wrong refused": [],
        "first right": [],
        "later right": [],
    }
    for number in range(max(len(plan) for plan in plans)):
        active = [i for i, plan in enumerate(plans) if number < len(plan) and plan[number].get("prompt")]
        original = {i: str(plans[i][number]["prompt"]) for i in active}
        words, images = dict(original), {}
        targets: dict[int, Scene | None] = {}
        for i in active:
            source = last[i]
            targets[i] = apply(None if source is None else read(source).scene, original[i])
        pending = active
        for attempt in range(1, most + 1):
            made = trio.paint([(last[i], words[i]) for i in pending], seed=number * 1000 + attempt)
            for i, image in zip(pending, made, strict=True):
                images[i] = image
                target = targets[i]
                kinds["first right" if attempt == 1 else "later right"].append(
                    target is not None and matches(image, target)
                )
            if attempt == most or not pending:
                break
            sources = [WHITE if (before := last[i]) is None else before for i in pending]
            answers = trio.judge(
                [(s, images[i], original[i], words[i]) for s, i in zip(sources, pending, strict=True)]
            )
            refused = []
            for i, (accepted, refined) in zip(pending, answers, strict=True):
                target = targets[i]
                right = target is not None and matches(images[i], target)
                kinds["right accepted" if right else "wrong refused"].append(bool(accepted) == right)
                if accepted is False:
                    rejected[i] = True
                    words[i] = refined or words[i]
                    refused.append(i)
            pending = refused
        for i in active:
            target = targets[i]
            right = target is not None and matches(images[i], target)
            good.append(right)
            whole[i] = whole[i] and right
            last[i] = images[i]
    result = {"step success": float(np.mean(good)), "sequence success": float(np.mean(whole))}
    result["requests with a rejection"] = float(np.mean(rejected))
    result |= {name: float(np.mean(values)) for name, values in kinds.items() if values}
    final = [p and r.scenes != () for p, r in zip(whole, requests, strict=True)]
    right_plan = [plan_is_right(request, plan) for request, plan in zip(requests, plans, strict=True)]
    result["asked and got"] = float(np.mean([a and b for a, b in zip(final, right_plan, strict=True)]))
    return result


def evaluate(directory: Path, *, count: int = 100, seed: int = 1) -> dict[str, dict[str, float]]:
    """Plans, then the loop with one and with up to five attempts a step, on held-out narrative requests."""
    trio = _Trio(directory)
    requests = sample("test", count, seed)
    with batched_vision():
        plans = trio.plan(requests)
        right = float(np.mean([plan_is_right(r, p) for r, p in zip(requests, plans, strict=True)]))
        result = {"plans": {"exact": right}}
        log.info("plans exact %.3f", right)
        for most in (1, 5):
            result[f"T_max {most}"] = _loop(trio, requests, plans, most)
            log.info("T_max %d %s", most, result[f"T_max {most}"])
    return result
