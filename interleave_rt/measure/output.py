"""A result as a file: JSON, CSV, or a picture; and what `simulate` shares of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interleave_rt.errors import BadRequestError
from interleave_rt.files import check_file, saving, write_file

from .record import ROLES
from .runner import Measurement
from .statistics import flatten


def check_output(path: Path, option: str = "--output", endings: Sequence[str] = (".json", ".csv")) -> None:
    """Raises `BadRequestError` before anything is measured."""
    if path.suffix not in endings:
        raise BadRequestError(f"{option} is {path}", hint=f"a file that ends in {' or '.join(endings)}")
    with saving(path):  # names that the system does not take
        there = path.resolve().parent.is_dir()
    if not there:
        raise BadRequestError(f"{path} cannot be written", hint="name a file in a folder that exists")
    check_file(path)


def check_plot(path: Path) -> None:
    """Likewise."""
    check_output(path, "--plot", (".png", ".svg", ".pdf"))
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise BadRequestError("--plot needs matplotlib", hint="pip install 'interleave-rt[bench]'") from None


def save_json(document: Any, path: Path) -> None:
    """Writes plain data; `BadRequestError` where the file cannot be written."""
    write_file(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """One line a row, columns in order of first appearance; `BadRequestError` where it cannot be written."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(listed)
    write_file(path, text.getvalue())


def save_document(document: Mapping[str, Any], path: Path) -> None:
    """JSON as it is, or CSV with one dotted key and its value a line; `BadRequestError` where it cannot be written."""
    if path.suffix == ".json":
        save_json(document, path)
    else:
        write_csv([{"key": key, "value": value} for key, value in flatten(document).items()], path)


def save_plot(found: Measurement, document: Mapping[str, Any], path: Path) -> None:
    """Left the distribution of the latency, right how busy the roles were.

    Raises:
        BadRequestError: The file cannot be written.
    """
    arms = found.config.arms
    width = 0.8 / len(arms)
    with two_plots(path) as (figure, left, right):
        for number, arm in enumerate(arms):
            took = sorted(1000 * record.e2e_s for record in found.records(arm.name) if record.finished)
            if took:
                share = [100 * (i + 1) / len(took) for i in range(len(took))]
                left.step(took, share, where="post", label=arm.name)
            stages = document["arms"][arm.name]["stages"]
            at = [i + (number - (len(arms) - 1) / 2) * width for i in range(len(ROLES))]
            right.bar(at, [100 * (stages[role]["busy"] or 0.0) for role in ROLES], width, label=arm.name)
        left.set(xlabel="end-to-end latency, ms", ylabel="requests, %", ylim=(0, 100))
        left.set_xlim(left=0)
        right.set(ylabel="busy, % of the time", ylim=(0, 100))
        right.set_xticks(range(len(ROLES)), ROLES)
        left.legend()
        scenario = document["scenario"]
        figure.suptitle(f"{scenario['target']}, {scenario['name']}, {scenario['requests']} requests")


@contextmanager
def two_plots(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """A figure with two axes side by side, written at the end; `BadRequestError` where the file cannot be."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    try:
        left.grid(alpha=0.3)
        right.grid(alpha=0.3)
        yield figure, left, right
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix[1:])
        write_file(path, drawn.getvalue())
    finally:
        plt.close(figure)
