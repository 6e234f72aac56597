"""The command: what it refuses, what it writes, and when its exit code says no."""

from __future__ import annotations

import re
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


def test_what_cannot_be_exported_is_said_by_the_exit_code(tmp_path: Path, capsys) -> None:
    whole, broken, home = (
        _fake_weights(tmp_path / "whole"),
        _fake_weights(tmp_path / "broken"),
        tmp_path / "home",
    )
    (broken / "planner" / "config.json").unlink()
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    for weights, out, options, error, said in (
        (tmp_path / "nowhere", tmp_path / "pack", [], BadRequestError, "is not a directory"),
        (broken, tmp_path / "pack", [], BadPackError, "planner/config.json"),
        (whole, home, [], BadRequestError, "is not a pack"),
        (whole, home / "letter.txt", [], BadRequestError, "is not a pack"),
        (whole, tmp_path / "pack", ["--verify-only"], BadPackError, "pack"),
    ):
        assert main(["shapes", "--weights", str(weights), "--out", str(out), *options]) == error.exit_code
        assert said.replace(" ", "") in re.sub(r"\s", "", capsys.readouterr().err)  # the console wraps
    assert not (tmp_path / "pack").exists()
    assert (home / "letter.txt").read_text() == "dear"


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
