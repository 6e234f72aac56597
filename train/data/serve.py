"""The shapes oracle as a chat completions server, with seeded faults: a teacher to try the pipeline with.

    python -m interleave_rt.train.data.serve --port 8400 --error 0.05 --garbage 0.05 --slow 0.05

A fault is drawn by what is asked and by how often it was asked before, so that it clears within a few tries; a lasting one
is drawn by what is asked alone.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from interleave_rt.pack.images import load_image

from .asking import Content
from .journal import key_of
from .oracle import Oracle

__all__ = ["Faults", "OracleServer", "main"]

_GARBAGE = (
    "{",
    "I cannot do this.",
    '{"words": [',
    "<answer>{'previous_step_success': ",
    '{"edit_success": "ten"}',
)
_SLOW_S = 0.3
_CLEARS_AFTER = 2  # a call that was made so often has no fault any more, but a lasting one
_MODEL = "shapes-oracle"


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of calls, 0 to 1.

    Args:
        error: Refused with status 500 or 429, or the connection is closed.
        garbage: Answered with something that cannot be read.
        slow: Answered a third of a second later.
        lasting: Always refused, or always garbage, however often it is asked.
    """

    error: float = 0.0
    garbage: float = 0.0
    slow: float = 0.0
    lasting: float = 0.0
    seed: int = 0


class OracleServer(ThreadingHTTPServer):
    """Serves from a port of this machine until `shutdown`.

    Args:
        port: 0: any.
        faults: Drawn for every call.
        key: What the bearer token must be; None: anything goes.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0, faults: Faults | None = None, key: str | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.oracle, self.faults, self.key = Oracle(), faults or Faults(), key
        self.asked: Counter[str] = Counter()
        self.mutex = threading.Lock()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None:
        """Callers who have gone are no news."""

    def fault_of(self, body: Mapping[str, Any]) -> str:
        """`error`, `garbage`, `slow` or nothing, for the next try of this call."""
        how = self.faults
        asked = key_of(body["messages"])
        lasting = random.Random(f"{how.seed}/{asked}")
        if lasting.random() < how.lasting:
            return lasting.choice(("error", "garbage"))
        # What is asked again after an answer that could not be read is another call, but the same question.
        with self.mutex:
            self.asked[asked] += 1
            number = self.asked[asked]
        if number > _CLEARS_AFTER:
            return ""
        drawn = random.Random(f"{how.seed}/{asked}/{number}").random()
        for name in ("error", "garbage", "slow"):
            if (drawn := drawn - getattr(how, name)) < 0:
                return name
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OracleServer

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        """The list of models."""
        if self._may_ask():
            self._send(200, {"object": "list", "data": [{"id": _MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        """A chat completion."""
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self._may_ask():
            return
        try:
            body = json.loads(raw)
            content = _content(body["messages"][-1]["content"])
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is the caller's
            self._send(400, {"error": {"message": f"the call makes no sense: {error}"}})
            return
        fault = self.server.fault_of(body)
        if fault == "error":
            self._fail(random.Random(key_of(body["messages"])).choice((500, 429, 0)))
            return
        if fault == "slow":
            time.sleep(_SLOW_S)
        reply = self.server.oracle.chat(content)
        text = random.Random(reply.text).choice(_GARBAGE) if fault == "garbage" else reply.text
        usage = {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self._send(
            200,
            {"object": "chat.completion", "model": _MODEL, "choices": [choice], "usage": usage},
        )

    def _may_ask(self) -> bool:
        key = self.server.key
        if key is None or self.headers.get("authorization") == f"Bearer {key}":
            return True
        self._send(401, {"error": {"message": "this is not the key"}})
        return False

    def _fail(self, status: int) -> None:
        if not status:
            self.close_connection = True  # without a word
            return
        more = {"retry-after-ms": "20"} if status == 429 else {}
        self._send(status, {"error": {"message": "a fault, as was asked for"}}, more)

    def _send(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _content(raw: Any) -> Content:
    if isinstance(raw, str):
        return [raw]
    return [
        part["text"]
        if part["type"] == "text"
        else load_image(base64.b64decode(part["image_url"]["url"].partition(",")[2], validate=True))
        for part in raw
    ]


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m interleave_rt.train.data.serve", description="The shapes oracle as a chat server."
    )
    parser.add_argument("--port", type=int, default=8400)
    for name in ("error", "garbage", "slow", "lasting"):
        parser.add_argument(f"--{name}", type=float, default=0.0, help="share of calls")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--key", help="what the bearer token must be")
    told = vars(parser.parse_args())
    port, key = told.pop("port"), told.pop("key")
    server = OracleServer(port, Faults(**told), key)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
