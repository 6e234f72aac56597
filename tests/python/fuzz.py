"""Whatever comes from outside, mutated: what comes out is a value or an error of the tree, soon, and memory stays bounded.

    python tests/python/fuzz.py TARGET [COUNT [SEED]]

An input is a function of target, seed and number, and a failure prints the three. Targets are the keys of `TARGETS`.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from helpers import wait_until
from PIL import Image

from interleave_rt import Engine, Options, Request, Result
from interleave_rt.backends.native import _check_table, _token_table
from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadPackError, BadRequestError, InterleaveError, OverloadedError
from interleave_rt.measure.load import read_trace
from interleave_rt.pack import EMBEDDED
from interleave_rt.pack.images import load_image
from interleave_rt.pack.manifest import Manifest, load_manifest
from interleave_rt.result import event_from_dict

SECONDS_EACH = 5.0
Try = Callable[[random.Random], object]

MANIFEST = (EMBEDDED / "pack.json").read_bytes()
ROLE = Manifest.model_validate_json(MANIFEST).roles.critic
TABLE = (EMBEDDED / ROLE.token_bytes).read_bytes()
TEXTS = [
    *(
        "",
        " ",
        "\n",
        "Draw a snowman",
        "<image>",
        "<image> and <image>",
        "\ud800",
        "a\0b",
        "\x1b[31mred",
        "..",
        "../x",
    ),
    *(
        "/dev/zero",
        "nan",
        "1e999",
        "null",
        "{}",
        "%s",
        "☃" * 50,
        "\u202eabc",
        "\ufffe",
        "<answer>",
        "a" * 3000,
    ),
    *("auto", "off", "depth=2", "depth=99", "depth=-1", "depth=²", "last", "best", "on", "reference", "12GB"),
]
NUMBERS = [
    0,
    1,
    -1,
    2,
    5,
    16,
    96,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    -(2**63) - 1,
    10**400,
]
FLOATS = [0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan")]


def plain(rng: random.Random, depth: int = 2) -> Any:
    """A value that JSON has."""
    kind = rng.randrange(8 if depth else 6)
    if kind < 2:
        return (
            rng.choice(TEXTS)
            if rng.random() < 0.7
            else "".join(chr(rng.randrange(0x300)) for _ in range(rng.randrange(9)))
        )
    if kind < 4:
        return rng.choice(NUMBERS) if rng.random() < 0.7 else rng.randrange(-10, 200)
    if kind == 4:
        return rng.choice(FLOATS)
    if kind == 5:
        return rng.choice([None, True, False])
    inner = [plain(rng, depth - 1) for _ in range(rng.randrange(4))]
    return inner if kind == 6 else {str(rng.choice(TEXTS)): one for one in inner}


def anything(rng: random.Random) -> Any:
    """A value that Python has."""
    made: list[Callable[[], Any]] = [
        lambda: np.int64(rng.randrange(-5, 50)),
        lambda: np.uint64(2**64 - 1),
        lambda: np.float32(rng.choice([0.5, float("nan"), float("inf")])),
        lambda: np.array(rng.randrange(5)),
        lambda: rng.randbytes(rng.randrange(30)),
        object,
        lambda: rng,
        lambda: complex(1, 1),
        lambda: (plain(rng),),
        lambda: {plain(rng, 0)},
        lambda: np.zeros(
            [rng.choice([0, 1, 2, 3, 40]) for _ in range(rng.randrange(4))],
            rng.choice(["u1", "f4", "i8", "U1"]),
        ),
        lambda: Image.new(
            rng.choice(["RGB", "L", "1", "P", "CMYK", "RGBA", "I", "F", "La", "I;16"]),
            (rng.randrange(40), rng.randrange(40)),
        ),
    ]
    return rng.choice(made)() if rng.random() < 0.4 else plain(rng)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes of it changed, lost, doubled or moved."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at, length = rng.randrange(len(out) + 1), min(len(out), rng.choice([1, 1, 4, 64]))
        what = rng.randrange(5)
        if what == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            del out[at : at + length]
        elif what == 2:
            out[at:at] = rng.choice(
                [
                    b"\0",
                    b"\xff" * 4,
                    b'"',
                    b"[" * 50,
                    b"{",
                    b"\\ud800",
                    b"9" * 30,
                    b"-",
                    rng.randbytes(length),
                ]
            )
        elif what == 3:
            out[at : at + length] = out[max(0, at - length) : at]
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a tree."""
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from ways(inner, (*way, key))


