"""Row after row, and the files that are left: what is measured is on disk as soon as its row is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from interleave_rt.backends.constrain import find_constraint
from interleave_rt.config import EngineConfig, usable_cores
from interleave_rt.engine import Engine
from interleave_rt.errors import BadPackError
from interleave_rt.files import write_file
from interleave_rt.pack import Pack
from interleave_rt.request import Options
from interleave_rt.runtimes import PlainRoles, open_backend
from interleave_rt.worlds.shapes.scene import SIDE

from .calls import measure_calls
from .cost import measure_cost
from .figures import Row
from .gallery import Gallery
from .loop import measure_loop, measure_refined
from .out_of_domain import measure_honesty
from .page import render_page
from .people import measure_people
from .plans import measure_plans, measure_swapped
from .progress import Progress
from .samples import AT_ONCE, Samples
from .settings import ROWS, Settings
from .verdicts import measure_critic

__all__ = ["Evaluation", "check_size", "evaluate", "measure"]

FORMAT = 1

_MEASURES: dict[str, Callable[[Samples], Row]] = {
    "plans": measure_plans,
    "swapped": measure_swapped,
    "calls": measure_calls,
    "refined": measure_refined,
    "critic": measure_critic,
    "loop": measure_loop,
    "honesty": measure_honesty,
    "people": measure_people,
}


@dataclass(slots=True)
class Evaluation:
    """What has been measured so far."""

    pack: dict[str, str]
    settings: Settings
    environment: dict[str, Any]
    gallery: Gallery
    rows: list[Row] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """Names of the figures that miss their targets."""
        return [name for row in self.rows for name in row.missed]

    def document(self) -> dict[str, Any]:
        """Everything but the pictures, as plain data."""
        return {
            "format_version": FORMAT,
            "world": "shapes",
            "pack": self.pack,
            "split": self.settings.split,
            "seed": self.settings.seed,
            "scale": self.settings.scale,
            "seconds": round(sum(row.seconds for row in self.rows), 1),
            "environment": self.environment,
            "rows": {row.name: row.as_dict() for row in self.rows},
            "met": not self.missed,
            "missed": self.missed,
        }

    def save(self, out: Path) -> None:
        """Write `evaluation.json` and `index.html`, each complete or not at all."""
        document = self.document()
        texts = {
            "index.html": render_page(document, self.rows, self.gallery),
            "evaluation.json": json.dumps(document, ensure_ascii=False, indent=2) + "\n",
        }
        for name, text in texts.items():
            write_file(out / name, text)


_MOST_THREADS = 4  # for one call: more do not help models this small


def evaluate(
    pack: Pack,
    settings: Settings,
    out: Path,
    progress: Progress | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure the rows of `settings` in their order, and save into the folder `out` after each.

    Args:
        pack: What is measured, wherever its roles run; where one runs elsewhere, there is no row `cost`.
        settings: Rows, split, sample sizes.
        out: An existing folder.
        progress: Told how far it is.
        environment: What the document says about this machine.

    Raises:
        BadPackError: The pack cannot be loaded, or is of another world.
    """
    if "generator" not in pack.elsewhere:
        check_size(pack, pack.image_size)
    if pack.elsewhere:
        rows = tuple(name for name in settings.rows if name != "cost")
        settings = replace(settings, rows=rows)
    config = EngineConfig(max_live=AT_ONCE)
    backend = open_backend(pack, config=config)
    with ExitStack() as stack:
        stack.callback(backend.detach)
        # Single calls have the machine to themselves, so no role has to leave threads to another one.
        roles = PlainRoles(backend, batching=True, threads=min(_MOST_THREADS, usable_cores()))
        if "generator" in pack.elsewhere:
            height, width, _ = roles.generate("a red circle", None, 0, Options()).shape
            check_size(pack, (width, height))
        engine = cache(lambda: stack.enter_context(Engine(backend, config)))
        return measure(pack, Samples(roles, engine, settings, progress), out, environment)


def check_size(pack: Pack, size: tuple[int, int] | None) -> None:
    """Refuses pictures that the world's oracle cannot read."""
    if size != (SIDE, SIDE):
        made = "no pictures" if size is None else "pictures of {}x{}".format(*size)
        raise BadPackError(
            f"[eval] the pack {pack.name!r} makes {made}; those of this world have {SIDE}x{SIDE} pixels",
            hint="choose a pack that was trained in this version's world",
        )


def measure(
    pack: Pack, samples: Samples, out: Path, environment: Mapping[str, Any] | None = None
) -> Evaluation:
    """As `evaluate`, of samples of any roles."""
    info = {name: text for name, text in pack.info().items() if name != "path"}
    # the settings say what the command was, without this machine's folders; a grammar can change an answer
    machine = {name: value for name, value in (environment or {}).items() if name != "command"}
    machine["constrained"] = str(find_constraint("auto"))
    made = Evaluation(info, samples.settings, machine, samples.gallery)
    for name in ROWS:
        if name in samples.settings.rows:
            began = time.monotonic()
            row = measure_cost(samples, pack) if name == "cost" else _MEASURES[name](samples)
            row.seconds = time.monotonic() - began
            made.rows.append(row)
            made.save(out)
    return made
