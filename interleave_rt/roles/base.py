"""What planner, generator and critic have to offer, whoever runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from interleave_rt import _core
from interleave_rt.pack.images import load_image
from interleave_rt.request import Options, Request
from interleave_rt.wire import Verdict, WrittenPlan

if TYPE_CHECKING:
    from interleave_rt.request import Pixels


class Roles(Protocol):
    """The three models, one call at a time; every call is a pure function of its arguments.

    A picture is whatever the roles pass around (uint8 arrays [height, width, 3] for most); None is no picture.
    """

    def plan(self, request: Request, max_steps: int, seed: int, retry: int) -> WrittenPlan:
        """What could be read of the planner's answer.

        Args:
            request: What is asked for.
            max_steps: So many steps at most.
            seed: For a second try, which is sampled.
            retry: 0, or 1 after an answer that could not be read to its end.
        """

    references: int
    """Pictures that one call of `generate` starts from at most: 0 where it draws from the text alone."""

    def generate(self, prompt: str, source: Any, seed: int, options: Options) -> Any:
        """A picture from a prompt, starting from `source` where there is one.

        Args:
            prompt: What it should show.
            source: The picture before it in the story, or None. Where `references` is over 1 and the story has more than
                one picture so far: a list of its last ones, so many at most, the newest last.
            seed: Of the noise.
            options: Whose sizes and denoising steps are used.
        """

    def judge(
        self, before: Any, after: Any, original_prompt: str, prompt: str, seed: int, retry: int
    ) -> Verdict | None:
        """The critic's verdict; None where it cannot be read. Without a `before` the critic sees white.

        Args:
            before: The picture that the attempt started from.
            after: The picture to judge.
            original_prompt: What the planner wrote for the step.
            prompt: What `after` was generated from: the original, or the last refined one.
            seed: For a second try, which is sampled.
            retry: 0, or 1 after an answer that could not be read.
        """

    def inputs(self, request: Request) -> list[Any]:
        """The input pictures, in their order."""

    def hash_of(self, picture: Any) -> int:
        """The content hash that canonical results compare."""

    def seed_of(self, options: Options, kind: str, step: int, attempt: int, retry: int) -> int:
        """The seed of a call (`plan`, `generate` or `judge`): a pure function of the request's seed and its place.

        `step` counts from 0, `attempt` from 1; both are 0 for a plan.
        """


class SharedRules:
    """Mixin: what is the same for all roles whose pictures are uint8 arrays [height, width, 3].

    `image_sides`: the sides that input pictures are brought to, as `load_image` takes them.
    """

    image_sides: tuple[int, int] | None = None

    references: int = 1

    def inputs(self, request: Request) -> list[Pixels]:
        """The input pictures, in their order."""
        return [load_image(image, sides=self.image_sides) for image in request.images]

    def hash_of(self, picture: Pixels) -> int:
        """As `Attempt.image_hash`."""
        return _core.hash_pixels(picture)

    def seed_of(self, options: Options, kind: str, step: int, attempt: int, retry: int) -> int:
        """As the engine's own calls."""
        return _core.seed_of(options.seed, options.seeds, kind, step, attempt, retry)
