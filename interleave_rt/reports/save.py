"""Writes a result into a folder."""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path

from interleave_rt.errors import InterleaveError
from interleave_rt.files import Staged, read_json
from interleave_rt.pack.images import encode_png
from interleave_rt.result import FORMAT, Result, attempt_file, saves_results, step_file
from interleave_rt.wire import Step

from .page import render_page
from .story import render_story

_LIST = "result.json"
_PAGES = ("report.html", "story.svg")
_PICTURE = re.compile(r"(attempts/)?step-\d{1,9}(-\d{1,9})?\.png")


class ResultFolder:
    """A result that is written as it comes about, beside the folder whose place it takes at the end.

    Args:
        folder: Where the result will be; until `finish` it is what it was.

    Raises:
        BadRequestError: It cannot be written.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._staged = Staged(folder, _LIST)
        self._written: set[str] = set()

    @property
    def partial(self) -> Path:
        """Where everything lies until the end."""
        return self._staged.path

    def add(self, step: Step) -> None:
        """Writes the pictures of a step; those that are there already are not written again."""
        pictures = {
            attempt_file(step.step_number, attempt.number): attempt.pixels
            for attempt in step.attempts
            if attempt.pixels is not step.pixels
        }
        for name, pixels in {step_file(step.step_number): step.pixels, **pictures}.items():
            if pixels is not None and name not in self._written:
                self._staged.write(name, encode_png(pixels))
                self._written.add(name)

    def note(self, result: Result) -> None:
        """Writes the list of what there is so far: the folder can be read from now on."""
        for step in result.steps:
            self.add(step)
        document = json.dumps(result.as_dict(), ensure_ascii=False, indent=2)
        self._staged.write(_LIST, document + "\n")

    def finish(self, result: Result) -> Path:
        """Writes what is missing, and puts the folder in its place; pictures of an earlier result go, other files stay.

        Returns:
            The folder.

        Raises:
            BadRequestError: It could not be done; `partial` holds what could be written, and the folder is what it was.
        """
        self.note(result)
        for name, render in zip(_PAGES, (render_page, render_story), strict=True):
            self._staged.write(name, render(result))
        return self._staged.commit(_earlier_files(self._staged.target))

    def discard(self) -> None:
        """Removes what was written beside the folder."""
        self._staged.discard()


@saves_results
def save_result(result: Result, folder: str | PathLike[str]) -> Path:
    """Writes step-N.png, attempts/ (images that were not kept), story.svg, report.html and result.json.

    The folder holds the earlier result or this one, whole, at any moment; files that are of neither stay.
    """
    made = ResultFolder(folder)
    try:
        return made.finish(result)
    except BaseException:
        made.discard()
        raise


def _earlier_files(folder: Path) -> set[str]:
    """Files of the result that a folder holds."""
    names = {_LIST, *_PAGES}
    try:
        document = read_json(folder / _LIST, what="save")
        if document["format"] == FORMAT:
            for step in document["steps"]:
                listed = [step["image"], *(attempt["image"] for attempt in step["attempts"])]
                names.update(name for name in listed if name and _PICTURE.fullmatch(name))
    except (InterleaveError, KeyError, TypeError):
        return {_LIST, *_PAGES}  # not of ours: its pictures are somebody's
    return names
