"""Recipes of small runs of the shapes world."""

import os

from interleave_rt.train.recipe import GrpoRecipe, SftRecipe

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


def sft_recipe(place, **more):
    told = {
        "name": "t",
        "base": "base/critic",
        "data": "data/sets/trl_critic_sft.jsonl",
        "batch": 4,
        "per_device": 2,
        "steps": 3,
        "learning_rate": 5e-4,
        "schedule": "constant",
        "save_every": 2,
        "max_tokens": 512,
    }
    return SftRecipe(**{**told, **more}, folder=place)


def grpo_recipe(place, **more):
    told = {
        "name": "t",
        "base": "base/critic",
        "data": "data/sets/trl_critic_rl.jsonl",
        "batch": 2,
        "per_device": 8,
        "group": 4,
        "temperature": 1.8,
        "steps": 2,
        "learning_rate": 5e-4,
        "answer_tokens": 100,
        "save_every": 1,
        "at_once": 1,
        "max_share": 1.0,
        "generator": {"name": "drawn", "spec": "drawn,success=0.7"},
        "scorer": {"model": "shapes-oracle"},
    }
    return GrpoRecipe(**{**told, **more}, folder=place)
