"""Recipes of small runs of the shapes world."""

import os

SMALL = {
    "name": "small",
    "licence": "Apache-2.0",
    "world": "shapes",
    "seed": 1,
    "teacher": {"model": "shapes-oracle", "concurrency": 2},
    "generators": [{"name": "weak", "spec": "drawn,success=0.6"}],
    "prompts": {"count": 6, "words": 10, "near": 1.0},
    "ask": {"folder": "shapes", "repeat": True},
}
ALL_SETS = {
    **SMALL,
    "seed": 2,
    "prompts": {"count": int(os.environ.get("IRT_DATA_PROMPTS", "10")), "words": 150, "near": 1.0},
    "select": {"rl_variance": 11},
}
"""None of its sets is empty. IRT_DATA_PROMPTS: prompts of the run (400 give 500 items and more)."""
