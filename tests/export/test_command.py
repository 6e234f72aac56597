"""The command: what it refuses, what it writes, and when its exit code says no."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from interleave_rt.export.cli import main
from interleave_rt.export.families import find_family
from interleave_rt.export.recipe import shapes_recipe
from interleave_rt.export.weights import Weights

from interleave_rt.errors import BadPackError, BadRequestError

NEEDED = {role: find_family(recipe.family).NEEDED for role, recipe in shapes_recipe().roles.items()}
FILES = [
    *(f"{role}/{file}" for role, files in NEEDED.items() for file in files),
    *("tokenizer/tokenizer.json", "tokenizer/chat_template.jinja"),
    *(f"templates/{name}.txt" for name in ("narrative", "guidance", "critic")),
]


def _fake_weights(root: Path) -> Path:
    """All files that a weights directory must have, empty."""
    for part in FILES:
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).touch()
    return root


def test_a_complete_directory_is_found(tmp_path: Path) -> None:
    weights = Weights.find(_fake_weights(tmp_path), NEEDED)
    assert set(weights.template_files("planner")) == {"narrative", "guidance"}
    assert weights.tokenizer_folder("critic") == tmp_path / "tokenizer"
    (tmp_path / "critic" / "tokenizer.json").touch()
    assert weights.tokenizer_folder("critic") == tmp_path / "critic"


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="is not a directory") as caught:
        Weights.find(tmp_path / "nowhere", NEEDED)
    assert "--weights" in str(caught.value.hint)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    (_fake_weights(tmp_path) / file).unlink()
    part, name = file.split("/", 1)
    said, hint = (
        (f"no template {name}", "--templates")
        if part == "templates"
        else (f"no {file}", f"train the {part} first")
    )
    with pytest.raises(BadPackError, match=f"has {said}") as caught:
        Weights.find(tmp_path, NEEDED)
    assert hint in str(caught.value.hint)


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
    from interleave_rt.export.proof.checks import Parity, all_passed

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