def edited(tree: Any, places: list[tuple[Any, ...]], rng: random.Random) -> Any:
    """The tree, with some values changed, gone, or under another name."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        way, place = rng.choice(places), tree
        if not way:
            return plain(rng, 3)
        try:
            for key in way[:-1]:
                place = place[key]
            if (what := rng.random()) < 0.7:
                place[way[-1]] = plain(rng)
            elif what < 0.85:
                del place[way[-1]]
            elif isinstance(place, dict):
                place[rng.choice(TEXTS)] = place.pop(way[-1])
        except (KeyError, IndexError, TypeError):
            pass  # an edit before has taken the place away
    return tree


class Mutated:
    """A JSON document, as tree and as bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._places = data, list(ways(json.loads(data)))

    def tree(self, rng: random.Random) -> Any:
        """One with some values edited."""
        return edited(json.loads(self._data), self._places, rng)

    def bytes(self, rng: random.Random) -> bytes:
        """One of either kind, or what is no JSON."""
        if rng.random() < 0.6:
            return json.dumps(self.tree(rng)).encode("utf-8", "surrogatepass")
        return damaged(self._data, rng)


def write_anew(path: Path, data: bytes) -> None:
    """A new file each time: some file systems go to the disk where an old one is cut and written again."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def requests(folder: Path) -> Iterator[Try]:  # noqa: ARG001
    """Texts, pictures and options into an engine of made-up roles."""
    script = Script(planner_ms=0, first_step_ms=0, generator_ms=0, critic_ms=0, verdict_ms=0)
    with Engine(
        ScriptedBackend(script), EngineConfig(max_live=4, max_unforgotten=16, image_bytes=8 << 20)
    ) as engine:

        def one(rng: random.Random) -> None:
            images = rng.choice([(), (), anything(rng), [anything(rng) for _ in range(rng.randrange(3))]])
            text = rng.choice(TEXTS) if rng.random() < 0.8 else anything(rng)
            try:
                engine.submit(text, images, **rng.choice([{}, {"seed": plain(rng, 0)}])).close()
            except OverloadedError:
                engine.run("drawn to its end", t_max=1, max_steps=1)

        yield one
        assert engine.drain(20)
        wait_until(lambda: not engine.counters()["running_calls"])  # calls of requests that were given up
        counters = engine.counters()
        # nothing that was refused has left a picture behind
        assert counters["images"] == 0 == counters["live"], counters


def options(folder: Path) -> Iterator[Try]:  # noqa: ARG001
    """Fields of options and of engine configurations; what is taken is finite, and survives JSON."""

    def one(rng: random.Random) -> None:
        kind = rng.choice([Options, EngineConfig, Script])
        names = [each.name for each in fields(kind)]
        changes = {
            rng.choice([*names, "unknown"]) if rng.random() < 0.02 else rng.choice(names): anything(rng)
            for _ in range(rng.randrange(1, 4))
        }
        changes.pop("optimizations", None)
        if kind is Script:
            ScriptedBackend(Script(**{name: value for name, value in changes.items() if name in names}))
            return
        made = (
            Options.of(None, **changes)
            if kind is Options
            else kind(**{name: value for name, value in changes.items() if name in names})
        )
        told = made.for_core()
        if kind is Options:
            back = Options.from_dict(json.loads(json.dumps(made.as_dict(), allow_nan=False)))
            assert back == made
            assert 0 <= told["seed"] < 2**64

    yield one


def manifests(folder: Path) -> Iterator[Try]:
    """`pack.json`."""
    source = Mutated(MANIFEST)

    def one(rng: random.Random) -> None:
        write_anew(folder / "pack.json", source.bytes(rng))
        manifest = load_manifest(folder)
        for where, path in manifest.referenced():
            assert path in manifest.files, where
            assert not path.startswith("/") and ".." not in path.split("/")

    yield one


def tables(folder: Path) -> Iterator[Try]:
    """The bytes of tokens."""
    source = Mutated(json.dumps({**json.loads(TABLE), "tokens": json.loads(TABLE)["tokens"][:40]}).encode())
    whole = Mutated(TABLE)

    def one(rng: random.Random) -> None:
        file = folder / "token_bytes.json"
        write_anew(file, (whole if rng.random() < 0.01 else source).bytes(rng))
        tokens, special = _token_table(file)
        assert all(isinstance(token, bytes) for token in tokens)
        assert all(isinstance(number, int) for number in special)
        _check_table(file, tokens, ROLE)
        assert len(tokens) >= ROLE.architecture.vocab

    yield one


def encoded_pictures() -> dict[str, bytes]:
    """Small files of each format, and of the kinds that phones and scanners write."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (24, 40, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (24, 40), dtype=np.uint16))
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *((colours, name, {}) for name in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")),
        (colours.convert("RGBA"), "PNG", {}),
        (colours.convert("P"), "PNG", {"transparency": 3}),
        (colours.convert("CMYK"), "JPEG", {"progressive": True, "icc_profile": b"x" * 200}),
        (colours, "MPO", {"save_all": True, "append_images": [colours]}),
        (colours, "GIF", {"save_all": True, "append_images": [deep.convert("RGB")]}),
        (deep, "PNG", {}),
    ]
    found = {}
    for index, (image, name, settings) in enumerate(kinds):
        buffer = io.BytesIO()
        image.save(buffer, name, **settings)
        found[f"{name} {index}"] = buffer.getvalue()
    return found


