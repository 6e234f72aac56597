"""The sequential loop over answers that were recorded: what a run is held to where a backend does not repeat itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from interleave_rt.backends.record import DroppedPicture, call_key, hash_of
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.pack.images import load_image
from interleave_rt.request import Options, Request
from interleave_rt.wire import Verdict, WrittenPlan

from .base import SharedRules
from .reference import run_reference

if TYPE_CHECKING:
    from interleave_rt.request import Pixels
    from interleave_rt.result import Result

__all__ = ["ReplayedRoles", "replay"]

Exact = Mapping[str, Callable[..., Any]]
_WHOSE = {"plan": "planner", "generate": "generator", "judge": "critic"}


class ReplayedRoles(SharedRules):
    """Roles that answer from a record.

    Args:
        calls: Answers by `call_key`; see `Result.calls`.
        exact: Methods of roles whose calls give equal bits whenever they are made: called where there is no record.
        references: As of `Roles`.
    """

    def __init__(
        self, calls: Mapping[str, Any], exact: Exact = MappingProxyType({}), references: int = 1
    ) -> None:
        self._calls, self._exact, self.references = calls, exact, references

    def hash_of(self, picture: Pixels | DroppedPicture) -> int:
        """As `Attempt.image_hash`."""
        return hash_of(picture)

    def plan(self, request: Request, max_steps: int, seed: int, retry: int) -> WrittenPlan:
        """As `Roles.plan`."""
        told = {"prompt": request.marked_text, "mode": request.mode, "max_steps": max_steps}
        images = [load_image(image) for image in request.images]
        key = call_key("planner", images, seed=seed, retry=retry, **told)
        if key not in self._calls:
            return self._made("plan", request, max_steps, seed, retry)  # type: ignore[no-any-return]
        return self._calls[key]  # type: ignore[no-any-return]

    def generate(self, prompt: str, source: Any, seed: int, options: Options) -> Pixels | DroppedPicture:
        """As `Roles.generate`."""
        told = {name: getattr(options, name) for name in ("width", "height", "denoising_steps")}
        images = source if isinstance(source, list) else [source]
        key = call_key("generator", images, prompt=prompt, seed=seed, **told)
        if key not in self._calls:
            return self._made("generate", prompt, source, seed, options)  # type: ignore[no-any-return]
        found = self._calls[key]
        if isinstance(found, DroppedPicture) and found.again:
            raise InterleaveError(
                f"[replay] the record lacks the picture of {found.call}: it was dropped, and then made again otherwise",
                hint="raise record_bytes of EngineConfig",
            )
        return found  # type: ignore[no-any-return]

    def judge(
        self, before: Pixels | None, after: Pixels, original_prompt: str, prompt: str, seed: int, retry: int
    ) -> Verdict | None:
        """As `Roles.judge`."""
        told = {"original_prompt": original_prompt, "prompt": prompt, "seed": seed, "retry": retry}
        key = call_key("critic", [before, after], **told)
        if key not in self._calls:
            return self._made("judge", before, after, *told.values())  # type: ignore[no-any-return]
        return self._calls[key]  # type: ignore[no-any-return]

    def _made(self, method: str, *arguments: Any) -> Any:
        if method not in self._exact:
            raise InterleaveError(
                f"[replay] the sequential loop asks for a call of the {_WHOSE[method]} that the run did not make",
                hint="the run did not do what the loop does: please report it, with the result's trace",
            )
        return self._exact[method](*arguments)


def replay(result: Result, exact: Exact = MappingProxyType({})) -> dict[str, Any]:
    """The canonical result of the sequential loop over the answers that a run's calls got.

    It equals `result.canonical()`: the run, with whatever it did ahead, came to what the loop comes to. It does not say
    that the backend would answer the same again.

    Args:
        result: Of a run that finished.
        exact: As of `ReplayedRoles`; `interleave_rt.runtimes.exact_roles` are those of a pack.

    Raises:
        BadRequestError: The run did not finish.
        InterleaveError: The loop asks for a call that the run did not make.
    """
    if result.outcome not in ("finished", "declined"):
        raise BadRequestError(
            f"[replay] the run is {result.outcome}: only one that finished can be gone through"
        )
    if not result.calls and not exact:
        raise BadRequestError(
            "[replay] the result carries no answers of its calls",
            hint="replay the result that the engine gave, not one that was saved",
        )
    # Pictures that were dropped from the record are in the result, where they belong to it.
    pictures = {
        one.image_hash: one.pixels for step in result.steps for one in step.attempts if one.pixels is not None
    }
    calls = {
        key: pictures.get(answer.hash, answer)
        if isinstance(answer, DroppedPicture) and not answer.again
        else answer
        for key, answer in result.calls.items()
    }
    roles = ReplayedRoles(calls, exact, int(result.pack.get("references", 1)))
    return run_reference(Request(result.request, result.inputs), result.options, roles)
