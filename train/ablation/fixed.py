"""The evaluator of critics: frozen sources and first pictures, so that arms differ in verdicts and words alone.

Every arm judges the same first pictures. A picture that it asks for is made from the item's source with a seed that
depends on item and attempt alone: arms that ask for the same get the same. With one try, with three and with five are
prefixes of one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interleave_rt import _core
from interleave_rt.pack import load_pack
from interleave_rt.request import Options
from interleave_rt.roles.native import NativeRoles
from interleave_rt.wire import Verdict
from interleave_rt.worlds.shapes.language import Request, apply
from interleave_rt.worlds.shapes.oracle import Reading, read
from interleave_rt.worlds.shapes.requests import sample
from interleave_rt.worlds.shapes.scene import Scene

from ..data.journal import Journal, Pictures
from .statistics import Tally, counted

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["TRIES", "critic_tallies", "freeze", "generator", "judge_all", "seed_of", "shows"]

TRIES = (1, 3, 5)
_SOURCE_TRIES = 3
_ITEMS = "items.log"
_ANSWERS = "answers.log"


def seed_of(request: int, kind: str, step: int, attempt: int, retry: int = 0) -> int:
    """The seed of a call about the validation request of this number."""
    return _core.seed_of(request, "counter", kind, step, attempt, retry)


def generator() -> NativeRoles:
    """The embedded pack's, on one thread."""
    return NativeRoles(load_pack(), ["generator"], threads=1)


def shows(reading: Reading, wanted: Scene | None) -> bool:
    """Whether a picture shows, cleanly, what is wanted."""
    return wanted is not None and reading.clean and reading.scene == wanted


def freeze(folder: Path, *, count: int, seed: int) -> dict[str, float]:
    """Writes the items into a folder: the steps of validation requests, with source and first picture.

    A step starts from what the step before it became with up to three tries of its own prompt, of which the oracle takes
    the first that is right: no critic has a say. A plan is left where a prompt means nothing on its source.

    Args:
        folder: What is there of an earlier try is not made again.
        count: Requests.
        seed: Of the requests.
    """
    roles, pictures = generator(), Pictures(folder / "pictures")
    journal = Journal(folder / _ITEMS)
    try:
        for number, task in enumerate(sample("validation", count, seed)):
            if journal.get(str(number)) is None:
                journal.add(str(number), "kept", items=_walk(number, task, roles, pictures))
        items = [item for line in journal.lines.values() for item in line["items"]]
    finally:
        journal.close()
    return {
        "requests": count,
        "items": len(items),
        "first right": sum(item["right"] for item in items) / max(1, len(items)),
    }


def _walk(number: int, task: Request, roles: NativeRoles, pictures: Pictures) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    source: Pixels | None = None
    before: Scene | None = None
    for index, step in enumerate(task.steps):
        wanted = apply(before, step.prompt) if step.prompt else None
        if wanted is None or step.prompt is None:
            break
        first = final = roles.generate(step.prompt, source, seed_of(number, "generate", index, 1), Options())
        right = shows(reading := read(first), wanted)
        items.append(
            {
                "step": index,
                "wish": step.prompt,
                "source": None if source is None else pictures.put(source),
                "first": pictures.put(first),
                "right": right,
            }
        )
        for attempt in range(2, _SOURCE_TRIES + 1):
            if shows(reading, wanted):
                break
            # other noise than the arms' attempts of this number get
            noise = seed_of(number, "generate", index, attempt, 1)
            final = roles.generate(step.prompt, source, noise, Options())
            reading = read(final)
        source, before = final, reading.scene
    return items


