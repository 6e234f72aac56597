"""The sequential loop over answers that were recorded: what a run is held to where a backend does not repeat itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from interleave_rt.backends.record import WrittenPlan, call_key
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.pack.images import load_image
from interleave_rt.request import Options, Request
from interleave_rt.wire import PlanStep, Verdict

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
    """

    def __init__(self, calls: Mapping[str, Any], exact: Exact = MappingProxyType({})) -> None:
        self._calls, self._exact = calls, exact

    def plan(
        self, request: Request, max_steps: int, seed: int, retry: int
    ) -> tuple[Sequence[PlanStep], bool]:
        """As `Roles.plan`."""
        told = {"prompt": request.marked_text, "mode": request.mode, "max_steps": max_steps}
        images = [load_image(image) for image in request.images]
        key = call_key("planner", images, seed=seed, retry=retry, **told)
        if key not in self._calls:
            return self._made("plan", request, max_steps, seed, retry)  # type: ignore[no-any-return]
        plan: WrittenPlan = self._calls[key]
        return plan.steps, plan.truncated

    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:
        """As `Roles.generate`."""
        told = {name: getattr(options, name) for name in ("width", "height", "denoising_steps")}
        key = call_key("generator", [source], prompt=prompt, seed=seed, **told)
        if key not in self._calls:
            return self._made("generate", prompt, source, seed, options)  # type: ignore[no-any-return]
        return self._calls[key]  # type: ignore[no-any-return]

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
    if result.outcome != "finished":
        raise BadRequestError(
            f"[replay] the run is {result.outcome}: only one that finished can be gone through"
        )
    if not result.calls and not exact:
        raise BadRequestError(
            "[replay] the result carries no answers of its calls",
            hint="replay the result that the engine gave, not one that was saved",
        )
    roles = ReplayedRoles(result.calls, exact)
    return run_reference(Request(result.request, result.inputs), result.options, roles)
