"""Saves things while the system fails at one call after the other, and looks at what is left.

python saving_faults.py FOLDER KIND HOW: KIND is result, first, inplace, file or pack; HOW is kill or full. Prints how many
points were tried. A program of its own, with one thread: every point is tried in a fork.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from interleave_rt import files
from interleave_rt.errors import BadRequestError
from interleave_rt.pack.compose import write_pack
from interleave_rt.reports import save_result
from interleave_rt.request import Options
from interleave_rt.result import Result
from interleave_rt.wire import Attempt, PlanStep, Step, Verdict

CALLS = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "link", "rmdir")
NEED_ROOM = ("open", "write", "mkdir", "link")
NOTE = "notes.txt"
State = dict[str, bytes]


def result(steps: int, value: int) -> Result:
    made = []
    for number in range(1, steps + 1):
        kept, lost = (np.full((40, 40, 3), value + number + i, np.uint8) for i in (0, 50))
        tries = (
            Attempt(1, "a", 1, 1, lost, Verdict(False, 0.1, "b", "why")),
            Attempt(2, "b", 2, 2, kept, Verdict(True, 0.9)),
        )
        made.append(Step(PlanStep(number, "s", "words", "a"), tries, kept, True))
    return Result("q", Options(), tuple(made), "finished", tuple(step.plan for step in made))


def plant(at: int, how: str) -> list[int]:
    """From now on call number `at` ends the process, or the disk is full from there on; returns a counter."""
    count = [0]

    def planted(name: str, real: Callable) -> Callable:
        def call(*arguments, **options):
            count[0] += 1
            if at and how == "kill" and count[0] == at:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            if at and how == "full" and count[0] >= at and name in NEED_ROOM:
                creates = name != "open" or arguments[1] & os.O_CREAT
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                if creates:
                    raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, planted(name, getattr(os, name)))
    files._exchange = planted("exchange", files._exchange)
    return count


def state(place: Path) -> State | None:
    """What is there; None: nothing. What lies beside it does not count."""
    if not place.exists():
        return None
    if place.is_file():
        return {"": place.read_bytes()}
    found = (file for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    inside = {str(file.relative_to(place)): file for file in found}
    return {
        name: file.read_bytes() for name, file in inside.items() if ".partial-" not in name and name[0] != "."
    }


def try_all(root: Path, kind: str, how: str) -> int:
    old, new = result(3, 10), result(2, 100)
    roles = dict.fromkeys(("planner", "generator", "critic"), "scripted")
    saves: dict[str, Callable[[Path], object]] = {
        "file": lambda place: files.write_file(place, b"n" * 50_000),
        "pack": lambda place: write_pack(place, roles, name="p"),
    }
    save = saves.get(kind, lambda place: save_result(new, place))
    before, target = root / "before", "x.bin" if kind == "file" else "out"
    before.mkdir(parents=True)
    if kind in ("result", "inplace"):
        save_result(old, before / target)
        (before / target / NOTE).write_bytes(b"mine")
    elif kind == "file":
        (before / target).write_bytes(b"old")
    after = Path(shutil.copytree(before, root / "after"))
    save(after / target)
    were, become = state(before / target), state(after / target)
    assert were != become
    points = 0
    while True:
        points += 1
        work = root / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(before, work)
        child = os.fork()
        if child == 0:
            if kind == "inplace":
                os.chdir(work / target)
            plant(points, how)
            try:
                save(work / target)
            except BadRequestError as error:
                os._exit(3 if "cannot be written" in error.message else 4)
            except BaseException:  # noqa: BLE001
                os._exit(5)
            os._exit(0)
        _, ended = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(ended)
        found = state(work / target)
        assert code in (0, 3, -signal.SIGKILL), (points, code)
        if kind == "inplace":
            whole = found is None or "result.json" not in found or found in (were, become)
            assert found is None or found[NOTE] == b"mine", points
        else:
            whole = found in (were, become)
        assert whole, (points, code, sorted(found or ()), sorted(were or ()), sorted(become or ()))
        if how == "full":
            beside = [name for name in os.listdir(work) if name != target]
            assert code == 0 or beside == [], (points, beside)
        if code == 0 and how == "kill":
            return points - 1
        if code == 0 and found == become and how == "full":
            return points - 1


if __name__ == "__main__":
    print(try_all(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
