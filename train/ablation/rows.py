"""The rows of the ablation as a graph of cells: which models, from which sets, judged by which answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from interleave_rt.errors import BadRequestError

from ..recipe import GrpoRecipe, SftRecipe, load_grpo, load_sft
from . import made
from .cells import Cell, Cells

__all__ = ["REQUESTS", "ROWS", "Arm", "Arms", "Row", "Settings"]


class Row(NamedTuple):
    """A row: what it is, whether its critic or its planner is measured (or both), and how many seeds it has."""

    title: str
    measured: tuple[str, ...]
    seeds: int


ROWS: Mapping[str, Row] = {
    "no-planner": Row("no planner: the request is the only prompt", ("planner",), 2),
    "planner-sft": Row("planner SFT", ("planner",), 2),
    "critic-form": Row("+ critic, format-only cold start", ("critic",), 5),
    "critic-sft": Row("+ critic SFT", ("critic",), 5),
    "critic-rl": Row("+ critic RL", ("critic",), 5),
    "rl-no-step": Row("RL without the step-wise reward", ("critic",), 5),
    "rl-no-kl": Row("RL without KL", ("critic",), 5),
    "small-sft": Row("critic SFT with head-room", ("critic",), 5),
    "small-rl": Row("RL of that critic", ("critic",), 5),
    "small-no-accuracy": Row("RL of that critic without the accuracy reward", ("critic",), 5),
    "unfiltered": Row("critic SFT on unfiltered data", ("critic",), 5),
    "one-agent": Row("one agent for both: SFT", ("critic", "planner"), 2),
}
"""By name, in the order in which they are made."""

BASES = ("critic", "planner")
GENERATOR = "pack"
"""Of the sets."""
_MOST = 10.0
_PROMPTS = 800  # of which the sets are made
_WORDS = 300  # that are asked for at once: more prompts than are wanted
REQUESTS = 1000  # of validation, whose steps critics judge
_PLANNED = 300  # of validation, that planners plan
_CHOOSING = 200  # of validation, with which the critic with head-room is chosen
_UPDATES = 300  # of SFT; RL's are its recipe's
_SHARES = (0.125, 0.25, 0.5, 0.75)  # of these updates: critics with head-room to choose from
_HEADROOM = (0.80, 0.88)  # balanced accuracy that it should have
_SEED = 1  # of sets and requests
_RL: Mapping[str, Mapping[str, float]] = {
    "critic-rl": {},
    "rl-no-step": {"alpha": 1.0},
    "rl-no-kl": {"kl": 0.0},
    "small-rl": {},
    "small-no-accuracy": {"alpha": 0.0},
}
"""What is changed of the recipe."""
_CRITIC_SET = f"{made.SETS}/trl_critic_sft.jsonl"
_RL_SET = f"{made.SETS}/trl_critic_rl.jsonl"
_PLANNER_SET = f"{made.SETS}/trl_planner_sft.jsonl"


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked when they are made.

    Args:
        rows: Names of `ROWS`.
        seeds: Of every row at most; 0: as many as it has.
        scale: Factor of sets and requests.
        updates: Factor of the updates of SFT and RL; None: `scale`, at most 1.
        rl_updates: Of RL's alone; None: as `updates`.
        requests: Of validation, that each critic and each planner is measured with, at most; 0: as `scale` says.
        base: The embedded model that critics, and the one agent, are trained from: `critic`, which knows verdicts already,
            or `planner`, which sees and reads and has to learn them. Planners are trained from `planner`.
    """

    rows: tuple[str, ...] = tuple(ROWS)
    seeds: int = 0
    scale: float = 1.0
    updates: float | None = None
    rl_updates: float | None = None
    requests: int = 0
    base: str = "critic"

    def __post_init__(self) -> None:
        unknown = [name for name in self.rows if name not in ROWS]
        names = "rows are " + ", ".join(ROWS)
        for wrong, what, hint in (
            (bool(unknown), f"there is no row {next(iter(unknown), None)!r}", names),
            (len({*self.rows}) < max(1, len(self.rows)), "--rows names a row twice, or none", names),
            (
                not 0 <= self.seeds <= 100,
                f"--seeds is {self.seeds}",
                "from 1 to 100; 0: as many as a row has",
            ),
            (not _sized(self.scale), f"--scale is {self.scale}", f"a number above 0, at most {_MOST:g}"),
            *(
                (
                    factor is not None and not _sized(factor),
                    f"{option} is {factor}",
                    f"a number above 0, at most {_MOST:g}",
                )
                for option, factor in (("--updates", self.updates), ("--rl-updates", self.rl_updates))
            ),
            (self.requests < 0, f"--requests is {self.requests}", "a whole number; 0: as --scale says"),
            (self.base not in BASES, f"--base is {self.base!r}", "it is " + " or ".join(BASES)),
        ):
            if wrong:
                raise BadRequestError(f"[ablation] {what}", hint=hint)

    @staticmethod
    def rows_of(text: str) -> tuple[str, ...]:
        """The names in a comma list, in the order of `ROWS`; all of them for an empty text."""
        given = [name.strip() for name in text.split(",") if name.strip()]
        return (
            *(name for name in ROWS if name in given),
            *(name for name in given if name not in ROWS),
        ) or tuple(ROWS)

    def size(self, count: int) -> int:
        """Requests or prompts of a sample."""
        return max(2, round(count * self.scale))

    def sample(self, count: int) -> int:
        """Requests that something is measured with."""
        return min(self.size(count), self.requests or self.size(count))

    def length(self, updates: int, *, rl: bool = False) -> int:
        """Updates of a run."""
        factor = min(1.0, self.scale) if self.updates is None else self.updates
        if rl and self.rl_updates is not None:
            factor = self.rl_updates
        return max(1, round(updates * factor))

    def seeds_of(self, row: str) -> range:
        """The seeds of a row."""
        return range(min(ROWS[row].seeds, self.seeds) if self.seeds else ROWS[row].seeds)


