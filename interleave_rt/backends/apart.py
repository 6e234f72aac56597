"""A role in a process of its own, so that roles in Python do not wait for one interpreter lock.

Messages on the connection, in both directions, are tuples: a word, the number of a call, and what belongs to it. The
parent says `call` (a method, its arguments, which of `on_step` and the like it wants), `cancel` and `end`; the child
says `opened`, and of a call `on_step` and the like, `done` and `failed`. Both ends are this file, of one version.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any

from interleave_rt import _core
from interleave_rt.errors import BackendFailedError, InterleaveError, from_code
from interleave_rt.roles.answers import OnAnswer

from .outside import accepted

if TYPE_CHECKING:
    from interleave_rt.wire import PlanStep, Verdict

__all__ = ["RoleApart"]

_log = logging.getLogger("interleave_rt")
_LOOK_S = 0.005  # between two looks at whether a call is still wanted
_END_S = 5.0  # for a process to end by itself
# The parent's search path alone decides: a `-c` would look in the working folder first.
_START = f"import sys; del sys.path[0]; from {__name__} import main; main()"


def never() -> bool:
    """For calls that nobody gives up."""
    return False


class RoleApart:
    """A role that a child process opens; its calls may come from several threads.

    A picture goes through a pipe (about 1 ms a megabyte each way). A child that dies fails the calls that were in it,
    and the next call starts another.

    Args:
        opener: What opens the role in the child: a function of a module, such as `runtimes.open_role`.
        role: Which of the three.
        what: The further arguments of `opener`.

    Raises:
        InterleaveError: What opening the role raised in the child.
        BackendFailedError: The child ended before it had opened the role.
    """

    def __init__(self, opener: Callable[..., Any], role: str, *what: Any) -> None:
        self._what = (opener, role, *what)
        self._numbers = itertools.count()
        self._starting = threading.Lock()
        self._child = _Child(*self._what)

    def info(self) -> Mapping[str, str]:
        """What the role says of itself."""
        return self._child.info

    @property
    def references(self) -> int:
        """As of `Roles`."""
        return int(self.info().get("references", "1"))

    def plan(
        self,
        *arguments: Any,
        cancelled: Callable[[], bool] = never,
        on_step: Callable[[PlanStep], None] | None = None,
        on_answer: OnAnswer | None = None,
    ) -> Any:
        """As `Roles.plan`."""
        return self._call("plan", arguments, cancelled, on_step=on_step, on_answer=on_answer)

    def generate(
        self,
        *arguments: Any,
        cancelled: Callable[[], bool] = never,
        on_cut: Callable[[], None] | None = None,
    ) -> Any:
        """As `Roles.generate`."""
        return self._call("generate", arguments, cancelled, on_cut=on_cut)

    def judge(
        self,
        *arguments: Any,
        cancelled: Callable[[], bool] = never,
        on_verdict: Callable[[bool, float], None] | None = None,
        on_answer: OnAnswer | None = None,
    ) -> Verdict | None:
        """As `Roles.judge`."""
        listening = {"on_verdict": on_verdict, "on_answer": on_answer}
        verdict: Verdict | None = self._call("judge", arguments, cancelled, **listening)
        return verdict

    def check(self) -> None:
        """As the role's own, where it has one."""
        self._call("check", (), never)

    def close(self) -> None:
        """Ends the child; harmless where it has ended."""
        self._child.end()

    def _call(
        self,
        method: str,
        arguments: tuple[Any, ...],
        cancelled: Callable[[], bool],
        **listening: Callable[..., None] | None,
    ) -> Any:
        told = {name: listener for name, listener in listening.items() if listener is not None}
        with self._starting:
            if self._child.gone:
                self._child = _Child(*self._what)
            child = self._child
        number, wanted = next(self._numbers), True
        heard = child.begin(number, method, arguments, tuple(told))
        word, content = "", None
        try:
            while word not in ("done", "failed"):
                try:
                    word, content = heard.get(timeout=_LOOK_S)
                except queue.Empty:
                    if wanted and cancelled():
                        wanted = False
                        child.say("cancel", number, None)
                else:
                    if word in told:
                        told[word](*content)
        except BaseException:
            child.say("cancel", number, None)
            raise
        finally:
            child.forget(number)
        if isinstance(content, BaseException):
            raise content
        return content


