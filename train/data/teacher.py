"""The teacher: any chat server, or whatever answers one message; asked again where it cannot be read, and paid once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from interleave_rt.backends.openai.fields import Fields
from interleave_rt.backends.openai.http import Answer, GarbledError, HttpClient, api_key, api_url
from interleave_rt.backends.openai.pictures import PngCache, data_url
from interleave_rt.errors import BackendFailedError, InterleaveError
from interleave_rt.request import Options, Request
from interleave_rt.roles.base import SharedRules
from interleave_rt.wire import Verdict, WrittenPlan

from . import asking
from .asking import Content
from .journal import Journal, key_of, picture_name
from .recipe import Budget, Price, TeacherChoice

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["BudgetSpentError", "Chat", "HttpChat", "Reply", "Teacher", "TeacherRoles", "UnreadableError"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and the tokens that were counted for it."""

    text: str
    input_tokens: int
    output_tokens: int


class Chat(Protocol):
    """Whatever answers one message."""

    def chat(self, content: Content, seed: int, retry: int) -> Reply:
        """The reply; `retry` is over 0 where the last one could not be read."""


class BudgetSpentError(InterleaveError):
    """What the recipe allows is spent."""

    code, http_status, exit_code = "budget_spent", 402, 8


class UnreadableError(Exception):
    """A question was asked as often as is allowed, and no reply could be read."""


class HttpChat:
    """A chat completions server, asked for whole answers.

    Raises:
        BadRequestError: URL or key make no sense.
    """

    def __init__(self, choice: TeacherChoice) -> None:
        self._model, self._max_tokens = choice.model, choice.max_tokens
        url = api_url(choice.url)
        self.http = HttpClient(
            url,
            api_key(url, choice.key_env, choice.key_file),
            timeout_s=choice.timeout_s,
            retries=choice.retries,
            max_concurrent=choice.concurrency,
            backoff_s=choice.backoff_s,
        )
        words = {name: (name,) for name in ("seed", "temperature", "max_tokens")}
        self._fields = Fields(words)
        self._pngs = PngCache()

    def check(self) -> None:
        """Raises what is wrong with server or key."""
        self.http.models()

    def chat(self, content: Content, seed: int, retry: int) -> Reply:
        """As `Chat.chat`; the second and later tries are sampled at temperature 0.7."""
        parts: list[dict[str, Any]] = [
            {"type": "text", "text": piece}
            if isinstance(piece, str)
            else {"type": "image_url", "image_url": {"url": data_url(self._pngs.png(piece))}}
            for piece in content
        ]
        fields = self._fields.of_next_call()

        def body() -> Mapping[str, Any]:
            told = {
                "temperature": 0.7 if retry else 0.0,
                "seed": (seed + retry) & 0x7FFFFFFF,
                "max_tokens": self._max_tokens,
            }
            sent = {name: value for name, value in told.items() if fields.send(name)}
            return {"json": {"model": self._model, "messages": [{"role": "user", "content": parts}], **sent}}

        reply = self.http.call("POST", "/chat/completions", _reply, content=body, adapt=fields.adapt)
        fields.keep()
        return reply

    def close(self) -> None:
        """Ends the connections."""
        self.http.close()


def _reply(answer: Answer) -> Reply:
    raw = answer.json()
    try:
        message = raw["choices"][0]["message"]
        text = message.get("content") or ""
        thought = message.get("reasoning_content") or message.get("reasoning")
        usage = raw.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        if thought and "<think>" not in text:
            text = f"<think>{thought}</think>{text}"
        return Reply(str(text), *tokens)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise GarbledError("the answer has no message") from None


