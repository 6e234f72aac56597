"""Messages and hints name only settings that a user can give: fields, keywords and flags that exist."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import typer
from interleave_rt.train.recipe import GrpoRecipe, SftRecipe
from pydantic import BaseModel

from interleave_rt.backends.openai import OpenAiGenerator, OpenAiVlm
from interleave_rt.backends.scripted import Script
from interleave_rt.backends.torch import TorchGenerator, TorchVlm
from interleave_rt.cli.app import app
from interleave_rt.config import EngineConfig
from interleave_rt.pack.manifest import Manifest
from interleave_rt.request import Options

ROOT = Path(__file__).resolve().parents[2]
ADVICE = re.compile(
    r"\b(?:raise|lower|set|give|forget)\s+([a-z]+(?:_[a-z]+)+)\b(?!\.[a-z])(?:(?:,| or| and)\s+([a-z]+(?:_[a-z]+)+))?"
)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHERS = {
    *("--help", "--gpus"),  # of every command, of docker
    *("--upgrade", "--force-reinstall", "--extra-index-url"),  # of pip
    *("--query-gpu", "--format"),  # of nvidia-smi
    "--nproc",  # of torchrun: --nproc_per_node
}


@cache
def said() -> list[tuple[str, str]]:
    """(file, text) of every string literal; those that stand beside each other are one."""
    return [(path.name, text) for path, text in (*in_cpp(), *in_python())]


def in_cpp() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "csrc").rglob("*.cpp")):
        text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
        for found in re.finditer(r'"(?:[^"\\\n]|\\.)*"(?:\s*"(?:[^"\\\n]|\\.)*")*', text):
            yield path, re.sub(r'"\s*"', "", found[0])


def in_python() -> Iterator[tuple[Path, str]]:
    for folder in ("interleave_rt", "export", "train"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                    node.value.value = None  # a docstring
                if isinstance(node, ast.JoinedStr):
                    parts = (one.value if isinstance(one, ast.Constant) else "{}" for one in node.values)
                    yield path, "".join(map(str, parts))
                elif isinstance(node, ast.keyword) and node.arg == "hint":
                    yield path, ast.unparse(node.value)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path, node.value


def fields_of(model: type[BaseModel]) -> set[str]:
    found = set(model.model_fields)
    for field in model.model_fields.values():
        pending = [field.annotation]
        while pending:
            one: Any = pending.pop()
            pending += get_args(one)
            if isinstance(one, type) and issubclass(one, BaseModel):
                found |= fields_of(one)
    return found


def settings() -> set[str]:
    classes = (TorchVlm, TorchGenerator, OpenAiVlm, OpenAiGenerator)
    keywords = {name for one in classes for name in inspect.signature(one).parameters}
    known = {name for one in (EngineConfig, Options, Script) for name in one.__dataclass_fields__}
    return known | keywords | fields_of(Manifest) | fields_of(SftRecipe) | fields_of(GrpoRecipe)


def flags() -> set[str]:
    found, pending = set(OF_OTHERS), [typer.main.get_command(app)]
    while pending:
        command: Any = pending.pop()
        found |= {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        pending += getattr(command, "commands", {}).values()
    declared = {
        text for _, text in in_python() if FLAG.fullmatch(text)
    }  # of commands outside the command line
    return found | declared


def test_settings_that_are_named_exist():
    known = settings()
    named = [
        (file, name)
        for file, text in said()
        for found in ADVICE.finditer(text)
        for name in found.groups()
        if name
    ]
    assert {"max_queued", "image_bytes", "max_steps", "max_new_tokens", "timeout_s"} <= {
        name for _, name in named
    }
    assert [(file, name) for file, name in named if name not in known] == []


def test_flags_that_are_named_exist():
    known = flags()
    sentences = [(file, text) for file, text in said() if " " in text]
    named = {(file, flag) for file, text in sentences for flag in FLAG.findall(text)}
    assert len(named) > 30
    assert sorted((file, flag) for file, flag in named if flag not in known) == []