class _Child:
    """One process, the thread that hears it, and the calls that wait for it."""

    def __init__(self, opener: Callable[..., Any], role: str, *what: Any) -> None:
        self._role, self.gone = role, False
        self._waiting: dict[int, queue.SimpleQueue[tuple[str, Any]]] = {}
        self._lock = threading.Lock()  # of `_waiting`, and so that messages do not mix
        self._connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, these words
                [sys.executable, "-c", _START, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                start_new_session=True,  # Ctrl-C at the terminal is the parent's to answer
            )
        finally:
            theirs.close()
        try:
            self._connection.send((opener, role, *what))
            word, _, content = self._connection.recv()
        except (EOFError, OSError):
            self.end()
            raise BackendFailedError(
                f"[{role}] its process ended with {self._process.returncode} before the role was open"
            ) from None
        if word == "failed":
            self.end()
            raise content
        self.info: Mapping[str, str] = content
        threading.Thread(target=self._hear, daemon=True).start()

    def begin(self, number: int, *what: Any) -> queue.SimpleQueue[tuple[str, Any]]:
        heard = self._waiting[number] = queue.SimpleQueue()
        self.say("call", number, what)
        if self.gone:  # it may have gone before it could be told that this call waits, too
            heard.put(("failed", self._lost()))
        return heard

    def forget(self, number: int) -> None:
        self._waiting.pop(number, None)

    def say(self, word: str, number: int, content: Any) -> None:
        with contextlib.suppress(OSError), self._lock:  # who hears it ends the calls
            self._connection.send((word, number, content))

    def end(self) -> None:
        self.gone = True
        self.say("end", 0, None)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()

    def _hear(self) -> None:
        with contextlib.suppress(EOFError, OSError, TypeError):  # TypeError: closed while it reads
            while True:
                word, number, content = self._connection.recv()
                if waiting := self._waiting.get(number):
                    waiting.put((word, content))
        self.gone = True
        for waiting in list(self._waiting.values()):
            waiting.put(("failed", self._lost()))

    def _lost(self) -> BackendFailedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        return BackendFailedError(
            f"[{self._role}] its process ended with {self._process.poll()} during the call",
            hint="a negative number is a signal; -9 is often the kernel's, for want of memory",
        )


class _Served:
    """The child's side."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._cancelled: dict[int, threading.Event] = {}

    def run(self) -> None:
        opener, *what = self._connection.recv()
        try:
            self._opened = opener(*what)
        except BaseException as error:  # noqa: BLE001 - it is the parent's
            self._say("failed", 0, _carried(error))
            return
        self._say("opened", 0, dict(self._opened.info()))
        with contextlib.suppress(EOFError, OSError):  # the parent is gone
            while True:
                word, number, content = self._connection.recv()
                if word == "end":
                    break
                if word == "call":
                    self._cancelled[number] = threading.Event()
                    threading.Thread(target=self._work, args=(number, *content), daemon=True).start()
                elif flag := self._cancelled.get(number):
                    flag.set()
        for flag in list(self._cancelled.values()):
            flag.set()
        if hasattr(self._opened, "close"):
            self._opened.close()

    def _work(self, number: int, name: str, arguments: tuple[Any, ...], told: tuple[str, ...]) -> None:
        def teller(word: str) -> Callable[..., None]:
            return lambda *content: self._say(word, number, content)

        try:
            method = getattr(self._opened, name, None)
            answer = None
            if method is not None:
                offered = {word: teller(word) for word in told}
                answer = method(
                    *arguments, **accepted(method, cancelled=self._cancelled[number].is_set, **offered)
                )
            self._say("done", number, answer)
        except BaseException as error:  # noqa: BLE001 - as in a thread of the parent's
            self._say("failed", number, _carried(error))
        finally:
            del self._cancelled[number]

    def _say(self, *message: Any) -> None:
        with contextlib.suppress(OSError), self._lock:
            self._connection.send(message)


def _carried(error: BaseException) -> InterleaveError:
    """The error as the parent can raise it: libraries' own may not cross."""
    _log.debug("a call failed in a process of its own", exc_info=error)
    if isinstance(error, InterleaveError):
        return error
    if isinstance(error, _core.CoreError):
        return from_code(*error.args)
    return BackendFailedError(f"{type(error).__name__}: {error}")


def main() -> None:
    """Serves the connection whose descriptor is the first argument, until the other end closes it."""
    _Served(Connection(int(sys.argv[1]))).run()
    os._exit(0)  # threads of libraries may not hold the process
