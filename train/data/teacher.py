"""The teacher: any chat server, or whatever answers one message; asked again where it cannot be read, and paid once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from interleave_rt.backends.openai.chat import CHAT_PATH, chat_fields, check_model, content_of, sampling
from interleave_rt.backends.openai.http import Answer, GarbledError, HttpClient, OnServer, api_key, api_url
from interleave_rt.backends.openai.pictures import PngCache, data_url
from interleave_rt.errors import BackendFailedError, BadRequestError, InterleaveError
from interleave_rt.request import Request
from interleave_rt.roles.base import SharedRules
from interleave_rt.wire import Verdict, WrittenPlan

from . import asking
from .asking import Content
from .journal import Journal, key_of, picture_name
from .recipe import Budget, Price, TeacherChoice
from .score import Score

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = [
    "BudgetSpentError",
    "Chat",
    "HttpChat",
    "Reply",
    "Teacher",
    "TeacherRoles",
    "UnreadableError",
    "open_chat",
]

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

    def check(self) -> None:
        """Raises `InterleaveError` where it cannot be asked."""

    def close(self) -> None:
        """Ends its connections."""


class BudgetSpentError(InterleaveError):
    """What the recipe allows is spent."""

    code, http_status, exit_code = "budget_spent", 402, 8


class UnreadableError(Exception):
    """A question was asked as often as is allowed, and no reply could be read."""


class HttpChat(OnServer):
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
        self._fields = chat_fields()
        self._pngs = PngCache()

    def check(self) -> None:
        """Raises what is wrong with server, key or model."""
        check_model(self.http, self._model, {})

    def chat(self, content: Content, seed: int, retry: int) -> Reply:
        """As `Chat.chat`; the second and later tries are sampled at temperature 0.7."""
        pieces: list[str | int] = []
        urls: list[str] = []
        for piece in content:
            if isinstance(piece, str):
                pieces.append(piece)
            else:
                pieces.append(len(urls))
                urls.append(data_url(self._pngs.png(piece)))
        messages = [{"role": "user", "content": content_of(pieces, urls)}]
        fields = self._fields.of_next_call()

        def body() -> Mapping[str, Any]:
            sampled = sampling(fields, seed + retry, retry, self._max_tokens)
            return {"json": {"model": self._model, "messages": messages, **sampled}}

        reply = self.http.call("POST", CHAT_PATH, _reply, content=body, adapt=fields.adapt)
        fields.keep()
        return reply


def open_chat(choice: TeacherChoice) -> Chat:
    """Whoever a recipe chose; not checked yet."""
    if choice.url:
        return HttpChat(choice)
    from .oracle import Oracle

    return Oracle()


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
        self._answered = threading.Condition(self._mutex)
        self._asked: set[str] = set()  # keys of the calls under way
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
            line = self._line(key, content, retry)
            found = read(line["text"])
            if found is not None:
                return found, line["text"]
        raise UnreadableError

    def score(self, before: Pixels | None, after: Pixels, wish: str) -> Score:
        """What it gives an attempt; raises as `ask`."""
        edit, _ = self.ask(asking.score_edit(before, after, wish), asking.read_edit)
        look, _ = self.ask(asking.score_quality(after), asking.read_quality)
        return Score(*edit, *look)

    def _line(self, key: str, content: Content, retry: int) -> Mapping[str, Any]:
        """The reply's line. Of threads that ask the same, one calls and the others wait."""
        with self._answered:
            self._answered.wait_for(lambda: key not in self._asked)
            if (known := self._journal.get(key)) is not None:
                return known
            self._asked.add(key)
        try:
            return self._call(key, content, retry)
        finally:
            with self._answered:
                self._asked.discard(key)
                self._answered.notify_all()

    def _call(self, key: str, content: Content, retry: int) -> Mapping[str, Any]:
        if self._down():
            raise BackendFailedError(f"[data] the teacher has failed {self._failed_in_a_row} times in a row")
        try:
            reply = self._chat.chat(content, int(key[:7], 16), retry)
        except InterleaveError as error:
            with self._mutex:
                self._failed_in_a_row += 1
            if isinstance(error, BadRequestError):  # this question is refused; others may be answered
                raise BackendFailedError(error.message, hint=error.hint) from None
            raise
        told = {"text": reply.text, "input": reply.input_tokens, "output": reply.output_tokens}
        with self._mutex:
            self._failed_in_a_row = 0
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

    A plan's reply is kept in `plans` by the request's text, until whoever writes the record takes it out.
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
