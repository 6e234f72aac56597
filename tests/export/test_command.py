"""The command: what it refuses, what it writes, and when its exit code says no."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from interleave_rt.export.cli import main
from interleave_rt.export.weights import Weights

from interleave_rt.errors import BadPackError, BadRequestError


def _fake_weights(root: Path) -> Path:
    """All files that a weights directory must have, empty."""
    for part in (
        "generator/model_index.json",
        "generator/vae/config.json",
        "generator/transformer/config.json",
        "generator/text_encoder/config.json",
        "planner/config.json",
        "planner/model.safetensors",
        "critic/config.json",
        "critic/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/chat_template.jinja",
        "templates/narrative.txt",
        "templates/guidance.txt",
        "templates/critic.txt",
    ):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).touch()
    return root


def test_a_complete_directory_is_found(tmp_path: Path) -> None:
    weights = Weights.find(_fake_weights(tmp_path))
    assert set(weights.template_files("planner")) == {"narrative", "guidance"}


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="is not a directory") as caught:
        Weights.find(tmp_path / "nowhere")
    assert "--weights" in str(caught.value.hint)


@pytest.mark.parametrize("part", ["generator", "planner", "critic", "tokenizer"])
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    shutil.rmtree(_fake_weights(tmp_path) / part)
    with pytest.raises(BadPackError, match=f"has no {part}/") as caught:
        Weights.find(tmp_path)
    assert f"train the {part} first" in str(caught.value.hint)


def test_half_a_part_is_named(tmp_path: Path) -> None:
    (_fake_weights(tmp_path) / "critic" / "model.safetensors").unlink()
    with pytest.raises(BadPackError, match="has no critic/model.safetensors"):
        Weights.find(tmp_path)


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    (_fake_weights(tmp_path) / "templates" / "guidance.txt").unlink()
    with pytest.raises(BadPackError, match=r"no template guidance\.txt") as caught:
        Weights.find(tmp_path)
    assert "--templates" in str(caught.value.hint)


def test_exit_codes_and_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pack"
    assert (
        main(["shapes", "--weights", str(tmp_path / "nowhere"), "--out", str(out)])
        == BadRequestError.exit_code
    )
    assert "is not a directory" in capsys.readouterr().err.replace("\n", " ")
    weights = _fake_weights(tmp_path / "weights")
    (weights / "planner" / "config.json").unlink()
    assert main(["shapes", "--weights", str(weights), "--out", str(out)]) == BadPackError.exit_code
    assert "planner/config.json" in capsys.readouterr().err.replace("\n", "")
    assert not out.exists()


def test_a_directory_that_is_no_pack_is_not_replaced(tmp_path: Path) -> None:
    weights = _fake_weights(tmp_path / "weights")
    out = tmp_path / "home"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    assert main(["shapes", "--weights", str(weights), "--out", str(out)]) == BadRequestError.exit_code
    assert (out / "letter.txt").read_text() == "dear"


def test_verify_only_needs_a_pack(tmp_path: Path) -> None:
    weights = _fake_weights(tmp_path / "weights")
    arguments = ["shapes", "--weights", str(weights), "--out", str(tmp_path / "pack"), "--verify-only"]
    assert main(arguments) == BadPackError.exit_code


def test_verify_only_tells_other_weights_apart(exported: Any, recipe: Any, tiny: Any, tmp_path: Path) -> None:
    """Same pack, a planner with other weights: parity fails, batch invariance does not."""
    from interleave_rt.export import export_shapes
    from interleave_rt.export.checks import Parity, all_passed

    weights = tmp_path / "weights"
    shutil.copytree(exported.weights, weights)
    shutil.rmtree(weights / "planner")
    other = tiny.build_vlm(tiny.build_tokenizer(), seed=99, layers=1, vision_layers=1)
    other.save_pretrained(weights / "planner")
    checks, _ = export_shapes(weights, exported.pack, recipe=recipe, verify_only=True)
    assert not all_passed(checks)
    failed = {check.part for check in checks if not check.passed}
    assert failed == {"planner/vision", "planner/decoder", "planner/decode_graph"}
    assert all(isinstance(check, Parity) for check in checks if not check.passed)
