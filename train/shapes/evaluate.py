"""A trained trio as roles in torch, and quick figures of its loop (`interleave-rt eval` gives the real ones)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import Qwen3VLForConditionalGeneration

from interleave_rt.errors import BackendFailedError
from interleave_rt.request import Options, Request
from interleave_rt.roles.answers import read_plan, read_verdict
from interleave_rt.roles.base import SharedRules
from interleave_rt.wire import Verdict, WrittenPlan
from interleave_rt.worlds.shapes.evaluation.outcomes import Outcome, look_at, run_roles
from interleave_rt.worlds.shapes.language import planner_prompt
from interleave_rt.worlds.shapes.requests import sample
from interleave_rt.worlds.shapes.scene import WHITE, Pixels

from .critic import CaseEncoder
from .generator import STEPS, load_generator
from .planner import PlanEncoder
from .tokenizer import load_tokenizer
from .vlm import Encoder, Example, batched_vision

__all__ = ["TorchRoles", "evaluate"]


class TorchRoles(SharedRules):
    """The trio that the training has saved; answers are greedy."""

    def __init__(self, directory: Path) -> None:
        tokenizer = load_tokenizer(directory / "tokenizer")
        self._studio = load_generator(directory / "generator")
        self._planner: Any = Qwen3VLForConditionalGeneration.from_pretrained(directory / "planner").eval()
        self._critic: Any = Qwen3VLForConditionalGeneration.from_pretrained(directory / "critic").eval()
        self._plans, self._cases = PlanEncoder(tokenizer), CaseEncoder(tokenizer)

    def _answer(self, model: Any, encoder: Encoder, prompt: Example, limit: int) -> bytes:
        with batched_vision():
            return encoder.answers(model, [prompt], limit)[0].encode()

    def plan(
        self,
        request: Request,
        max_steps: int,
        seed: int,  # noqa: ARG002
        retry: int,  # noqa: ARG002
    ) -> WrittenPlan:
        """As `Roles.plan`, of requests without pictures."""
        prompt = self._plans.prompt_of(planner_prompt(request.text, request.mode), [])
        return read_plan(self._answer(self._planner, self._plans, prompt, 480), request.mode, max_steps)

    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:
        """As `Roles.generate`."""
        sources = None if source is None else source[None]
        image: Pixels = self._studio.paint([prompt], sources, seed, options.denoising_steps or STEPS)[0]
        return image

    def judge(
        self,
        before: Pixels | None,
        after: Pixels,
        original_prompt: str,
        prompt: str,
        seed: int,  # noqa: ARG002
        retry: int,  # noqa: ARG002
    ) -> Verdict | None:
        """As `Roles.judge`."""
        pictures = [WHITE if before is None else before, after]
        asked = self._cases.question(original_prompt, prompt, pictures)
        return read_verdict(self._answer(self._critic, self._cases, asked, 110))


def evaluate(directory: Path, *, count: int = 100, seed: int = 1) -> dict[str, dict[str, float]]:
    """The loop with one and with up to five attempts a step, on held-out narrative requests."""
    roles, tasks = TorchRoles(directory), sample("test", count, seed)
    result = {}
    for t_max in (1, 5):
        outcomes = []
        for number, task in enumerate(tasks):
            options = Options(seed=seed * 1_000_000 + number, t_max=t_max)
            try:
                outcomes.append(look_at(run_roles(Request(task.text), options, roles), task))
            except BackendFailedError:
                outcomes.append(Outcome(plan_right=False, steps=(), failed=True))
        result[f"T_max {t_max}"] = _figures(outcomes)
    return result


def _figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Shares; those of which there is no case are left out."""
    steps = [step for one in outcomes for step in one.steps]
    judged = [one for step in steps for one in step.tries if one.accepted is not None]
    shares = {
        "plans": [one.plan_right for one in outcomes],
        "step success": [step.right for step in steps],
        "sequence success": [one.right for one in outcomes],
        "asked and got": [one.right and one.plan_right for one in outcomes],
        "right accepted": [bool(one.accepted) for one in judged if one.right],
        "wrong refused": [not one.accepted for one in judged if not one.right],
        "first right": [step.tries[0].right for step in steps if step.tries],
        "later right": [one.right for step in steps for one in step.tries[1:]],
    }
    return {name: float(np.mean(hits)) for name, hits in shares.items() if hits}
