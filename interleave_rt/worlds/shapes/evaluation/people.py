"""The row of sentences that people wrote: the right plan, the right picture, and what is said where there is none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from interleave_rt.result import Result
from interleave_rt.worlds.shapes.language import HONEST, answer, apply
from interleave_rt.worlds.shapes.language import Request as Task
from interleave_rt.worlds.shapes.oracle import read
from interleave_rt.worlds.shapes.people import (
    Sentence,
    Wanted,
    offered,
    outside,
    phrasings,
    sentences,
    wanted_of,
)
from interleave_rt.worlds.shapes.scene import Scene

from .figures import Row, Target
from .outcomes import StepOutcome, drawn_steps, look_at
from .samples import Samples
from .wording import Plan, declines, says_so, told

__all__ = ["measure_people"]

_T = TypeVar("_T")
_LISTED = 200
_KINDS = {
    "primitive": "a few things",
    "wishes": "wishes, one after the other",
    "drawing": "a named drawing",
    "pair": "two drawings",
    "story": "a story",
    "picture": "what is to be done with a picture",
    "question": "questions",
}


@dataclass(frozen=True, slots=True)
class _Told:
    """A sentence with its plan, and what came of it."""

    sentence: Sentence
    result: Result | None
    plan: Plan | None
    scenes: tuple[Scene, ...] | None  # after every step, as planned; None where a prompt means nothing

    @property
    def wanted(self) -> Wanted:
        return self.sentence.wanted

    @property
    def declined(self) -> bool:
        return declines(self.plan)

    @property
    def plan_right(self) -> bool:
        if self.plan is None or self.plan.truncated:
            return False
        if self.declined:
            return self.wanted.decline
        if self.scenes:
            return self.wanted.follows(self.scenes)
        text = " ".join(step.text or "" for step in self.plan.steps)
        return all(step.prompt is None for step in self.plan.steps) and self.wanted.said(
            self.sentence.text, text
        )

    @property
    def picture_right(self) -> bool:
        """Whether the last picture is right; of a plan that is right, the one that it leads to."""
        drawn = drawn_steps(self.result) if self.result is not None else []
        if not drawn or self.declined:
            return False
        reading = read(drawn[-1].pixels)
        last = self.scenes[-1] if self.scenes and self.plan_right else reading.scene
        return reading.clean and reading.scene == last and self.wanted.shows(reading.scene)

    @property
    def right(self) -> bool:
        """Whether somebody gets what is right: the picture, or the words."""
        return self.picture_right if self.wanted.cases else self.plan_right

    @property
    def accepted(self) -> bool:
        """Whether it ended as if all was well: every picture accepted, or an answer given."""
        if self.result is None or self.declined:
            return False
        return all(step.accepted for step in drawn_steps(self.result))


def planned_scenes(plan: Plan | None, images: Sequence[Scene]) -> tuple[Scene, ...] | None:
    """The scenes that a plan's prompts lead to, to the letter; None where one means nothing, or there is no picture."""
    scene = images[-1] if images else None
    found = []
    for step in plan.steps if plan is not None else ():
        scene = apply(scene, step.prompt) if step.prompt else None
        if scene is None:
            return None
        found.append(scene)
    return tuple(found) or None


def measure_people(samples: Samples) -> Row:
    """The sentences of the split, those from outside, the same in many words, and what refusals offer."""
    row = Row("people")
    asked = _some(samples, "people", sentences("test" if samples.settings.split == "test" else "validation"))
    told_of, steps = _run(samples, asked, "sentences that people wrote")
    row.failed = sum(one.result is None for one in told_of)
    row.share("plan", "plans right after every step", [one.plan_right for one in told_of], Target(low=0.85))
    for kind, what in _KINDS.items():
        row.share(f"plan/{kind}", f"- {what}", [o.plan_right for o in told_of if o.sentence.kind == kind])
    pictures = [one for one in told_of if one.wanted.cases]
    row.share("picture", "last pictures right", [one.picture_right for one in pictures], Target(low=0.80))
    row.share(
        "accepted", "wrong but accepted", [o.accepted and not o.right for o in told_of], Target(high=0.05)
    )
    possible = [one for one in told_of if not one.wanted.decline]
    row.share("declined", "declined although possible", [o.declined for o in possible], Target(high=0.04))
    stubborn = [step.stubborn for step in steps if step.meaning]
    row.share(
        "stubborn",
        "steps in which right pictures are refused three times in a row",
        stubborn,
        Target(high=0.01),
    )
    refusals = [one.plan for one in told_of if one.declined]
    refusals += _outside(samples, row)
    _offers(samples, row, refusals)
    _phrasings(samples, row)
    if samples.settings.split != "test":  # who saw which ones are wrong would choose by them
        row.details["wrong"] = [
            {"text": one.sentence.text, "kind": one.sentence.kind, "planned": told(one.plan)}
            for one in told_of
            if not one.plan_right
        ][:_LISTED]
    return row


