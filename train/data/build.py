"""The sets of a run: chosen items, written in every format, with a card and a page of samples."""

from __future__ import annotations

import hashlib
import html
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interleave_rt.files import check_folder, write_file
from interleave_rt.pack.images import encode_png
from interleave_rt.roles.prompts import Prompts

from . import formats
from .items import WHITE, Item, critic_item, cut_item, plan_item
from .journal import Pictures
from .recipe import Recipe
from .select import Selected, StepItem, select, steps_of

__all__ = ["SETS", "build_sets", "prompts_of"]

SETS = ("planner_sft", "critic_sft", "critic_rl")
_SAMPLES = 6


def prompts_of(recipe: Recipe) -> Prompts:
    """How the sets ask."""
    if recipe.ask.folder == "shapes":
        from interleave_rt.worlds.shapes.language import TEMPLATES

        return Prompts.from_folder(TEMPLATES)
    return Prompts.from_folder(recipe.folder / recipe.ask.folder) if recipe.ask.folder else Prompts.default()


def build_sets(
    recipe: Recipe,
    lines: Mapping[str, Mapping[str, Any]],
    score_of: Callable[[str | None, str, str], Sequence[float] | None],
    imported: Sequence[Item],
    pictures: Pictures,
    folder: Path,
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes `folder`; returns the card.

    Args:
        recipe: Whose targets and thresholds.
        lines: Of the trajectories that were kept, by key.
        score_of: (before, after, wish) to the four numbers of a score.
        imported: Planner items of other people's sets.
        pictures: Of the run.
        folder: What is in it is replaced.
        told: What the card says beside what is known here.
    """
    prompts = prompts_of(recipe)
    ordered = sorted(lines)
    planner: list[Item] = [plan_item(key, lines[key], prompts) for key in ordered]
    planner += [
        item for key in ordered if (item := cut_item(key, lines[key], prompts, recipe.seed)) is not None
    ]
    planner += imported
    steps = [step for key in ordered for step in steps_of(key, lines[key], score_of)]
    chosen = select(steps, recipe.select, recipe.seed)

    def items(pairs: Iterable[tuple[StepItem, int]]) -> list[Item]:
        ask = recipe.ask
        return [
            critic_item(step, number, prompts, repeat=ask.repeat, first_empty=ask.first_empty)
            for step, number in pairs
        ]

    sets = {"planner_sft": planner, "critic_sft": items(chosen.sft), "critic_rl": items(chosen.rl)}
    targets = (recipe.targets.planner, recipe.targets.critic_sft, recipe.targets.critic_rl)
    surplus = {}
    for name, most in zip(SETS, targets, strict=True):
        every = sets[name]
        sets[name] = _at_most(every, most, recipe.seed, name)
        surplus[name] = len(every) - len(sets[name])
    return _write(recipe, sets, surplus, lines, chosen, pictures, folder, told)


def _at_most(items: list[Item], most: int, seed: int, name: str) -> list[Item]:
    """So many items by chance, in order; of the critic's SFT set as many accepted as refused ones as before."""
    if not most or len(items) <= most:
        return items
    sides: dict[Any, list[int]] = {}
    for place, item in enumerate(items):
        side = item.more["evaluation"]["success"] if name == "critic_sft" else item.source
        sides.setdefault(side, []).append(place)
    rng = random.Random(f"{seed}/target/{name}")
    for places in sides.values():
        rng.shuffle(places)
    # One from each side in turn, in proportion to its size.
    ranked = sorted(
        ((i + 0.5) / len(places), place) for places in sides.values() for i, place in enumerate(places)
    )
    return [items[place] for place in sorted(place for _, place in ranked[:most])]


def _write(
    recipe: Recipe,
    sets: Mapping[str, Sequence[Item]],
    surplus: Mapping[str, int],
    lines: Mapping[str, Mapping[str, Any]],
    chosen: Selected,
    pictures: Pictures,
    folder: Path,
    told: Mapping[str, Any],
) -> dict[str, Any]:
    check_folder(folder)
    known: dict[str, str] = {}

    def path_of(name: str) -> str:
        if name not in known:
            known[name] = formats.BLANK if name == WHITE else _linked(pictures, name, folder)
        return known[name]

    files: dict[str, str] = {}

    def put(name: str, text: str) -> None:
        write_file(folder / name, text)
        files[name] = hashlib.sha256(text.encode()).hexdigest()

    left_out: Counter[str] = Counter()
    for name, items in sets.items():
        put(f"trl_{name}.jsonl", _jsonl(formats.trl(item, path_of) for item in items))
        entries = [formats.sharegpt(item, path_of) for item in items]
        left_out[name] += entries.count(None)
        put(
            f"{name}.json",
            json.dumps([one for one in entries if one is not None], ensure_ascii=False, indent=1),
        )
    put("critic_rl.jsonl", _jsonl(formats.official_rl(item, path_of) for item in sets["critic_rl"]))
    put(
        "dataset_info.json",
        json.dumps(formats.dataset_info([*SETS, "interleaved_easy", "interleaved_reflection"]), indent=1),
    )
    kept = [lines[key] for key in sorted(lines)]
    put("execution_records.jsonl", _jsonl(formats.execution_record(line, path_of) for line in kept))
    for name, made in (("easy", formats.easy), ("reflection", formats.reflection)):
        entries = [made(line, path_of) for line in kept]
        put(
            f"interleaved_{name}.json",
            json.dumps([one for one in entries if one is not None], ensure_ascii=False, indent=1),
        )
    if WHITE in known:
        _blank(folder, pictures, sets)
    digest = hashlib.sha256("".join(f"{name} {files[name]}\n" for name in sorted(files)).encode()).hexdigest()
    card = {
        "name": recipe.name,
        "licence": recipe.licence,
        "teacher": recipe.teacher.model,
        "generators": [one.model_dump() for one in recipe.generators],
        "sets": {name: _about(items, surplus[name], left_out[name]) for name, items in sets.items()},
        "trajectories": _generators(lines),
        "selection": {
            "thresholds": recipe.select.model_dump(),
            "steps": chosen.steps,
            "SFT items": chosen.items,
        },
        "imports": [one.model_dump() for one in recipe.imports],
        "seed": recipe.seed,
        **told,
        "pictures": len(known),
        "files": files,
        "hash": digest,
    }
    write_file(folder / "card.json", json.dumps(card, indent=1, ensure_ascii=False))
    write_file(folder / "README.md", _card(card))
    write_file(folder / "samples.html", _page(recipe, sets, path_of))
    used = set(known.values())
    for picture in (folder / "pictures").rglob("*.png"):
        if picture.relative_to(folder).as_posix() not in used:
            picture.unlink()  # of an earlier build
    return card


def _linked(pictures: Pictures, name: str, folder: Path) -> str:
    """A picture's path in the set, which is a hard link (or a copy) of the run's."""
    source = pictures.path(name)
    path = f"pictures/{name[:2]}/{name}.png"
    target = folder / path
    if not target.exists():
        pictures.get(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            write_file(target, source.read_bytes())
    return path


def _blank(folder: Path, pictures: Pictures, sets: Mapping[str, Sequence[Item]]) -> None:
    """The white picture, in the size of the pictures of the run."""
    names = [item.more["edited_image_path"] for items in sets.values() for item in items if item.more]
    white = np.full_like(pictures.get(names[0]), 255) if names else np.full((64, 64, 3), 255, np.uint8)
    place = folder / formats.BLANK
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, encode_png(white))


def _jsonl(lines: Iterable[Any]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _about(items: Sequence[Item], surplus: int, left_out: int) -> dict[str, Any]:
    sources = Counter(item.source for item in items)
    verdicts = Counter(str(item.more["evaluation"]["success"]).lower() for item in items if item.more)
    return {
        "items": len(items),
        "over the target": surplus,
        "not in ShareGPT": left_out,
        "sources": dict(sources),
        **({"verdicts": dict(verdicts)} if verdicts else {}),
    }


def _generators(lines: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of every generator: trajectories, attempts, and the share of first attempts that were accepted."""
    found: dict[str, Counter[str]] = {}
    for line in lines.values():
        tally = found.setdefault(line["generator"], Counter())
        tally["trajectories"] += 1
        for step in line["steps"]:
            tally["attempts"] += len(step["attempts"])
            if step["attempts"]:
                tally["steps"] += 1
                tally["first accepted"] += bool(
                    (step["attempts"][0]["verdict"] or {}).get("previous_step_success")
                )
    return {
        name: {**tally, "first accepted, %": round(100 * tally["first accepted"] / max(1, tally["steps"]), 1)}
        for name, tally in sorted(found.items())
    }


def _card(card: Mapping[str, Any]) -> str:
    sets = "\n".join(
        f"| {name} | {about['items']} | {about['sources']} | {about.get('verdicts', '')} |"
        for name, about in card["sets"].items()
    )
    makers = "\n".join(
        f"* {one['name']}: `{one['spec']}` {one['about']}; {card['trajectories'].get(one['name'], {})}"
        for one in card["generators"]
    )
    rules = "\n".join(f"* {name}: {number}" for name, number in card["selection"]["steps"].items())
    files = "\n".join(f"* `{name}` {digest}" for name, digest in card["files"].items())
    return f"""# {card["name"]}

Licence: {card["licence"]}. Teacher: {card["teacher"]}. Seed: {card["seed"]}. Hash of all files: `{card["hash"]}`.

| set | items | sources | verdicts |
|---|---|---|---|
{sets}

Generators:
{makers}

Steps, by rule of the selection ({card["selection"]["thresholds"]}):
{rules}

SFT items by the balance: {dict(card["selection"]["SFT items"])}

Stages: {json.dumps(card.get("stages", {}), ensure_ascii=False)}

Files (sha256):
{files}
"""


def _page(recipe: Recipe, sets: Mapping[str, Sequence[Item]], path_of: Callable[[str], str]) -> str:
    blocks = []
    for name, items in sets.items():
        drawn = random.Random(f"{recipe.seed}/page").sample(list(items), min(_SAMPLES, len(items)))
        for item in drawn:
            asked = "".join(
                f"<pre>{html.escape(part.text)}</pre>"
                if part.text
                else f'<img src="{html.escape(path_of(part.picture))}">'
                for part in item.asked
            )
            blocks.append(
                f"<h2>{name}, {item.source}</h2>{asked}<pre class=a>{html.escape(item.answer)}</pre>"
            )
    style = "body{font:14px sans-serif;max-width:60em;margin:auto}pre{white-space:pre-wrap}.a{background:#eef}img{max-width:12em;margin:2px;border:1px solid #ccc}"
    return f"<!doctype html><meta charset=utf-8><title>{html.escape(recipe.name)}</title><style>{style}</style>{''.join(blocks)}"
