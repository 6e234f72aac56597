"""The load: how requests come in, the same for an engine and for virtual time; which ones; what is a good answer."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from interleave_rt.checks import one_of, within
from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.files import MAX_JSON_BYTES, read_text
from interleave_rt.pack.images import load_image
from interleave_rt.request import Options, Request
from interleave_rt.shown import for_people

Scenario = Literal["single-stream", "closed-loop", "server", "offline"]
MAX_SEED = 2**64 - 1
MAX_REQUESTS = 1_000_000
MAX_ARRIVAL_US = 10**15


@dataclass(frozen=True, slots=True)
class Load:
    """When requests come in, how many may be under way, and which of them count as good.

    Args:
        scenario: `single-stream`: one request at a time; `closed-loop`: `concurrency` at a time; `server`: they come
            in at `request_rate` a second; `offline`: all at once.
        concurrency: Of a closed loop.
        request_rate: Of a server, requests a second; infinite: all at once.
        burstiness: Of a server, the shape of the gamma-distributed gaps: 1 is a Poisson process, less comes in bursts,
            more is more even.
        max_live: Requests that run at once.
        max_queued: Requests that wait beyond those, one more is refused; None: no limit that is ever reached.
        seed: Of the arrivals, and of whatever else is drawn.
        percentiles: Of all latencies in the document, 0 to 100.
        slo_ms: Limits by name (`e2e`, `ttfi`): a request that keeps all of them counts for the goodput.
    """

    scenario: Scenario = "single-stream"
    concurrency: int = 1
    request_rate: float = math.inf
    burstiness: float = 1.0
    max_live: int = 8
    max_queued: int | None = None
    seed: int = 0
    percentiles: Sequence[float] = (50.0, 90.0, 95.0, 99.0)
    slo_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("--scenario", self.scenario, get_args(Scenario))
        check_seed(self.seed)
        within("--concurrency", self.concurrency, 1, MAX_REQUESTS)
        within("--max-live", self.max_live, 1, MAX_REQUESTS)
        within("--max-queued", self.max_queued or 0, 0, MAX_REQUESTS)
        if not self.request_rate > 0 or not 0 < self.burstiness < math.inf:
            raise BadRequestError(
                f"--request-rate is {self.request_rate}, --burstiness is {self.burstiness}: "
                "numbers above 0 are wanted"
            )
        unknown = sorted(set(self.slo_ms) - {"e2e", "ttfi"})
        if unknown:
            raise BadRequestError(f"--slo has no limit {unknown[0]!r}", hint="limits: e2e, ttfi")

    @property
    def under_way(self) -> int | None:
        """Requests that a closed loop keeps under way; None: they come in by themselves."""
        return {"single-stream": 1, "closed-loop": self.concurrency}.get(self.scenario)

    def arrivals_us(self, count: int) -> list[int]:
        """Microseconds from the first request to each of the first `count` ones (`server` and `offline`)."""
        rate = self.request_rate if self.scenario == "server" else math.inf
        return arrivals_us(count, rate, self.burstiness, self.seed)


def check_seed(seed: int) -> None:
    """Raises `BadRequestError` where `seed` is none."""
    if not 0 <= seed <= MAX_SEED:
        raise BadRequestError(f"--seed is {seed}", hint="a whole number from 0 to 2^64 - 1, e.g. 7")


def arrivals_us(count: int, rate: float, burstiness: float, seed: int) -> list[int]:
    """When requests come in: gamma-distributed gaps of mean 1 / `rate` seconds and shape `burstiness`.

    Returns:
        Whole microseconds from the first request on, which is at 0. More requests prolong the list and leave its
        beginning as it is.

    Raises:
        BadRequestError: The last request would never come.
    """
    if math.isinf(rate):
        return [0] * count
    source = np.random.Generator(np.random.Philox(key=seed, counter=[1, 0, 0, 0]))
    each = rate * burstiness
    gaps = source.gamma(burstiness, 1e6 / each if each > 0 else math.inf, size=count)
    at = np.concatenate([[0.0], np.cumsum(gaps)[:-1]])
    if not at[-1] <= MAX_ARRIVAL_US:
        raise BadRequestError(
            f"--request-rate is {rate}, --burstiness is {burstiness}: the last request would come after "
            f"{MAX_ARRIVAL_US // 10**6:g} s",
            hint="take a higher rate, or fewer requests",
        )
    return [round(one) for one in at.tolist()]


def parse_numbers(option: str, text: str, most: float, hint: str) -> tuple[float, ...]:
    """Reads numbers from 0 to `most`, separated by commas: `50,90,99`."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 <= value <= most for value in found):
        raise BadRequestError(f"{option} is {text!r}", hint=f"numbers from 0 to {most:g}, e.g. {hint}")
    return found


def parse_percentiles(text: str) -> tuple[float, ...]:
    """Reads `--percentiles`."""
    return parse_numbers("--percentiles", text, 100, "50,90,99")


def parse_slo(text: str) -> dict[str, float]:
    """Reads `e2e:500,ttfi:200` (milliseconds); nothing: no limits."""
    limits = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition(":")
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not 0 <= limit < math.inf:
            raise BadRequestError(f"--slo is {text!r}", hint="milliseconds by name, e.g. e2e:500,ttfi:200")
        limits[name.strip()] = limit
    return limits


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
    # Not splitlines: strings of JSON may hold U+2028 and other ends of lines.
    lines = read_text(path, MAX_JSON_BYTES, what="--trace").split("\n")
    samples: list[SampleRequest] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            sample = _sample(json.loads(line), path.parent, base)
        except (ValueError, TypeError, RecursionError, InterleaveError) as error:
            said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise BadRequestError(
                f"[bench] line {number} of {path} is not a request: {said}",
                hint='one object a line, e.g. {"text": "Draw a snowman", "seed": 7, "options": {"t_max": 3}}',
            ) from None
        for image in sample.request.images:
            try:
                load_image(image)
            except InterleaveError as error:
                raise BadRequestError(
                    f"[bench] line {number} of {path}: {for_people(error.message)}",
                    hint=f"images are PNG, JPEG or WebP files, named from {path.parent.resolve()}",
                ) from None
        samples.append(sample)
        if len(samples) == count:
            break
    if not samples:
        raise BadRequestError(f"[bench] {path} holds no request")
    return samples


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
    return SampleRequest(
        Request(raw["text"], tuple(str(folder / name) for name in names)), Options.of(base, **changes)
    )