def judge_all(folder: Path, items: Path, critic: NativeRoles) -> None:
    """Writes what a critic makes of all items into a folder; what is there of an earlier try is not made again.

    Args:
        folder: Of the answers.
        items: The folder of `freeze`.
        critic: Judges.
    """
    roles, pictures = generator(), Pictures(items / "pictures")
    frozen, journal = Journal(items / _ITEMS), Journal(folder / _ANSWERS)
    try:
        for key, line in frozen.lines.items():
            if journal.get(key) is None:
                tries = [_tries(int(key), item, critic, roles, pictures) for item in line["items"]]
                journal.add(key, "kept", tries=tries)
    finally:
        journal.close()
        frozen.close()


def _tries(
    number: int, item: Mapping[str, Any], critic: NativeRoles, roles: NativeRoles, pictures: Pictures
) -> list[dict[str, Any]]:
    """The attempts of an item; the last that there may be is not judged."""
    source = None if item["source"] is None else pictures.get(item["source"])
    wanted = apply(None if source is None else read(source).scene, item["wish"])
    prompt, picture = item["wish"], pictures.get(item["first"])
    told: list[dict[str, Any]] = []
    for attempt in range(1, TRIES[-1] + 1):
        verdict = None
        if attempt < TRIES[-1]:
            verdict = _verdict((number, item["step"], attempt), source, picture, item["wish"], prompt, critic)
        told.append(
            {
                "prompt": prompt,
                "right": shows(read(picture), wanted),
                "accepted": None if verdict is None else verdict.accepted,
            }
        )
        if verdict is None or verdict.accepted:
            break
        told[-1]["refined"] = verdict.refined is not None
        prompt = verdict.refined if verdict.refined is not None else prompt
        noise = seed_of(number, "generate", item["step"], attempt + 1)
        picture = roles.generate(prompt, source, noise, Options())
    return told


def _verdict(
    place: tuple[int, int, int],
    before: Pixels | None,
    after: Pixels,
    wish: str,
    prompt: str,
    critic: NativeRoles,
) -> Verdict | None:
    """As the engine asks: once more where an answer cannot be read."""
    number, step, attempt = place
    for retry in (0, 1):
        seed = seed_of(number, "judge", step, attempt, retry)
        verdict = critic.judge(before, after, wish, prompt, seed, retry)
        if verdict is not None:
            return verdict
    return None


def critic_tallies(folder: Path) -> dict[str, Tally]:
    """The figures of `judge_all`, by name.

    refined: second pictures that are right, after a wrong first one was refused. balanced: the mean of `accepted` (right
    first pictures that are accepted) and `refused` (wrong ones that are refused); an answer that cannot be read is wrong,
    and `read` are the others.
    step/N: steps whose last picture is right with N tries at most. sequence/N: requests all of whose steps are, each from
    its frozen source.
    """
    journal = Journal(folder / _ANSWERS)
    journal.close()
    rows = [journal.lines[key]["tries"] for key in sorted(journal.lines, key=int)]
    accepted = _tally(rows, lambda tries: tries[0]["accepted"] is True if tries[0]["right"] else None)
    refused = _tally(rows, lambda tries: tries[0]["accepted"] is False if not tries[0]["right"] else None)
    tallies = {
        "refined": _tally(rows, _refined),
        "balanced": np.concatenate([accepted, refused]),
        "accepted": accepted,
        "refused": refused,
        "read": _tally(rows, lambda tries: tries[0]["accepted"] is not None),
    }
    for most in TRIES:
        tallies[f"step/{most}"] = _tally(rows, lambda tries, most=most: tries[:most][-1]["right"])
    for most in TRIES:
        whole = [[all(tries[:most][-1]["right"] for tries in row)] if row else [] for row in rows]
        tallies[f"sequence/{most}"] = counted(whole)
    return tallies


def _refined(tries: Sequence[Mapping[str, Any]]) -> bool | None:
    first = tries[0]
    return None if first["right"] or first["accepted"] is not False else bool(tries[1]["right"])


def _tally(rows: Sequence[Sequence[Any]], hit: Any) -> Tally:
    """Of all items for which `hit` is not None, by request."""
    return counted([[found for tries in row if (found := hit(tries)) is not None] for row in rows])
