"""Training of the planner: a request, perhaps with pictures, to the whole plan."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interleave_rt.worlds.shapes.language import (
    OUTSIDE,
    Request,
    Split,
    apply,
    is_honest,
    plan_answer,
    planner_prompt,
)
from interleave_rt.worlds.shapes.requests import (
    any_request,
    collect,
    continuing,
    elsewhere,
    narrative,
    question,
)
from interleave_rt.worlds.shapes.scene import CELLS, Scene, drawn_story

from ..checkpoint import load_state, save_model, save_state
from ..optim import Optimizers, decay, round_to_half
from ..record import Record
from .augmentation import weathered
from .huggingface import Qwen3VLForConditionalGeneration
from .models import TokenIds, build_vlm
from .tokenizer import load_tokenizer
from .vlm import Batch, CellHead, Example, batched_vision, buckets, cell_labels, collate, greedy

__all__ = ["measure_planner", "train_planner"]

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

    def prompt(self, request: Request) -> Example:
        """What the planner reads."""
        ids = self._encode(planner_prompt(request))
        pictures = [weathered(image, self._rng) for image in drawn_story(request.images, self._rng)]
        return Example(ids, [0.0] * len(ids), pictures, request)

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


def plan_of(text: str) -> list[dict[str, Any]]:
    """The steps of an answer; empty where it cannot be read."""
    try:
        plan = json.loads(text.partition("<answer>")[2].partition("</answer>")[0])["execution_plan"]
        return [dict(step) for step in plan]
    except (ValueError, KeyError, TypeError):
        return []


def plan_is_right(request: Request, plan: list[dict[str, Any]]) -> bool:
    """Whether every step of a plan leads to the scene that was asked for (or answers in the right words)."""
    numbers = [step.get("step_number") for step in plan]
    if numbers != [request.first_number + i for i in range(len(request.steps))]:
        return False
    if request.kind == OUTSIDE:
        return is_honest(plan)
    if not request.scenes:
        return (
            plan[0].get("auxiliary_text") == request.steps[0].auxiliary_text and plan[0].get("prompt") is None
        )
    scene: Scene | None = request.images[-1] if request.images else None
    for step, target in zip(plan, request.scenes, strict=True):
        scene = apply(scene, str(step.get("prompt")))
        if scene != target:
            return False
    return True


def measure_planner(model: Any, encoder: PlanEncoder, requests: list[Request]) -> float:
    """Share of plans that are right, decoded greedily."""
    prompts = [encoder.prompt(request) for request in requests]
    answers = greedy(model, prompts, image=encoder.ids.image, end=encoder.ids.end, limit=_LIMIT)
    right = [
        plan_is_right(request, plan_of(encoder.text(ids)))
        for request, ids in zip(requests, answers, strict=True)
    ]
    model.train()
    return float(np.mean(right))


def held_out(split: Split, count: int, seed: int) -> dict[str, list[Request]]:
    """Requests of a split by what is asked of the planner."""
    kinds = {"narrative": narrative, "continuing": continuing, "question": question, "outside": elsewhere}
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


def train_planner(
    out: Path,
    *,
    tokenizer_dir: Path,
    start_from: Path | None = None,
    iterations: int = 6000,
    batch: int = 20,
    seed: int = 0,
    resume: bool = False,
    every: int = 300,
    tests: int = 100,
) -> dict[str, float]:
    """Train the planner, starting from the critic (`start_from`), which can see, point and copy already."""
    arguments = dict(locals())
    torch.manual_seed(seed)
    rng = random.Random(seed + 5)
    encoder = PlanEncoder(load_tokenizer(tokenizer_dir))
    if start_from is not None:
        model = Qwen3VLForConditionalGeneration.from_pretrained(start_from).train()
        model.model.visual.requires_grad_(False)
    else:
        model = build_vlm(encoder.ids)
    bundle = _Bundle(model)
    optimizers = Optimizers(
        [bundle],
        lambda name, w: (
            w.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "head.", "merger"))
        ),
        weight_decay=0.01,
    )
    start = load_state(out, bundle, optimizers, rng) if resume else 0
    record = Record(out, arguments, start)

    def make() -> Example:
        while True:
            request = any_request(rng)
            if request.split == "train":
                return encoder.full(request)

    held = held_out("validation", tests, seed=1)
    stream = buckets(make, rng, batch, encoder.ids.pad, encoder.ids.image)
    average = 0.0
    with batched_vision():
        for iteration in range(start, iterations):
            loss = bundle.loss(next(stream), encoder.ids.image)
            optimizers.step(loss, decay(iteration, iterations, warmup=60, hold=0.35))
            average += 0.02 * (float(loss.detach()) - average)
            if (iteration + 1) % 50 == 0:
                log.info("planner %d/%d loss %.4f", iteration + 1, iterations, average)
                record.log(iteration + 1, loss=average)
            if (iteration + 1) % every == 0:
                forced = {name: round(_forced(model, encoder, group), 3) for name, group in held.items()}
                log.info("planner %d/%d first choices %s", iteration + 1, iterations, forced)
                record.log(
                    iteration + 1, **{f"first choices {name}": share for name, share in forced.items()}
                )
                save_state(out, bundle, optimizers, rng, iteration + 1)
                save_model(model, out)
        round_to_half(model)
        save_model(model.eval(), out)
        result = {name: measure_planner(model, encoder, group) for name, group in held.items()}
    log.info("planner done %s", result)
    record.log(max(start, iterations), **{f"plans {name}": share for name, share in result.items()})
    record.close()
    return result
