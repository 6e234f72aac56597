"""The whole ablation: rows made seed by seed, and after every cell a document, a table, a plot and a page of what is there."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from interleave_rt.files import saving, write_file

from ..record import source_revision
from .cells import Cells
from .claims import CLAIMS, PAPER, Claim, Found, look
from .fixed import critic_tallies
from .made import Export
from .page import render_page
from .planned import planner_tallies
from .rows import REQUESTS, ROWS, Arm, Arms, Settings
from .statistics import Estimate, Tally, estimate

__all__ = ["Ablation", "ablate"]

log = logging.getLogger(__name__)

_PLOTTED = {"refined": "refined prompts", "balanced": "balanced accuracy", "step/3": "steps, T_max 3"}

Tallies = dict[str, dict[int, dict[str, Tally]]]


class Ablation:
    """What has been measured so far.

    Args:
        settings: Of the run.
        cells: Its cells.
    """

    def __init__(self, settings: Settings, cells: Cells) -> None:
        self.settings, self._cells = settings, cells
        self.tallies: Tallies = {}
        self.choice: Mapping[str, float] | None = None

    def add(self, row: str, seed: int, arm: Arm) -> None:
        """Takes in the answers of a row with a seed, which are there."""
        known = self.tallies.setdefault(row, {}).setdefault(seed, {})
        if arm.critic is not None:
            known.update(critic_tallies(self._cells.path(arm.critic)))
        if arm.planner is not None:
            known.update(planner_tallies(self._cells.path(arm.planner)))

    @property
    def figures(self) -> dict[str, dict[str, Estimate]]:
        """By row and figure."""
        found: dict[str, dict[str, Estimate]] = {}
        for row, seeds in self.tallies.items():
            names = list(dict.fromkeys(name for one in seeds.values() for name in one))
            found[row] = {
                name: estimate([one[name] for one in seeds.values() if name in one]) for name in names
            }
        return found

    @property
    def claims(self) -> dict[str, tuple[Claim, Found | None]]:
        """By name; None: a row of it was not measured."""
        return {name: (claim, look(claim, self.tallies)) for name, claim in CLAIMS.items()}

    def document(self) -> dict[str, Any]:
        """Everything as plain data."""
        planned = {row: len(self.settings.seeds_of(row)) for row in self.settings.rows}
        return {
            "format_version": 1,
            "world": "shapes",
            "scale": self.settings.scale,
            "updates": self.settings.length(1000) / 1000,
            "rl updates": self.settings.length(1000, rl=True) / 1000,
            "requests": self.settings.sample(REQUESTS),
            "base": self.settings.base,
            "git_revision": source_revision(),
            "seeds": {row: [len(self.tallies.get(row, {})), count] for row, count in planned.items()},
            "not run": [row for row in ROWS if row not in self.tallies],
            "critic with head-room": self.choice,
            "rows": {
                row: {name: one._asdict() for name, one in figures.items()}
                for row, figures in self.figures.items()
            },
            "claims": {
                name: None if found is None else {**found._asdict(), "difference": found.difference._asdict()}
                for name, (_, found) in self.claims.items()
            },
        }

    def save(self) -> None:
        """Writes `ablation.json`, `rows.csv`, `ablation.png` and `index.html`."""
        out, document, claims = self._cells.out, self.document(), self.claims
        write_file(out / "ablation.json", json.dumps(document, indent=1) + "\n")
        write_file(out / "rows.csv", self._table())
        drawn = self._plot(out / "ablation.png")
        write_file(out / "index.html", render_page(document, ROWS, claims, PAPER, drawn=drawn))

    def _table(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "figure", *Estimate._fields])
        for row, figures in self.figures.items():
            for name, one in figures.items():
                shown = ["" if end is None else f"{end:.4f}" for end in one[:3]]
                writer.writerow([row, name, *shown, one.seeds, one.cases])
        return text.getvalue()

    def _plot(self, path: Path) -> bool:
        """Draws the main figures of the critics, where matplotlib is installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            log.info("no %s: matplotlib is not installed", path)
            return False
        found = self.figures
        rows = [row for row in found if found[row].keys() & _PLOTTED]
        if not rows:
            return False
        figure = Figure(figsize=(12, 1.5 + 0.4 * len(rows)), layout="constrained")
        for axes, (name, title) in zip(
            figure.subplots(1, len(_PLOTTED), sharey=True), _PLOTTED.items(), strict=True
        ):
            for place, row in enumerate(rows):
                one = found[row].get(name)
                if one is None or one.value is None or one.low is None or one.high is None:
                    continue
                axes.plot([one.low, one.high], [place, place], color="tab:blue")
                axes.plot([one.value], [place], "o", color="tab:blue")
            axes.set(title=title, yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
            axes.grid(axis="x", alpha=0.4)
        with saving(path):
            figure.savefig(path, dpi=120)
        return True


def ablate(
    settings: Settings, out: Path, export: Export, say: Callable[[str], None] = lambda _: None
) -> Ablation:
    """Makes and measures rows; what is in the folder is not made again.

    First the choice of the critic with head-room, where one of its rows is wanted; then every row with its first seed,
    then with the second, and so on: what is measured is saved after each.

    Args:
        settings: Which rows, how many seeds, how large.
        out: The folder.
        export: Writes models as graphs.
        say: Told what is being made.

    Raises:
        InterleaveError: A cell cannot be made; the others stay.
    """
    torch.set_num_threads(1)
    cells = Cells(out, say)
    try:
        made = Ablation(settings, cells)
        arms = Arms(settings, cells, export)
        if any(row.startswith("small") for row in settings.rows):
            made.choice = cells.make(arms.choice())
        for seed in range(max(len(settings.seeds_of(row)) for row in settings.rows)):
            for row in settings.rows:
                if seed in settings.seeds_of(row):
                    arm = arms.arm(row, seed)
                    for cell in arm:
                        if cell is not None:
                            cells.make(cell)
                    made.add(row, seed, arm)
                    made.save()
    finally:
        cells.close()
    return made
