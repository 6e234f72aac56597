"""Training of the critic, which says whether a step succeeded and, if not, how it should have been said.

It learns from drawn pictures with drawn mistakes and, once there is a generator, from that generator's own pictures.
Heads that read every cell (what was, what is, what should be, what changed, what is right) give the dense signal
without which the verdict is not learned; they are dropped when the model is saved.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from interleave_rt.roles.answers import read_verdict
from interleave_rt.worlds.shapes.language import (
    STYLES,
    Verdict,
    another_step,
    apply,
    corrupt,
    critic_prompt,
    explicit,
    grounded,
    judge,
    misread,
    natural,
    parse,
    step_between,
)
from interleave_rt.worlds.shapes.oracle import read
from interleave_rt.worlds.shapes.scene import (
    CELL_PX,
    CELLS,
    EMPTY,
    GRID,
    WHITE,
    Scene,
    Transition,
    arranged,
    random_layout,
    random_transition,
    render,
)

from ..loop import Schedule
from .attempts import Attempt, load_attempts
from .augmentation import augmented
from .models import build_vlm
from .tokenizer import load_tokenizer
from .vision import open_tower
from .vlm import CellHead, Encoder, Example, Trainee, VlmPart, cell_labels, open_vlm

__all__ = ["Critic", "Reader", "measure_critic"]

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
_THOUGHT = 0.1
"""Loss weight of an ordinary token of the thought; the verdict has 1."""


def put_right(attempt: Attempt, rng: random.Random) -> Attempt:
    """The same attempt as if it had succeeded: on the picture before, only the cells that the step is about are new."""
    step = attempt.step
    layout = EMPTY if attempt.before_image is None else read(attempt.before_image).layout
    image = render(step.after, arranged(step.before, layout, step.after, rng))
    if attempt.before_image is not None and step.touched:
        for cell in set(range(CELLS)) - set(step.touched):
            down, right = (CELL_PX * place for place in divmod(cell, GRID))
            here = slice(down, down + CELL_PX), slice(right, right + CELL_PX)
            image[here] = attempt.before_image[here]
    return replace(attempt, rewritten=attempt.original, image=image, seen=step.after, clean=True)


@dataclass(slots=True)
class Case:
    """What the critic is asked, with the truth about it."""

    before: Scene | None
    seen: Scene
    wanted: Scene
    images: list[Pixels]
    original: str
    rewritten: str
    verdict: Verdict


class Cases:
    """An endless source of cases: drawn ones, and attempts of a generator where there are any."""

    def __init__(self, rng: random.Random, attempts: list[Attempt] | None = None, share: float = 0.7) -> None:
        self._rng, self._share = rng, share
        self._good: list[Attempt] = []
        self._bad: list[Attempt] = []
        if attempts:
            self.learn_from(attempts)

    def learn_from(self, attempts: list[Attempt]) -> None:
        """Use these attempts of a generator from now on."""
        self.learn_from_sorted(
            [attempt for attempt in attempts if attempt.right],
            [attempt for attempt in attempts if not attempt.right],
        )

    def learn_from_sorted(self, good: list[Attempt], bad: list[Attempt]) -> None:
        """Likewise, of attempts that are sorted by whether they are right."""
        self._good, self._bad = good, bad

    def drawing_from(self, rng: random.Random) -> Cases:
        """The same source with other random numbers."""
        other = Cases(rng, share=self._share)
        other.learn_from_sorted(self._good, self._bad)
        return other

    def _original(self, step: Transition) -> str:
        kind, full = self._rng.random(), explicit(step)
        return full if kind < 0.25 else natural(step) if kind < 0.5 else grounded(step, self._rng) or full

    def _words(self, step: Transition) -> tuple[str, str, Transition]:
        """(original, rewritten) prompts of a step, and the step that the rewritten one asks for."""
        rng, original = self._rng, self._original(step)
        kind = rng.random()
        if kind < 0.45:
            return original, original, step
        if kind < 0.85 or step.before is None:
            return original, explicit(step, rng.randrange(len(STYLES))), step
        wrong = misread(step, rng) if kind < 0.97 else another_step(step, rng)
        return original, explicit(wrong, rng.randrange(len(STYLES))), wrong

    def drawn(self) -> Case:
        """A drawn case; about half of them right. Wrong words are obeyed more often than not."""
        rng = self._rng
        step = random_transition(rng, every=True)
        original, rewritten, asked = self._words(step)
        if asked is not step and rng.random() < 0.6:
            seen = asked.after
        else:
            seen = step.after if rng.random() < 0.5 else corrupt(step, rng)
        verdict = judge(step.before, seen, True, original, rewritten, rng)
        assert verdict is not None
        layout = EMPTY if step.before is None else random_layout(step.before, rng)
        before = WHITE if step.before is None else augmented(render(step.before, layout), rng)
        after = augmented(render(seen, arranged(step.before, layout, seen, rng)), rng)
        return Case(step.before, seen, step.after, [before, after], original, rewritten, verdict)

    def painted(self) -> Case:
        """A case from the generator; half of them right.

        Steps that the generator mostly gets wrong are hardly among the right attempts, and a critic learns to refuse
        them by their words alone. So half of the right ones are wrong attempts put right.
        """
        rng = self._rng
        attempt = rng.choice(self._good if self._good and rng.random() < 0.5 else self._bad)
        if attempt.right and rng.random() < 0.5:
            attempt = put_right(rng.choice(self._bad), rng)
        step = attempt.step
        original, rewritten = attempt.original, attempt.rewritten
        kind = rng.random()
        if kind < 0.35:  # other words for the same picture
            original, rewritten, _ = self._words(step)
        elif kind < 0.6 and not attempt.right:  # as if it had been asked for what it shows
            asked = step_between(step.before, attempt.seen)
            if asked is not None and asked.after != step.after:
                rewritten = explicit(asked, rng.randrange(len(STYLES)))
        verdict = judge(step.before, attempt.seen, attempt.clean, original, rewritten, rng)
        assert verdict is not None
        before = WHITE if attempt.before_image is None else attempt.before_image
        return Case(
            step.before, attempt.seen, step.after, [before, attempt.image], original, rewritten, verdict
        )

    def __call__(self) -> Case:
        if self._bad and self._rng.random() < self._share:
            return self.painted()
        return self.drawn()


class CaseEncoder(Encoder):
    """Cases as token sequences."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer)
        self._verdicts = {self._one(" true"), self._one(" false")}
        self._semicolon = self._one(";")
        self._open = tokenizer.convert_tokens_to_ids("<answer>")

    def _one(self, text: str) -> int:
        (token,) = self.encode(text)
        return token

    def question(self, original: str, rewritten: str, images: list[Pixels]) -> Example:
        """What the critic reads: the plan's prompt, the one that was used, the pictures before and after."""
        return self.prompt_of(critic_prompt(original, rewritten), images)

    def prompt(self, case: Case) -> Example:
        """The question of a case."""
        return self.question(case.original, case.rewritten, case.images)

    def full(self, case: Case, tail: bool) -> Example:
        """Prompt and right answer; an accepted answer ends at its boolean unless `tail`."""
        prompt = self.prompt(case)
        answer = [*self.encode(case.verdict.text), self.ids.end]
        opened = answer.index(self._open)
        at = next(i for i in range(opened, len(answer)) if answer[i] in self._verdicts)
        if not tail:
            answer = answer[: at + 1]
        weights = prompt.weights + self._weights(answer, opened, at, case)
        return Example(prompt.ids + answer, weights, case.images, case)

    def _weights(self, answer: list[int], opened: int, at: int, case: Case) -> list[float]:
        """Loss weights of an answer: what counts is what the pictures are needed for.

        That is what is seen, above all where it is not what was wanted, and what grounded words stand for. Without
        this the model learns to repeat what it has read, which is right for most tokens.
        """
        wanted = parse(case.before, case.original)
        grounded_words = wanted is not None and explicit(wanted) != case.original
        weights = [_THOUGHT] * opened
        *_, first, second = (i for i, token in enumerate(answer[:opened]) if token == self._semicolon)
        for i in range(1, first):
            weights[i] *= 4.0 if grounded_words else 1.0
        for i in range(first + 1, second):
            weights[i] *= 1.5 if case.verdict.accepted else 5.0
        for i in range(second + 1, opened - 1):  # "rest same" or "rest changed"
            weights[i] = 1.0
        rest = len(answer) - at - 1
        return weights + [0.02] * (at - opened) + [1.0] + [0.3 / max(1, rest)] * rest


