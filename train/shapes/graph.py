"""Which parts the trio is made of, what each of them is made from, and all of them in their order."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interleave_rt.errors import InterleaveError
from interleave_rt.files import write_file

__all__ = ["NEEDS", "PARTS", "all_parts"]

PARTS = ("tokenizer", "vae", "vision", "generator", "base", "attempts", "planner", "critic")
"""In an order in which they can be trained, by one process or by two."""
NEEDS = {
    "vision": ("tokenizer",),
    "base": ("tokenizer", "vision"),
    "generator": ("tokenizer", "vae"),
    "attempts": ("generator",),
    "critic": ("tokenizer", "base", "attempts"),
    "planner": ("tokenizer", "base"),
}
"""What must be there before a part begins: these inputs alone, and its seed, decide what it becomes."""


def all_parts(
    train_one: Callable[[str], None],
    out: Path,
    length: dict[str, Any],
    *,
    jobs: int,
    resume: bool,
    whole: bool = True,
) -> None:
    """Call `train_one` for every part as soon as what it needs is there; with `jobs` above 1 in so many processes.

    What is finished is kept in `finished.json`, with its `length`; `resume` leaves out what was finished with this one.
    Parts that are not trained to their end (`whole`) are gone on with by the next run.

    Raises:
        InterleaveError: A process has failed; the others are ended, and go on from their checkpoints.
    """
    path = out / "finished.json"
    before = json.loads(path.read_text(encoding="utf-8")) if resume and path.exists() else {}
    finished = {part: how for part, how in before.items() if how == length}
    context = multiprocessing.get_context("spawn")
    running: dict[str, Any] = {}

    def finish(part: str) -> None:
        finished[part] = length
        if whole:
            write_file(path, json.dumps(finished, indent=1).encode())

    def ready() -> list[str]:
        return [
            part
            for part in PARTS
            if part not in finished and part not in running and set(NEEDS.get(part, ())) <= set(finished)
        ]

    try:
        while len(finished) < len(PARTS):
            if jobs == 1:
                part = ready()[0]
                train_one(part)
                finish(part)
                continue
            for part in ready()[: jobs - len(running)]:
                running[part] = context.Process(target=_quietly, args=(train_one, part))
                running[part].start()
            multiprocessing.connection.wait([process.sentinel for process in running.values()])
            for part, process in list(running.items()):
                if process.exitcode is not None:
                    del running[part]
                    if process.exitcode != 0:
                        raise InterleaveError(
                            f"[train] the process of {part} ended with {process.exitcode}; its message is above",
                            hint="--resume goes on from the last checkpoints",
                        )
                    finish(part)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _quietly(train_one: Callable[[str], None], part: str) -> None:
    """In a process of its own: an interrupt is for the one that started it, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that it tidies up
    try:
        train_one(part)
    except InterleaveError as error:
        print(f"{part}: {error}", file=sys.stderr)
        sys.exit(1)