def _some(samples: Samples, name: str, every: Sequence[_T]) -> list[_T]:
    """As many as the scale says, in their order."""
    count = min(len(every), samples.settings.size(len(every)))
    return [every[i] for i in sorted(samples.rng(name).sample(range(len(every)), count))]


def _task(text: str, images: tuple[Scene, ...] = ()) -> Task:
    return answer(text, "people", images, "")


def _run(samples: Samples, asked: Sequence[Sentence], title: str) -> tuple[list[_Told], list[StepOutcome]]:
    """What the system makes of sentences, and every step of it."""
    tasks = [_task(one.text, one.images) for one in asked]
    found, steps = [], []
    for sentence, task, result in zip(asked, tasks, samples.results(tasks, title), strict=True):
        plan = None
        if result is not None:
            plan = Plan(tuple(step.plan for step in result.steps), result.plan_truncated)
        found.append(_Told(sentence, result, plan, planned_scenes(plan, sentence.images)))
        steps += list(look_at(result, task).steps) if result is not None else []
    return found, steps


def _outside(samples: Samples, row: Row) -> list[Plan | None]:
    """Sentences from outside; returns their plans."""
    asked = _some(samples, "people/outside", outside())
    planned = samples.plan([_task(text) for _, text in asked], "sentences from outside")
    honest = [says_so(one.plan) for one in planned]
    row.share(
        "outside", "from outside: no picture, and says so and what can be had", honest, Target(low=0.95)
    )
    near = [hit for hit, (kind, _) in zip(honest, asked, strict=True) if kind == "near"]
    row.share("outside/near", "- nearly in the world", near)
    row.failed += sum(one.plan is None for one in planned)
    if samples.settings.split != "test":
        row.details["believed"] = [
            {"text": one.task.text, "planned": told(one.plan)}
            for one, hit in zip(planned, honest, strict=True)
            if not hit
        ][:_LISTED]
    return [one.plan for one in planned]


def _offers(samples: Samples, row: Row, refusals: Sequence[Plan | None]) -> None:
    """What refusals offer, asked for in the same words."""
    words = sorted({offer for plan in refusals if plan is not None for offer in _offered(plan)})
    asked = [Sentence("offer", text, (), wanted) for text in words if (wanted := offered(text)) is not None]
    found, _ = _run(samples, asked, "what refusals offer")
    right = {one.sentence.text for one in found if one.plan_right and one.picture_right}
    row.share(
        "offers", "what refusals offer: drawn right", [text in right for text in words], Target(low=1.0)
    )
    row.details["offers/wrong"] = [text for text in words if text not in right]


def _offered(plan: Plan) -> list[str]:
    """The sentences that a refusal offers."""
    said = next((s.auxiliary_text for s in plan.steps if (s.auxiliary_text or "").startswith(HONEST)), None)
    match = re.search(r"Try: (.*?)\.?$", said or "")
    return match[1].split(", ") if match else []


def _phrasings(samples: Samples, row: Row) -> None:
    """The same drawing in many words: how often the plan is the right one that most of them get."""
    alike: list[bool] = []
    every = phrasings()
    for name in _some(samples, "people/phrasings", list(every)):
        wanted = wanted_of(name.split(" ", 1)[1])
        planned = samples.plan([_task(text) for text in every[name]], f"{name} in other words")
        scenes = [planned_scenes(one.plan, ()) for one in planned]
        right = Counter(found for found in scenes if found is not None and wanted.follows(found))
        usual = right.most_common(1)[0][0] if right else ()
        alike += [found == usual for found in scenes]
    row.share("alike", "twenty phrasings of ten drawings: planned right and alike", alike, Target(low=0.95))