class Heads(nn.Module):
    """The auxiliary heads over the 18 picture tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.content = CellHead(width)
        self.wanted = CellHead(width, extra=2)

    @staticmethod
    def told(examples: list[Example]) -> tuple[Tensor, ...]:
        """What is before, what is seen and what is wanted in every cell, each int64 [n, 9, 5]."""
        cases = [example.extra for example in examples]
        scenes = ([getattr(case, name) for case in cases] for name in ("before", "seen", "wanted"))
        return tuple(torch.tensor([cell_labels(scene) for scene in kind]) for kind in scenes)

    def loss(self, pictures: Tensor, told: tuple[Tensor, ...]) -> Tensor:
        """Loss from hidden states [18 n, width]."""
        before, seen, wanted = told
        hidden = pictures.view(len(before), 2 * CELLS, -1)
        content = CellHead.loss(self.content(hidden), torch.cat([before, seen], 1))
        logits = self.wanted(hidden[:, CELLS:])
        touched = (wanted[..., :4] != before[..., :4]).any(-1)
        target = CellHead.loss(logits, wanted, torch.where(touched, 4.0, 1.0))
        changed = (seen[..., :4] != before[..., :4]).any(-1) & (before[..., 4] >= 0)
        right = (seen == wanted).all(-1).float()
        moved = functional.binary_cross_entropy_with_logits(logits[..., -2], changed.float())
        good = functional.binary_cross_entropy_with_logits(
            logits[..., -1], right, weight=torch.where(right > 0, 1.0, 3.0)
        )
        return 0.3 * content + 0.5 * (target + moved) + 2 * good


def measure_critic(model: Any, encoder: CaseEncoder, cases: list[Case]) -> dict[str, float]:
    """Share of right pictures accepted, wrong ones refused, and of refusals whose words ask for the same step."""
    answers = encoder.answers(model, [encoder.prompt(case) for case in cases], 110)
    accepted, refused, refined = [], [], []
    for case, answer in zip(cases, answers, strict=True):
        said = read_verdict(answer.encode())
        if case.verdict.accepted:
            accepted.append(said is not None and said.accepted)
        else:
            refused.append(said is not None and not said.accepted)
            if said is not None and not said.accepted:
                refined.append(apply(case.before, said.refined or "") == case.wanted)
    model.train()
    return {
        "accepted": float(np.mean(accepted or [False])),
        "refused": float(np.mean(refused or [False])),
        "refined": float(np.mean(refined or [False])),
    }


class Critic(VlmPart):
    """The critic in training, with a `vision` tower that can read already.

    It learns from the `attempts` of a generator and from drawn cases; without `attempts` from drawn cases alone. With
    `start_from` it begins with the weights of an earlier critic, tower and all.
    """

    name = "critic"
    schedule = Schedule(iterations=3000, every=200, log_every=100, warmup=100, hold=0.4)
    encoder: CaseEncoder

    def __init__(
        self,
        out: Path,
        *,
        tokenizer_dir: Path,
        vision: Path | None = None,
        attempts: Path | None = None,
        start_from: Path | None = None,
        batch: int = 32,
        tests: int = 256,
        seed: int = 0,
        device: str = "cpu",
        workers: int = 0,
    ) -> None:
        arguments = {"tokenizer_dir": tokenizer_dir, "vision": vision, "attempts": attempts, "device": device}
        super().__init__(out, seed, 3, **arguments, start_from=start_from, batch=batch, tests=tests)
        self.encoder = CaseEncoder(load_tokenizer(tokenizer_dir))
        if start_from is not None:
            model = open_vlm(start_from)
        else:
            model = build_vlm(self.encoder.ids)
            if vision is not None:
                open_tower(model, vision)
        self._cases = Cases(self.rng)
        drawn = Cases(random.Random(77))
        self._sets = {"drawn": [drawn.drawn() for _ in range(tests)]}
        if attempts is not None:
            made = load_attempts(attempts)
            cut = max(1, len(made) // 12)
            self._cases.learn_from(made[cut:])
            held = Cases(random.Random(78), made[:cut])
            self._sets["painted"] = [held.painted() for _ in range(tests)]
        heads = Heads(model.config.text_config.hidden_size)
        self.learn(Trainee(model, heads), batch, seed, device, workers)

    def example(self, rng: random.Random) -> Example:
        """A case with its right answer."""
        case = self._cases.drawing_from(rng)()
        return self.encoder.full(case, tail=not case.verdict.accepted or rng.random() < 0.25)

    def measure(self) -> dict[str, float]:
        """As `measure_critic`, on drawn cases and on attempts."""
        found: dict[str, float] = {}
        for name, cases in self._sets.items():
            measured = measure_critic(self.module.model, self.encoder, cases)
            found |= {f"{name} {key}": value for key, value in measured.items()}
        return found


class Reader(Critic):
    """What critic and planner begin with: it sees, reads, points at things and repeats words, of drawn cases alone."""

    name = "base"
    schedule = Schedule(iterations=3500, every=500, log_every=100, warmup=100, hold=0.4)
