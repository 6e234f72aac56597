"""Writes a result into a folder."""

from __future__ import annotations

import json
import os
import tempfile
from os import PathLike
from pathlib import Path

from interleave_rt.errors import BadRequestError
from interleave_rt.pack.images import save_png
from interleave_rt.result import FORMAT, Result, attempt_file, saves_results, step_file

from .page import render_page
from .story import render_story


def check_folder(folder: str | PathLike[str]) -> Path:
    """Makes the folder and proves that files can be written there; raises `BadRequestError` where they cannot."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise BadRequestError(
            f"[save] {path} cannot be written: {error.strerror or error}", hint="choose another output folder"
        ) from None
    return path


@saves_results
def save_result(result: Result, folder: str | PathLike[str]) -> Path:
    """Writes step-N.png, attempts/ (images that were not kept), story.svg, report.html and result.json."""
    path = check_folder(folder)
    _clear_previous(path)
    for step in result.steps:
        if step.pixels is not None:
            save_png(step.pixels, path / step_file(step.step_number))
        for attempt in step.attempts:
            if attempt.pixels is not None and attempt.pixels is not step.pixels:
                (path / "attempts").mkdir(exist_ok=True)
                save_png(attempt.pixels, path / attempt_file(step.step_number, attempt.number))
    (path / "report.html").write_text(render_page(result), encoding="utf-8")
    (path / "story.svg").write_text(render_story(result), encoding="utf-8")
    # The list of files comes last: a folder with it is complete.
    document = json.dumps(result.as_dict(), ensure_ascii=False, indent=2)
    scratch = path / "result.json.tmp"
    scratch.write_text(document + "\n", encoding="utf-8")
    os.replace(scratch, path / "result.json")  # noqa: PTH105 - atomic over an older one
    return path


def _clear_previous(folder: Path) -> None:
    """Removes the images of an earlier result, so that two results never mix; touches no other file."""
    try:
        document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return
    for step in document.get("steps", []):
        number = step.get("step_number")
        if not isinstance(number, int):
            continue
        (folder / step_file(number)).unlink(missing_ok=True)
        for attempt in range(1, 11):
            (folder / attempt_file(number, attempt)).unlink(missing_ok=True)
