"""Where a role runs, in one line: `torch:DIR`, `openai:URL#MODEL`, `native:PACK`, `scripted`, each with options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interleave_rt.errors import BadRequestError

__all__ = ["RUNTIMES", "RoleSpec", "Runtime"]

Runtime = Literal["native", "torch", "openai", "scripted"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
Value = bool | int | float | str | tuple[str, ...]

_SEVERAL = ("lora", "declines")  # options that may be given more than once
_OPTION = re.compile(r",([a-z][a-z0-9_]*)=([^,]*)$")


class RoleSpec(BaseModel):
    """A role that runs elsewhere than on the graphs of its own pack.

    Args:
        runtime: What runs it.
        place: `torch`: a directory in Hugging Face layout; `openai`: a URL, `#` and the model's name; `native`: the
            folder of the pack that has the role; `scripted`: nothing.
        options: Keywords of what opens the role, e.g. `device` of `torch`. `lora` is a file, or several of them; `declines`
            the words, or several, with which a planner's answer begins where it cannot do what is asked.

    Example:
        >>> spec = RoleSpec.parse("torch:models/critic,device=cuda:1")
        >>> spec.runtime, spec.place, spec.options
        ('torch', 'models/critic', {'device': 'cuda:1'})
        >>> str(RoleSpec.parse("openai:http://127.0.0.1:8000/v1#qwen,timeout_s=30"))
        'openai:http://127.0.0.1:8000/v1#qwen,timeout_s=30'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: Runtime
    place: Annotated[str, Field(max_length=4096)] = ""
    options: dict[str, Value] = {}

    @classmethod
    def parse(cls, text: str) -> RoleSpec:
        """Reads `RUNTIME:PLACE[,OPTION=VALUE...]`; `lora` and `declines` may be given more than once.

        Raises:
            BadRequestError: There is no such runtime, the place is missing, or an option is given twice.
        """
        given: list[tuple[str, str]] = []
        head = text.strip()
        while found := _OPTION.search(head):
            given.insert(0, (found[1], found[2]))
            head = head[: found.start()]
        options: dict[str, Value] = {}
        for name, value in given:
            if name in _SEVERAL:
                options[name] = tuple(one for other, one in given if other == name)
                continue
            if name in options:
                raise BadRequestError(f"[role] {text!r} gives {name} twice", hint="leave one of them out")
            options[name] = _value(value)
        runtime, _, place = head.partition(":")
        if runtime not in RUNTIMES:
            raise BadRequestError(
                f"[role] {text!r} names no runtime",
                hint=f"write RUNTIME:PLACE with one of {', '.join(RUNTIMES)}",
            )
        try:
            return cls(runtime=runtime, place=place, options=options)
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise BadRequestError(f"[role] {text!r} {said}", hint=_PLACES[runtime]) from None

    @model_validator(mode="after")
    def _somewhere(self) -> RoleSpec:
        if not self.place and self.runtime != "scripted":
            raise ValueError("says no place")
        if self.runtime == "openai" and not all(self.place.rpartition("#")[::2]):
            raise ValueError("names no model")
        return self

    @property
    def is_folder(self) -> bool:
        """Whether `place` is a folder of this machine."""
        return self.runtime in ("native", "torch")

    def within(self, folder: Path) -> RoleSpec:
        """The same with files and folders that are not absolute taken from `folder`; `~` is the user's home."""

        def found(place: str) -> str:
            return str((folder / Path(place).expanduser()).resolve())

        changes: dict[str, Any] = {"place": found(self.place)} if self.is_folder else {}
        if self.loras:
            changes["options"] = {**self.options, "lora": tuple(map(found, self.loras))}
        return self.model_copy(update=changes)

    @property
    def loras(self) -> tuple[str, ...]:
        """`FILE` or `FILE:SCALE` of each file of low-rank changes."""
        given = self.options.get("lora", ())
        return given if isinstance(given, tuple) else (str(given),)

    def __str__(self) -> str:
        head = f"{self.runtime}:{self.place}" if self.place else self.runtime
        told = [(name, one) for name, value in self.options.items() for one in _each(value)]
        return head + "".join(f",{name}={one}" for name, one in told)


_PLACES = {
    "native": "native:FOLDER, the folder of a pack that has the role",
    "torch": "torch:FOLDER, a checkpoint in Hugging Face layout",
    "scripted": "scripted,option=value: it has no place",
    "openai": "openai:URL#MODEL, e.g. openai:http://127.0.0.1:8000/v1#qwen3-vl-8b",
}


def _value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _each(value: Value) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return (str(value).lower() if isinstance(value, bool) else str(value),)
