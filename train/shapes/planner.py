"""Training of the planner: a request, perhaps with pictures, to the whole plan."""

from __future__ import annotations

import logging
import random
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interleave_rt.request import Options
from interleave_rt.roles.answers import read_plan
from interleave_rt.worlds.shapes.evaluation.wording import Plan, plan_exact, says_so
from interleave_rt.worlds.shapes.language import (
    OUTSIDE,
    Mode,
    Request,
    Split,
    plan_answer,
    planner_prompt,
)
from interleave_rt.worlds.shapes.requests import (
    any_request,
    collect,
    continuing,
    narrative,
    outside_request,
    question,
)
from interleave_rt.worlds.shapes.scene import CELLS, Pixels, drawn_story

from ..checkpoint import save_model
from ..loop import Part, Schedule
from ..optim import Optimizers, round_to_half
from .augmentation import augmented
from .huggingface import Qwen3VLForConditionalGeneration
from .models import TokenIds, build_vlm
from .tokenizer import load_tokenizer
from .vlm import Batch, CellHead, Example, batched_vision, buckets, cell_labels, collate, greedy

__all__ = ["Planner", "measure_planner"]

log = logging.getLogger(__name__)

_LIMIT = 520


class PlanEncoder:
    """Requests as token sequences."""

    def __init__(self, tokenizer: Any, seed: int = 0) -> None:
        self._tokenizer = tokenizer
        self.ids = TokenIds.of(tokenizer)
        self._rng = random.Random(seed)

    def _encode(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def question(
        self, text: str, mode: Mode, pictures: list[Pixels], request: Request | None = None
    ) -> Example:
        """What the planner reads."""
        ids = self._encode(planner_prompt(text, mode))
        return Example(ids, [0.0] * len(ids), pictures, request)

    def prompt(self, request: Request) -> Example:
        """The question of a request, with pictures drawn for it."""
        pictures = [augmented(image, self._rng) for image in drawn_story(request.images, self._rng)]
        return self.question(request.text, request.mode, pictures, request)

    def full(self, request: Request) -> Example:
        """Prompt and right plan."""
        prompt = self.prompt(request)
        answer = [*self._encode(plan_answer(request)), self.ids.end]
        # an answer in words hangs on a word or two
        weight = (1 if request.scenes else 4) / 80
        return Example(prompt.ids + answer, prompt.weights + [weight] * len(answer), prompt.images, request)

    def text(self, ids: list[int]) -> str:
        """Decode an answer."""
        decoded: str = self._tokenizer.decode(ids)
        return decoded


class _Bundle(nn.Module):
    """Model and cell head in one."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.head = CellHead(model.config.text_config.hidden_size, extra=CELLS)

    def loss(self, batch: Batch, image: int) -> Tensor:
        """Loss of the answer, and of reading the cells of the given pictures: what they hold, and which they are."""
        hidden = self.model.model(**batch.inputs).last_hidden_state
        loss = batch.loss(hidden, self.model.lm_head)
        scenes = [scene for example in batch.examples for scene in example.extra.images]
        if scenes:
            pictures = hidden[batch.inputs["input_ids"] == image].view(len(scenes), CELLS, -1)
            labels = torch.tensor([cell_labels(scene) for scene in scenes])
            read = self.head(pictures)
            where = functional.cross_entropy(
                read[..., -CELLS:].flatten(0, 1), torch.arange(CELLS).repeat(len(scenes))
            )
            loss = loss + 0.3 * (CellHead.loss(read, labels) + where)
        return loss


def plan_is_right(request: Request, answer: str) -> bool:
    """Whether every step of an answer leads to the scene that was asked for (or answers in the right words)."""
    steps, truncated = read_plan(answer.encode(), request.mode, Options().max_steps)
    plan = Plan(tuple(steps), truncated)
    return says_so(plan) if request.kind == OUTSIDE else plan_exact(plan, request)


def measure_planner(model: Any, encoder: PlanEncoder, requests: list[Request]) -> float:
    """Share of plans that are right, decoded greedily."""
    prompts = [encoder.prompt(request) for request in requests]
    answers = greedy(model, prompts, image=encoder.ids.image, end=encoder.ids.end, limit=_LIMIT)
    right = [
        plan_is_right(request, encoder.text(ids)) for request, ids in zip(requests, answers, strict=True)
    ]
    model.train()
    return float(np.mean(right))


def held_out(split: Split, count: int, seed: int) -> dict[str, list[Request]]:
    """Requests of a split by what is asked of the planner."""
    kinds = {
        "narrative": narrative,
        "continuing": continuing,
        "question": question,
        "outside": outside_request,
    }
    return {name: collect(make, split, count, f"{name}/{seed}") for name, make in kinds.items()}


@torch.no_grad()
def _forced(model: Any, encoder: PlanEncoder, requests: list[Request]) -> float:
    """Share of answers of which every token is the model's first choice: cheap, and a lower bound of being right."""
    model.eval()
    right = []
    for start in range(0, len(requests), 50):
        batch = collate(
            [encoder.full(r) for r in requests[start : start + 50]], encoder.ids.pad, encoder.ids.image
        )
        best = model(**batch.inputs).logits[:, :-1].argmax(-1)
        wrong = (best != batch.labels[:, 1:]) & (batch.weights[:, 1:] > 0)
        right += (~wrong.any(-1)).tolist()
    model.train()
    return float(np.mean(right))


class Planner(Part):
    """The planner in training; it starts from the critic (`start_from`), which can see, point and copy already."""

    name = "planner"
    schedule = Schedule(iterations=6000, every=300, log_every=50, warmup=60, hold=0.35)
    module: _Bundle

    def __init__(
        self,
        out: Path,
        *,
        tokenizer_dir: Path,
        start_from: Path | None = None,
        batch: int = 20,
        tests: int = 100,
        seed: int = 0,
    ) -> None:
        arguments = {"tokenizer_dir": tokenizer_dir, "start_from": start_from}
        super().__init__(out, seed, 5, **arguments, batch=batch, tests=tests)
        self._encoder = PlanEncoder(load_tokenizer(tokenizer_dir))
        if start_from is not None:
            model = Qwen3VLForConditionalGeneration.from_pretrained(start_from).train()
            model.model.visual.requires_grad_(False)
        else:
            model = build_vlm(self._encoder.ids)
        self.module = _Bundle(model)
        self.optimizers = Optimizers(
            [self.module],
            lambda name, w: (
                w.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "head.", "merger"))
            ),
            weight_decay=0.01,
        )
        self._held = held_out("validation", tests, seed=1)
        ids = self._encoder.ids
        self._stream = buckets(self._example, self.rng, batch, ids.pad, ids.image)

    def running(self) -> AbstractContextManager[None]:
        """Pictures go through the tower side by side."""
        return batched_vision()

    def _example(self) -> Example:
        while True:
            request = any_request(self.rng)
            if request.split == "train":
                return self._encoder.full(request)

    def loss(self, iteration: int, iterations: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Loss of the plans and of reading the given pictures."""
        loss = self.module.loss(next(self._stream), self._encoder.ids.image)
        return loss, loss

    def measure(self) -> dict[str, float]:
        """Shares of held-out plans that are first choices."""
        model = self.module.model
        found = {name: round(_forced(model, self._encoder, group), 3) for name, group in self._held.items()}
        return {f"first choices {name}": share for name, share in found.items()}

    def save(self) -> None:
        """Save the model without its head."""
        save_model(self.module.model, self.out)

    def finish(self) -> None:
        """Save it as float16 values."""
        round_to_half(self.module.model)
        save_model(self.module.model.eval(), self.out)

    def measure_finished(self) -> dict[str, float]:
        """Shares of held-out plans that are right."""
        model = self.module.model
        return {
            f"plans {name}": measure_planner(model, self._encoder, group)
            for name, group in self._held.items()
        }
