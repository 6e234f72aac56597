"""What is asked for: requests of a seeded world or of a file."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.pack.images import load_image
from interleave_rt.request import Options, Request

__all__ = ["SampleRequest", "numbered_requests", "read_trace", "world_requests"]


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One request; the arm decides about its optimizations and its speculation."""

    request: Request
    options: Options


def numbered_requests(count: int, seed: int, base: Options) -> list[SampleRequest]:
    """Texts without a meaning, for scripted roles, which answer by a hash of what they read."""
    rng = random.Random(f"bench/{seed}")
    return [
        SampleRequest(Request(f"request {index}"), Options.of(base, seed=rng.randrange(2**32)))
        for index in range(count)
    ]


def world_requests(count: int, seed: int, base: Options) -> list[SampleRequest]:
    """Requests of the shapes world's test split, texts only; the same for the same arguments."""
    from interleave_rt.worlds.shapes.requests import sample

    rng = random.Random(f"bench/{seed}")
    return [
        SampleRequest(Request(found.text), Options.of(base, seed=rng.randrange(2**32)))
        for found in sample("test", count, seed, "narrative")
    ]


def read_trace(path: Path, count: int | None, base: Options) -> list[SampleRequest]:
    """Requests from a file: one JSON object a line with `text`, and where wanted `seed`, `images`, `options`.

    Images are paths from the file's folder; they are read once to see that they can be.

    Raises:
        BadRequestError: A line cannot be used; the message names it.
    """
    try:
        # Not splitlines: strings of JSON may hold U+2028 and other ends of lines.
        lines = path.read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"[bench] --trace {path} cannot be read: {error}") from None
    samples: list[SampleRequest] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            samples.append(_sample(json.loads(line), path.parent, base))
        except _UnusableImageError as error:
            raise BadRequestError(
                f"[bench] line {number} of {path}: {error}",
                hint=f"images are PNG, JPEG or WebP files, named from {path.parent.resolve()}",
            ) from None
        except (ValueError, TypeError, RecursionError, InterleaveError) as error:
            said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise BadRequestError(
                f"[bench] line {number} of {path} is not a request: {said}",
                hint='one object a line, e.g. {"text": "Draw a snowman", "seed": 7, "options": {"t_max": 3}}',
            ) from None
        if count is not None and len(samples) == count:
            break
    if not samples:
        raise BadRequestError(f"[bench] {path} holds no request")
    return samples


class _UnusableImageError(Exception):
    """A picture of a request cannot be read."""


def _sample(raw: Any, folder: Path, base: Options) -> SampleRequest:
    if not isinstance(raw, dict):
        raise TypeError("an object is wanted")
    unknown = set(raw) - {"text", "seed", "images", "options"}
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}")
    if "text" not in raw:
        raise ValueError("field 'text' is missing")
    if not isinstance(raw["text"], str):
        raise TypeError("'text' is not a string")
    names, options = raw.get("images", []), raw.get("options", {})
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("'images' is not a list of strings")
    if not isinstance(options, dict):
        raise TypeError("'options' is not an object")
    fixed = {"speculation", "optimizations"} & set(options)
    if fixed:
        raise ValueError(f"{min(fixed)!r} is the arm's, not the request's")
    changes = {**options, "seed": raw["seed"]} if "seed" in raw else options
    sample = SampleRequest(
        Request(raw["text"], tuple(str(folder / name) for name in names)), Options.of(base, **changes)
    )
    for image in sample.request.images:
        try:
            load_image(image)
        except InterleaveError as error:
            raise _UnusableImageError(error.message) from None
    return sample