def images(folder: Path) -> Iterator[Try]:  # noqa: ARG001
    """Encoded pictures of six formats; TIFF is one that stays shut."""
    sources = list(encoded_pictures().values())

    def one(rng: random.Random) -> None:
        pixels = load_image(damaged(rng.choice(sources), rng), max_pixels=1 << 20, sides=(16, 128))
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert 16 <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= 128

    yield one


def traces(folder: Path) -> Iterator[Try]:
    """Requests of `bench --trace`."""
    (folder / "picture.png").write_bytes(encoded_pictures()["PNG 0"])
    lines = [
        {"text": "Draw a snowman", "seed": 7, "options": {"t_max": 3, "keep": "best", "deadline_s": 5.5}},
        {
            "text": "<image> add a star",
            "images": ["picture.png"],
            "options": {"width": 64, "seeds": "reference"},
        },
    ]
    sources = [Mutated(json.dumps(line).encode()) for line in lines]

    def one(rng: random.Random) -> None:
        path = folder / "trace.jsonl"
        write_anew(path, b"\n".join(rng.choice(sources).bytes(rng) for _ in range(rng.randrange(1, 4))))
        for sample in read_trace(path, None, Options()):
            assert isinstance(sample.request, Request)

    yield one


def results(folder: Path) -> Iterator[Try]:  # noqa: ARG001
    """`result.json` and events."""
    with Engine(ScriptedBackend(Script(text_only_prob=0.3))) as engine:
        events = list(engine.stream("x", t_max=2))
    sources = [Mutated(json.dumps(event.as_dict()).encode()) for event in events]
    result = Mutated(json.dumps(events[-1].result.as_dict()).encode())

    def one(rng: random.Random) -> None:
        event_from_dict(rng.choice(sources).tree(rng))
        Result.from_dict(result.tree(rng))

    yield one


TARGETS: dict[str, tuple[Callable[[Path], Iterator[Try]], type[InterleaveError]]] = {
    "requests": (requests, InterleaveError),
    "options": (options, BadRequestError),
    "manifests": (manifests, BadPackError),
    "tables": (tables, BadPackError),
    "images": (images, BadRequestError),
    "traces": (traces, BadRequestError),
    "results": (results, BadRequestError),
}


def fuzz(
    target: str, count: int, seed: int, folder: Path, say: Callable[[str], None] = lambda _: None
) -> dict[str, int]:
    """Tries inputs; returns how many were taken and how many refused. Raises what should never be raised."""
    prepare, kind = TARGETS[target]
    counted = {"taken": 0, "refused": 0}
    prepared = prepare(folder)
    one = next(prepared)
    for number in range(count):
        begin = time.process_time()
        try:
            one(random.Random(f"{target}/{seed}/{number}"))
            counted["taken"] += 1
        except kind as error:
            # What is said can be shown: on a terminal, in a log, as JSON.
            assert 10 < len(str(error)) < 10_000
            str(error).encode("utf-8")
            counted["refused"] += 1
        except BaseException:
            print(f"fuzz: {target}, seed {seed}, input {number}", file=sys.stderr)
            raise
        assert time.process_time() - begin < SECONDS_EACH, (target, seed, number)
        if (number + 1) % 100_000 == 0:
            say(f"{target}: {number + 1} {counted}")
    assert next(prepared, None) is None
    return counted


def main(target: str, count: str = "1000000", seed: str = "1") -> None:
    """The command; memory is limited to 2 GiB more than there is at the start."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 30),) * 2)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        found = fuzz(target, int(count), int(seed), Path(folder), lambda text: print(text, flush=True))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{target}: {count} inputs, seed {seed}: {found}, {time.monotonic() - begin:.0f} s, peak {rss} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
