"""Training of the planner: a request, perhaps with pictures, to the whole plan."""

from __future__ import annotations

import itertools
import logging
import random
import re
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
from interleave_rt.worlds.shapes.scene import CELLS, drawn_story

from ..loop import Schedule
from .augmentation import augmented
from .models import build_vlm, deepened
from .tokenizer import load_tokenizer
from .vlm import CellHead, Encoder, Example, Trainee, VlmPart, cell_labels, collate, open_vlm

__all__ = ["Planner", "measure_planner"]

log = logging.getLogger(__name__)

LAYERS = 6
"""Of its text model; base and critic have 4. A whole plan, from words that nobody chose, takes more than a verdict."""
_LIMIT = 520
_CUT_REQUESTS, _CUT_WORDS = 0.3, 0.2
"""Share of the requests to learn from in which words are cut, and of their words: see `PlanEncoder.full`."""
_WORD = re.compile(r"(?<![\w'<|])[A-Za-z]{4,}(?![\w'>|])")


class PlanEncoder(Encoder):
    """Requests as token sequences."""

    def prompt(self, request: Request, rng: random.Random) -> Example:
        """The question of a request, with pictures drawn for it."""
        pictures = [augmented(image, rng) for image in drawn_story(request.images, rng)]
        return self.prompt_of(planner_prompt(request.text, request.mode), pictures, request)

    def full(self, request: Request, rng: random.Random, *, cut: bool = False) -> Example:
        """Prompt and right plan.

        With `cut`, in some requests words are cut in two before they become tokens. A word with a slip of the finger
        falls into other tokens than the right one; a model that has met the right one in pieces still reads it
        (after BPE-dropout, arXiv 1910.13267).
        """
        prompt = self.prompt(request, rng)
        if cut and rng.random() < _CUT_REQUESTS:
            prompt.ids = self._cut(planner_prompt(request.text, request.mode), rng)
            prompt.weights = [0.0] * len(prompt.ids)
        answer = [*self.encode(plan_answer(request)), self.ids.end]
        # An answer to a question hangs on a word or two. A refusal must not weigh more than a plan: a model that is
        # taught so refuses what it could draw.
        weight = (1 if request.scenes or request.kind == OUTSIDE else 4) / 80
        return Example(prompt.ids + answer, prompt.weights + [weight] * len(answer), prompt.images, request)

    def _cut(self, text: str, rng: random.Random) -> list[int]:
        """Ids of a text, some of whose words are cut at a random letter."""
        at = [rng.randrange(*word.span()) for word in _WORD.finditer(text) if rng.random() < _CUT_WORDS]
        return [
            token
            for start, end in itertools.pairwise([0, *at, len(text)])
            for token in self.encode(text[start:end])
        ]


class _Heads(nn.Module):
    """The auxiliary head over the nine tokens of every given picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = CellHead(width, extra=CELLS)

    @staticmethod
    def told(examples: list[Example]) -> tuple[Tensor, ...] | None:
        """What the cells of the given pictures hold, int64 [pictures, 9, 5]."""
        scenes = [scene for example in examples for scene in example.extra.images]
        return (torch.tensor([cell_labels(scene) for scene in scenes]),) if scenes else None

    def loss(self, pictures: Tensor, told: tuple[Tensor, ...]) -> Tensor:
        """Loss of reading the cells of the given pictures: what they hold, and which they are."""
        (labels,) = told
        read = self.cells(pictures.view(len(labels), CELLS, -1))
        cells = torch.arange(CELLS, device=labels.device).repeat(len(labels))
        where = functional.cross_entropy(read[..., -CELLS:].flatten(0, 1), cells)
        return 0.3 * (CellHead.loss(read, labels) + where)


def plan_is_right(request: Request, answer: str) -> bool:
    """Whether every step of an answer leads to the scene that was asked for (or answers in the right words)."""
    read = read_plan(answer.encode(), request.mode, Options().max_steps)
    plan = Plan(read.steps, read.truncated)
    return says_so(plan) if request.kind == OUTSIDE else plan_exact(plan, request)


def measure_planner(model: Any, encoder: PlanEncoder, requests: list[Request]) -> float:
    """Share of plans that are right, decoded greedily."""
    rng = random.Random(0)
    answers = encoder.answers(model, [encoder.prompt(request, rng) for request in requests], _LIMIT)
    right = [plan_is_right(request, answer) for request, answer in zip(requests, answers, strict=True)]
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
    rng = random.Random(0)
    right = 0
    for start in range(0, len(requests), 50):
        examples = [encoder.full(request, rng) for request in requests[start : start + 50]]
        batch = collate(examples, encoder.ids).on(model.device)
        best = model(**batch.inputs).logits.argmax(-1).flatten()[batch.answers]
        rows = batch.answers // batch.mask.shape[1]
        right += len(examples) - len(torch.unique(rows[best != batch.labels]))
    model.train()
    return right / len(requests)


class Planner(VlmPart):
    """The planner in training; it starts from the base (`start_from`), which can see, point and copy already."""

    name = "planner"
    schedule = Schedule(iterations=10000, every=500, log_every=50, warmup=60, hold=0.2)
    encoder: PlanEncoder

    def __init__(
        self,
        out: Path,
        *,
        tokenizer_dir: Path,
        start_from: Path | None = None,
        batch: int = 20,
        tests: int = 100,
        seed: int = 0,
        device: str = "cpu",
        workers: int = 0,
    ) -> None:
        arguments = {"tokenizer_dir": tokenizer_dir, "start_from": start_from, "device": device}
        super().__init__(out, seed, 5, **arguments, batch=batch, tests=tests)
        self.encoder = PlanEncoder(load_tokenizer(tokenizer_dir))
        model = build_vlm(self.encoder.ids) if start_from is None else open_vlm(start_from)
        model = deepened(model, LAYERS)
        heads = _Heads(model.config.text_config.hidden_size)
        self.learn(Trainee(model, heads), batch, seed, device, workers)
        self._held = held_out("validation", tests, seed=1)

    def example(self, rng: random.Random) -> Example:
        """A request to train on, with its right plan."""
        while True:
            request = any_request(rng)
            if request.split == "train":
                return self.encoder.full(request, rng, cut=True)

    def measure(self) -> dict[str, float]:
        """Shares of held-out plans that are first choices."""
        model = self.module.model
        found = {name: round(_forced(model, self.encoder, group), 3) for name, group in self._held.items()}
        return {f"first choices {name}": share for name, share in found.items()}

    def measure_finished(self) -> dict[str, float]:
        """Shares of held-out plans that are right."""
        model = self.module.model
        return {
            f"plans {name}": measure_planner(model, self.encoder, group) for name, group in self._held.items()
        }
