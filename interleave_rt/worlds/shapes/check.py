"""Looks at a saved story with the eyes of the oracle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .language import apply
from .oracle import read
from .scene import Scene

__all__ = ["Finding", "check_story"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One step of a story: what its picture should show, what it shows, and whether that is the same, cleanly."""

    step_number: int
    prompt: str
    wanted: Scene | None
    seen: Scene
    worst_rmse: float
    right: bool


def check_story(directory: Path) -> list[Finding]:
    """Reads `result.json` and the pictures that `interleave-rt run --out DIRECTORY` saved.

    The wanted scene follows from the plan's prompts alone: an early mistake is not forgiven later.

    Raises:
        FileNotFoundError: The directory holds no story.
    """
    story = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    prompts = {step["step_number"]: step["prompt"] for step in story["plan"]}
    wanted: Scene | None = None
    findings = []
    for index, step in enumerate(story["steps"]):
        prompt = prompts[step["step_number"]]
        if prompt is None or step["image"] is None:
            continue
        wanted = apply(wanted, prompt) if index == 0 or wanted is not None else None
        with Image.open(directory / Path(step["image"]).name) as image:
            reading = read(np.asarray(image.convert("RGB")))
        right = wanted is not None and reading.clean and reading.scene == wanted
        findings.append(
            Finding(step["step_number"], prompt, wanted, reading.scene, reading.worst_rmse, right)
        )
    return findings
