"""The stages in order: each reads what those before it have left, makes what is not there, and counts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.files import check_folder, write_file

from . import asking
from .build import build_sets, prompts_of
from .imported import read_excluded, read_imported
from .items import Item
from .journal import Counts, Journal, Pictures, count, key_of
from .recipe import Price, Recipe
from .taxonomy import SLOT, Domain, fill, load_world, near_duplicates, normal, words_of
from .teacher import Teacher, UnreadableError, open_chat
from .trajectories import (
    choose_generators,
    in_parallel,
    run_trajectories,
    score_attempts,
    score_key,
)

__all__ = ["STAGES", "Run", "Stage"]

Stage = Literal["taxonomy", "banks", "prompts", "trajectories", "build"]
STAGES: tuple[Stage, ...] = get_args(Stage)
_KNOWN_WORDS = 12  # shown to the teacher
_CANDIDATES = 3  # prompts that are tried for each that is wanted


class Run:
    """One run in its folder.

    Args:
        recipe: What is made.
        out: The folder; what is in it already is not made again.
        say: Told how it goes.

    Raises:
        BadRequestError: The folder cannot be used.
    """

    def __init__(self, recipe: Recipe, out: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.recipe, self.out, self._say = recipe, check_folder(out), say
        self.domains = load_world(recipe.world, recipe.prompts.domains, recipe.folder)
        self.pictures = Pictures(out / "pictures")
        self._ends = ExitStack()
        self._journals: dict[str, Journal] = {}
        self._teacher: Teacher | None = None
        self._prompt_lines: dict[str, dict[str, Any]] | None = None
        self.counts: dict[str, Counts] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def journal(self, name: str) -> Journal:
        """A journal of the folder, opened once."""
        if name not in self._journals:
            self._journals[name] = made = Journal(self.out / f"{name}.log")
            self._ends.callback(made.close)
        return self._journals[name]

    @property
    def teacher(self) -> Teacher:
        """Opened, and its server looked for, when it is first needed."""
        if self._teacher is None:
            chat = open_chat(self.recipe.teacher)
            self._ends.callback(chat.close)
            chat.check()
            price = self.recipe.prices.get(self.recipe.teacher.model, Price())
            self._teacher = Teacher(
                chat, self.journal("replies"), self.recipe.teacher, price, self.recipe.budget
            )
            for line in self.journal("trajectories").lines.values():
                each = self.recipe.prices.get(line.get("generator", ""), Price()).picture
                self._teacher.pictures_money += line.get("generations", 0) * each
        return self._teacher

    def run(self, stages: Sequence[Stage] = STAGES) -> dict[str, Any]:
        """Makes these stages, in order; returns the manifest. Of `build` it holds the card."""
        told: dict[str, Any] = {}
        for stage in stages:
            made = getattr(self, f"_{stage}")()
            if stage == "build":
                told["card"] = made
            else:
                self.counts[stage] = made
                self._say(f"{stage}: " + ", ".join(f"{name} {number}" for name, number in made.items()))
            self._manifest()
        return {"counts": self.counts, **told}

    def _manifest(self) -> None:
        spent: dict[str, float] = {} if self._teacher is None else self._teacher.spent()
        raw = {"recipe": self.recipe.model_dump(mode="json"), "counts": self.counts, "spent": spent}
        write_file(self.out / "manifest.json", json.dumps(raw, indent=1, ensure_ascii=False))

    def _counted(self, name: str, keys: Iterable[str]) -> Counts:
        """What became of the items of a journal, each of which has a line now."""
        told = count(keys, self.journal(name).lines)
        told.check(name)
        return told

    def _derived(self, name: str, items: Mapping[str, Mapping[str, Any]]) -> Counts:
        """Writes what is a function of recipe and journals, to be looked at: nothing reads it."""
        lines = (json.dumps({"key": key, **told}, ensure_ascii=False) for key, told in items.items())
        write_file(self.out / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
        return count(items, items)

    # ---- taxonomy, banks, prompts -------------------------------------------------------------

    def _taxonomy(self) -> Counts:
        chosen = {domain.name for domain in self.domains}
        items = {
            key_of("sub-category", domain.name, name): {
                **(
                    {"outcome": "kept"} if domain.name in chosen else {"outcome": "dropped", "rule": "domain"}
                ),
                "domain": domain.name,
                "subcategory": name,
            }
            for domain in load_world(self.recipe.world, folder=self.recipe.folder)
            for name in domain.subcategories
        }
        return self._derived("taxonomy", items)

    def _word_items(self) -> dict[str, tuple[Domain, str, str, int]]:
        how, model = self.recipe.prompts, self.recipe.teacher.model
        return {
            key_of("words", model, domain.name, name, bank, domain.banks[bank], how.words, number): (
                domain,
                name,
                bank,
                number,
            )
            for domain in self.domains
            for name in domain.subcategories
            for bank in domain.banks
            for number in range(how.rounds)
        }

    def _banks(self) -> Counts:
        journal, items = self.journal("banks"), self._word_items()

        def make(key: str) -> dict[str, Any]:
            domain, name, bank, number = items[key]
            known = domain.banks[bank][:_KNOWN_WORDS]
            content = asking.expand(domain.name, name, bank, known, self.recipe.prompts.words, number)
            try:
                words, _ = self.teacher.ask(content, asking.read_words)
            except UnreadableError:
                return {"outcome": "unreadable"}
            except BadRequestError:
                raise
            except InterleaveError as error:
                return {"outcome": "failed", "error": error.message}
            return {"outcome": "kept", "words": words}

        self.teacher.check_budget()
        left = [key for key in items if journal.get(key) is None]
        for key, told in in_parallel(left, make, self.recipe.teacher.concurrency, self.teacher.check_budget):
            journal.add(key, **told)
            self.teacher.require(told)
        self._prompt_lines = None  # they are made of these words
        return self._counted("banks", items)

    def words(self) -> dict[tuple[str, str], dict[str, list[str]]]:
        """Words by domain and sub-category, and by bank."""
        found: dict[tuple[str, str, str], list[list[str]]] = {}
        lines = self.journal("banks").lines
        for key, (domain, name, bank, _) in self._word_items().items():
            found.setdefault((domain.name, name, bank), []).append(lines.get(key, {}).get("words", []))
        return {
            (one.name, name): {
                bank: words_of(seeds, found.get((one.name, name, bank), ()))
                for bank, seeds in one.banks.items()
            }
            for one in self.domains
            for name in one.subcategories
        }

    def _candidates(self) -> list[tuple[str, str, str]]:
        """(domain, sub-category, text): as many from each sub-category, in turn."""
        how, words = self.recipe.prompts, self.words()
        by_name = {domain.name: domain for domain in self.domains}
        each = -(-how.count * _CANDIDATES // len(words))
        lists = []
        for (domain, name), banks in words.items():
            usable = [one for one in by_name[domain].templates if _can_fill(one, banks)]
            if not usable:
                self._say(f"no prompts of {name!r}: there are no words for any template of {domain!r}")
                continue
            texts = fill(usable, banks, random.Random(f"{self.recipe.seed}/{domain}/{name}"))
            lists.append([(domain, name, text) for text, _ in zip(texts, range(each), strict=False)])
        if not lists:
            raise BadRequestError(
                "[data] there are no words for any template",
                hint="run the stage banks first, with prompts.rounds over 0",
            )
        return [one for row in zip(*lists, strict=True) for one in row]

    def _prompt_items(self) -> dict[str, dict[str, Any]]:
        """What becomes of every candidate, by key."""
        if self._prompt_lines is None:
            self._prompt_lines = self._chosen_prompts()
        return self._prompt_lines

    def _chosen_prompts(self) -> dict[str, dict[str, Any]]:
        how, wanted = self.recipe.prompts, self._candidates()
        texts = [text for _, _, text in wanted]
        near, barred = near_duplicates(texts, how.near), self.excluded()
        items: dict[str, dict[str, Any]] = {}
        kept = 0
        for number, (domain, name, text) in enumerate(wanted):
            if kept == how.count:
                break
            key = key_of("prompt", text)
            if key in items:
                continue
            told: dict[str, Any] = {"domain": domain, "subcategory": name, "text": text}
            if normal(text) in barred:
                told |= {"outcome": "dropped", "rule": "benchmark"}
            elif number in near:
                told |= {"outcome": "dropped", "rule": "near duplicate"}
            else:
                told |= {"outcome": "kept"}
                kept += 1
            items[key] = told
        return items

    def excluded(self) -> set[str]:
        """Texts (as they are compared) and ids of the files that the recipe excludes."""
        found: set[str] = set()
        for name in self.recipe.prompts.exclude:
            found |= read_excluded(self.recipe.folder / name)
        return found

    def _prompts(self) -> Counts:
        return self._derived("prompts", self._prompt_items())

    # ---- trajectories and sets ----------------------------------------------------------------

    def _trajectory_items(self) -> list[Any]:
        kept = {key: told["text"] for key, told in self._prompt_items().items() if told["outcome"] == "kept"}
        return choose_generators(self.recipe, kept)

    def _trajectories(self) -> Counts:
        journal, items = self.journal("trajectories"), self._trajectory_items()
        self.teacher.check_budget()
        run_trajectories(self.recipe, items, self.teacher, journal, self.pictures, self._say)
        keys = [item.key for item in items]
        made = [journal.lines[key] for key in keys if journal.lines[key]["outcome"] == "kept"]
        scores = score_attempts(self.recipe, made, self.teacher, self.journal("scores"), self.pictures)
        self.counts["scores"] = self._counted("scores", scores)
        return self._counted("trajectories", keys)

    def _build(self) -> dict[str, Any]:
        journal, scores = self.journal("trajectories"), self.journal("scores")
        keys = [item.key for item in self._trajectory_items()]
        lines = {key: line for key in keys if (line := journal.lines.get(key, {})).get("outcome") == "kept"}
        if not lines:
            said = next((line["error"] for line in journal.lines.values() if line.get("error")), "")
            raise BadRequestError(
                "[data] there are no trajectories" + (f": the first failed with {said}" if said else " yet"),
                hint="run the stage trajectories first",
            )
        model = self.recipe.teacher.model

        def score_of(before: str | None, after: str, wish: str) -> Sequence[float] | None:
            line = scores.lines.get(score_key(model, before, after, wish), {})
            found: Sequence[float] | None = line.get("score")
            return found

        imported: list[Item] = []
        prompts, barred = prompts_of(self.recipe), self.excluded()
        for one in self.recipe.imports:
            place = self.recipe.folder / one.path
            items, self.counts[one.name] = read_imported(
                place, one.name, barred, self.pictures, prompts, self.recipe.seed
            )
            imported += items
        told = {"stages": self.counts}
        return build_sets(self.recipe, lines, score_of, imported, self.pictures, self.out / "sets", told)


def _can_fill(template: str, banks: dict[str, list[str]]) -> bool:
    return all(banks.get(slot) for slot in SLOT.findall(template))
