"""The row of single calls of the generator, always on pictures that it made itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from interleave_rt.errors import InterleaveError
from interleave_rt.worlds.shapes.language import STYLES, explicit, parse
from interleave_rt.worlds.shapes.oracle import matches
from interleave_rt.worlds.shapes.scene import Pixels, Scene, Transition, random_transition

from .figures import Row, Target
from .samples import Samples

__all__ = ["measure_calls"]

_CALLS = 500
_FEWER = 200  # of each other style, and of each number of denoising steps
_DENOISING = (1, 2, 3, 4, 8)
_LONGEST = 3  # edits in a row
_SECOND_TRIES = 3
_SEEDS = 2**63


@dataclass(frozen=True, slots=True)
class _Source:
    """A clean picture by the generator, and what it shows."""

    image: Pixels
    scene: Scene


class _Painter:
    """The generator with a count of the calls that failed."""

    def __init__(self, samples: Samples) -> None:
        self._paint = samples.paint
        self.failed = 0

    def __call__(self, prompt: str, source: Pixels | None, seed: int, steps: int = 0) -> Pixels | None:
        try:
            return self._paint(prompt, source, seed, steps)
        except InterleaveError:
            self.failed += 1
            return None

    def right(self, step: Transition, prompt: str, source: Pixels | None, seed: int, steps: int = 0) -> bool:
        """Whether one call gives exactly the picture that is wanted."""
        image = self(prompt, source, seed, steps)
        return image is not None and matches(image, step.after)


def measure_calls(samples: Samples) -> Row:
    """Explicit prompts in all styles, numbers of denoising steps, and prompts as the planner writes them."""
    row = Row("calls")
    paint = _Painter(samples)
    draws, edits, sources = _explicit_chains(samples, paint, samples.settings.size(_CALLS))
    row.share("explicit", "explicit prompts, usual style", edits, Target(low=0.93))
    row.share("explicit/draw", "- without a source (first pictures)", draws)
    if sources:
        _styles(samples, paint, sources, row)
        _denoising(samples, paint, sources, row)
    first, later = _planned(samples, paint, samples.settings.size(_CALLS))
    row.share("planner", "the planner's prompts", later, Target(0.45, 0.80))
    row.share("planner/first", "- without a source (first pictures)", first)
    row.failed = paint.failed
    return row


def _explicit_chains(
    samples: Samples, paint: _Painter, count: int
) -> tuple[list[bool], list[bool], list[_Source]]:
    """Success of first pictures and of `count` edits, and the clean pictures that came about.

    A drawing and up to three edits follow each other as long as they are right: a wrong source would be judged twice.
    """
    rng = samples.rng("explicit")
    draws: list[bool] = []
    edits: list[bool] = []
    sources: list[_Source] = []
    with samples.progress.task("generator, explicit prompts", count) as tell:
        while len(edits) < count and len(draws) < 4 * count:
            now: _Source | None = None
            for depth in range(1 + rng.randint(1, _LONGEST)):
                scene, source = (None, None) if now is None else (now.scene, now.image)
                step = random_transition(rng, "draw" if scene is None else None, scene=scene)
                image = paint(explicit(step), source, rng.randrange(_SEEDS))
                right = image is not None and matches(image, step.after)
                (edits if depth else draws).append(right)
                if (
                    image is None or not right or not step.after.occupied
                ):  # an empty picture leaves nothing to edit
                    break
                now = _Source(image, step.after)
                sources.append(now)
            tell(min(count, len(edits)))
    return draws, edits[:count], sources


def _edits(rng: random.Random, sources: list[_Source], count: int) -> list[tuple[_Source, Transition, int]]:
    """`count` edits of such pictures, with the seeds of their calls."""
    found = []
    for _ in range(count):
        source = rng.choice(sources)
        found.append((source, random_transition(rng, scene=source.scene), rng.randrange(_SEEDS)))
    return found


def _styles(samples: Samples, paint: _Painter, sources: list[_Source], row: Row) -> None:
    cases = _edits(samples.rng("styles"), sources, samples.settings.size(_FEWER))
    with samples.progress.task("generator, other styles", 2 * len(cases)) as tell:
        for style in range(1, len(STYLES)):
            hits = []
            for source, step, seed in cases:
                hits.append(paint.right(step, explicit(step, style), source.image, seed))
                tell((style - 1) * len(cases) + len(hits))
            row.share(f"explicit/{STYLES[style]}", f"- in the style {STYLES[style]!r}", hits)


def _denoising(samples: Samples, paint: _Painter, sources: list[_Source], row: Row) -> None:
    """The same calls with the same seeds, at every number of denoising steps."""
    cases = _edits(samples.rng("denoising"), sources, samples.settings.size(_FEWER))
    with samples.progress.task("generator, denoising steps", len(_DENOISING) * len(cases)) as tell:
        for place, steps in enumerate(_DENOISING):
            hits = []
            for source, step, seed in cases:
                hits.append(paint.right(step, explicit(step), source.image, seed, steps))
                tell(place * len(cases) + len(hits))
            what = f"- in {steps} denoising step{'' if steps == 1 else 's'}"
            row.share(f"explicit/denoising-{steps}", what, hits)


def _planned(samples: Samples, paint: _Painter, count: int) -> tuple[list[bool], list[bool]]:
    """Success of first pictures and of `count` later ones with the prompts of plans."""
    first: list[bool] = []
    later: list[bool] = []
    with samples.progress.task("generator, the planner's prompts", count) as tell:
        for right, has_source in _walks(samples, paint, count):
            (later if has_source else first).append(right)
            tell(len(later))
            if len(later) >= count:
                break
    return first, later


def _walks(samples: Samples, paint: _Painter, most: int) -> Iterator[tuple[bool, bool]]:
    """(right, has a source) of every step of up to `most` plans, as planned.

    Where a step went wrong it is said again in full, so that the next one has the source that it was meant for.
    """
    rng = samples.rng("planned")
    asked = 0
    while asked < most:
        chunk = samples.planned("narrative", min(most, asked + 50))[asked:]
        asked += len(chunk)
        for one in chunk:
            now: _Source | None = None
            for prompt in [step.prompt for step in one.plan.steps] if one.plan is not None else []:
                scene, source = (None, None) if now is None else (now.scene, now.image)
                step = parse(scene, prompt or "")
                if step is None:
                    break
                image = paint(prompt or "", source, rng.randrange(_SEEDS))
                right = image is not None and matches(image, step.after)
                yield right, source is not None
                if not right:
                    image = _in_full(paint, step, source, rng)
                if image is None:
                    break
                now = _Source(image, step.after)


def _in_full(paint: _Painter, step: Transition, source: Pixels | None, rng: random.Random) -> Pixels | None:
    """The right picture of a step by explicit words; None where that does not succeed."""
    for _ in range(_SECOND_TRIES):
        image = paint(explicit(step), source, rng.randrange(_SEEDS))
        if image is not None and matches(image, step.after):
            return image
    return None
