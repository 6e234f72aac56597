"""What the tests of the world's language share."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # draws.py

from interleave_rt.worlds.shapes import requests


@pytest.fixture(scope="session")
def drawn() -> list[requests.Request]:
    """What the planner's training draws."""
    rng = random.Random(1)
    return [requests.any_request(rng) for _ in range(6000)]
