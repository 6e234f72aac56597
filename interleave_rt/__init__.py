"""interleave-rt: text-image sequences from a planner, a generator and a critic, speculative and lossless.

Example:
    >>> import interleave_rt
    >>> engine = interleave_rt.Engine.load()  # doctest: +SKIP
    >>> engine.run("Draw a snowman step by step", seed=7).save("out/")  # doctest: +SKIP

Importing the package loads nothing heavy: public names are resolved at their first use.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import EngineConfig
    from .engine import Engine
    from .errors import (
        BackendFailedError,
        BadPackError,
        BadRequestError,
        CancelledError,
        ClosedError,
        DeadlineError,
        InterleaveError,
        LimitExceededError,
        OverloadedError,
    )
    from .pack import Pack, load_pack
    from .request import Options, Request
    from .result import FinishedEvent, Result
    from .wire import (
        Attempt,
        AttemptImageEvent,
        PlanStep,
        PlanStepEvent,
        Step,
        StepCommittedEvent,
        Verdict,
        VerdictEvent,
    )

    __version__: str

# In a clone, this folder hides the installed package, which has the compiled module: it is found all the same.
__path__ = pkgutil.extend_path(__path__, __name__)

__all__ = [
    "Attempt",
    "AttemptImageEvent",
    "BackendFailedError",
    "BadPackError",
    "BadRequestError",
    "CancelledError",
    "ClosedError",
    "DeadlineError",
    "Engine",
    "EngineConfig",
    "FinishedEvent",
    "InterleaveError",
    "LimitExceededError",
    "Options",
    "OverloadedError",
    "Pack",
    "PlanStep",
    "PlanStepEvent",
    "Request",
    "Result",
    "Step",
    "StepCommittedEvent",
    "Verdict",
    "VerdictEvent",
    "__version__",
    "load_pack",
]

_HOMES = {
    "Engine": "engine",
    "EngineConfig": "config",
    "Pack": "pack",
    "load_pack": "pack",
    **dict.fromkeys(("Options", "Request"), "request"),
    **dict.fromkeys(("FinishedEvent", "Result"), "result"),
    **dict.fromkeys(("Attempt", "PlanStep", "Step", "Verdict"), "wire"),
    **dict.fromkeys((name for name in __all__ if name.endswith("Event") and name != "FinishedEvent"), "wire"),
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "errors"),
}


def not_installed() -> str:
    """Why this Python cannot use the package; empty: it can."""
    if importlib.util.find_spec("interleave_rt._core") is not None:
        return ""
    return (
        f"{__path__[0]} is the source of interleave-rt, and this Python ({sys.executable}) has no installed one: "
        "pip install '.[cpu]' in the folder above, or install a wheel (README, \"Install\")"
    )


def __getattr__(name: str) -> Any:
    if name == "_core" and (why := not_installed()):
        raise ImportError(why)
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("interleave-rt")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
