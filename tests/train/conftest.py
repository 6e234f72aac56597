"""A small run whose sets several files read."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from interleave_rt.train.data.recipe import Recipe
from interleave_rt.train.data.run import Run
from small_recipes import ALL_SETS, sft_recipe


@pytest.fixture(scope="session")
def all_sets(tmp_path_factory):
    """The sets of a small run; not to be changed."""
    out = tmp_path_factory.mktemp("all")
    with Run(Recipe(**ALL_SETS), out) as run:
        run.run()
    return out / "sets"


@pytest.fixture(scope="session")
def place(tmp_path_factory, all_sets):
    """A folder with sets, and the embedded pack's checkpoints in base/."""
    from interleave_rt.train.models import base_folder

    out = tmp_path_factory.mktemp("tune")
    shutil.copytree(all_sets, out / "data" / "sets")
    base_folder(sft_recipe(out, base="shapes:critic"), out)
    return out
