"""The client: what is refused at once, retries and their limits, calls that are given up, keys that are never shown."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

pytest.importorskip("httpx")

from interleave_rt.backends.openai import OpenAiGenerator, OpenAiVlm
from interleave_rt.backends.openai.http import POLL_S, HttpClient, api_key, api_url
from interleave_rt.backends.scripted import Script
from interleave_rt.errors import (
    BackendFailedError,
    BadPackError,
    BadRequestError,
    CancelledError,
    InterleaveError,
    OverloadedError,
)
from interleave_rt.request import Options

KEY = "sk-secret-0123456789"
BODY = {"json": {"model": "m", "prompt": "p"}}


def draw(client: HttpClient, **more):
    return client.call(
        "POST", "/images/generations", lambda answer: answer.json(), content=lambda: BODY, **more
    )


def always(*faults):
    """These faults for the first calls, and none afterwards."""
    return lambda _role, number: faults[number] if number < len(faults) else None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://host/v1",
        "http://",
        "http://host:port/v1",
        "http://ho st/v1",
        "http://höst/v1",
    ],
)
def test_a_url_that_is_none(url):
    with pytest.raises(BadRequestError, match="no server's URL"):
        OpenAiVlm(url, "m")


def test_a_url_with_more_than_a_place_shows_none_of_it():
    for url in (f"http://user:{KEY}@host/v1", f"http://host/v1?key={KEY}", f"http://user:{KEY}@host :8/v1"):
        with pytest.raises(BadRequestError) as caught:
            OpenAiVlm(url, "m")
        assert KEY not in str(caught.value)
    assert api_url("https://host:81/openai/v1/") == "https://host:81/openai/v1"
    assert api_url("http://[::1]:8000") == "http://[::1]:8000/v1"


def test_keys_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("THIS_KEY", KEY + "\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    assert api_key("http://host/v1", "THIS_KEY", None) == KEY
    assert api_key("http://host/v1", None, file) == KEY
    assert api_key("https://api.openai.com/v1", None, None) == "sk-other"
    assert api_key("http://host/v1", None, None) is None  # nobody else gets it unasked


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"two\nlines", b"x" * 9000])
def test_no_key_where_it_should_be(tmp_path, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadRequestError, match="key") as caught:
        OpenAiVlm("http://host/v1", "m", key_file=file)
    assert str(file) in str(caught.value)
    with pytest.raises(BadRequestError, match="NO_SUCH_KEY"):
        OpenAiGenerator("http://host/v1", "m", key_env="NO_SUCH_KEY")
    with pytest.raises(BadRequestError, match="both"):
        OpenAiVlm("http://host/v1", "m", key_env="A", key_file=file)


def test_what_else_is_refused_before_anything_is_asked(monkeypatch):
    for wrong in ({"timeout_s": 0}, {"retries": -1}, {"max_concurrent": 0}, {"backoff_s": -1.0}):
        with pytest.raises(BadRequestError, match="out of range"):
            OpenAiVlm("http://host/v1", "m", **wrong)
    with pytest.raises(BadRequestError, match="api is 'paint'"):
        OpenAiGenerator("http://host/v1", "m", api="paint")
    for cls in (OpenAiVlm, OpenAiGenerator):
        with pytest.raises(BadRequestError, match="no name"):
            cls("http://host/v1", "")
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)
    with pytest.raises(BadPackError, match="httpx is not installed") as caught:
        OpenAiVlm("http://host/v1", "m")
    assert "interleave-rt[openai]" in caught.value.hint


@pytest.mark.parametrize(
    ("fault", "counter"),
    [
        ("error", "retry_500"),
        ("busy", "retry_429"),
        ("reset", "retry_connection"),
        ("cut", "retry_garbled"),
        ("no json", "retry_garbled"),
    ],
)
def test_a_fault_that_passes_is_a_counted_retry(made_up, fault, counter):
    with made_up.MadeUp(fault=always(fault, fault)) as server:
        client = HttpClient(server.url, backoff_s=0.01)
        assert "data" in draw(client)
        assert client.counters() == {"calls": 1, "tries": 3, counter: 2}
        client.close()


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("error", BackendFailedError, "answers 500: made-up trouble"),
        ("busy", OverloadedError, "answers 429: made-up load"),
        ("reset", BackendFailedError, "cannot be reached"),
        ("cut", BackendFailedError, "broke off"),
        ("no json", BackendFailedError, "no JSON"),
    ],
)
def test_a_fault_that_stays_is_one_clear_error(made_up, fault, error, said):
    with made_up.MadeUp(fault=lambda *_: fault) as server:
        client = HttpClient(server.url, retries=1, backoff_s=0.01)
        with pytest.raises(error, match=said) as caught:
            draw(client)
        assert f"{server.url}/images/generations" in str(caught.value)
        assert caught.value.hint
        assert client.counters()["tries"] == len(server.calls) == 2
        assert client.counters()["failed"] == 1


def test_nobody_is_there():
    client = HttpClient("http://127.0.0.1:9/v1", retries=1, backoff_s=0.01)
    with pytest.raises(BackendFailedError, match="cannot be reached") as caught:
        draw(client)
    assert "running" in caught.value.hint
    assert client.counters()["retry_connection"] == 1


@pytest.mark.parametrize("header", ["0.3", "date"])
def test_retry_after_is_honoured(made_up, header):
    from email.utils import formatdate

    with made_up.MadeUp(fault=always("busy"), retry_after=header) as server:
        if header == "date":
            server.retry_after = formatdate(
                time.time() + 1.5, usegmt=True
            )  # whole seconds: 0.5 to 1.5 from now
        client = HttpClient(server.url, backoff_s=0.0)
        draw(client)
        assert server.began[1] - server.began[0] >= 0.3


def test_a_pause_that_is_too_long_is_an_error_at_once(made_up):
    with made_up.MadeUp(fault=lambda *_: "busy", retry_after="3600") as server:
        begin = time.monotonic()
        with pytest.raises(OverloadedError):
            draw(HttpClient(server.url))
        assert time.monotonic() - begin < 60
        assert len(server.calls) == 1


def test_a_wrong_key_is_not_shown(made_up, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("A_KEY", KEY)
    with made_up.MadeUp(key="another") as server:
        vlm = OpenAiVlm(server.url, "m", key_env="A_KEY")
        with pytest.raises(
            BadRequestError, match=r"answers 401: this is a wrong key: Bearer \[key\]"
        ) as caught:
            vlm.check()
        assert "key_env" in caught.value.hint
        assert vlm.counters()["tries"] == 1
        shown = repr(vlm), repr(vlm.http), str(vlm.info()), str(caught.value.as_dict()), caplog.text
        assert not any(KEY in text for text in shown)
        server.key = KEY
        vlm.check()


def test_no_such_model(made_up):
    with made_up.MadeUp() as server, pytest.raises(BadRequestError, match="404.*`absent` does not exist"):
        OpenAiVlm(server.url, "absent").check()


def test_a_silent_server_is_an_error_in_time(made_up):
    with made_up.MadeUp(Script(generator_ms=60_000)) as server:
        client = HttpClient(server.url, timeout_s=0.2)
        with pytest.raises(BackendFailedError, match=r"did not answer within 0\.2 s"):
            draw(client)
        assert client.counters()["tries"] == 1


class Flag:
    """A `cancelled` that is told to say yes, and says when that was."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self) -> bool:
        return self.at is not None

    def once(self, condition: Callable[[], bool]) -> Flag:
        def wait() -> None:
            while not condition():
                time.sleep(0.002)
            self.at = time.monotonic()

        threading.Thread(target=wait, daemon=True).start()
        return self

    def after(self, seconds: float) -> Flag:
        def set_it() -> None:
            self.at = time.monotonic()

        threading.Timer(seconds, set_it).start()
        return self


