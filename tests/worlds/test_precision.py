"""One pack beside another: the paired difference, its gate, what agrees."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from interleave_rt.cli import main
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.request import Options, Request
from interleave_rt.result import Result
from interleave_rt.wire import Attempt, PlanStep, Step, Verdict
from interleave_rt.worlds.shapes.evaluation.precision import compare, paired_interval
from interleave_rt.worlds.shapes.language import parse
from interleave_rt.worlds.shapes.requests import collect, narrative
from interleave_rt.worlds.shapes.scene import EMPTY, arranged, render

TASKS = collect(narrative, "validation", 60, "precision")
PROMPT = "Draw a large red circle at the top left on a blue background"


def picture(prompt: str) -> np.ndarray:
    step = parse(None, prompt)
    assert step is not None
    return np.array(render(step.after, arranged(step.before, EMPTY, step.after, random.Random(1))))


RIGHT, WRONG = picture(PROMPT), picture(PROMPT.replace("red", "green"))


class Draws:
    """Plans one step and draws it rightly but for every `wrong`-th request; one value of a picture is `off`."""

    def __init__(self, *, wrong: int = 0, off: int = 0, fails: int = 0) -> None:
        self._wrong, self._off, self._fails = wrong, off, fails

    def run(self, request: Request, *, options: Options) -> Result:
        number = options.seed % 1_000_000
        if self._fails and number % self._fails == 0:
            raise BackendFailedError("it has failed")
        is_wrong = bool(self._wrong) and number % self._wrong == 0
        pixels = (WRONG if is_wrong else RIGHT).copy()
        pixels[0, 0, 0] ^= self._off
        plan = PlanStep(1, "draw", "Draw it.", PROMPT, None)
        attempt = Attempt(1, PROMPT, 0, 0, pixels, Verdict(not is_wrong, 0.5))
        steps = (Step(plan, (attempt,), pixels, True),)
        return Result(request.text, options, steps, "finished", (plan,), False)


def test_the_interval_is_that_of_paired_differences() -> None:
    differences = [0.5, -0.5, 0.25, 0.0] * 100
    low, high = paired_interval(differences)
    half = 1.959964 * np.std(differences, ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx((0.0625 - half, 0.0625 + half))
    assert paired_interval([0.0] * 100) == pytest.approx((-0.03, 0.03))  # not sure after 100 equal pairs
    assert paired_interval([0.0]) == (-3.0, 3.0)  # says nothing
    assert paired_interval([]) is None


def test_equal_packs_pass_as_soon_as_the_interval_is_narrow_enough() -> None:
    found = compare(Draws(), Draws(), TASKS, margin=0.125)
    assert found.requests == 50  # 3 / 50 to both sides
    assert found.met
    document = found.document()
    assert document["success"] == {
        "n": 50,
        "difference": 0.0,
        "interval": [-0.06, 0.06],
        "margin": 0.125,
        "met": True,
    }
    assert document["plans_equal"]["share"] == document["pictures_equal"]["share"] == 1.0
    assert document["verdicts_flipped"]["share"] == document["picture_distance"] == 0.0


def test_a_worse_pack_is_seen_in_every_figure() -> None:
    found = compare(Draws(wrong=4, off=1), Draws(), TASKS, margin=0.125)
    document = found.document()
    assert found.requests == len(TASKS)
    assert not found.met
    assert document["success"]["difference"] == -0.25
    assert document["verdicts_flipped"]["share"] == 0.25
    assert document["pictures_equal"]["share"] == 0.0
    assert document["picture_distance"] > 1
    assert compare(Draws(), Draws(wrong=4), TASKS, margin=0.125).met  # better is no loss


def test_requests_that_fail_have_no_right_step() -> None:
    found = compare(Draws(fails=3), Draws(), TASKS, margin=0.125)
    assert found.failed == 20
    assert found.document()["success"]["difference"] == pytest.approx(-1 / 3, abs=1e-4)
    assert len(found.plans) == 40


def test_nothing_is_shown_where_both_fail() -> None:
    found = compare(Draws(fails=1), Draws(fails=1), TASKS, margin=0.125)
    assert found.failed == found.requests == len(TASKS)  # there is never enough
    assert found.document()["success"]["interval"] == [-0.05, 0.05]
    assert found.met is False
    assert compare(Draws(), Draws(), TASKS[:1], margin=0.125).met is False


def test_other_requests_are_held_against_each_other_without_an_oracle() -> None:
    found = compare(Draws(off=1), Draws(), [Request("anything")] * 3, margin=0.125)
    assert found.met is None
    assert found.document()["success"]["n"] == 0
    assert found.document()["pictures_equal"] == {"n": 3, "share": 0.0, "interval": [0.0, 0.5615]}


def test_a_margin_that_means_nothing_is_refused() -> None:
    for margin in (0.0, -0.1, 2.0, math.nan):
        with pytest.raises(BadRequestError, match="margin"):
            compare(Draws(), Draws(), TASKS, margin=margin)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from interleave_rt.pack import EMBEDDED

    told = tmp_path / "requests.txt"
    told.write_text(f"{PROMPT}.\n\n")
    pair = ["eval", "precision", str(EMBEDDED), "--against", str(EMBEDDED)]
    assert main([*pair, "--requests", str(told), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["requests"], document["success"]["met"]) == (1, None)
    assert document["pictures_equal"]["share"] == document["plans_equal"]["share"] == 1.0
    assert main([*pair, "--most", "2"]) == 1  # two requests say little
    said = capsys.readouterr()
    assert "step success: +0.00 points, 95 % interval -150.00 to +150.00" in said.out
    assert "may be lost" in said.err
