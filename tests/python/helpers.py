"""Plain functions that several test files share."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interleave_rt.errors import InterleaveError


@contextmanager
def refused(kind: type[InterleaveError], *words: str, hint: str = "") -> Iterator[pytest.ExceptionInfo]:
    """What is inside raises this error; its message has all the words, its hint has `hint`."""
    with pytest.raises(kind) as caught:
        yield caught
    for word in words:
        assert word in caught.value.message, (word, caught.value.message)
    assert hint in (caught.value.hint or "")


def complains(said: Any, code: int, *words: str) -> None:
    """The command ended with this code and printed nothing but one line of what is wrong and one of what to do."""
    assert (said.code, said.out) == (code, ""), said
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) <= 2
    for word in words:
        assert word in said.err, (word, said.err)


def python(code: str, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a program in a process of its own prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd or "/",
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Fails where the condition has not come true in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def edit_pack(
    pack: Path, change: Callable[[Any], Any] = lambda _: None, files: dict[str, bytes] | None = None
) -> Path:
    """Changes the manifest of a pack's folder, and files to which the manifest then agrees."""
    manifest = json.loads((pack / "pack.json").read_text(encoding="utf-8"))
    for name, data in (files or {}).items():
        (pack / name).write_bytes(data)
        manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change(manifest)
    (pack / "pack.json").write_text(json.dumps(manifest), encoding="utf-8")
    return pack


def picture(seed: int = 0, height: int = 5, width: int = 7) -> np.ndarray:
    """Random pixels: uint8, height x width x 3."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def failing(error: BaseException) -> Callable[..., Any]:
    """A function that raises this, whatever it is called with."""

    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail
