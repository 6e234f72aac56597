"""Made-up roles behind the OpenAI API, with the latencies of a script and with faults: a server for tests and benchmarks.

    python benchmarks/made_up_server.py           # prints its URL; any model name will do

Answers are functions of what is asked and of the seed that comes with it, as long as `wanders` is off.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from interleave_rt import _core
from interleave_rt.backends.scripted import Script
from interleave_rt.pack.images import encode_png, load_image
from interleave_rt.request import IMAGE_MARK
from interleave_rt.roles.prompts import Prompts

# What may go wrong with one call; each is done to the answer that would have been right.
FAULTS = (
    "error",  # status 500
    "busy",  # status 429 with Retry-After
    "no json",  # a body, or an event of a stream, that is no JSON
    "no answer",  # JSON of another shape
    "cut",  # the connection ends in the middle of the answer
    "reset",  # the server dies before it answers
    "nothing",  # an answer of no bytes where there should be a stream
    "slow",  # ten times slower
)


class GoneError(Exception):
    """The client has closed its connection."""


@dataclass
class MadeUp:
    """What the server does; the fields may be changed while it runs.

    Args:
        script: Answers and latencies, as `interleave_rt.backends.scripted` has them.
        prompts: How planner and critic are asked: the server finds the texts by the templates.
        fault: Asked before every answer (role, number of the call): one of `FAULTS`, or None.
        refuses: Fields of a body that bring a refusal.
        names_refused: The refusal says which field it is.
        refusal: Its status.
        without: Routes that it does not have.
        key: Asked for, and written into the refusal of another one.
        wanders: Equal calls give different answers.
        form: How answers look: `tags`, `python` (in the dialect of the official checkpoints), `reasoning` (the thoughts
            apart), `whole` (no stream though one is asked for).
        retry_after: Of the fault `busy`.
        model: The one that it lists.
    """

    script: Script = field(default_factory=Script)
    prompts: Prompts = field(default_factory=Prompts.default)
    fault: Callable[[str, int], str | None] = lambda _role, _number: None
    refuses: frozenset[str] = frozenset()
    names_refused: bool = True
    refusal: int = 400
    without: frozenset[str] = frozenset()
    key: str | None = None
    wanders: bool = False
    form: str = "tags"
    retry_after: str = "0.05"
    model: str = "made-up"
    url: str = ""
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)  # role and body
    faults: list[tuple[str, str]] = field(default_factory=list)  # role and fault, that were done
    gone: list[float] = field(default_factory=list)  # when clients left, by time.monotonic()
    began: list[float] = field(default_factory=list)  # when calls began

    def __enter__(self) -> MadeUp:
        made_up = self

        class Bound(_Handler):
            server_of = made_up

        self._server = _Server(("127.0.0.1", 0), Bound)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Clients that leave are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of: MadeUp

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self._right_key():
            self._send(200, {"object": "list", "data": [{"id": self.server_of.model, "object": "model"}]})

    def _right_key(self) -> bool:
        key, sent = self.server_of.key, self.headers.get("authorization")
        if key is None or sent == f"Bearer {key}":
            return True
        self._refuse(401, f"this is a wrong key: {sent}")
        return False

    def do_POST(self) -> None:
        made_up = self.server_of
        body = self._body()
        route = self.path.removeprefix("/v1")
        if not self._right_key():
            return
        if route in made_up.without:
            self._refuse(404, "Not Found")
            return
        if route.startswith("/images/") and "prompt" not in body:
            self._refuse(422, "a prompt is missing")
            return
        if body.get("model") == "absent":
            self._refuse(404, "the model `absent` does not exist")
            return
        for name in sorted(made_up.refuses & set(body)):
            self._refuse(
                made_up.refusal, f"unknown field {name}" if made_up.names_refused else "something is wrong"
            )
            return
        role = self._role(route, body)
        number = len(made_up.calls)
        made_up.calls.append((role, body))
        made_up.began.append(time.monotonic())
        self._fault = made_up.fault(role, number)
        if self._fault:
            made_up.faults.append((role, self._fault))
        self._seed = int(body.get("seed", 0)) + (number << 32 if made_up.wanders else 0)
        try:
            if self._fault == "reset":
                self._die()
            elif self._fault == "error":
                self._refuse(500, "made-up trouble")
            elif self._fault == "busy":
                self._refuse(429, "made-up load", {"retry-after": made_up.retry_after})
            elif role == "generator":
                self._picture(route, body)
            else:
                self._chat(role, body)
        except (GoneError, ConnectionError):
            made_up.gone.append(time.monotonic())
            self.close_connection = True

    # ---- the roles ----------------------------------------------------------------------------

    def _role(self, route: str, body: Mapping[str, Any]) -> str:
        if route != "/chat/completions" or "modalities" in body:
            return "generator"
        return "critic" if self._texts(body, "critic") else "planner"

    def _texts(self, body: Mapping[str, Any], kind: str) -> tuple[str, ...] | None:
        """What stands in the places of the template, where the message was made from it."""
        template = str(getattr(self.server_of.prompts.templates, kind))
        if kind == "critic" and IMAGE_MARK not in template:
            template = IMAGE_MARK * 2 + template
        pieces = re.split(r"\{(?:text_input|original_instruction|rewritten_prompt)\}", template)
        found = re.match("(.*)".join(map(re.escape, pieces)), _text_of(body), re.DOTALL)
        return found.groups() if found else None

    def _chat(self, role: str, body: Mapping[str, Any]) -> None:
        script = self.server_of.script
        roles = _core.ScriptedRoles(asdict(script))
        bare = "response_format" in body or "guided_json" in body
        p = 0.5
        if role == "planner":
            mode = "narrative" if self._texts(body, "narrative") else "guidance"
            (text,) = self._texts(body, mode) or ("",)
            steps = roles.plan(text, mode, 25, self._seed)["steps"]
            value: dict[str, Any] = {"execution_plan": steps}
            wrong = not steps
        else:
            original, used = self._texts(body, "critic") or ("", "")
            before, after = (load_image(_from_url(url)) for url in _urls_of(body))
            white = 0 if before.min() == 255 else _core.hash_pixels(before)
            verdict = roles.judge(original, used, white, _core.hash_pixels(after), self._seed)
            wrong = verdict is None
            said = dict(verdict or {})
            p = float(said.get("p_success", 0.5))
            value = {name: said.get(name) for name in ("previous_step_success", "refine_prompt")}
        if bare:
            value = {"thoughts": "made up", **value}
        written = repr(value) if self.server_of.form == "python" else json.dumps(value)
        if wrong:
            written = "I would rather not say."
        elif not bare:
            head = "" if self.server_of.form == "reasoning" else "<think>made up</think>\n"
            written = f"{head}<answer>{written}</answer>"
        pieces = list(_timed(written, role, script))
        if self._fault == "no answer":
            self._send(200, {"answer": 42})
        elif self.server_of.form == "whole" or not body.get("stream"):
            self._wait(pieces[-1][0] / 1000)
            message = {"role": "assistant", "content": written}
            entries = [entry for _, piece in pieces for entry in _entries(piece, p)]
            choice = {
                "index": 0,
                "message": message,
                "finish_reason": "stop",
                "logprobs": {"content": entries},
            }
            self._send(200, {"choices": [choice]})
        else:
            self._stream(pieces, p, logprobs="logprobs" in body)

    def _stream(self, pieces: list[tuple[float, str]], p: float, *, logprobs: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        begin = time.monotonic()
        if self._fault == "nothing":
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.server_of.form == "reasoning":
            self._event({"choices": [{"delta": {"reasoning_content": "thought "}}]})
            self._event({"choices": [{"delta": {"reasoning_content": "apart"}}]})
        for number, (at_ms, piece) in enumerate(pieces):
            self._wait(begin + at_ms / 1000 - time.monotonic())
            if self._fault == "cut" and number == len(pieces) // 2:
                self._die()
                return
            choice: dict[str, Any] = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            if logprobs:
                choice["logprobs"] = {"content": _entries(piece, p)}
            self._event({"object": "chat.completion.chunk", "choices": [choice]})
            if self._fault == "no json":
                self._chunk(b"data: {not json\n\n")
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._chunk(b'data: {"choices": [], "usage": {}}\r\n\r\n: a comment\n\ndata: [DONE]\n\n')
        self.wfile.write(b"0\r\n\r\n")

    def _picture(self, route: str, body: Mapping[str, Any]) -> None:
        script = self.server_of.script
        prompt, png = _prompt_of(body)
        before = 0 if png is None else _core.hash_pixels(load_image(png))
        width, _, height = str(body.get("size", "0x0")).partition("x")
        steps = int(body.get("num_inference_steps", 0))
        roles = _core.ScriptedRoles(asdict(script))
        made = roles.generate(prompt, before, self._seed, int(width), int(height), steps)
        self._wait(script.generator_ms / 1000)
        packed = base64.b64encode(encode_png(made)).decode()
        if self._fault == "no answer":
            self._send(200, {"data": [{"b64_json": packed[: len(packed) // 2]}]})
        elif route == "/chat/completions":
            image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + packed}}
            message = {"role": "assistant", "content": "Here it is.", "images": [image]}
            self._send(200, {"choices": [{"message": message, "finish_reason": "stop"}]})
        elif route == "/responses":
            item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": packed}
            self._send(200, {"object": "response", "output": [{"type": "message", "content": []}, item]})
        else:
            self._send(200, {"created": 1, "data": [{"b64_json": packed}]})

    # ---- the wire -----------------------------------------------------------------------------

    def _body(self) -> dict[str, Any]:
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            return dict(json.loads(data or b"{}"))
        found: dict[str, Any] = {}
        form = BytesParser().parsebytes(f"content-type: {kind}\r\n\r\n".encode() + data)
        for part in form.get_payload():
            name = part.get_param("name", header="content-disposition")
            raw = part.get_payload(decode=True)
            found[name] = raw if part.get_filename() else raw.decode()
            if name == "image[]":  # several pictures: the last one is the one before
                found["image"] = raw
        return found

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        if status == 200 and self._odd("no json"):
            data = b"<html>an error page</html>"
        self.send_response(status)
        for name, text in {**(headers or {}), "content-type": "application/json"}.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if status == 200 and self._odd("cut"):
            self.wfile.write(data[: len(data) // 2])
            self._die()
            return
        self.wfile.write(data)

    def _odd(self, fault: str) -> bool:
        return getattr(self, "_fault", None) == fault

    def _refuse(self, status: int, said: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, {"error": {"message": said, "type": "made_up", "code": status}}, headers)

    def _event(self, value: Any) -> None:
        self._chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + max(0.0, seconds) * (10 if self._fault == "slow" else 1)
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], left)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise GoneError

    def _die(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _timed(written: str, role: str, script: Script) -> Iterator[tuple[float, str]]:
    """Pieces of an answer, each with the millisecond at which it leaves."""
    if role == "planner":
        ends = [found.end() for found in re.finditer(r"\}(?=[,\]])", written)] or [len(written)]
        first, last = script.first_step_ms, script.planner_ms
        times = [first + (last - first) * index / max(1, len(ends) - 1) for index in range(len(ends))]
    else:
        boolean = re.search(r"previous_step_success.{3}(?:[Tt]rue|[Ff]alse)", written)
        ends = [boolean.end() + 1] if boolean else [len(written)]
        times = [script.verdict_ms]
    if ends[-1] < len(written):
        ends.append(len(written))
        times.append(script.planner_ms if role == "planner" else script.critic_ms)
    begin = 0
    for end, at_ms in zip(ends, times, strict=True):
        middle = (begin + end) // 2  # models write in small pieces, and cut words anywhere
        yield at_ms, written[begin:middle]
        yield at_ms, written[middle:end]
        begin = end


def _entries(piece: str, p: float) -> list[dict[str, Any]]:
    found = []
    for token in re.findall(r"\s?[Tt]rue|\s?[Ff]alse|[^TtFf\s]+|.|\s", piece):
        entry: dict[str, Any] = {"token": token, "bytes": list(token.encode()), "logprob": 0.0}
        if token.strip().lower() in ("true", "false"):
            chosen = token.strip()
            spelt = ("True", "False") if chosen.istitle() else ("true", "false")
            likely = dict(zip((token.replace(chosen, word) for word in spelt), (p, 1 - p), strict=True))
            entry["logprob"] = math.log(max(1e-9, likely[token]))
            entry["top_logprobs"] = [
                {"token": name, "logprob": math.log(max(1e-9, each))} for name, each in likely.items()
            ]
        found.append(entry)
    return found


def _parts(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages") or body.get("input") or [{"content": ""}]
    content = messages[-1]["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text_of(body: Mapping[str, Any]) -> str:
    return "".join(part.get("text", IMAGE_MARK) for part in _parts(body))


def _urls_of(body: Mapping[str, Any]) -> list[str]:
    urls = [part["image_url"] for part in _parts(body) if "image_url" in part]
    return [url["url"] if isinstance(url, dict) else url for url in urls]


def _from_url(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def _prompt_of(body: Mapping[str, Any]) -> tuple[str, bytes | None]:
    if "prompt" in body:
        return body["prompt"], body.get("image")
    urls = _urls_of(body)
    return _text_of(body).replace(IMAGE_MARK, ""), _from_url(urls[-1]) if urls else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Script()
    for name, its in (
        ("plan", "planner"),
        ("first-step", ""),
        ("generate", "generator"),
        ("judge", "critic"),
        ("verdict", ""),
    ):
        field_name = f"{its or name.replace('-', '_')}_ms"
        parser.add_argument(f"--{name}-ms", dest=field_name, type=float, default=getattr(usual, field_name))
    parser.add_argument("--steps", type=int, default=usual.max_steps)
    parser.add_argument("--accept-prob", type=float, default=usual.accept_prob)
    parser.add_argument("--seed", type=int, default=usual.seed)
    arguments = vars(parser.parse_args())
    steps = arguments.pop("steps")
    with MadeUp(Script(min_steps=steps, max_steps=steps, **arguments)) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
