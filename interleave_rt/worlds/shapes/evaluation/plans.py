"""Rows of the planner alone: held-out plans, and the same words with other pictures."""

from __future__ import annotations

from collections.abc import Sequence

from interleave_rt.worlds.shapes.language import Request as Task

from .figures import Row, Target
from .samples import Kind, Samples
from .wording import Planned, described, plan_exact, told

__all__ = ["measure_plans", "measure_swapped"]

_LISTED = 40  # wrong plans in the file, of each kind
_SIZES: tuple[tuple[Kind, str, int, Target | None], ...] = (
    ("narrative", "requests without pictures", 500, Target(low=0.95)),
    ("continuing", "requests with 1 to 4 pictures", 300, Target(low=0.90)),
    ("question", "questions, answered in the right words", 300, Target(low=0.90)),
    ("spoken", "drawn in the words of people: requests without pictures", 300, None),
    ("pictured", "drawn in the words of people: wishes about a picture", 200, None),
    ("asked", "drawn in the words of people: questions", 200, None),
    ("unseen", "compositions of kinds that training has not", 200, None),  # about 100 of each kind
)
_KINDS = {
    "composite": "a named drawing",
    "pair": "two drawings",
    "story": "a story",
    "wish": "wishes",
    "continue-wish": "wishes about things",
    "continue-place": "wishes about places",
    "continue-drawing": "the rest of a drawing",
}


def measure_plans(samples: Samples) -> Row:
    """Plans that give the wanted scene after every step, or exactly the right words.

    Words of people often leave something open; counted are the plans that training teaches, not others that would do.
    """
    row = Row("plans")
    for kind, what, size, target in _SIZES:
        planned = samples.planned(kind, samples.settings.size(size))
        right = [plan_exact(one.plan, one.task) for one in planned]
        row.share(kind, what, right, target)
        row.failed += sum(one.plan is None for one in planned)
        for name, part, hits in _parts(planned, right):
            row.share(f"{kind}/{name}", f"- {part}", hits)
        wrong = [one for one, ok in zip(planned, right, strict=True) if not ok]
        keep_mistakes(samples, row, f"plan: {what}", kind, wrong)
    return row


def _parts(planned: Sequence[Planned], right: Sequence[bool]) -> list[tuple[str, str, list[bool]]]:
    """(name, words, hits) by kind of request and by number of pictures, where there are several."""
    found = []
    kinds = sorted({one.task.kind for one in planned})
    for kind in kinds if len(kinds) > 1 else []:
        hits = [ok for one, ok in zip(planned, right, strict=True) if one.task.kind == kind]
        found.append((kind, _KINDS.get(kind, kind), hits))
    counts = sorted({len(one.task.images) for one in planned})
    for count in counts if len(counts) > 1 else []:
        hits = [ok for one, ok in zip(planned, right, strict=True) if len(one.task.images) == count]
        found.append((f"pictures-{count}", f"{count} picture{'' if count == 1 else 's'}", hits))
    return found


def keep_mistakes(samples: Samples, row: Row, title: str, name: str, wrong: Sequence[Planned]) -> None:
    """Wrong plans, as data for the file and with pictures for the page."""
    row.details[f"wrong/{name}"] = [described(one.task) | {"said": told(one.plan)} for one in wrong[:_LISTED]]
    for one in wrong:
        samples.gallery.mistake(title, one)


def measure_swapped(samples: Samples) -> Row:
    """The same words about other pictures ask for another plan: who does not look cannot know."""
    row = Row("swapped")
    pairs = _swaps(samples, samples.settings.size(200))
    originals = samples.plan([one for one, _ in pairs], "swapped pictures, before")
    swapped = samples.plan([other for _, other in pairs], "swapped pictures, after")
    before = [plan_exact(one.plan, one.task) for one in originals]
    after = [plan_exact(one.plan, one.task) for one in swapped]
    changed = [
        ok and told(one.plan) != told(other.plan)
        for ok, one, other in zip(after, originals, swapped, strict=True)
    ]
    row.failed = sum(one.plan is None for one in (*originals, *swapped))
    row.share("changed", "the plan changes to the right one with the pictures", changed, Target(low=0.90))
    for kind in sorted({one.kind for one, _ in pairs}):
        hits = [hit for hit, (one, _) in zip(changed, pairs, strict=True) if one.kind == kind]
        row.share(f"changed/{kind}", f"- {_KINDS.get(kind, kind)}", hits)
    row.share("original", "right with the first pictures", before)
    row.share("swapped", "right with the other pictures", after)
    row.share("both", "right with both", [a and b for a, b in zip(before, after, strict=True)])
    wrong = [one for one, ok in zip(swapped, changed, strict=True) if not ok]
    keep_mistakes(samples, row, "plan: the same words, other pictures", "swapped", wrong)
    return row


def _swaps(samples: Samples, count: int) -> list[tuple[Task, Task]]:
    """Held-out requests, each with the same words about other pictures."""
    rng = samples.rng("swap")
    found: list[tuple[Task, Task]] = []
    looked = 0
    while len(found) < count:
        # every second request or so can be swapped
        more = samples.tasks("continuing", looked + 2 * (count - len(found)))[looked:]
        looked += len(more)
        for task in more:
            other = task.swapped(rng) if task.swapped is not None and len(found) < count else None
            if other is not None:
                found.append((task, other))
    return found
