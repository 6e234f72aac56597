"""What cells make: base, sets, tuned models, frozen items, answers. Each goes on where it was killed."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from interleave_rt.files import write_file
from interleave_rt.pack import load_pack
from interleave_rt.pack.manifest import hash_file
from interleave_rt.roles.native import NativeRoles

from ..data.recipe import Recipe
from ..data.run import Run
from ..grpo import train_grpo
from ..recipe import GrpoRecipe, SftRecipe
from ..record import FOLDER
from ..sft import train_sft
from ..shapes.from_pack import write_checkpoints
from .fixed import critic_tallies, freeze, judge_all
from .planned import plan_all, planner_tallies
from .statistics import Tally, value_of

__all__ = [
    "MODEL",
    "SETS",
    "Export",
    "Role",
    "answers_of_critic",
    "answers_of_planner",
    "base",
    "both",
    "data",
    "form_only",
    "frozen",
    "pack_identity",
    "rebuilt",
    "tuned",
]

Role = Literal["planner", "critic"]
Export = Callable[[Role, Path, Path], Any]
"""Writes a model of a directory as a pack with this one role: as `interleave-rt export`, with the prompts of the shapes world."""
Make = Callable[[Path, Sequence[Path]], Mapping[str, float]]

MODEL = "model"
SETS = "data/sets"
SET = "set.jsonl"
"""Where a tuned model, the sets of `train data` and a set that was made of them lie in their cells."""


def pack_identity() -> str:
    """Of the embedded pack: the hash of its manifest, which holds those of all files."""
    return hash_file(load_pack().path / "pack.json")


def base(folder: Path, _: Sequence[Path]) -> Mapping[str, float]:
    """The embedded pack's models in Hugging Face layout."""
    write_checkpoints(load_pack(), folder)
    return {}


def data(told: Mapping[str, Any]) -> Make:
    """The sets of a recipe of `train data`."""

    def make(folder: Path, _: Sequence[Path]) -> Mapping[str, float]:
        return _sets(Recipe(**told), folder)

    return make


def rebuilt(told: Mapping[str, Any]) -> Make:
    """The sets of the same trajectories by other rules."""

    def make(folder: Path, needs: Sequence[Path]) -> Mapping[str, float]:
        place = folder / "data"
        shutil.rmtree(place, ignore_errors=True)
        # a journal is appended to, so it is copied; pictures are never changed
        shutil.copytree(
            needs[0] / "data", place, copy_function=_copied, ignore=shutil.ignore_patterns("sets")
        )
        return _sets(Recipe(**told), folder)

    return make


def _copied(source: str, target: str) -> None:
    if source.endswith(".png"):
        with suppress(OSError):  # where files cannot have two names
            os.link(source, target)
            return
    shutil.copy(source, target)


def _sets(recipe: Recipe, folder: Path) -> Mapping[str, float]:
    with Run(recipe, folder / "data") as run:
        card = run.run()["card"]
    found = {f"items {name}": about["items"] for name, about in card["sets"].items()}
    verdicts = card["sets"]["critic_sft"].get("verdicts", {})
    return {**found, "accepted": verdicts.get("true", 0) / max(1, sum(verdicts.values()))}


def form_only(seed: int) -> Make:
    """A critic's set whose answers have the right form and say nothing: a verdict by chance, the prompt that was used."""

    def make(folder: Path, needs: Sequence[Path]) -> Mapping[str, float]:
        rng = random.Random(seed)
        rows = []
        for row in _rows(needs[0] / SETS / "trl_critic_sft.jsonl", folder):
            verdict = {"previous_step_success": rng.random() < 0.5, "refine_prompt": row["rewritten_prompt"]}
            text = f"<think></think><answer>{json.dumps(verdict)}</answer>"
            rows.append(
                {**row, "completion": [{"role": "assistant", "content": [{"type": "text", "text": text}]}]}
            )
        return _written(folder, rows)

    return make


