"""Small random models in Hugging Face layout, saved once a session: what the tests of this folder open."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

NEEDED = ("torch", "transformers", "diffusers", "safetensors", "accelerate")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def load(name: str) -> Any:
    """A module beside this file, whatever the import mode is."""
    spec = importlib.util.spec_from_file_location(
        f"torch_backend_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoints() -> Any:
    import torch

    torch.set_num_threads(1)
    return load("checkpoints")


@pytest.fixture(scope="session")
def klein(checkpoints: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save_klein(tmp_path_factory.mktemp("klein"))


@pytest.fixture(scope="session")
def qwen_edit(checkpoints: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save_qwen_edit(tmp_path_factory.mktemp("qwen_edit"))


@pytest.fixture(scope="session")
def vlm(checkpoints: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save_vlm(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="session")
def llava(checkpoints: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The embedded pack's trio on PyTorch."""
    pytest.importorskip("onnx")
    import torch
    from interleave_rt.train.shapes.from_pack import roles_from_pack

    from interleave_rt import load_pack

    torch.set_num_threads(1)
    return roles_from_pack(load_pack(), tmp_path_factory.mktemp("embedded"))


@pytest.fixture
def small_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen-Image-Edit scales every source to a megapixel: here to 64x64."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as module

    monkeypatch.setattr(module, "VAE_IMAGE_SIZE", 64 * 64)
    monkeypatch.setattr(module, "CONDITION_IMAGE_SIZE", 56 * 56)
