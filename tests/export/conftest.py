"""One tiny pack for the whole session: exporting it is most of what these tests cost."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from interleave_rt.export.proof.checks import Comparison, Parity

    from interleave_rt.pack.manifest import Manifest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

NEEDED = ("torch", "transformers", "diffusers", "onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []
sys.path.append(str(Path(__file__).parent))  # the checkpoints, and what tests share


@pytest.fixture(scope="session")
def tiny() -> Any:
    """Models of the embedded architectures."""
    import torch

    torch.set_num_threads(1)
    return importlib.import_module("tiny")


@pytest.fixture
def copied(source: Path, tmp_path: Path) -> Path:
    """The same checkpoint, to be spoilt: its files are links."""
    folder = tmp_path / "copied"
    shutil.copytree(source, folder, copy_function=lambda a, b: Path(b).symlink_to(a))
    return folder


@dataclass(frozen=True)
class Exported:
    weights: Path
    pack: Path
    checks: list[Parity | Comparison]
    manifest: Manifest


@pytest.fixture(scope="session")
def recipe() -> Any:
    from interleave_rt.export.recipe import GeneratorRecipe, VlmRecipe, shapes_recipe

    planner = VlmRecipe(cache_length=96, slots=3, prefill_chunk=6, decode_graph=True)
    generator = GeneratorRecipe(
        text_layers=(1, 2), max_sequence_length=32, image_side=48, slots=2, external_data=True
    )
    roles = {"planner": planner, "critic": replace(planner, verdict_threshold=0.5), "generator": generator}
    return replace(shapes_recipe("tiny"), roles=roles)


@pytest.fixture(scope="session")
def exported(tiny: Any, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    from interleave_rt.export import export_shapes

    root = tmp_path_factory.mktemp("export")
    weights = tiny.write_weights(root / "weights", small=True)
    checks, manifest = export_shapes(weights, root / "pack", recipe=recipe)
    return Exported(weights, root / "pack", checks, manifest)