def seen(server, count: int = 1) -> float:
    """When the server saw the (last) disconnect."""
    until = time.monotonic() + 30
    while len(server.gone) < count:
        assert time.monotonic() < until
        time.sleep(0.001)
    return server.gone[-1]


def test_giving_up_closes_the_connection_while_the_server_is_silent(made_up):
    took = []
    with made_up.MadeUp(Script(generator_ms=60_000)) as server:
        client = HttpClient(server.url)
        for number in range(1, 8):
            flag = Flag().once(lambda calls=number: len(server.began) == calls)
            with pytest.raises(CancelledError):
                draw(client, cancelled=flag)
            took.append(seen(server, number) - flag.at)
        assert client.counters() == {"calls": 7, "tries": 7, "cancelled": 7}
    assert min(took) < 0.05  # the others may have waited for a core
    assert POLL_S <= 0.02


def test_giving_up_in_the_middle_of_a_stream(made_up):
    script = Script(planner_ms=60_000, first_step_ms=20)
    with made_up.MadeUp(script) as server:
        flag, steps = Flag(), []
        vlm = OpenAiVlm(server.url, "m")
        from interleave_rt.request import Request

        def on_step(step):
            steps.append(step)
            flag.after(0.05)

        with pytest.raises(CancelledError):
            vlm.plan(Request("a cat"), 25, 1, 0, cancelled=flag, on_step=on_step)
        assert len(steps) == 1
        seen(server)


def test_giving_up_between_two_tries_and_before_the_first(made_up):
    with made_up.MadeUp(Script(generator_ms=2000), fault=always("busy"), retry_after="30") as server:
        client = HttpClient(server.url, max_concurrent=1)
        begin = time.monotonic()
        with pytest.raises(CancelledError, match="between two tries"):
            draw(client, cancelled=Flag().after(1.5))
        running = threading.Thread(target=draw, args=(client,))
        running.start()
        time.sleep(0.1)
        with pytest.raises(CancelledError, match="before it began"):
            draw(client, cancelled=Flag().after(0.1))
        assert time.monotonic() - begin < 20  # not the 30 s that the server asked for
        running.join()
        assert len(server.calls) == 2


def test_no_more_calls_at_once_than_agreed(made_up):
    with made_up.MadeUp(Script(generator_ms=100)) as server:
        client = HttpClient(server.url, max_concurrent=2)
        threads = [threading.Thread(target=draw, args=(client,)) for _ in range(6)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - begin >= 0.3
        ends = sorted(server.began)
        assert all(b - a >= 0.09 for a, b in zip(ends, ends[2:], strict=False))


def test_a_closed_client_ends_its_calls_and_may_be_used_again(made_up):
    with made_up.MadeUp(Script(generator_ms=60_000)) as server:
        client = HttpClient(server.url, retries=0)
        failed: list[InterleaveError] = []

        def call() -> None:
            try:
                draw(client)
            except InterleaveError as error:
                failed.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        while not server.began:
            time.sleep(0.005)
        client.close()
        thread.join(5)
        assert [type(error) for error in failed] == [BackendFailedError]
        server.script = Script()
        assert "data" in draw(client)
        client.close()
        client.close()


def test_redirects_are_not_followed(made_up):
    import http.server

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(307)
            self.send_header("location", "http://other/v1?token=1")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(BadRequestError, match=r"307.*to http://other/v1\)"):
        OpenAiGenerator(f"http://127.0.0.1:{server.server_port}", "m").generate("x", None, 1, Options())
    server.shutdown()
    server.server_close()
