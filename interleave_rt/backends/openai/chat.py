"""Planner and critic on a chat completions server: answers are read as they stream."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic_core import from_json

from interleave_rt import _core
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.request import Request
from interleave_rt.roles.answers import OnAnswer
from interleave_rt.roles.prompts import ANSWER_SCHEMAS, Message, Prompts, critic_pictures, planner_pictures
from interleave_rt.wire import PlanStep, Verdict, WrittenPlan

from .fields import Fields
from .http import Answer, Cancelled, GarbledError, HttpClient, OnServer, api_key, api_url, server_info
from .pictures import PngCache, data_url

if TYPE_CHECKING:
    from os import PathLike

    from interleave_rt.request import Pixels

__all__ = ["CHAT_PATH", "OpenAiVlm", "chat_fields", "check_model", "content_of", "sampling"]

T = TypeVar("T")
Structured = Literal["auto", "json_schema", "json_object", "guided_json", "off"]
CHAT_PATH = "/chat/completions"
# How a server's refusal may call a field. Forms of a schema, and names of the limit, are tried
# one after the other.
_WORDS = {
    "json_schema": ("response_format", "schema", "grammar"),
    "json_object": ("response_format", "schema", "grammar"),
    "guided_json": ("guided", "schema", "grammar"),
    "logprobs": ("logprob",),
    "seed": ("seed",),
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens",),
    "max_completion_tokens": ("max_completion_tokens",),
}
_BARE = (
    "The server keeps you to a JSON schema, so leave the tags out: the whole answer is that one JSON object, "
    'with your thoughts as its first field, "thoughts".'
)


def _with_thoughts(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"thoughts": {"type": "string"}, **schema["properties"]}
    return {**schema, "properties": properties, "required": list(properties)}


_SCHEMAS = {kind: _with_thoughts(schema) for kind, schema in ANSWER_SCHEMAS.items()}


class OpenAiVlm(OnServer):
    """A vision-language model on a server, as planner, as critic or as both.

    What a server does not take (a schema of the answer, logprobs, a seed, ...) is left out after its first refusal.
    Results need not repeat: such a role is `lossless="replay"`.

    Args:
        url: Of the server, such as `http://127.0.0.1:8000/v1`.
        model: The server's name of it.
        prompts: How it is asked, or the folder of that (see `Prompts.from_folder`); by default `Prompts.default()`.
        structured: Keep answers to a JSON schema: `json_schema` by the standard field, `json_object` as llama.cpp's Python
            server takes it, `guided_json` as older vLLM does. `auto`: the first or the second of them, but only under our
            own prompts, as others may ask for another form.
        logprobs: Ask for them, for a p(success) that is not just 1 or 0.
        max_tokens: Of an answer.
        extra: Further fields of the body.
        key_env: The environment variable that holds the key.
        key_file: The file that holds it.
        timeout_s: Of one try.
        retries: Further tries after failures that may pass; see `HttpClient`.
        max_concurrent: Calls at once.
        backoff_s: Pause before the first further try.

    Raises:
        BadRequestError: The URL, the key or a number makes no sense.
        BadPackError: The extra `openai` is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        prompts: Prompts | str | PathLike[str] | None = None,
        structured: Structured = "auto",
        logprobs: bool = True,
        max_tokens: int = 4096,
        extra: Mapping[str, Any] | None = None,
        key_env: str | None = None,
        key_file: str | PathLike[str] | None = None,
        timeout_s: float = 300.0,
        retries: int = 3,
        max_concurrent: int = 8,
        backoff_s: float = 0.5,
    ) -> None:
        if not model:
            raise BadRequestError(
                "[openai] the model has no name", hint="give the name that the server has for it"
            )
        own = Prompts.default()
        if prompts is not None and not isinstance(prompts, Prompts):
            prompts = Prompts.from_folder(prompts)
        self.prompts = prompts or own
        if structured not in get_args(Structured):
            known = ", ".join(get_args(Structured))
            raise BadRequestError(f"[openai] structured is {structured!r}", hint=f"it is one of {known}")
        self._forms: tuple[str, ...] = () if structured == "off" else (structured,)
        if structured == "auto":
            self._forms = ("json_schema", "json_object") if self.prompts == own else ()
        self.url, self.model = api_url(url), model
        self._logprobs, self._max_tokens = logprobs, max_tokens
        self._extra = dict(extra or {})
        self.http = HttpClient(
            self.url,
            api_key(self.url, key_env, key_file),
            timeout_s=timeout_s,
            retries=retries,
            max_concurrent=max_concurrent,
            backoff_s=backoff_s,
        )
        self._fields = chat_fields()
        self._pngs = PngCache()

    def info(self) -> Mapping[str, str]:
        """Where it runs, what its answers depend on (`identity`), and what it promises."""
        asked = [repr(self.prompts), self._forms, self._max_tokens, sorted(self._extra.items())]
        return server_info(self.http, self.model, asked)

    def check(self) -> None:
        """Finds out whether the server is there, takes the key, and has the model; asks for one token if need be.

        Raises:
            InterleaveError: As of any call.
        """
        check_model(self.http, self.model, self._extra)

    def plan(
        self,
        request: Request,
        max_steps: int,
        seed: int,
        retry: int,
        *,
        cancelled: Cancelled | None = None,
        on_step: Callable[[PlanStep], None] | None = None,
        on_answer: OnAnswer | None = None,
    ) -> WrittenPlan:
        """As `Roles.plan`; `on_step` is called with each step when it has closed.

        Steps that have closed stand: where a stream breaks off, only what comes after them is taken from the next try.
        """
        messages = self.prompts.plan(request)
        pictures = planner_pictures(request)
        told: list[PlanStep] = []

        def tell(steps: Sequence[Mapping[str, Any]]) -> None:
            for raw in steps[len(told) :]:
                step = PlanStep.from_dict(raw)
                if told:  # a second reading may number otherwise
                    step = replace(step, step_number=told[-1].step_number + 1)
                told.append(step)
                if on_step is not None:
                    on_step(step)

        def read(answer: Answer) -> WrittenPlan:
            scanner = _core.PlanScanner(max_steps, 1 if request.mode == "narrative" else 0)
            reading = _Reading(answer, scanner.feed, on_answer)
            for _ in reading:
                tell(scanner.closed())
                if scanner.done():
                    break
            reading.told()
            whole = scanner.finish()  # what carries no tag is read at the end
            tell(whole["steps"])
            return WrittenPlan(tuple(told), whole["truncated"], whole["violated"])

        return self._ask(messages, pictures, request.mode, seed, retry, read, cancelled)

    def judge(
        self,
        before: Pixels | None,
        after: Pixels,
        original_prompt: str,
        prompt: str,
        seed: int,
        retry: int,
        *,
        cancelled: Cancelled | None = None,
        on_verdict: Callable[[bool, float], None] | None = None,
        on_answer: OnAnswer | None = None,
    ) -> Verdict | None:
        """As `Roles.judge`; an accepting answer is only read up to its boolean.

        `on_verdict` is called once, with boolean and p(success), when they can be read. They stand: where a stream breaks
        off behind a refusal, only the refined prompt is taken from the next try, and none of one that accepts.
        """
        messages = self.prompts.judge(original_prompt, prompt)
        told: list[tuple[bool, float]] = []

        def read(answer: Answer) -> Verdict | None:
            scanner = _core.VerdictScanner()
            reading = _Reading(answer, scanner.feed, on_answer)

            def tell() -> None:
                start, accepted = scanner.boolean_started_at(), scanner.accepted()
                if not told and start is not None and accepted is not None:
                    told.append((accepted, reading.success_p(start, accepted)))
                    if on_verdict is not None:
                        on_verdict(*told[0])

            for _ in reading:
                tell()
                if scanner.done():
                    break
            reading.told()
            raw = scanner.finish()
            tell()  # what carries no tag is read at the end
            if raw is None or not told:
                return None
            verdict = Verdict.from_dict(raw)
            accepted, p = told[0]
            return replace(
                verdict,
                accepted=accepted,
                p_success=p,
                refined=None if accepted else verdict.refined,
                reasoning=verdict.reasoning or reading.thoughts(),
            )

        return self._ask(messages, critic_pictures(before, after), "critic", seed, retry, read, cancelled)

    def _ask(
        self,
        messages: Sequence[Message],
        pictures: Sequence[Pixels],
        kind: str,
        seed: int,
        retry: int,
        read: Callable[[Answer], T],
        cancelled: Cancelled | None,
    ) -> T:
        urls = [data_url(self._pngs.png(picture)) for picture in pictures]
        fields = self._fields.of_next_call()
        found = self.http.call(
            "POST",
            CHAT_PATH,
            read,
            content=lambda: {"json": self._body(messages, urls, kind, seed, retry, fields)},
            adapt=fields.adapt,
            cancelled=cancelled,
        )
        fields.keep()
        return found

    def _body(
        self,
        messages: Sequence[Message],
        urls: Sequence[str],
        kind: str,
        seed: int,
        retry: int,
        fields: Fields,
    ) -> dict[str, Any]:
        form = next(filter(fields.send, self._forms), None)
        bare = form is not None
        sent = [
            {"role": message["role"], "content": content_of(message["content"], urls, bare=bare)}
            for message in messages
        ]
        body: dict[str, Any] = {"model": self.model, "messages": sent, "stream": True}
        body.update(sampling(fields, seed, retry, self._max_tokens))
        if kind == "critic" and self._logprobs and fields.send("logprobs"):
            body.update(logprobs=True, top_logprobs=5)
        schema = _SCHEMAS[kind]
        if form == "guided_json":
            body["guided_json"] = schema
        elif form == "json_object":
            body["response_format"] = {"type": "json_object", "schema": schema}
        elif form == "json_schema":
            named = {"name": kind, "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return {**body, **self._extra}


def chat_fields() -> Fields:
    """The fields of a chat that not every server takes."""
    return Fields(_WORDS, fixed=("temperature", "max_tokens", "max_completion_tokens"))


def check_model(http: HttpClient, model: str, extra: Mapping[str, Any]) -> None:
    """Finds out whether the server has a model: it lists it, or answers it with one token (`extra`: of that call's body).

    Raises:
        InterleaveError: As of any call.
    """
    if model not in http.models():
        body = {"model": model, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1}
        http.call("POST", CHAT_PATH, Answer.json, content=lambda: {"json": {**body, **extra}})


def sampling(fields: Fields, seed: int, retry: int, max_tokens: int) -> dict[str, Any]:
    """How an answer is drawn, and its tokens at most, as far as the server takes that: greedily at the first try."""
    told: dict[str, Any] = {}
    if fields.send("temperature"):
        told["temperature"] = 0.7 if retry else 0.0
    if fields.send("seed"):
        told["seed"] = seed & 0x7FFFFFFF  # servers take 31 bits at the least
    limit = next(filter(fields.send, ("max_tokens", "max_completion_tokens")), None)
    return told if limit is None else {**told, limit: max_tokens}


def content_of(
    pieces: Sequence[str | int], urls: Sequence[str], *, bare: bool = False
) -> str | list[dict[str, Any]]:
    """A message's content: texts, and pictures as indices into `urls`; `bare` says that the answer goes without tags."""
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": urls[piece]}}
        for piece in pieces
    ]
    if bare:
        parts.append({"type": "text", "text": _BARE})
    if any(part["type"] == "image_url" for part in parts):
        return parts
    return "\n\n".join(part["text"] for part in parts)  # servers of language models take nothing but a string


