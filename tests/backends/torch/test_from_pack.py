"""The embedded trio on PyTorch, its weights taken back out of the pack, against the native graphs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interleave_rt import Engine, Options, Request, load_pack
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.torch import TorchRoles
from interleave_rt.roles.base import SharedRules
from interleave_rt.roles.native import NativeRoles
from interleave_rt.roles.reference import run_reference
from interleave_rt.wire import WrittenPlan
from interleave_rt.worlds.shapes.requests import sample
from interleave_rt.worlds.shapes.scene import drawn_story


class Both(SharedRules):
    """Native roles that have PyTorch answer every call too, and compare."""

    def __init__(self, native: NativeRoles, torch: TorchRoles) -> None:
        self._native, self._torch = native, torch
        self.pictures = self.verdicts = 0

    def plan(self, *call: Any) -> WrittenPlan:
        made = self._native.plan(*call)
        assert self._torch.plan(*call) == made
        return made

    def generate(self, *call: Any) -> Any:
        made = self._native.generate(*call)
        apart = np.abs(made.astype(int) - self._torch.generate(*call).astype(int))
        assert apart.max() <= 1
        self.pictures += 1
        return made

    def judge(self, *call: Any) -> Any:
        made, theirs = self._native.judge(*call), self._torch.judge(*call)
        assert (made is None) == (theirs is None)
        if made is not None:
            assert (theirs.accepted, theirs.refined) == (made.accepted, made.refined)
            assert theirs.p_success == pytest.approx(made.p_success, abs=1e-3)
        self.verdicts += 1
        return made


def test_every_call_answers_as_the_native_one(embedded: TorchRoles) -> None:
    both = Both(NativeRoles(load_pack(), constrained="off"), embedded)
    wishes = [
        *sample("test", 2, 2, "narrative"),
        next(one for one in sample("test", 4, 2, "guidance") if one.scenes),
    ]
    for number, wish in enumerate(wishes):
        pictures = tuple(drawn_story(wish.images, random.Random(number)))
        run_reference(Request(wish.text, pictures), Options(seed=40 + number, t_max=2), both)
    assert both.pictures >= 5
    assert both.verdicts >= 4


def test_the_engine_over_it_equals_its_own_sequential_loop(embedded: TorchRoles) -> None:
    (wish,) = sample("test", 1, 3, "narrative")
    options = Options(seed=3, t_max=3, speculation="depth=2")
    with Engine(OutsideBackend(embedded)) as engine:
        result = engine.run(wish.text, options=options)
    assert result.canonical() == run_reference(Request(wish.text), options, embedded)


def test_its_checkpoints_are_plain_directories(embedded: TorchRoles) -> None:
    from interleave_rt.backends.torch import TorchGenerator, TorchVlm

    folder: Path = embedded.generator.directory.parent
    again = TorchVlm(folder / "critic", "critic", prompts=folder / "prompts", max_new_tokens=255)
    picture = np.full((96, 96, 3), 255, np.uint8)
    verdict = again.judge(None, picture, "Draw a red circle", "Draw a red circle", 0, 0)
    assert verdict == embedded.judge(None, picture, "Draw a red circle", "Draw a red circle", 0, 0)
    plain = TorchGenerator(folder / "generator")
    assert plain.settings.width == 96
    assert plain.generate("Draw a red circle", None, 1, Options()).shape == (96, 96, 3)
