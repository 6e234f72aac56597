"""A graph of cells: what is made once, in a folder of its own, under a key of all that decides what it becomes."""

from __future__ import annotations

import csv
import gc
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError
from interleave_rt.files import check_folder, read_json, write_file

from ..data.journal import Journal, key_of

__all__ = ["Cell", "Cells", "Figures"]

Figures = dict[str, float]

_FORMAT = 1  # changes where cells mean something else than before
_DONE = "cell.json"
_HEAD = ("kind", "label", "seed", "key", "cpu_s")


@dataclass(frozen=True)
class Cell:
    """One thing that is made.

    Args:
        kind: What: `data`, `sft`, `rl`, ...; the folder is called by it.
        label: For people: whose it is. Two cells that differ in their labels alone are one.
        seed: Of the row; a cell that no seed changes has 0.
        told: Plain data that decides the result, beside what it is made from.
        make: Makes the files, given its folder and those of `needs`; returns figures. Called again after it was
            killed, it goes on from what is there.
        needs: Cells that it is made from.
    """

    kind: str
    label: str
    seed: int
    told: Mapping[str, Any]
    make: Callable[[Path, Sequence[Path]], Mapping[str, float]] = field(compare=False, repr=False)
    needs: tuple[Cell, ...] = ()

    @cached_property
    def key(self) -> str:
        """Of its content: settings, and the keys of what it is made from."""
        return key_of(_FORMAT, self.kind, self.told, [one.key for one in self.needs])

    @property
    def folder(self) -> str:
        """Its folder's name."""
        return f"{self.kind}-{self.key[:12]}"


class Cells:
    """The cells of a folder. One process at a time.

    Args:
        out: The folder: a folder a cell, `cells.csv`.
        say: Told what is being made.

    Raises:
        BadRequestError: The folder cannot be used, or another process is at work in it.
    """

    def __init__(self, out: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.out, self._say = check_folder(out), say
        self._lock = Journal(out / "lock")
        self._told: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        """Lets another process at it."""
        self._lock.close()

    def path(self, cell: Cell) -> Path:
        """Where its files lie."""
        return self.out / cell.folder

    def made(self, cell: Cell) -> Figures | None:
        """The figures of a cell that is there; None: it is not, or not whole."""
        if cell.folder not in self._told:
            place = self.path(cell) / _DONE
            if not place.exists():
                return None
            self._told[cell.folder] = read_json(place, what="ablation")
        found = self._told[cell.folder]
        if found["key"] != cell.key:
            raise BadRequestError(f"[ablation] {self.path(cell)} is another cell", hint="delete it")
        figures: Figures = found["figures"]
        return figures

    def make(self, cell: Cell) -> Figures:
        """The figures of a cell, which is made, after all that it needs, where it is not there."""
        if (known := self.made(cell)) is not None:
            return known
        for need in cell.needs:
            self.make(need)
        self._say(f"{cell.kind} {cell.label}, seed {cell.seed} ({cell.folder})")
        folder = self.path(cell)
        folder.mkdir(exist_ok=True)
        began, ticks = time.monotonic(), time.process_time()
        figures = {name: float(value) for name, value in cell.make(folder, self._needed(cell)).items()}
        gc.collect()  # trainers hold themselves, and there may be a hundred of them
        line = {
            "kind": cell.kind,
            "label": cell.label,
            "seed": cell.seed,
            "key": cell.key,
            "cpu_s": round(time.process_time() - ticks, 1),
            "wall_s": round(time.monotonic() - began, 1),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "needs": [need.folder for need in cell.needs],
            "told": cell.told,
            "figures": figures,
        }
        write_file(folder / _DONE, json.dumps(line, indent=1, ensure_ascii=False) + "\n")
        self._table()
        return figures

    def _needed(self, cell: Cell) -> list[Path]:
        return [self.path(need) for need in cell.needs]

    def _table(self) -> None:
        """Writes `cells.csv`: a line for each cell of the folder that is there, whichever run has made it."""
        lines = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(self.out.glob(f"*/{_DONE}"))]
        names = sorted({name for line in lines for name in line["figures"]})
        text = io.StringIO()
        writer = csv.DictWriter(text, [*_HEAD, *names], lineterminator="\n")
        writer.writeheader()
        for line in lines:
            shown = {name: f"{value:.6g}" for name, value in line["figures"].items()}
            writer.writerow({**{name: line[name] for name in _HEAD}, **shown})
        write_file(self.out / "cells.csv", text.getvalue())
