"""A generator on a server: by its picture routes, by a chat that answers with pictures, or by responses with a tool."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from interleave_rt.checks import one_of, whole
from interleave_rt.errors import BadPackError, BadRequestError, InterleaveError
from interleave_rt.pack.manifest import MOST_REFERENCES
from interleave_rt.request import Options

from .fields import Fields
from .http import (
    Cancelled,
    GarbledError,
    HttpClient,
    NoSuchPlaceError,
    OnServer,
    api_key,
    api_url,
    server_info,
)
from .pictures import PngCache, data_url, from_base64, from_url

if TYPE_CHECKING:
    from os import PathLike

    from interleave_rt.request import Pixels

__all__ = ["OpenAiGenerator"]

Api = Literal["images", "chat", "responses"]
Sources = Literal["previous", "all", "none"]
_EDITS = "/images/edits"
_STABLE_DIFFUSION_CPP = "sd-cpp-local"  # the only model that its server lists
_WORDS = {
    "seed": ("seed",),
    "num_inference_steps": ("num_inference_steps", "steps"),
    "response_format": ("response_format",),
    "modalities": ("modalit",),
    "size": ("size",),
}


class OpenAiGenerator(OnServer):
    """A picture model on a server. It draws from a prompt, and edits a source where there is one.

    What a server does not take (a seed, a number of denoising steps, ...) is left out after its first refusal. To
    stable-diffusion.cpp's both are told in the way of its own, once `check` has found that it is one.
    Results need not repeat: such a role is `lossless="replay"`.

    Args:
        url: Of the server, such as `http://127.0.0.1:8000/v1`.
        model: The server's name of it.
        api: `images`: `/images/generations`, and `/images/edits` where there is a source. `chat`: chat completions
            that answer with pictures. `responses`: the tool `image_generation`; `model` is the one that calls it.
        sources: What a step starts from: the picture before it (`previous`), all pictures of the story so far, the request's
            own among them (`all`), or its text alone (`none`).
        references: Of `all`: so many pictures at most, the last ones.
        extra: Further fields of the body.
        key_env: The environment variable that holds the key.
        key_file: The file that holds it.
        timeout_s: Of one try.
        retries: Further tries after failures that may pass; see `HttpClient`.
        max_concurrent: Calls at once.
        backoff_s: Pause before the first further try.

    Raises:
        BadRequestError: The URL, the key, the kind of API or a number makes no sense.
        BadPackError: The extra `openai` is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api: Api = "images",
        sources: Sources = "previous",
        references: int = 4,
        extra: Mapping[str, Any] | None = None,
        key_env: str | None = None,
        key_file: str | PathLike[str] | None = None,
        timeout_s: float = 300.0,
        retries: int = 3,
        max_concurrent: int = 4,
        backoff_s: float = 0.5,
    ) -> None:
        one_of("[openai] api", api, get_args(Api))
        one_of("[openai] sources", sources, get_args(Sources))
        whole("[openai] references", references, 1, MOST_REFERENCES)
        if not model:
            raise BadRequestError(
                "[openai] the model has no name", hint="give the name that the server has for it"
            )
        self.url, self.model, self.api = api_url(url), model, api
        self.references = {"none": 0, "previous": 1, "all": references}[sources]
        self._extra = dict(extra or {})
        self.http = HttpClient(
            self.url,
            api_key(self.url, key_env, key_file),
            timeout_s=timeout_s,
            retries=retries,
            max_concurrent=max_concurrent,
            backoff_s=backoff_s,
        )
        self._fields = Fields(_WORDS, fixed=("size",))
        self._pngs = PngCache()
        self._settings_in_prompt = False

    def info(self) -> Mapping[str, str]:
        """Where it runs, what its pictures depend on (`identity`), and what it promises."""
        depends = [self.api, self.references, sorted(self._extra.items())]
        return {**server_info(self.http, self.model, depends), "references": str(self.references)}

    def check(self) -> None:
        """Finds out whether the server is there, takes the key, and edits pictures where it has to.

        Whether it has the model, the first picture shows.

        Raises:
            InterleaveError: As of any call.
            BadPackError: It has no route that edits.
        """
        self._settings_in_prompt = _STABLE_DIFFUSION_CPP in self.http.models()
        if self.api != "images" or not self.references:
            return
        try:  # nothing can be drawn from this: a server that has the route refuses it
            self.http.call("POST", _EDITS, lambda _: None, content=lambda: {"json": {"model": self.model}})
        except NoSuchPlaceError as error:
            raise BadPackError(
                f"{error.message}: the generator could not start from a picture",
                hint="is the model's name right? else give it sources=none (each step is then drawn from its text alone), or api=chat",
            ) from None
        except InterleaveError:
            return

    def generate(
        self,
        prompt: str,
        source: Pixels | Sequence[Pixels] | None,
        seed: int,
        options: Options,
        *,
        cancelled: Cancelled | None = None,
    ) -> Pixels:
        """As `Roles.generate`: uint8 [height, width, 3], in whatever size the server chose where none is asked for."""
        sources = [] if source is None or not self.references else source
        pngs = [self._pngs.png(one) for one in ([sources] if isinstance(sources, np.ndarray) else sources)]
        fields = self._fields.of_next_call()
        path, content, read = {
            "images": self._images,
            "chat": self._chat,
            "responses": self._responses,
        }[self.api](prompt, pngs, seed & 0x7FFFFFFF, options, fields)
        made = self.http.call(
            "POST",
            path,
            lambda answer: read(answer.json()),
            content=content,
            adapt=fields.adapt,
            cancelled=cancelled,
        )
        fields.keep()
        return made

    def _images(
        self, prompt: str, pngs: Sequence[bytes], seed: int, options: Options, fields: Fields
    ) -> _Call:
        def content() -> Mapping[str, Any]:
            body: dict[str, Any] = {"model": self.model, "prompt": prompt, "n": 1}
            if self._settings_in_prompt:
                body["prompt"] += _settings_of_stable_diffusion_cpp(seed, options.denoising_steps)
            if fields.send("response_format"):
                body["response_format"] = "b64_json"
            if fields.send("seed"):
                body["seed"] = seed
            if options.denoising_steps and fields.send("num_inference_steps"):
                body["num_inference_steps"] = options.denoising_steps
            if (size := _size(options)) and fields.send("size"):
                body["size"] = size
            body.update(self._extra)
            if not pngs:
                return {"json": body}
            form = {name: str(value) for name, value in body.items()}
            name = "image" if len(pngs) == 1 else "image[]"
            return {"data": form, "files": [(name, ("source.png", png, "image/png")) for png in pngs]}

        def read(raw: Any) -> Pixels:
            for item in _objects(raw, "data"):
                return (
                    from_url(item["url"])
                    if item.get("b64_json") is None and "url" in item
                    else from_base64(item.get("b64_json"))
                )
            raise GarbledError("the answer has no picture")

        return _EDITS if pngs else "/images/generations", content, read

    def _chat(self, prompt: str, pngs: Sequence[bytes], seed: int, options: Options, fields: Fields) -> _Call:
        def content() -> Mapping[str, Any]:
            parts: list[dict[str, Any]] = [
                {"type": "image_url", "image_url": {"url": data_url(png)}} for png in pngs
            ]
            parts.append({"type": "text", "text": prompt})
            body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": parts}]}
            if fields.send("modalities"):
                body["modalities"] = ["text", "image"]
            if fields.send("seed"):
                body["seed"] = seed
            if options.denoising_steps and fields.send("num_inference_steps"):
                body["num_inference_steps"] = options.denoising_steps
            if (size := _size(options)) and fields.send("size"):
                body["size"] = size
            return {"json": {**body, **self._extra}}

        def read(raw: Any) -> Pixels:
            for choice in _objects(raw, "choices"):
                message = choice.get("message")
                for name in ("images", "content"):  # two conventions
                    for part in _objects(message, name):
                        if isinstance(part.get("image_url"), dict):
                            return from_url(part["image_url"].get("url"))
            raise GarbledError("the answer has no picture")

        return "/chat/completions", content, read

    def _responses(
        self, prompt: str, pngs: Sequence[bytes], seed: int, options: Options, fields: Fields
    ) -> _Call:
        def content() -> Mapping[str, Any]:
            parts: list[dict[str, Any]] = [{"type": "input_text", "text": prompt}]
            parts += [{"type": "input_image", "image_url": data_url(png)} for png in pngs]
            tool = {"type": "image_generation", "output_format": "png"}
            if (size := _size(options)) and fields.send("size"):
                tool["size"] = size
            body: dict[str, Any] = {
                "model": self.model,
                "input": [{"role": "user", "content": parts}],
                "tools": [tool],
                "tool_choice": {"type": "image_generation"},
            }
            if fields.send("seed"):
                body["seed"] = seed
            return {"json": {**body, **self._extra}}

        def read(raw: Any) -> Pixels:
            for item in _objects(raw, "output"):
                if item.get("type") == "image_generation_call":
                    return from_base64(item.get("result"))
            raise GarbledError("the answer has no picture")

        return "/responses", content, read


_Call = tuple[str, Callable[[], Mapping[str, Any]], Callable[[Any], "Pixels"]]
"""Path, what is sent, and the picture of the answer."""


def _settings_of_stable_diffusion_cpp(seed: int, steps: int) -> str:
    """What that server takes in no field of these routes, and cuts out of the prompt."""
    told: dict[str, Any] = {"seed": seed, **({"sample_params": {"sample_steps": steps}} if steps else {})}
    return f"<sd_cpp_extra_args>{json.dumps(told)}</sd_cpp_extra_args>"


def _size(options: Options) -> str:
    return f"{options.width}x{options.height}" if options.width and options.height else ""


def _objects(raw: Any, name: str) -> Iterator[dict[str, Any]]:
    """The objects in a list of an answer, wherever the answer has one."""
    items = raw.get(name) if isinstance(raw, dict) else None
    return (item for item in (items if isinstance(items, list) else ()) if isinstance(item, dict))