def _sized(factor: float) -> bool:
    return math.isfinite(factor) and 0 < factor <= _MOST


class Arm(NamedTuple):
    """What is measured of a row with one seed: the cells of its critic's and its planner's answers."""

    critic: Cell | None = None
    planner: Cell | None = None


class Arms:
    """The graph. Nothing is made but the choice of the critic with head-room, when a row asks for it.

    Args:
        settings: Sizes.
        cells: Make that choice.
        export: Writes models as graphs.
    """

    def __init__(self, settings: Settings, cells: Cells, export: made.Export) -> None:
        self._settings, self._cells, self._export = settings, cells, export
        identity = {"pack": made.pack_identity()}
        size = settings.size
        self._base = Cell("base", "the embedded models", 0, identity, made.base)
        rules = {"rl_variance": 11.0}
        told = {
            "name": "ablation",
            "licence": "Apache-2.0",
            "world": "shapes",
            "seed": _SEED,
            "teacher": {"model": "shapes-oracle", "concurrency": 2},
            "generators": [{"name": "embedded", "spec": GENERATOR}],
            # words: what a domain needs for that many prompts
            "prompts": {
                "count": size(_PROMPTS),
                "words": max(10, size(_WORDS)),
                "rounds": 2,
                "near": 1.0,
            },
            "ask": {"folder": "shapes", "repeat": True},
            "select": rules,
        }
        self._data = Cell("data", "filtered", 0, {**told, **identity}, made.data(told))
        loose = {"fall": 20.0, "degrade": 20.0, "low": 0.0, "rl_variance": 1000.0, "balance": 1.0}
        unfiltered = {**told, "select": loose}
        self._unfiltered = Cell("data", "unfiltered", 0, unfiltered, made.rebuilt(unfiltered), (self._data,))
        self._form = Cell("set", "form only", 0, {"what": "form"}, made.form_only(_SEED), (self._data,))
        self._both = Cell("set", "planner and critic", 0, {"what": "both"}, made.both(_SEED), (self._data,))
        self._items = self._frozen("items", REQUESTS, _SEED, identity)
        self._choosing = self._frozen("items to choose with", _CHOOSING, _SEED + 1, identity)
        self._identity = identity

    def _frozen(self, label: str, count: int, seed: int, identity: Mapping[str, str]) -> Cell:
        count = self._settings.sample(count)
        told = {"requests": count, "seed": seed, **identity}
        return Cell("items", label, 0, told, made.frozen(count, seed))

    def arm(self, row: str, seed: int) -> Arm:
        """The cells of a row with a seed."""
        if row == "no-planner":
            return Arm(planner=self._planned(row, seed, None))
        if row == "planner-sft":
            return Arm(planner=self._planned(row, seed, self._planner(seed)))
        if row == "one-agent":
            one = self._one(seed)
            return Arm(self._judged(row, seed, one), self._planned(row, seed, one))
        return Arm(critic=self._judged(row, seed, self._critic_of(row, seed)))

    # ---- models -------------------------------------------------------------------------------

    def _critic_of(self, row: str, seed: int) -> Cell:
        critic = load_sft("shapes-critic")
        if row == "critic-form":
            return self._sft("form only", seed, critic, self._form, made.SET)
        if row == "unfiltered":
            return self._sft("unfiltered", seed, critic, self._unfiltered, _CRITIC_SET)
        sft = self._small(seed) if row.startswith("small") else self._critic("critic", seed)
        return sft if row.endswith("-sft") else self._rl(row, sft, seed, **_RL[row])

    def _critic(self, label: str, seed: int, share: float = 1.0) -> Cell:
        return self._sft(label, seed, load_sft("shapes-critic"), self._data, _CRITIC_SET, share)

    def _planner(self, seed: int) -> Cell:
        return self._sft(
            "planner", seed, load_sft("shapes-planner"), self._data, _PLANNER_SET, base="planner"
        )

    def _one(self, seed: int) -> Cell:
        # as many updates as the two have together
        return self._sft("one agent", seed, load_sft("shapes-planner"), self._both, made.SET, 2.0)

    def _sft(
        self,
        label: str,
        seed: int,
        recipe: SftRecipe,
        items: Cell,
        file: str,
        share: float = 1.0,
        base: str | None = None,
    ) -> Cell:
        base = base or self._settings.base
        steps = max(1, round(share * self._settings.length(_UPDATES)))
        changed = recipe.model_copy(update={"seed": seed, "steps": steps, "max_share": 1.0, "save_every": 50})
        return self._tuned("sft", label, seed, changed, (self._base, base), (items, file))

    def _rl(self, label: str, critic: Cell, seed: int, **changes: Any) -> Cell:
        recipe = load_grpo("shapes-rl")
        update = {
            "seed": seed,
            "steps": self._settings.length(recipe.steps, rl=True),
            "at_once": 1,
            **changes,
        }
        changed = recipe.model_copy(update={**update, "max_share": 1.0})
        return self._tuned("rl", label, seed, changed, (critic, made.MODEL), (self._data, _RL_SET))

    def _tuned(
        self,
        kind: str,
        label: str,
        seed: int,
        recipe: SftRecipe | GrpoRecipe,
        model: tuple[Cell, str],
        items: tuple[Cell, str],
    ) -> Cell:
        told = {
            "recipe": recipe.model_dump(
                mode="json", exclude={"name", "base", "data", "save_every", "at_once", "overlap", "memo"}
            ),
            "model": model[1],
            "set": items[1],
        }
        make = made.tuned(recipe, model[1], items[1])
        return Cell(kind, label, seed, told, make, (model[0], items[0]))

    # ---- answers ------------------------------------------------------------------------------

    def _judged(self, label: str, seed: int, model: Cell, items: Cell | None = None) -> Cell:
        make = made.answers_of_critic(made.MODEL, self._export)
        return Cell("critic", label, seed, {}, make, (model, items or self._items))

    def _planned(self, label: str, seed: int, model: Cell | None) -> Cell:
        how = {"count": self._settings.sample(_PLANNED), "seed": _SEED, "noise": seed}
        make = made.answers_of_planner(None if model is None else made.MODEL, self._export, **how)
        told = {**how, **self._identity}
        return Cell("planner", label, seed, told, make, () if model is None else (model,))

    # ---- the critic with head-room ------------------------------------------------------------

    def _small(self, seed: int) -> Cell:
        return self._critic("with head-room", seed, self._cells.make(self.choice())["share"])

    def choice(self) -> Cell:
        """Which critic has head-room: trained shorter, chosen by its verdicts on other requests, before any RL."""
        tried = tuple(
            self._judged(
                f"to choose, {share:g} of SFT", 0, self._critic("to choose", 0, share), self._choosing
            )
            for share in _SHARES
        )

        def make(*_: Any) -> Mapping[str, float]:
            found = {
                share: self._cells.make(cell)["balanced"] for share, cell in zip(_SHARES, tried, strict=True)
            }
            low, high = _HEADROOM
            share = min(_SHARES, key=lambda one: (abs(found[one] - (low + high) / 2), one))
            inside = float(low <= found[share] <= high)
            return {
                "share": share,
                "inside": inside,
                **{f"balanced, {one:g}": value for one, value in found.items()},
            }

        return Cell(
            "choice", "critic with head-room", 0, {"wanted": _HEADROOM, "shares": _SHARES}, make, tried
        )
