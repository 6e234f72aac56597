"""Pictures that are made anew from a critic's prompts, and their scores: equal ones once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from interleave_rt import _core
from interleave_rt.errors import BackendFailedError, BadRequestError, InterleaveError
from interleave_rt.pack import Pack
from interleave_rt.pack.images import load_image
from interleave_rt.request import Options
from interleave_rt.roles.native import NativeRoles

from .data.generators import opened
from .data.journal import Journal
from .data.teacher import Chat, Teacher, UnreadableError, open_chat
from .rewards import Seen
from .times import Clock

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

    from .recipe import GrpoRecipe

__all__ = ["Regenerator", "Wanted", "seed_of_call"]

log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """A picture that is to be made and scored; `source` is a file's path, None where it is made from the text alone."""

    source: str | None
    prompt: str
    seed: int
    wish: str


def seed_of_call(rule: str, seed: int, step: int, attempt: int) -> int:
    """The seed of a picture that follows on an attempt, for a whole group.

    Args:
        rule: As of `GrpoRecipe.seeds`.
        seed: Of the request.
        step: From 0.
        attempt: That was judged, from 1.
    """
    if rule == "zero":
        return 0
    return _core.seed_of(seed, "counter", "generate", step, attempt + (rule == "next"), 0)


class Regenerator:
    """Makes and scores what is wanted; what has been made is not made again, where the recipe has a `memo`.

    What is made may be begun before it is asked for (`begin`): that changes when, and no score.

    Args:
        recipe: Whose generator and scorer.
        replies: File of the scorer's replies, of this process alone: none is paid twice.
        generator: Instead of the recipe's.
        chat: Instead of the recipe's scorer.
        processes: That share the recipe's budget. What `replies` holds of earlier runs counts; the pictures that they have
            made are not known any more: they are made again where they are wanted again.

    Raises:
        InterleaveError: Generator or scorer cannot be used.
    """

    def __init__(
        self,
        recipe: GrpoRecipe,
        replies: Path,
        *,
        generator: Any = None,
        chat: Chat | None = None,
        processes: int = 1,
    ) -> None:
        if generator is None:
            generator = opened(recipe.generator.spec, recipe.folder)
        self._generator = NativeRoles(generator, ["generator"]) if isinstance(generator, Pack) else generator
        self._chat = chat or open_chat(recipe.scorer)
        self._chat.check()
        self._journal = Journal(replies)
        self._price = recipe.price.picture
        self._teacher = Teacher(
            self._chat, self._journal, recipe.scorer, recipe.price, recipe.budget.share(processes)
        )
        self._options = Options(
            width=recipe.width, height=recipe.height, denoising_steps=recipe.generator.denoising_steps
        )
        self._pool = ThreadPoolExecutor(recipe.at_once)
        self._memo = recipe.memo
        self._known: dict[Hashable, Seen] = {}
        self._begun: dict[Wanted, deque[Future[Seen | str]]] = {}  # and not asked for yet
        self._budget_checked = False
        self.clock = Clock()
        """How long pictures were made (`regenerate`) and scored (`score`)."""
        self._failed, self._most_failures = 0, recipe.scorer.give_up_after

    def close(self) -> None:
        """Ends threads and connections."""
        self._pool.shutdown(cancel_futures=True)  # what has not begun is not waited for
        self._chat.close()
        self._journal.close()

    def begin(self, wanted: Wanted) -> None:
        """Begins to make and score a picture that `scores` will be asked for next; from the thread that asks.

        Raises:
            BudgetSpentError: As of `scores`.
        """
        self._check_budget()
        if not self._memo or (wanted not in self._known and wanted not in self._begun):
            self._begun.setdefault(wanted, deque()).append(self._pool.submit(self._made, wanted))

    def scores(self, wanted: Sequence[Wanted]) -> tuple[list[Seen | None], int]:
        """Scores of each, None where generator or scorer has failed; and how many pictures were made for it.

        A failure is not remembered: the same picture is tried again when it is wanted again.

        Raises:
            BackendFailedError: As many in a row have failed as the recipe's scorer allows (`give_up_after`).
            BudgetSpentError: What the recipe allows is spent.
        """
        self._check_budget()
        # without a memo a picture is known by its place alone
        keys: list[Hashable] = list(wanted) if self._memo else list(range(len(wanted)))
        known: dict[Hashable, Seen] = self._known if self._memo else {}
        jobs: dict[Hashable, Future[Seen | str]] = {}
        for key, one in zip(keys, wanted, strict=True):
            if key not in known and key not in jobs:
                jobs[key] = self._job(one)
        for key, job in jobs.items():
            made = job.result()
            if isinstance(made, Seen):
                known[key] = made
                self._failed = 0
                self._teacher.pictures_money += self._price
                continue
            log.warning("dropped: %s", made)
            self._failed += 1
            if self._failed >= self._most_failures:
                raise BackendFailedError(
                    f"[train] {self._failed} pictures in a row could not be made or scored: {made}",
                    hint="look after generator and scorer, then run again with --resume",
                )
        self._forget_begun()
        self._budget_checked = False
        return [known.get(key) for key in keys], len(jobs)

    def _check_budget(self) -> None:
        """Once for all that is begun and asked for together, whichever comes first: both then stop at the same place."""
        if not self._budget_checked:
            self._teacher.check_budget()
            self._budget_checked = True

    def _job(self, wanted: Wanted) -> Future[Seen | str]:
        begun = self._begun.get(wanted)
        return begun.popleft() if begun else self._pool.submit(self._made, wanted)

    def _forget_begun(self) -> None:
        """What was begun and never asked for is not begun any more, or was paid for."""
        for jobs in self._begun.values():
            for job in jobs:
                if not job.cancel() and isinstance(job.result(), Seen):
                    self._teacher.pictures_money += self._price
        self._begun.clear()

    def _made(self, wanted: Wanted) -> Seen | str:
        """The scores, or what has failed."""
        try:
            with self.clock.part("regenerate"):
                source: Pixels | None = None if wanted.source is None else load_image(wanted.source)
                picture = self._generator.generate(wanted.prompt, source, wanted.seed, self._options)
        except (InterleaveError, _core.CoreError) as error:
            return str(error)
        try:
            with self.clock.part("score"):
                score = self._teacher.score(source, picture, wanted.wish)
        except UnreadableError:
            return "the scorer's reply cannot be read"
        except BadRequestError:
            raise  # its reply cannot be kept
        except InterleaveError as error:
            return str(error)
        return Seen(score.semantics, score.quality)
