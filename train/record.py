"""What is kept of a training run: how it was called, on what, and how loss and measures went.

It lies in `record/` of the part's directory: `config.json` beside the weights is the model's own.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from interleave_rt.files import saving, write_file

__all__ = ["FOLDER", "Record", "Table", "source_revision", "write_config"]

log = logging.getLogger(__name__)

FOLDER = "record"
_PACKAGES = ("torch", "transformers", "diffusers", "trl", "peft", "accelerate", "datasets", "numpy")


def source_revision(folder: Path = Path(__file__).parent) -> str | None:
    """The git revision of the source tree, ending in "-dirty" where files differ from it; None where there is none."""
    git = ("git", "--no-optional-locks", "-C", str(folder))
    try:
        # A package that was installed below somebody's repository is not part of it.
        subprocess.run([*git, "ls-files", "--error-unmatch", "__init__.py"], check=True, capture_output=True)
        found = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_config(out: Path, config: Mapping[str, Any], start: int = 0) -> None:
    """Write `config.json`; that of the run that is resumed at iteration `start` is kept in it."""
    path = out / FOLDER / "config.json"
    resumed = json.loads(path.read_text(encoding="utf-8")) if start and path.exists() else None
    document = {
        "arguments": config,
        "start": start,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git_revision": source_revision(),
        "packages": {package: _version(package) for package in _PACKAGES},
        "threads": torch.get_num_threads(),
        "resumed": resumed,
    }
    _write(path, json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


class Table:
    """A CSV file with a line for each iteration; what an earlier run logged up to iteration `start` stays.

    Args:
        path: Of the file; written whole after every line.
        head: Columns that come first, `iteration` among them.
        start: The iteration that the run goes on from.
    """

    def __init__(self, path: Path, head: Sequence[str], start: int) -> None:
        self._path, self._head = path, head
        self.rows = {at: row for at, row in _read(path).items() if at <= start}
        self._save()

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add a line, or to the line that this iteration has."""
        self.rows.setdefault(iteration, {"iteration": iteration}).update(values)
        self._save()

    @property
    def columns(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys((*self._head, *(name for row in self.rows.values() for name in row))))

    def _save(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows.values())
        _write(self._path, text.getvalue())


class Record:
    """The record of one run under `out`; what an earlier run logged up to iteration `start` stays.

    Example:
        >>> record = Record(Path("runs/shapes/vae"), {"seed": 0}, start=0)  # doctest: +SKIP
        >>> record.log(200, loss=0.1, exact=0.5)  # doctest: +SKIP
        >>> record.close()  # doctest: +SKIP
    """

    def __init__(self, out: Path, config: Mapping[str, Any], start: int) -> None:
        self._name, self._folder = out.name, out / FOLDER
        write_config(out, config, start)
        self._curve = Table(self._folder / "curve.csv", ("iteration", "seconds", "loss"), start)
        logged = (row["seconds"] for row in self._curve.rows.values())
        self._began = time.monotonic() - max(logged, default=0.0)

    def log(self, iteration: int, /, **values: float) -> None:
        """Add a line to `curve.csv`, or to the line that this iteration has."""
        seconds = round(time.monotonic() - self._began, 1)
        shown = {name: float(f"{value:.6g}") for name, value in values.items()}
        self._curve.log(iteration, {"seconds": seconds, **shown})

    def close(self) -> None:
        """Draw `curve.png`, where matplotlib is installed; raises `BadRequestError` where it cannot be written."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            log.info("no %s: matplotlib is not installed", self._folder / "curve.png")
            return
        figure = Figure(figsize=(10, 7), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True)
        for name in self._curve.columns[2:]:
            points = [(at, row[name]) for at, row in self._curve.rows.items() if name in row]
            axes[0 if name == "loss" else 1].plot(*zip(*points, strict=True), marker=".", label=name)
        axes[0].set(title=self._name, ylabel="loss")
        axes[1].set(xlabel="iteration", ylabel="measures")
        if axes[1].lines:
            axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
        with saving(self._folder / "curve.png"):
            figure.savefig(self._folder / "curve.png", dpi=120)


def _read(path: Path) -> dict[int, dict[str, float]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = [{name: float(text) for name, text in line.items() if text} for line in csv.DictReader(file)]
    return {int(line["iteration"]): line | {"iteration": int(line["iteration"])} for line in lines}


def _write(path: Path, text: str) -> None:
    """Write a file in one move, so that a stopped run leaves a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text)