class Teacher:
    """Asks a chat, keeps every reply in a journal, and counts what it costs.

    Args:
        chat: Who answers.
        journal: Of the replies: one that is there is not asked for again.
        choice: Of the recipe.
        price: Of the model.
        budget: Of the whole run.
    """

    def __init__(
        self, chat: Chat, journal: Journal, choice: TeacherChoice, price: Price, budget: Budget
    ) -> None:
        self._chat, self._journal, self._choice = chat, journal, choice
        self._price, self._budget = price, budget
        self.pictures_money = 0.0  # of the generators
        self._mutex = threading.Lock()
        self._failed_in_a_row = 0
        self._spent = {"calls": 0, "tokens": 0, "money": 0.0}
        for line in journal.lines.values():
            self._count(line)

    @property
    def model(self) -> str:
        """Its name, of every key."""
        return self._choice.model

    def spent(self) -> dict[str, float]:
        """Calls, tokens and money so far, of earlier runs in the folder too."""
        with self._mutex:
            return {**self._spent, "money": self._spent["money"] + self.pictures_money}

    def check_budget(self) -> None:
        """Raises `BudgetSpentError` where nothing is left; asked for between items."""
        spent = self.spent()
        for name, limit in self._budget.model_dump().items():
            if limit and spent[name] >= limit:
                raise BudgetSpentError(
                    f"[data] the budget is spent: {spent[name]:g} of {limit:g} {name}",
                    hint="raise it in the recipe and run again: what is there stays",
                )

    def ask(self, content: Content, read: Callable[[str], T | None]) -> tuple[T, str]:
        """What `read` makes of a reply, and the reply.

        Raises:
            UnreadableError: No reply could be read.
            InterleaveError: The call failed.
        """
        seen = [piece if isinstance(piece, str) else {"picture": picture_name(piece)} for piece in content]
        for retry in range(self._choice.tries):
            key = key_of("reply", self.model, seen, retry)
            line = self._journal.get(key) or self._call(key, content, retry)
            found = read(line["text"])
            if found is not None:
                return found, line["text"]
        raise UnreadableError

    def _call(self, key: str, content: Content, retry: int) -> Mapping[str, Any]:
        if self._down():
            raise BackendFailedError(f"[data] the teacher has failed {self._failed_in_a_row} times in a row")
        try:
            reply = self._chat.chat(content, int(key[:7], 16), retry)
        except InterleaveError:
            with self._mutex:
                self._failed_in_a_row += 1
            raise
        with self._mutex:
            self._failed_in_a_row = 0
        # Two threads may ask the same: the second reply is dropped, so that one key has one answer.
        told = {"text": reply.text, "input": reply.input_tokens, "output": reply.output_tokens}
        with self._mutex:
            if (known := self._journal.get(key)) is not None:
                return known
            line = self._journal.add(key, "kept", **told)
            self._count(line)
            return line

    def _count(self, line: Mapping[str, Any]) -> None:
        self._spent["calls"] += 1
        self._spent["tokens"] += line["input"] + line["output"]
        self._spent["money"] += (
            line["input"] * self._price.input + line["output"] * self._price.output
        ) / 1e6

    def _down(self) -> bool:
        return self._failed_in_a_row >= self._choice.give_up_after

    def require(self, told: Mapping[str, Any]) -> None:
        """Raises `BackendFailedError` where an item has failed (`told` is its line) as so many calls before it."""
        if told["outcome"] == "failed" and self._down():
            raise BackendFailedError(
                f"[data] the teacher has failed {self._failed_in_a_row} times in a row: {told['error']}",
                hint="look after its server, then run again: what is there stays",
            )


class TeacherRoles(SharedRules):
    """The teacher as planner and critic of an engine.

    What it has written is kept by what was asked, for the records: a plan's reply by the request's text.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self.plans: dict[str, str | None] = {}
        """Replies by marked text; None: none could be read."""

    def plan(
        self,
        request: Request,
        max_steps: int,
        seed: int,  # noqa: ARG002 - asked again in here
        retry: int,  # noqa: ARG002
    ) -> WrittenPlan:
        """As `Roles.plan`."""
        try:
            found, text = self._teacher.ask(
                asking.plan(request), lambda text: asking.read_planned(text, request.mode, max_steps)
            )
        except UnreadableError:
            self.plans[request.marked_text] = None
            return WrittenPlan(())
        self.plans[request.marked_text] = text
        return found

    def generate(self, prompt: str, source: Any, seed: int, options: Options) -> Any:
        """Not a teacher's business."""
        raise NotImplementedError

    def judge(
        self,
        before: Pixels | None,
        after: Pixels,
        original_prompt: str,
        prompt: str,
        seed: int,  # noqa: ARG002
        retry: int,  # noqa: ARG002
    ) -> Verdict | None:
        """As `Roles.judge`."""
        content = asking.judge(before, after, original_prompt, prompt)
        try:
            verdict, _ = self._teacher.ask(content, asking.read_judged)
        except UnreadableError:
            return None
        return verdict