def both(seed: int) -> Make:
    """The sets of planner and critic as one, mixed."""

    def make(folder: Path, needs: Sequence[Path]) -> Mapping[str, float]:
        sets = [needs[0] / SETS / f"trl_{name}_sft.jsonl" for name in ("planner", "critic")]
        rows = [row for place in sets for row in _rows(place, folder)]
        random.Random(seed).shuffle(rows)
        return _written(folder, rows)

    return make


def _rows(place: Path, folder: Path) -> list[dict[str, Any]]:
    """The lines of a set, their pictures as seen from another folder."""
    away = os.path.relpath(place.parent, folder)
    rows = [json.loads(line) for line in place.read_text(encoding="utf-8").rstrip().split("\n")]
    for row in rows:
        row["images"] = [f"{away}/{name}" for name in row["images"]]
        if row.get("origin_image_path"):
            row["origin_image_path"] = f"{away}/{row['origin_image_path']}"
    return rows


def _written(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
    write_file(folder / SET, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {"items": len(rows)}


def tuned(recipe: SftRecipe | GrpoRecipe, model: str, items: str) -> Make:
    """A model that is tuned by `train sft` or `train grpo`.

    Args:
        recipe: Without base and data.
        model: Where the base lies in the first cell that is needed.
        items: Where the set lies in the second.
    """

    def make(folder: Path, needs: Sequence[Path]) -> Mapping[str, float]:
        places = {"base": str((needs[0] / model).resolve()), "data": str((needs[1] / items).resolve())}
        out = folder / MODEL
        if isinstance(recipe, GrpoRecipe):
            last = train_grpo(recipe.model_copy(update=places), out, resume=True)
        else:
            last = train_sft(recipe.model_copy(update=places), out, resume=True)
        _removed(out / "checkpoints")
        return {**last, **_begun(out)}

    return make


def _removed(folder: Path) -> None:
    """Deletes a folder; a half of it is never taken for the whole."""
    if folder.exists():
        away = folder.with_name(f"{folder.name}.old")
        shutil.rmtree(away, ignore_errors=True)
        folder.rename(away)
        shutil.rmtree(away)


def _begun(out: Path) -> dict[str, float]:
    """How many groups could teach something at the first update; they become fewer."""
    with (out / FOLDER / "curve.csv").open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    name = "groups with spread, refuse"
    return {f"first {name}": float(first[name])} if first.get(name) else {}


def frozen(count: int, seed: int) -> Make:
    """The items of `fixed.freeze`."""

    def make(folder: Path, _: Sequence[Path]) -> Mapping[str, float]:
        return freeze(folder, count=count, seed=seed)

    return make


def answers_of_critic(model: str, export: Export) -> Make:
    """What the critic of the first cell makes of the items of the second."""

    def make(folder: Path, needs: Sequence[Path]) -> Mapping[str, float]:
        judge_all(folder, needs[1], _native("critic", needs[0] / model, folder, export))
        shutil.rmtree(folder / "pack")
        return _values(critic_tallies(folder))

    return make


def answers_of_planner(model: str | None, export: Export, *, count: int, seed: int, noise: int) -> Make:
    """What becomes of requests with the planner of the cell that is needed; without one, with the request as prompt."""

    def make(folder: Path, needs: Sequence[Path]) -> Mapping[str, float]:
        planner = None if model is None else _native("planner", needs[0] / model, folder, export)
        plan_all(folder, planner, count=count, seed=seed, noise=noise)
        shutil.rmtree(folder / "pack", ignore_errors=True)
        return _values(planner_tallies(folder))

    return make


def _native(role: Role, model: Path, folder: Path, export: Export) -> NativeRoles:
    """A tuned model on graphs, one thread; its answers are what it writes by itself."""
    pack = folder / "pack"
    shutil.rmtree(pack, ignore_errors=True)  # a half, of a run that was killed
    export(role, model, pack)
    return NativeRoles(load_pack(pack), [role], constrained="off", threads=1)


def _values(tallies: Mapping[str, Tally]) -> dict[str, float]:
    return {name: value for name, tally in tallies.items() if (value := value_of(tally)) is not None}