class _Reading:
    """Reads one answer into a scanner; an iteration for every piece of it.

    A server may cut the thoughts out of the answer: they are put back in front, between their tags. An answer that is a
    JSON value from its first letter on gets the tag that the scanner looks for.
    """

    def __init__(self, answer: Answer, feed: Callable[[bytes], None], on_answer: OnAnswer | None) -> None:
        self._answer, self._feed_scanner, self._on_answer = answer, feed, on_answer
        self._all = bytearray()  # what the scanner has got
        self._stop = "early"
        self._fed = 0  # bytes that the scanner has got
        self._thinking = False
        self._text = bytearray()  # the answer itself
        self._before: int | None = None  # bytes that were fed before the answer's first
        self._tokens: list[tuple[int, Mapping[str, Any]]] = []  # ends in the answer, and the server's entries
        self._tokens_end = 0

    def __iter__(self) -> Iterator[None]:
        finished: str | None = None
        empty = True
        try:
            for event in self._answer.events() if self._answer.is_stream else (self._answer.json(),):
                finished = self._take(event) or finished
                empty = False
                yield
        except GarbledError:
            if finished is None:  # after its end nothing of it can be lost
                raise
        if empty:  # what a server's own exception looks like
            raise GarbledError(
                "the answer is empty (does the model take what it was sent, such as pictures?)"
            )
        if finished is None:
            raise GarbledError("the stream broke off")
        self._stop = {"stop": "end_of_text", "length": "length"}.get(finished, "none")
        if finished == "content_filter":
            raise BackendFailedError("[openai] the server's content filter ended the answer")

    def told(self) -> None:
        """Nothing more is read of it."""
        if self._on_answer is not None:
            self._on_answer(bytes(self._all), self._stop)

    def success_p(self, start: int, accepted: bool) -> float:
        """p(true) against p(false) at the boolean that starts at byte `start` of the scanner; without logprobs 1 or 0."""
        at = start - (self._before or 0)
        entry = next((entry for end, entry in self._tokens if at < end), None)
        likely = {"true": 0.0, "false": 0.0}
        if entry is not None:
            for token, p in _alternatives(entry).items():
                letters = re.sub(r"[^a-z]", "", token.lower())
                for spelt in likely:
                    if letters and (spelt.startswith(letters) or letters.startswith(spelt)):
                        likely[spelt] += p
        total = sum(likely.values())
        return likely["true"] / total if total > 0 else float(accepted)

    def thoughts(self) -> str:
        """The field `thoughts` of a JSON answer."""
        try:
            found = from_json(bytes(self._text), allow_partial=True)
        except ValueError:
            return ""
        thoughts = found.get("thoughts") if isinstance(found, dict) else None
        return thoughts if isinstance(thoughts, str) else ""

    def _take(self, event: Any) -> str | None:
        if not isinstance(event, dict):
            raise GarbledError("an event of the stream is no object")
        if event.get("error"):
            raise GarbledError(f"the server reports {json.dumps(event['error'])[:200]}")
        choices = event.get("choices")
        if not isinstance(choices, list):
            raise GarbledError("the answer has no choices")
        if not choices:
            return None  # the count of tokens
        try:
            choice = choices[0]
            delta = choice.get("delta") or choice.get("message") or {}
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            text, finished = delta.get("content"), choice.get("finish_reason")
            entries = (choice.get("logprobs") or {}).get("content") or ()
        except AttributeError:
            raise GarbledError("the answer has choices of another shape") from None
        if not isinstance(text, str | None) or not isinstance(thought, str | None):
            raise GarbledError("the answer's text is no text")
        if thought and self._before is None:
            if not self._thinking:
                self._feed(b"<think>")
                self._thinking = True
            self._feed(thought.encode("utf-8", "replace"))
        for entry in entries:
            if isinstance(entry, dict):
                self._tokens_end += len(_bytes_of(entry))
                self._tokens.append((self._tokens_end, entry))
        if text:
            self._text += text.encode("utf-8", "replace")
            self._begin()
        return finished if isinstance(finished, str) else None

    def _begin(self) -> None:
        """Feeds what there is of the answer, once its first letter shows which form it has."""
        if self._before is None:
            first = bytes(self._text[:64]).lstrip()[:1]
            if not first and len(self._text) < 64:
                return
            if self._thinking:
                self._feed(b"</think>")
            if first in (b"{", b"[", b"`"):
                self._feed(b"<answer>")
            self._before = self._fed
        done = self._fed - self._before
        self._feed(bytes(self._text[done:]))

    def _feed(self, piece: bytes) -> None:
        self._fed += len(piece)
        self._all += piece
        self._feed_scanner(piece)


def _bytes_of(entry: Mapping[str, Any]) -> bytes:
    raw = entry.get("bytes")
    if isinstance(raw, list):
        try:
            return bytes(raw)
        except (TypeError, ValueError):
            pass
    return str(entry.get("token", "")).encode("utf-8", "replace")


def _alternatives(entry: Mapping[str, Any]) -> dict[str, float]:
    """Probabilities of what might have stood there, by spelling."""
    others = entry.get("top_logprobs")
    found: dict[str, float] = {}
    for each in [entry, *(others if isinstance(others, list) else ())]:
        if isinstance(each, dict) and isinstance(each.get("logprob"), int | float):
            found[str(each.get("token"))] = math.exp(min(0.0, each["logprob"]))
    return found
