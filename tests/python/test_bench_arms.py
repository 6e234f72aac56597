"""Engines of the arms."""

from __future__ import annotations

import pytest

from interleave_rt.backends.scripted import Script
from interleave_rt.measure.arms import ARMS, Engines, ScriptedTarget
from interleave_rt.config import EngineConfig
from interleave_rt.errors import InterleaveError


def test_arms_share_no_engine_and_so_no_caches():
    with Engines(ScriptedTarget(Script()), EngineConfig()) as engines:
        plain, streamed = engines.of(ARMS["sequential"], None), engines.of(ARMS["sequential-es"], None)
        assert plain is not streamed
        assert engines.of(ARMS["sequential"], None) is plain
        engines.close_all_but([streamed])
        with pytest.raises(InterleaveError):
            plain.run("a")
        assert streamed.run("a").steps
        assert engines.of(ARMS["sequential"], None) is not plain
