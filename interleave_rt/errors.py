"""One tree of errors: what went wrong, where, and what to do next.

Every class carries a stable `code`, the HTTP status that a server answers with and the exit code of the command line.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BackendFailedError",
    "BadPackError",
    "BadRequestError",
    "CancelledError",
    "ClosedError",
    "DeadlineError",
    "InterleaveError",
    "LimitExceededError",
    "OverloadedError",
    "from_code",
]


class InterleaveError(Exception):
    """The root of the tree; raised itself only for a broken invariant of the runtime.

    Args:
        message: What happened and where.
        hint: What to do next, where that is known.
        partial: What was committed before a request failed: its `Result`, or None.

    Example:
        >>> error = BadRequestError("the request is empty", hint="say what to draw")
        >>> error.code, error.exit_code, str(error)
        ('bad_request', 2, 'the request is empty')
    """

    code: str = "internal"
    http_status: int = 500
    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None, partial: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.partial = partial

    def as_dict(self) -> dict[str, Any]:
        """The error as plain data, as it travels over JSON."""
        return {"code": self.code, "message": self.message, "hint": self.hint}

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments are lost by the default reduction; results stay in their process.
        return (_rebuild, (type(self), self.message, self.hint))


class BadRequestError(InterleaveError):
    """The caller's input is wrong."""

    code, http_status, exit_code = "bad_request", 400, 2


class BadPackError(InterleaveError):
    """A pack, one of its files or its contract is wrong, or the runtime that it needs is missing."""

    code, http_status, exit_code = "bad_pack", 500, 3


class LimitExceededError(InterleaveError):
    """Over a documented limit."""

    code, http_status, exit_code = "limit_exceeded", 413, 4


class BackendFailedError(InterleaveError):
    """A role threw, answered unreadably twice, or died."""

    code, http_status, exit_code = "backend_failed", 502, 5


class DeadlineError(InterleaveError):
    """The request ran out of time."""

    code, http_status, exit_code = "deadline", 504, 6


class OverloadedError(InterleaveError):
    """Admission was refused; trying later may work."""

    code, http_status, exit_code = "overloaded", 429, 7


class CancelledError(InterleaveError):
    """Somebody asked for the request to end."""

    code, http_status, exit_code = "cancelled", 499, 130


class ClosedError(InterleaveError):
    """The engine was closed before; load another one."""

    code, http_status, exit_code = "closed", 503, 1


_KINDS: list[type[InterleaveError]] = [InterleaveError, *InterleaveError.__subclasses__()]
_BY_CODE = {kind.code: kind for kind in _KINDS}


def from_code(code: str, message: str, *, hint: str | None = None) -> InterleaveError:
    """The error of a stable code; an unknown code gives the root class.

    Example:
        >>> type(from_code("overloaded", "queue is full")).__name__
        'OverloadedError'
    """
    return _BY_CODE.get(code, InterleaveError)(message, hint=hint)


def _rebuild(cls: type[InterleaveError], message: str, hint: str | None) -> InterleaveError:
    return cls(message, hint=hint)
