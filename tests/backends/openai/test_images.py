"""The generator by pictures, by chat and by responses: equal to the script behind them, whatever else they say."""

from __future__ import annotations

import base64

import numpy as np
import pytest

pytest.importorskip("httpx")

from interleave_rt.backends.openai import OpenAiGenerator
from interleave_rt.backends.openai.http import GarbledError
from interleave_rt.backends.openai.pictures import PngCache, from_base64, from_url
from interleave_rt.backends.scripted import Script
from interleave_rt.errors import BackendFailedError, BadPackError, BadRequestError
from interleave_rt.pack.images import encode_png
from interleave_rt.request import Options
from interleave_rt.roles.scripted import ScriptedRoles

SCRIPT = Script(seed=3)
SOURCE = np.full((8, 6, 3), 9, np.uint8)
SIZED = Options(width=32, height=16, denoising_steps=7)


@pytest.mark.parametrize("api", ["images", "chat", "responses"])
@pytest.mark.parametrize("source", [None, SOURCE], ids=["drawn", "edited"])
def test_the_picture_is_the_one_that_the_server_made(made_up, api, source):
    roles = ScriptedRoles(SCRIPT)
    with made_up.MadeUp(SCRIPT) as server:
        generator = OpenAiGenerator(server.url, "m", api=api)
        assert np.array_equal(
            generator.generate("a cat", source, 5, Options()), roles.generate("a cat", source, 5, Options())
        )
        generator.generate("a cat", source, 2**63 - 1, SIZED)
        body = server.calls[-1][1]
        assert int(body["seed"]) == 2**31 - 1
        if api == "responses":
            assert body["tools"][0]["size"] == "32x16"
        else:
            assert body["size"] == "32x16"
            assert int(body["num_inference_steps"]) == 7
        assert generator.info()["lossless"] == "replay"


def test_the_routes_of_pictures(made_up):
    with made_up.MadeUp(SCRIPT) as server:
        generator = OpenAiGenerator(server.url, "m", extra={"quality": "high"})
        generator.generate("a cat", None, 1, Options())
        generator.generate("a cat", SOURCE, 1, Options())
        drawn, edited = (body for _, body in server.calls)
        assert "image" not in drawn
        assert edited["image"] == encode_png(SOURCE, level=1)
        assert drawn["quality"] == edited["quality"] == "high"


def test_stable_diffusion_cpp_is_told_seed_and_steps_in_the_prompt(made_up):
    with made_up.MadeUp(SCRIPT, model="sd-cpp-local") as server:
        generator = OpenAiGenerator(server.url, "any")
        generator.check()
        generator.generate("a cat", None, 5, SIZED)
        generator.generate("a cat", SOURCE, 2**63 - 1, Options())
        drawn, edited = (body["prompt"] for _, body in server.calls)
        told = '{"seed": 5, "sample_params": {"sample_steps": 7}}'
        assert drawn == f"a cat<sd_cpp_extra_args>{told}</sd_cpp_extra_args>"
        assert edited == 'a cat<sd_cpp_extra_args>{"seed": 2147483647}</sd_cpp_extra_args>'


def test_a_server_that_cannot_edit_is_found_out_before_anything_is_asked(made_up):
    with made_up.MadeUp(SCRIPT, without=frozenset({"/images/edits"})) as server:
        with pytest.raises(
            BadPackError, match="edits answers 404: .* could not start from a picture"
        ) as caught:
            OpenAiGenerator(server.url, "m").check()
        assert "sources=none" in caught.value.hint
        for told in ({"sources": "none"}, {"api": "chat"}):
            OpenAiGenerator(server.url, "m", **told).check()
        blind = OpenAiGenerator(server.url, "m", sources="none")
        assert blind.references == 0
        blind.generate("a cat", SOURCE, 1, Options())
    with made_up.MadeUp(SCRIPT) as server:
        OpenAiGenerator(server.url, "m").check()
        assert server.calls == []  # to ask whether it edits draws nothing


@pytest.mark.parametrize("api", ["images", "chat", "responses"])
def test_several_pictures_go_out_together(made_up, api):
    with made_up.MadeUp(SCRIPT) as server:
        generator = OpenAiGenerator(server.url, "m", api=api, sources="all", references=2)
        assert generator.references == 2
        made = generator.generate("a cat", [np.zeros_like(SOURCE), SOURCE], 5, Options())
        assert np.array_equal(made, ScriptedRoles(SCRIPT).generate("a cat", SOURCE, 5, Options()))
        (_, body), *_ = server.calls
        sent = body.get("messages") or body.get("input")
        assert "image[]" in body if sent is None else len(sent[0]["content"]) == 3


def test_what_a_server_refuses_is_left_out_from_then_on(made_up):
    with made_up.MadeUp(SCRIPT, refuses=frozenset({"response_format", "seed"})) as server:
        generator = OpenAiGenerator(server.url, "m")
        for _ in range(2):
            generator.generate("a cat", None, 1, SIZED)
        assert generator.counters() == {"calls": 2, "tries": 4, "adapted": 2}
        assert "num_inference_steps" in server.calls[-1][1]
        with pytest.raises(BadRequestError, match="unknown field prompt"):
            server.refuses = frozenset({"prompt"})
            generator.generate("a cat", None, 1, SIZED)


@pytest.mark.parametrize("api", ["images", "chat", "responses"])
def test_an_answer_without_a_picture_is_one_error(made_up, api):
    with made_up.MadeUp(SCRIPT, fault=lambda *_: "no answer") as server:
        generator = OpenAiGenerator(server.url, "m", api=api, retries=1, backoff_s=0)
        with pytest.raises(BackendFailedError, match="makes no sense"):
            generator.generate("a cat", None, 1, Options())
        assert generator.counters()["retry_garbled"] == 1


def test_pictures_that_are_none():
    png = base64.b64encode(encode_png(SOURCE)).decode()
    assert np.array_equal(from_url("data:image/png;base64," + png), SOURCE)
    for wrong in (None, 7, "", "!", png[:40], base64.b64encode(b"GIF89a").decode()):
        with pytest.raises(GarbledError, match="picture"):
            from_base64(wrong)
    for wrong in (None, "http://169.254.169.254/secret", "data:text/plain;base64," + png, "data:image/png,x"):
        with pytest.raises(GarbledError, match="elsewhere"):
            from_url(wrong)


def test_a_picture_is_packed_once():
    cache = PngCache(places=2)
    first = cache.png(SOURCE)
    assert cache.png(SOURCE.copy()) is first
    for value in (1, 2):
        cache.png(np.full((8, 6, 3), value, np.uint8))
    assert cache.png(SOURCE) is not first
